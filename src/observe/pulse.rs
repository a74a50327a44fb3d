//! Pulse of a region: whether its downstairs answers, and who it says it is.
//!
//! One persistent connection to the data port, on which `Ruok` is asked once a round: it
//! passes the downstairs' main loop, leaves no log line, and cannot disturb an upstairs. All
//! regions are asked in the same moment, and their answers are looked for in the same moments
//! after it. The identity comes from `/region-info` on the repair port, once a connection.
//! Nothing else is ever sent to a downstairs. How it is reached is [`call`](crate::observe::call)'s.

use crate::backoff::Backoff;
use crate::config::{Configuration, Tls};
use crate::decide::facts::{Active, Beat, Facts, Pulse, Region, Run};
use crate::names::RegionName;
use crate::observe::call::{Caller, NoCall};
use crate::observe::observer::{Begin, Observer, OfRegion, TakenOver};
use crate::observe::region_info::ask as region_info;
use crate::observe::rhythm::{Beats, ROUND, Rhythm};
use crate::observe::ruok::Line;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::port_map::LocalRegion;
use futures_util::FutureExt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// Time between questions to an idle downstairs. Far below the 45 s after which it would drop the
/// connection.
pub const ASK_EVERY: Duration = ROUND;

/// Pause between the first tries of a downstairs that does not listen yet, and the time for which
/// it is tried so: one listens 0.1 s after its start, one of a thousand extents after 0.8 s.
const FIRST_KNOCK_PAUSE: Duration = Duration::from_millis(5);
const EAGER_KNOCK_LIMIT: Duration = Duration::from_secs(2);
/// The longest pause between two questions who it is, before these are left to the rounds.
const IDENTITY_PAUSE_LIMIT: Duration = Duration::from_secs(1);
/// Longest pause between tries of one that has not listened in that time.
const KNOCK_POLL_LIMIT: Duration = Duration::from_millis(500);

/// Time after which an answer is first looked for: on a new connection, for which somebody waits,
/// and on one that has answered before. It takes 0.3 ms as a rule, and 1.6 ms under load.
const FIRST_ANSWER_POLL: Duration = Duration::from_millis(1);
const ANSWER_POLL: Duration = Duration::from_millis(5);
/// Longest pause between looks for one that is long in coming.
const ANSWER_POLL_LIMIT: Duration = Duration::from_millis(500);

/// Observer of whether a region's downstairs answers.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "pulse";
    const SLOW_LOOK: Option<Duration> = Some(ASK_EVERY);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::ByRegion(|ground, OfRegion { local, run }, to| {
        let (address, tls) = (ground.config.address, ground.config.sled.tls.clone());
        let allowance = ground.config.sled.downstairs.hung_after.into();
        watch(local, address, run, ground.rhythm.clone(), allowance, tls, to).boxed()
    });
    type Fact = (RegionName, Option<Pulse>, Option<Duration>);

    fn tell((region, pulse, took): Self::Fact) -> Observation {
        Observation::Pulse(region, pulse, took)
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        facts.regions.values().all(|Region { unit, pulse, .. }| match unit {
            Some(unit) if unit.active == Active::Active => {
                pulse.as_ref().is_some_and(|pulse| pulse.beat != Beat::Asked)
            }
            _ => true,
        })
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        let anew = facts.regions.iter_mut().filter(|(name, _)| by.anew.contains(name));
        anew.for_each(|(_, region)| region.pulse = None);
    }
}

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
                    Patient::new(&local, address, pid, rounds, allowance, tls.as_ref(), &to).attend().await
                }
                None => {
                    publish::<Watch>(&to, (local.name.clone(), None, None)).await?;
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

/// Main process under observation.
struct Patient<'a> {
    local: &'a LocalRegion,
    address: IpAddr,
    pid: u32,
    rounds: Beats,
    allowance: Duration,
    to: &'a Publisher,
    told: Option<Pulse>,
    caller: Caller<'a>,
}

/// Knowledge of an identity, once it was asked for.
type Identity = Option<Result<Uuid, String>>;

impl<'a> Patient<'a> {
    fn new(
        local: &'a LocalRegion,
        address: IpAddr,
        pid: u32,
        rounds: Beats,
        allowance: Duration,
        tls: Option<&'a Tls>,
        to: &'a Publisher,
    ) -> Self {
        let caller = Caller::new(&local.name, SocketAddr::new(address, local.port), pid, tls);
        Self { local, address, pid, rounds, allowance, to, told: None, caller }
    }

    /// Connects, again and again, and asks. Nothing tells when a downstairs begins to listen,
    /// so the first tries come fast.
    async fn attend(mut self) -> Result<(), NobodyListens> {
        let mut backoff = Backoff::new(FIRST_KNOCK_PAUSE, KNOCK_POLL_LIMIT).eager_for(EAGER_KNOCK_LIMIT);
        loop {
            match timeout(self.allowance, self.caller.call()).await {
                Ok(Ok(line)) => {
                    if self.ask_on(line).await? {
                        backoff.reset();
                    }
                }
                Ok(Err(NoCall::Refused)) => self.tell(Beat::Refused, None).await?,
                Ok(Err(NoCall::Otherwise)) => {
                    self.tell(Beat::Otherwise, None).await?;
                    // It stays so for as long as it lives.
                    std::future::pending().await
                }
                Ok(Err(NoCall::NoSocket(why))) => self.tell_and_wait(Beat::Unasked(why.to_string())).await?,
                // It listens, so there is no hurry; and it logs each try.
                Ok(Err(NoCall::Lost(why))) => self.tell_and_wait(Beat::Lost(why.to_string())).await?,
                Err(_) => self.tell(Beat::Silent, None).await?,
            }
            backoff.pause().await;
        }
    }

    /// Asks on a connection that has just come about, until it breaks. Whether it was ever answered.
    async fn ask_on(&mut self, line: Line) -> Result<bool, NobodyListens> {
        self.tell(Beat::Asked, None).await?;
        let mut answers = 0;
        let why = self.converse(line, &mut answers).await?;
        self.tell(Beat::Lost(why.to_string()), None).await?;
        Ok(answers > 0)
    }

    /// Tells a beat, and leaves it at that until the next round.
    async fn tell_and_wait(&mut self, beat: Beat) -> Result<(), NobodyListens> {
        self.tell(beat, None).await?;
        self.rounds.skip_past();
        self.rounds.next().await;
        Ok(())
    }

    /// Asks on one connection until it breaks, and returns why it did.
    async fn converse(&mut self, mut line: Line, answers: &mut u64) -> Result<io::Error, NobodyListens> {
        let (mut asked, mut identity) = (Instant::now(), None);
        self.rounds.skip_past();
        loop {
            if let Err(why) = line.ask() {
                return Ok(why);
            }
            let known = matches!(identity, Some(Ok(_)));
            if !known {
                identity = Some(self.identity().await);
            }
            let first = if *answers == 0 { FIRST_ANSWER_POLL } else { ANSWER_POLL };
            if let Err(why) = self.hear(&mut line, asked, first, &identity).await? {
                return Ok(why);
            }
            *answers += 1;
            // How long it took is not known where somebody else was asked meanwhile.
            let took = known.then(|| asked.elapsed());
            self.tell_in(Beat::Answering, identity.clone(), took).await?;
            let due = self.until_the_round(&mut identity).await?;
            asked = due;
        }
    }

    /// Waits for the next round. It binds its repair port after its data port: as long as that has
    /// not told who it is, it is asked again, ever more slowly.
    async fn until_the_round(&mut self, identity: &mut Identity) -> Result<Instant, NobodyListens> {
        let mut pauses = Backoff::new(FIRST_KNOCK_PAUSE, ASK_EVERY);
        while matches!(identity, Some(Err(_))) {
            let pause = pauses.grow();
            if pause > IDENTITY_PAUSE_LIMIT {
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
        let mut pauses = Backoff::new(first, ANSWER_POLL_LIMIT);
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
        self.tell_in(beat, identity, None).await
    }

    async fn tell_in(&mut self, beat: Beat, identity: Identity, took: Option<Duration>) -> Result<(), NobodyListens> {
        let pulse = Pulse { pid: self.pid, beat, identity, presents: self.caller.presents() };
        // An answer is told each time, so that a pulse that stops is noticed.
        if self.told.as_ref() == Some(&pulse) && pulse.beat != Beat::Answering {
            return Ok(());
        }
        self.told = Some(pulse.clone());
        publish::<Watch>(self.to, (self.local.name.clone(), Some(pulse), took)).await
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

#[cfg(test)]
mod tests;
