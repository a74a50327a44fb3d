//! Restarts, holds and releases of a region on request: one region of a volume at a time, each when
//! its turn has come, and the next one only when the hosts are back on the last.

use crate::act::units;
use crate::check::Code;
use crate::decide::facts::Busy;
use crate::decide::turns::{Denied, Manner};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::region::{HeldBy, Hold, Ledger};
use crate::store::ledger;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::holds::{self, Taking};
use crate::supervisor::jobs::host_redundancy::{self, Lack};
use crate::supervisor::jobs::other_sleds::Question;
use crate::supervisor::jobs::restart_check;
use crate::supervisor::jobs::turns::Claim;
use crate::supervisor::jobs::work::{Job, Work};
use crate::times;
use crate::wire::{self, JobKind, Refusal, Word};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use zbus::Connection;

/// Time for which a turn is waited for after the last sign that it may come.
const TURN_LIMIT: Duration = Duration::from_secs(300);
/// Longest time for which one is waited for.
const BUSY_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// Time that a look may take before what it has seen is old: if the word of other sleds took longer,
/// this sled is looked at once more.
const WORD_LIFETIME: Duration = Duration::from_secs(5);
/// Time between questions whether it has come.
const TURN_POLL: Duration = Duration::from_millis(250);

impl Work {
    /// Restart a region's downstairs.
    pub(in crate::supervisor) fn restart(local: LocalRegion, manner: Manner) -> Self {
        Self::new(JobKind::Restart, &local.name.clone(), async move |Job { context, id, bus, progress }| {
            restart(&context, id, &local, manner, &bus, &progress).await
        })
    }

    /// Stop a region for this reason, and keep it from running.
    pub(in crate::supervisor) fn hold(local: LocalRegion, why: String, manner: Manner) -> Self {
        Self::new(JobKind::Hold, &local.name.clone(), async move |Job { context, id, bus, progress }| {
            hold(&context, id, &local, (why, manner), &bus, &progress).await
        })
    }

    /// Let a region run again that is held.
    pub(in crate::supervisor) fn release(local: LocalRegion) -> Self {
        Self::new(JobKind::Release, &local.name.clone(), async move |job| {
            release(&job.context, &local, &job.progress).await
        })
    }
}

/// Wait until a region's turn has come, and the hosts have caught up with the others. From then on
/// its siblings stay, until the job ends.
///
/// # Errors
/// Why it does not come: in words for an operator.
pub(in crate::supervisor) async fn turn(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    manner: Manner,
    bus: &Connection,
    progress: &Progress,
) -> Result<(), wire::Error> {
    let question = Question { context, job, local, asks: manner.asks, stopped: false, bus, progress };
    let (began, patient) = (Instant::now(), manner.asks.patiently());
    loop {
        if patient {
            // Before its turn, which would keep the other sleds from theirs for as long.
            question.wait().await?;
        }
        claim(context, job, local, manner, progress).await?;
        match next(others_stay(&question, manner).await?, patient, began.elapsed()) {
            Next::Goes => return Ok(()),
            // Whoever waits for others has no turn: these may be waiting for that.
            Next::GivesWay => question.give_way().await?,
            Next::Ends(why) => return Err(busy(local, why)),
        }
    }
}

/// Next step, as it comes of the look at the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The region goes away for a moment.
    Goes,
    /// The turn is given up for a moment, and asked for again.
    GivesWay,
    /// The turn has been waited for long enough.
    Ends(&'static str),
}

/// Decide what comes next, after so long.
fn next(stay: Stay, patient: bool, waited: Duration) -> Next {
    match stay {
        Stay::Now => Next::Goes,
        Stay::Then | Stay::Not if patient || waited < TURN_LIMIT => Next::GivesWay,
        Stay::Not => Next::Ends("other sleds have had their turn all the time"),
        Stay::Then => Next::Ends("the volume's regions are too long in telling how they are"),
    }
}

fn busy(local: &LocalRegion, why: &str) -> wire::Error {
    let message = format!("{} stays as it is: {why}", local.name);
    wire::Error::new(Refusal::Busy, message, "see sledctl jobs on these, and ask again")
}

/// Answer to whether the volume's other regions stay when this one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// The others stay, as was seen a moment ago.
    Now,
    /// The others stayed, when it was looked; what was seen last was long in coming.
    Then,
    /// Another sled has its own turn, or is not well any more.
    Not,
}

/// Look whether the volume's other regions stay, and have what this one has: those of this sled, and then by
/// their sleds' word the others, which are asked last, as of them nothing is heard by itself.
async fn others_stay(question: &Question<'_>, manner: Manner) -> Result<Stay, wire::Error> {
    own_stay(question, manner).await?;
    if !question.is_due().await {
        return Ok(Stay::Now);
    }
    let asked = Instant::now();
    match question.ask().await? {
        Word::Well if asked.elapsed() <= WORD_LIFETIME => return Ok(Stay::Now),
        Word::Well => {}
        Word::No(why) if !manner.asks.patiently() => return Err(why),
        Word::No(_) | Word::Yield => return Ok(Stay::Not),
    }
    // However long the word was in coming, it is of a look that was made for it just now: what is old by
    // then is what was seen of this sled.
    let told = Instant::now();
    if ask_for_turn(question.context, question.job, question.local, manner).await?.is_err() {
        return Ok(Stay::Then);
    }
    own_stay(question, manner).await?;
    Ok(if told.elapsed() <= WORD_LIFETIME { Stay::Now } else { Stay::Then })
}

/// Make sure of the volume's other regions on this sled.
///
/// # Errors
/// What a host would miss.
async fn own_stay(question: &Question<'_>, manner: Manner) -> Result<(), wire::Error> {
    let Question { context, local, progress, .. } = question;
    let dir = context.config.region_dir(&local.name);
    if !manner.unrepaired {
        host_redundancy::repairable(context, local, &dir).await?;
    }
    if !manner.force {
        host_redundancy::wait(context, local, &dir, progress).await.map_err(|lack| match lack {
            Lack::Cancelled => cancelled(),
            Lack::Of(what) => {
                let message = format!("{} stays as it is: {what}; a host needs two of three regions", local.name);
                let remedy = "wait until its hosts have all three; --force does it all the same";
                wire::Error::new(Refusal::HostAlone, message, remedy)
            }
        })?;
    }
    Ok(())
}

/// Wait until a region's turn has come on this sled.
async fn claim(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    manner: Manner,
    progress: &Progress,
) -> Result<(), wire::Error> {
    let (began, mut hope) = (Instant::now(), Instant::now());
    loop {
        match ask_for_turn(context, job, local, manner).await? {
            Ok(()) => return Ok(()),
            Err(Denied::Refused(why)) => return Err(why),
            // As long as others are at work there is hope.
            Err(Denied::Later(why)) if why.code == Refusal::Busy && began.elapsed() < BUSY_LIMIT => {
                hope = Instant::now()
            }
            Err(Denied::Later(why)) if hope.elapsed() >= TURN_LIMIT => return Err(why),
            Err(Denied::Later(_)) => {}
        }
        tokio::select! {
            () = sleep(TURN_POLL) => {}
            () = progress.cancelled() => return Err(cancelled()),
        }
    }
}

/// Ask once whether a region's turn has come on this sled; if so, it lasts.
async fn ask_for_turn(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    manner: Manner,
) -> Result<Result<(), Denied>, wire::Error> {
    let (reply, answer) = oneshot::channel();
    context.tell(Report::Claim(Claim { job, region: local.name.clone(), manner, reply })).await;
    answer.await.map_err(|_| wire::Error::new(Refusal::Stopping, "the supervisor is ending", "ask again in a moment"))
}

async fn restart(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    manner: Manner,
    bus: &Connection,
    progress: &Progress,
) -> Result<String, wire::Error> {
    turn(context, job, local, manner, bus, progress).await?;
    // Since it was asked for, its turn may have been long in coming.
    restart_check::could_start(context, local, bus).await?;
    progress.no_way_back().map_err(|_| cancelled())?;
    let away = down_and_up(context, job, local, bus, progress).await?;
    let back = match away.hosts {
        Some(time) => format!("; its hosts were back {} ms after its stop", time.as_millis()),
        None => String::new(),
    };
    let served = away.served.as_millis();
    Ok(format!("restarted; it was away for {served} ms, from its stop until it was seen to serve{back}"))
}

/// Time for which a region was away, from the moment at which systemd was asked to restart it.
pub(in crate::supervisor) struct Away {
    /// Time until it was seen to serve again.
    pub(in crate::supervisor) served: Duration,
    /// Time until the hosts that were connected were so again; `None` if nobody was.
    pub(in crate::supervisor) hosts: Option<Duration>,
    /// Number of times that it had not gone on as it should, ever, when it was seen to serve again; `None`
    /// if the map does not have it here any more.
    pub(in crate::supervisor) breaks: Option<u64>,
}

/// Restart it, and wait until it serves and its hosts are back. Its serving is believed of the run
/// that the restart has made, and of those after it: what was known of the one before is old.
pub(in crate::supervisor) async fn down_and_up(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    bus: &Connection,
    progress: &Progress,
) -> Result<Away, wire::Error> {
    let failed = |why: String| {
        let remedy = format!("see sledctl region show {}; nothing else was restarted because of it", local.name);
        wire::Error::new(Refusal::RestartFailed, format!("{}: {why}", local.name), remedy)
    };
    let hosts = host_redundancy::hosts(local).await.map_err(failed)?;
    context.tell(Report::Mark { job, region: local.name.clone(), busy: Busy::Restarting }).await;
    progress.step(format!("{}: restarting", local.name), 0, 0);
    // Its restarts so far are not the new one's.
    _ = units::forgive(bus, &local.name).await;
    let before = units::invocation(bus, &local.name).await.map_err(failed)?;
    let began = Instant::now();
    units::restart(bus, &local.name).await.map_err(failed)?;
    progress.step(format!("{}: waiting until it serves", local.name), 0, 0);
    host_redundancy::wait_until_it_serves(context, local, bus, before).await.map_err(failed)?;
    let (served, breaks) = (began.elapsed(), context.breaks.borrow().get(&local.name).copied());
    context.tell(Report::Mark { job, region: local.name.clone(), busy: Busy::Watching }).await;
    host_redundancy::wait_for_return(context, local, &hosts, progress).await.map_err(failed)?;
    Ok(Away { served, hosts: (!hosts.is_empty()).then(|| began.elapsed()), breaks })
}

/// Stop a region, and keep it from running until it is released.
async fn hold(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    (why, manner): (String, Manner),
    bus: &Connection,
    progress: &Progress,
) -> Result<String, wire::Error> {
    turn(context, job, local, manner, bus, progress).await?;
    progress.no_way_back().map_err(|_| cancelled())?;
    context.tell(Report::Mark { job, region: local.name.clone(), busy: Busy::Holding }).await;
    let hold = Hold { by: HeldBy::Operator, why, remedy: None, since: times::now() };
    record(context, &local.name, Some(hold)).await?;
    progress.step("stopping its unit", 0, 0);
    let failed = |why: String| {
        let message = format!("{} is held, but its unit was not stopped: {why}", local.name);
        wire::Error::new(Refusal::NotStopped, message, "it is tried again by itself; see systemctl status")
    };
    units::stop(bus, &local.name).await.map_err(failed)?;
    Ok("held; it does not run until it is released".into())
}

/// Let a region run again.
pub(super) async fn release(
    context: &Context,
    local: &LocalRegion,
    progress: &Progress,
) -> Result<String, wire::Error> {
    progress.no_way_back().map_err(|_| cancelled())?;
    // Before the ledger, too: a hold that is only on its way there must not come back.
    context.tell(Report::Released(context.disk, local.name.clone())).await;
    record(context, &local.name, None).await?;
    context.look_again().await;
    context.tell(Report::Released(context.disk, local.name.clone())).await;
    Ok("released; it is started as soon as everything is right".into())
}

/// Take a hold away that `which` says is not to stay, and what led to it; tell whether the region may run by then. It is
/// marked by its job: after this no hold comes that was decided before.
///
/// # Errors
/// The ledger was not read, or not written: then the region is held as before.
pub(in crate::supervisor) async fn forgive(
    context: &Context,
    name: &RegionName,
    which: impl FnOnce(&Hold) -> bool + Send + 'static,
) -> Result<bool, wire::Error> {
    context.heard().await;
    match holds::take_away(context, name, which).await? {
        // What the loop knows of it stands as well: it may not be on record yet.
        Taking::Stays => return Ok(false),
        Taking::Taken => context.look_again().await,
        Taking::NotHeld => {}
    }
    context.tell(Report::Released(context.disk, name.clone())).await;
    Ok(true)
}

/// Standing of a region, by the ledger, and by what is on its way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Standing {
    /// The region is on record, and may run.
    Kept,
    /// The region is kept from running.
    Held,
    /// The region is not on record: it was deleted.
    Gone,
}

/// Find the standing of a region, by the ledger, and by what is on its way there.
pub(in crate::supervisor) async fn standing(context: &Context, name: &RegionName) -> Result<Standing, wire::Error> {
    let (root, wanted, region) = (context.config.sled.storage.root.clone(), context.holds.clone(), name.clone());
    let look = move || {
        let ledger = ledger::load(&root)?.ledger;
        let held = ledger.holds.contains_key(&region) || wanted.of(&region).is_some();
        Ok(match (ledger.regions.contains_key(&region), held) {
            (false, _) => Standing::Gone,
            (true, true) => Standing::Held,
            (true, false) => Standing::Kept,
        })
    };
    context.held(look).await?.map_err(|why| unreadable(&why))
}

/// Tell whether a region is held, be that on record or on its way there.
pub(in crate::supervisor) async fn is_held(context: &Context, name: &RegionName) -> Result<bool, wire::Error> {
    Ok(standing(context, name).await? == Standing::Held)
}

/// Read the ledger, as it is on the disk.
pub(in crate::supervisor) async fn on_record(context: &Context) -> Result<Ledger, wire::Error> {
    let root = context.config.sled.storage.root.clone();
    let loaded = context.held(move || ledger::load(&root)).await?;
    Ok(loaded.map_err(|why| unreadable(&why))?.ledger)
}

fn unreadable(why: &std::io::Error) -> wire::Error {
    wire::Error::new(Code::LedgerUnreadable, why.to_string(), "sledctl status")
}

/// Put a hold on record, or take it off.
///
/// # Errors
/// The ledger was not written.
pub(super) async fn record(context: &Context, name: &RegionName, hold: Option<Hold>) -> Result<(), wire::Error> {
    let (root, region) = (context.config.sled.storage.root.clone(), name.clone());
    let wanted = context.holds.clone();
    let write = move || {
        ledger::change(&root, |ledger| {
            match hold {
                Some(hold) => _ = ledger.holds.insert(region.clone(), hold),
                None => _ = ledger.holds.remove(&region),
            }
            Ok(())
        })?;
        // What else is on its way there is not to come after this.
        wanted.take(&region);
        Ok(())
    };
    context.held(write).await?.map_err(|why| holds::not_recorded(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_others_with_a_turn_of_his_own() {
        let (short, long) = (Duration::ZERO, TURN_LIMIT);
        for patient in [false, true] {
            for waited in [short, long] {
                assert_eq!(next(Stay::Now, patient, waited), Next::Goes);
                for stay in [Stay::Then, Stay::Not] {
                    let next = next(stay, patient, waited);
                    if patient || waited == short {
                        assert_eq!(next, Next::GivesWay);
                    } else {
                        assert!(matches!(next, Next::Ends(_)));
                    }
                }
            }
        }
    }
}
