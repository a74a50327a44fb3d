//! A downstairs that the test plays, and what is told of it.

use crate::observe::Observation;
use crate::observe::pulse::*;
use crate::observe::{Told, channel};
use crate::protocol::{IMOK, RUOK};
use crate::region::Geometry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const ROUNDS: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_millis(200);
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

    /// Play one whose second port is bound, or is not yet.
    async fn bound(second: bool) -> Self {
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        loop {
            let data = TcpListener::bind((address, 0)).await.unwrap();
            let port = data.local_addr().unwrap().port();
            let Ok(repair) = TcpListener::bind((address, port.saturating_add(4000))).await else { continue };
            if second {
                _ = tokio::spawn(tell_identity(repair));
            } else {
                drop(repair);
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
            Patient::new(&local, address, PID, rounds, allowance, None, &to).attend().await
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
        Some(Observation::Pulse(_, Some(pulse), _)) => pulse,
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
async fn how_long_an_answer_took_is_told_unless_somebody_else_was_asked_meanwhile() {
    let played = Played::begin().await;
    let mut beats = played.watched();
    let mut took = async || loop {
        match timeout(Duration::from_secs(60), beats.recv()).await.unwrap().and_then(Told::fact) {
            Some(Observation::Pulse(_, Some(pulse), took)) if pulse.beat == Beat::Answering => return took,
            Some(Observation::Pulse(_, _, took)) => assert_eq!(took, None),
            seen => panic!("{seen:?}"),
        }
    };
    let mut stream = played.asked().await;
    stream.write_all(&IMOK).await.unwrap();
    assert_eq!(took().await, None, "it was asked who it is as well");
    for _ in 0..2 {
        read_question(&mut stream).await;
        let asked = Instant::now();
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(&IMOK).await.unwrap();
        let (took, most) = (took().await.unwrap(), ROUNDS + asked.elapsed());
        assert!(took >= Duration::from_millis(30) && took <= most, "{took:?} of {most:?}");
    }
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
    tokio::spawn(crate::observe::pulse::watch(played.local.clone(), played.address, run, rhythm, LONG, None, to));
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
    let mut beats = played.watched_with(ROUNDS, ANSWER_LIMIT);
    let mut stream = played.asked().await;
    assert_eq!(next(&mut beats).await.beat, Beat::Asked);
    let silent = next(&mut beats).await;
    assert_eq!(silent.beat, Beat::Silent);
    assert!(silent.identity.is_some_and(|identity| identity.is_ok()));
    let waited = began.elapsed();
    assert!(waited >= ANSWER_LIMIT, "it was silent after {waited:?}");
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
    tokio::spawn(crate::observe::pulse::watch(
        played.local.clone(),
        played.address,
        run,
        rhythm,
        ANSWER_LIMIT,
        None,
        to,
    ));
    let told = beats.recv().await.and_then(Told::fact);
    assert!(matches!(told, Some(Observation::Pulse(_, None, None))), "{told:?}");
    assert!(timeout(2 * ROUNDS, played.data.accept()).await.is_err());
}
