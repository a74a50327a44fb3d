//! Whether a region's downstairs answers, and who it says it is.
//!
//! One persistent connection to the data port, on which `Ruok` is asked once a round: it
//! passes the downstairs' main loop, leaves no log line, and cannot disturb an upstairs. All
//! regions are asked in the same moment, and their answers are looked for in the same moments
//! after it. The identity comes from `/region-info` on the repair port, once a connection.
//! Nothing else is ever sent to a downstairs.
//!
//! With `[tls]` the connection is a host's in every way but what is said on it. What a process was
//! started with decides how it could be spoken to; one that was started with the other is told, and
//! not asked.

use super::backoff::Backoff;
use super::region_info::ask as region_info;
use super::rhythm::{Beats, ROUND, Rhythm};
use super::ruok::Line;
use super::tls::dial;
use super::{NobodyListens, Observation, Publisher, publish};
use crate::broker::{Dialer, NoConnection};
use crate::config::Tls;
use crate::decide::facts::{Beat, Pulse, Run};
use crate::port_map::LocalRegion;
use jiff::Timestamp;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// How often an idle downstairs is asked. Far below the 45 s after which it would drop the
/// connection.
pub const ASK_EVERY: Duration = ROUND;

/// How often a downstairs that does not listen yet is tried, and for how long: it listens
/// 0.1 s after its start, one of a thousand extents after 0.8 s.
const KNOCK: Duration = Duration::from_millis(5);
const KNOCK_FOR: Duration = Duration::from_secs(2);
/// The longest pause between two questions who it is, before these are left to the rounds.
const KNOCK_WHO: Duration = Duration::from_secs(1);
/// How often one is tried that has not listened in that time.
const KNOCK_RARELY: Duration = Duration::from_millis(500);

/// When an answer is first looked for: on a new connection, for which somebody waits, and on
/// one that has answered before. It takes 0.3 ms as a rule, and 1.6 ms under load.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_millis(5);
/// How often one is looked for that is long in coming.
const LOOK_RARELY: Duration = Duration::from_millis(500);

/// Watches one region for as long as somebody listens. `run` tells the run that its
/// unit is in; while there is none, nobody is asked. One that takes longer than `allowance` to
/// answer is silent. With `tls` it is spoken to over TLS, by these files.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    local: LocalRegion,
    address: IpAddr,
    mut run: watch::Receiver<Option<Run>>,
    rhythm: Rhythm,
    allowance: Duration,
    tls: Option<Tls>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    loop {
        let asked = run.borrow_and_update().as_ref().map(|run| run.pid);
        let asking = async {
            match asked {
                Some(pid) => {
                    let rounds = rhythm.every(ASK_EVERY);
                    let (local, tls, to) = (&local, tls.as_ref(), &to);
                    let (told, presents, dialer) = (None, None, Dialer::default());
                    Patient { local, address, pid, rounds, allowance, tls, to, told, presents, dialer }.attend().await
                }
                None => {
                    publish(&to, Observation::Pulse(local.name.clone(), None)).await?;
                    std::future::pending().await
                }
            }
        };
        // Cancel-safe: a connection that is dropped with the old process is of no use.
        tokio::select! {
            gone = asking => return gone,
            changed = run.changed() => changed.map_err(|_| NobodyListens)?,
        }
    }
}

/// One main process under observation.
struct Patient<'a> {
    local: &'a LocalRegion,
    address: IpAddr,
    pid: u32,
    rounds: Beats,
    allowance: Duration,
    tls: Option<&'a Tls>,
    to: &'a Publisher,
    told: Option<Pulse>,
    /// When the certificate ends that it showed last.
    presents: Option<Timestamp>,
    dialer: Dialer,
}

/// What is known of an identity, once it was asked for.
type Identity = Option<Result<Uuid, String>>;

impl Patient<'_> {
    /// Connects, again and again, and asks. Nothing tells when a downstairs begins to listen,
    /// so the first tries come fast.
    async fn attend(mut self) -> Result<(), NobodyListens> {
        let mut backoff = Backoff::new(KNOCK, KNOCK_RARELY).eager_for(KNOCK_FOR);
        loop {
            let data = SocketAddr::new(self.address, self.local.port);
            match timeout(self.allowance, self.call(data)).await {
                Ok(Ok(line)) => {
                    self.tell(Beat::Asked, None).await?;
                    let mut answers = 0;
                    let why = self.converse(line, &mut answers).await?;
                    if answers > 0 {
                        backoff.reset();
                    }
                    self.tell(Beat::Lost(why.to_string()), None).await?;
                }
                Ok(Err(NoCall::Refused)) => self.tell(Beat::Refused, None).await?,
                Ok(Err(NoCall::Otherwise)) => {
                    self.tell(Beat::Otherwise, None).await?;
                    // It stays so for as long as it lives.
                    std::future::pending().await
                }
                Ok(Err(NoCall::NoSocket(why))) => {
                    self.tell(Beat::Unasked(why.to_string()), None).await?;
                    self.rounds.skip_past();
                    self.rounds.next().await;
                }
                Ok(Err(NoCall::Lost(why))) => {
                    self.tell(Beat::Lost(why.to_string()), None).await?;
                    // It listens, so there is no hurry; and it logs each try.
                    self.rounds.skip_past();
                    self.rounds.next().await;
                }
                Err(_) => self.tell(Beat::Silent, None).await?,
            }
            backoff.pause().await;
        }
    }

    /// Connects, and shakes hands if it is to.
    async fn call(&mut self, data: SocketAddr) -> Result<Line, NoCall> {
        let stream = self.dialer.connect(data).await.map_err(NoCall::from)?;
        if started_with_tls(self.pid).is_some_and(|tls| tls != self.tls.is_some()) {
            return Err(NoCall::Otherwise);
        }
        let Some(tls) = self.tls else { return Line::new(stream).map_err(NoCall::Lost) };
        let session = dial::shake(tls, &self.local.name, stream).await.map_err(NoCall::Lost)?;
        self.presents = dial::end(&session);
        Line::secret(session).map_err(NoCall::Lost)
    }

    /// Asks on one connection until it breaks, and returns why it did.
    async fn converse(&mut self, mut line: Line, answers: &mut u64) -> Result<io::Error, NobodyListens> {
        let (mut asked, mut identity) = (Instant::now(), None);
        self.rounds.skip_past();
        loop {
            if let Err(why) = line.ask() {
                return Ok(why);
            }
            if !matches!(identity, Some(Ok(_))) {
                identity = Some(self.identity().await);
            }
            let first = if *answers == 0 { FIRST_LOOK } else { LOOK };
            if let Err(why) = self.hear(&mut line, asked, first, &identity).await? {
                return Ok(why);
            }
            *answers += 1;
            self.tell(Beat::Answering, identity.clone()).await?;
            let due = self.until_the_round(&mut identity).await?;
            asked = due;
        }
    }

    /// Waits for the next round. It binds its repair port after its data port: as long as that has
    /// not told who it is, it is asked again, ever more slowly.
    async fn until_the_round(&mut self, identity: &mut Identity) -> Result<Instant, NobodyListens> {
        let mut pauses = Backoff::new(KNOCK, ASK_EVERY);
        while matches!(identity, Some(Err(_))) {
            let pause = pauses.grow();
            if pause > KNOCK_WHO {
                break;
            }
            // Cancel-safe: a beat that is not returned is not taken.
            tokio::select! {
                due = self.rounds.next() => return Ok(due),
                () = sleep_until(Instant::now() + pause) => {}
            }
            let told = self.identity().await;
            if told.is_ok() {
                *identity = Some(told);
                self.tell(Beat::Answering, identity.clone()).await?;
            }
        }
        Ok(self.rounds.next().await)
    }

    /// Looks for the answer, first soon after the question and then more and more rarely, until
    /// it has come or never can. In the moment in which the allowance is over it is looked for
    /// once more, and is then overdue.
    async fn hear(
        &mut self,
        line: &mut Line,
        asked: Instant,
        first: Duration,
        identity: &Identity,
    ) -> Result<io::Result<()>, NobodyListens> {
        let mut pauses = Backoff::new(first, LOOK_RARELY);
        let (mut at, limit) = (asked, asked + self.allowance);
        loop {
            let next = at + pauses.grow();
            at = if at < limit { next.min(limit) } else { next };
            sleep_until(at).await;
            match line.answered() {
                Ok(true) => return Ok(Ok(())),
                Ok(false) if at >= limit => self.tell(Beat::Silent, identity.clone()).await?,
                Ok(false) => {}
                Err(why) => return Ok(Err(why)),
            }
        }
    }

    async fn tell(&mut self, beat: Beat, identity: Identity) -> Result<(), NobodyListens> {
        let pulse = Pulse { pid: self.pid, beat, identity, presents: self.presents };
        // An answer is told each time, so that a pulse that stops is noticed.
        if self.told.as_ref() == Some(&pulse) && pulse.beat != Beat::Answering {
            return Ok(());
        }
        self.told = Some(pulse.clone());
        publish(self.to, Observation::Pulse(self.local.name.clone(), Some(pulse))).await
    }

    async fn identity(&self) -> Result<Uuid, String> {
        let repair = SocketAddr::new(self.address, self.local.repair_port());
        match timeout(self.allowance, region_info(repair)).await {
            Ok(Ok(region)) => Ok(region.uuid),
            Ok(Err(why)) => Err(why.to_string()),
            Err(_) => Err(format!("no answer within {} s", self.allowance.as_secs_f64())),
        }
    }
}

/// Why there is nobody to ask.
enum NoCall {
    /// Nobody listens.
    Refused,
    /// It speaks TLS and should not, or the other way round.
    Otherwise,
    /// There is nothing to call with.
    NoSocket(io::Error),
    /// Hands were not shaken.
    Lost(io::Error),
}

impl From<NoConnection> for NoCall {
    fn from(none: NoConnection) -> Self {
        match none {
            NoConnection::NoSocket(why) => Self::NoSocket(why),
            NoConnection::Refused(_) => Self::Refused,
        }
    }
}

/// Whether a process was started to speak TLS, if that can be told.
pub fn started_with_tls(pid: u32) -> Option<bool> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|words| !words.is_empty())?;
    Some(words.split(|byte| *byte == 0).any(|word| word.starts_with(b"--cert-pem")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Observation;
    use crate::observe::{Told, channel};
    use crate::protocol::{IMOK, RUOK};
    use crate::region::Geometry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    const ROUNDS: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_millis(200);
    /// Longer than any machine takes to answer.
    const LONG: Duration = Duration::from_secs(600);
    /// No process.
    const PID: u32 = 7_000_000;
    const UUID: &str = "5a11fa40-0000-4000-8000-000000000001";

    /// Both ports of a downstairs that the test plays.
    struct Played {
        data: TcpListener,
        local: LocalRegion,
        address: IpAddr,
    }

    impl Played {
        async fn begin() -> Self {
            Self::bound(true).await
        }

        /// One whose second port is bound, or is not yet.
        async fn bound(second: bool) -> Self {
            let address: IpAddr = "127.0.0.1".parse().unwrap();
            loop {
                let data = TcpListener::bind((address, 0)).await.unwrap();
                let port = data.local_addr().unwrap().port();
                let Ok(repair) = TcpListener::bind((address, port.saturating_add(4000))).await else { continue };
                match second {
                    true => _ = tokio::spawn(tell_identity(repair)),
                    false => drop(repair),
                }
                let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
                let local = LocalRegion { name: "still-fawn-0".parse().unwrap(), port, geometry };
                return Self { data, local, address };
            }
        }

        /// The beats that are told of it.
        fn watched(&self) -> mpsc::Receiver<Told> {
            self.watched_with(ROUNDS, LONG)
        }

        /// The same, asked once in this time, and given so long to answer.
        fn watched_with(&self, time: Duration, allowance: Duration) -> mpsc::Receiver<Told> {
            let (source, beats) = channel(64);
            let (term, to) = source.begin();
            let (local, address) = (self.local.clone(), self.address);
            tokio::spawn(async move {
                let _term = term;
                let (rhythm, drum) = Rhythm::new(time);
                tokio::spawn(drum);
                let rounds = rhythm.every(time);
                let (local, to, tls) = (&local, &to, None);
                let (told, presents, dialer) = (None, None, Dialer::default());
                Patient { local, address, pid: PID, rounds, allowance, tls, to, told, presents, dialer }.attend().await
            });
            beats
        }

        async fn asked(&self) -> TcpStream {
            let mut stream = self.data.accept().await.unwrap().0;
            read_question(&mut stream).await;
            stream
        }
    }

    async fn tell_identity(repair: TcpListener) {
        while let Ok((mut stream, _)) = repair.accept().await {
            let body = format!(
                "{{\"block_size\":512,\"extent_size\":{{\"value\":1,\"shift\":9}},\"extent_count\":1,\"uuid\":\"{UUID}\",\
                 \"encrypted\":false,\"database_read_version\":1,\"database_write_version\":1}}"
            );
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            _ = stream.read(&mut [0; 1024]).await;
            _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    async fn read_question(stream: &mut TcpStream) {
        let mut question = [0; RUOK.len()];
        stream.read_exact(&mut question).await.unwrap();
        assert_eq!(question, RUOK);
    }

    async fn next(beats: &mut mpsc::Receiver<Told>) -> Pulse {
        match timeout(Duration::from_secs(60), beats.recv()).await.unwrap().and_then(Told::fact) {
            Some(Observation::Pulse(_, Some(pulse))) => pulse,
            seen => panic!("{seen:?}"),
        }
    }

    #[tokio::test]
    async fn one_that_answers_is_asked_once_a_round_and_who_it_is_once() {
        let played = Played::begin().await;
        let began = Instant::now();
        let mut beats = played.watched();
        let mut stream = played.asked().await;
        assert_eq!(next(&mut beats).await.beat, Beat::Asked);
        stream.write_all(&IMOK).await.unwrap();
        let first = next(&mut beats).await;
        assert_eq!((first.pid, &first.beat), (PID, &Beat::Answering));
        assert_eq!(first.identity, Some(Ok(UUID.parse().unwrap())));
        for _ in 0..3 {
            read_question(&mut stream).await;
            stream.write_all(&IMOK).await.unwrap();
            assert_eq!(next(&mut beats).await, first);
        }
        assert!(began.elapsed() > 2 * ROUNDS, "it was asked more than once a round");
    }

    #[tokio::test]
    async fn one_that_begins_to_listen_is_found_at_once() {
        let mut played = Played::begin().await;
        let at = played.data.local_addr().unwrap();
        drop(played.data);
        let (source, mut beats) = channel(64);
        let (_term, to) = source.begin();
        let (_run, run) = watch::channel(Some(Run { pid: PID, invocation: None }));
        // It is not left to the next round, which is ten minutes away.
        let (rhythm, drum) = Rhythm::new(LONG);
        tokio::spawn(drum);
        tokio::spawn(super::watch(played.local.clone(), played.address, run, rhythm, LONG, None, to));
        assert_eq!(next(&mut beats).await.beat, Beat::Refused);
        played.data = TcpListener::bind(at).await.unwrap();
        let mut stream = played.asked().await;
        stream.write_all(&IMOK).await.unwrap();
        assert_eq!(next(&mut beats).await.beat, Beat::Asked);
        assert_eq!(next(&mut beats).await.beat, Beat::Answering);
    }

    /// The two ports are bound one after the other, and the second may come later than the first
    /// answer.
    #[tokio::test]
    async fn who_it_is_is_known_as_soon_as_the_second_port_is_there() {
        let played = Played::bound(false).await;
        let mut beats = played.watched_with(LONG, LONG);
        let mut stream = played.asked().await;
        assert_eq!(next(&mut beats).await.beat, Beat::Asked);
        stream.write_all(&IMOK).await.unwrap();
        let first = next(&mut beats).await;
        assert!(first.beat == Beat::Answering && first.identity.is_some_and(|who| who.is_err()));
        let repair = TcpListener::bind((played.address, played.local.repair_port())).await.unwrap();
        tokio::spawn(tell_identity(repair));
        // It is not left to the next round, which is ten minutes away.
        assert_eq!(next(&mut beats).await.identity, Some(Ok(UUID.parse().unwrap())));
    }

    #[tokio::test]
    async fn one_that_answers_too_late_is_silent_until_then() {
        let played = Played::begin().await;
        let began = Instant::now();
        let mut beats = played.watched_with(ROUNDS, PATIENCE);
        let mut stream = played.asked().await;
        assert_eq!(next(&mut beats).await.beat, Beat::Asked);
        let silent = next(&mut beats).await;
        assert_eq!(silent.beat, Beat::Silent);
        assert!(silent.identity.is_some_and(|identity| identity.is_ok()));
        let waited = began.elapsed();
        assert!(waited >= PATIENCE, "it was silent after {waited:?}");
        // Never asked twice: what comes next is the answer.
        stream.write_all(&IMOK).await.unwrap();
        assert_eq!(next(&mut beats).await.beat, Beat::Answering);
        read_question(&mut stream).await;
    }

    #[tokio::test]
    async fn a_connection_that_ends_or_says_anything_else_is_lost_and_made_anew() {
        let played = Played::begin().await;
        let mut beats = played.watched();
        let lost = |why: &str| Beat::Lost(why.to_owned());
        for (said, why) in [
            (&b""[..], lost("unexpected end of file")),
            (&RUOK, lost("it answered [08, 00, 00, 00, 09, 00, 00, 00] to Ruok")),
            (&[IMOK, IMOK].concat(), lost("it spoke unasked")),
        ] {
            let mut stream = played.asked().await;
            assert_eq!(next(&mut beats).await.beat, Beat::Asked);
            stream.write_all(said).await.unwrap();
            if said.is_empty() {
                drop(stream);
            } else if said.starts_with(&IMOK) {
                assert_eq!(next(&mut beats).await.beat, Beat::Answering);
            }
            assert_eq!(next(&mut beats).await.beat, why);
        }
    }

    #[tokio::test]
    async fn nobody_is_asked_without_a_process() {
        let played = Played::begin().await;
        let (source, mut beats) = channel(64);
        let (_term, to) = source.begin();
        let (_run, run) = watch::channel(None);
        let (rhythm, _drum) = Rhythm::new(ROUNDS);
        tokio::spawn(super::watch(played.local.clone(), played.address, run, rhythm, PATIENCE, None, to));
        let told = beats.recv().await.and_then(Told::fact);
        assert!(matches!(told, Some(Observation::Pulse(_, None))), "{told:?}");
        assert!(timeout(2 * ROUNDS, played.data.accept()).await.is_err());
    }
}
