//! Rebuild of a region: an empty one with a UUID of its own is made aside; the old one is stopped in its turn, held, and
//! moved to the trash; the new one takes its place, and how its host fills it is watched. Whether it may be is decided by
//! [`decide::rebuild`](crate::decide::rebuild); how far it is filled, by [`filling`](super::filling).
//!
//! **After an end of the supervisor in between** what is left is one of these, and asked for again it goes on from there:
//! the old region in its place, held; the old one in the trash, and nothing in its place; the new one in its place, serving.
//! The ledger is written before each rename, so that a start settles what was between two of them.

use crate::act::adopt::unused;
use crate::act::create::{CreateError, Made, create};
use crate::act::units;
use crate::decide::attach::is_fleet;
use crate::decide::facts::Busy;
use crate::decide::permits::Deletion;
use crate::decide::rebuild::{Known, Rebuild, Stage, beside, maker, under, whole};
use crate::decide::remedy::or_replace;
use crate::decide::turns::{Asks, Manner, reason, unforced};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::{HeldBy, Hold, Record};
use crate::store::layout::TRASH;
use crate::store::{ledger, places, scrubs};
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::creation::not_created;
use crate::supervisor::jobs::filling::{FAULT_LIMIT, Goal, Lack, advice, goal, lacking, look, own, wanted, watch};
use crate::supervisor::jobs::holds::{anew, keep};
use crate::supervisor::jobs::host_redundancy::{self, Company};
use crate::supervisor::jobs::other_sleds::Question;
use crate::supervisor::jobs::restart::{release, turn};
use crate::supervisor::jobs::work::{Job, Outcome, Work};
use crate::times;
use crate::wire::{self, JobKind, Refusal, Word};
use jiff::Timestamp;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Time for which siblings may take to flush what the old region had flushed when it was stopped.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
/// Time between looks whether they have, and before other sleds that have their turn are asked again.
const POLL: Duration = Duration::from_millis(500);

/// Manner in which the old region goes: never by force, as the others are all that is left.
const fn manner(attached: bool) -> Manner {
    Manner { force: false, unrepaired: false, asks: Asks::Whole { attached }, rolling: false, starts: false }
}

impl Work {
    /// Make a region anew in the place of one that cannot be repaired, or tell what would be done.
    pub(in crate::supervisor) fn rebuild(what: Rebuild, dry_run: bool) -> Self {
        Self::new(JobKind::Rebuild, &what.local.name.clone(), async move |job: Job| {
            rebuild(&job, what, dry_run).await.map_err(unforced)
        })
    }
}

async fn rebuild(job: &Job, what: Rebuild, dry_run: bool) -> Outcome {
    let Rebuild { local, stage, siblings, attached } = what;
    let (name, context) = (&local.name, &job.context);
    let before = match &stage {
        Stage::Fills(record) if dry_run => return how_far(context, &local, record).await,
        Stage::Fills(record) => {
            context.tell(Report::Mark { job: job.id, region: name.clone(), busy: Busy::Watching }).await;
            return watch(job, &local, record.uuid).await;
        }
        Stage::Makes(before) => *before,
        Stage::Replaces(Deletion::Bury(record) | Deletion::Forget(record)) => record.uuid,
    };
    others_are_whole(job, &local, attached).await?;
    loses_nothing(job, &local).await?;
    if dry_run {
        return Ok(would_be_done(context, (name, before), &stage, &siblings).await);
    }
    let made = {
        let _turn = context.turn_to_create(&job.progress).await.map_err(|_| cancelled())?;
        let on = (context.disk.unwrap_or_default(), maker(before));
        create(&job.bus, &context.config, &local, on, &job.progress).await.map_err(|why| not_created(name, why))?
    };
    match stage {
        Stage::Replaces(_) => take_down(job, &local, attached).await?,
        // Its place is empty, and what was whole may not be any more.
        Stage::Makes(_) | Stage::Fills(_) => {
            still_whole(context, &local).await?;
            left_alone(context, &local, attached).await?;
            others_are_whole(job, &local, attached).await?;
        }
    }
    let (record, kept) = put_in_place(job, &local, stage, made).await?;
    serve(job, &local, record.uuid, kept.as_ref()).await?;
    let filled = watch(job, &local, record.uuid).await?;
    let kept = kept.map(|kept| format!("; what was there is kept as {TRASH}/{kept}")).unwrap_or_default();
    Ok(format!("made anew: {filled}{kept}"))
}

/// Tell how far a region is filled that was made anew already.
async fn how_far(context: &Context, local: &LocalRegion, record: &Record) -> Outcome {
    let advice = advice(context, &local.name).await;
    let far = match wanted(context, local).await? {
        Some(wanted) => {
            let filling = look(context, local, &wanted).await?;
            format!("{} of {} extents are filled, by what {} had", filling.done, filling.all, wanted.from)
        }
        None => "how far it is filled cannot be told here".to_owned(),
    };
    Ok(format!("it was made anew as {}, {}, and would be watched: {far}; {advice}", record.uuid, record.by))
}

async fn would_be_done(
    context: &Context,
    (name, before): (&RegionName, Uuid),
    stage: &Stage,
    siblings: &[String],
) -> String {
    let advice = advice(context, name).await;
    let known = if siblings.is_empty() { String::new() } else { format!("{}; ", siblings.join("; ")) };
    let goes = match stage {
        Stage::Replaces(Deletion::Bury(_)) | Stage::Fills(_) => "would go to the trash",
        Stage::Replaces(Deletion::Forget(_)) => "is gone, and would be taken off the record",
        Stage::Makes(_) => "lies in the trash already, and would stay there",
    };
    format!("{known}{before} {goes}, and an empty region take its place; then {advice}")
}

/// Have the other sleds of the volume say that their regions are whole and have what the one that goes has, if there are
/// any, and that no host is connected there, unless that does not matter.
async fn others_are_whole(job: &Job, local: &LocalRegion, attached: bool) -> Result<(), wire::Error> {
    let (Job { context, id, bus, progress }, asks) = (job, manner(attached).asks);
    let question = Question { context, job: *id, local, asks, stopped: false, bus, progress };
    if !asks.anybody(&context.config, &local.name) {
        return Ok(());
    }
    loop {
        match question.ask().await? {
            Word::Well => return Ok(()),
            Word::No(why) => return Err(why),
            // Nobody else is let in beside it: it is at the region from its beginning to its end.
            Word::Yield => question.wait_a_moment().await?,
        }
    }
}

/// Have them say so once more of one that is stopped, and that cannot give up its turn: it waits for no other's.
async fn others_are_whole_still(job: &Job, local: &LocalRegion, attached: bool) -> Result<(), wire::Error> {
    let (Job { context, id, bus, progress }, asks) = (job, manner(attached).asks);
    let question = Question { context, job: *id, local, asks, stopped: true, bus, progress };
    let deadline = Instant::now() + CATCH_UP_LIMIT;
    while asks.anybody(&context.config, &local.name) {
        match question.ask().await? {
            Word::Well => break,
            Word::No(why) => return Err(why),
            // Of a follower of before, who looks at turns all the same.
            Word::Yield if Instant::now() < deadline => question.wait_a_moment().await?,
            Word::Yield => {
                let why = "other sleds have had their turn all the time";
                return Err(refused(&local.name, why, "see sledctl jobs on these, and ask again".into()));
            }
        }
    }
    Ok(())
}

/// Find that nothing is lost with a region to which nobody is connected: each of its siblings on this sled has flushed all
/// that it has, or if that cannot be read, all that any of them has. Of one that is used that is waited for in its turn.
async fn loses_nothing(job: &Job, local: &LocalRegion) -> Result<(), wire::Error> {
    let context = &job.context;
    let (config, region, dir) = (context.config.clone(), local.clone(), context.config.region_dir(&local.name));
    let looked = tokio::task::spawn_blocking(move || host_redundancy::look(&config, &region, &dir)).await;
    if !matches!(looked, Ok(Ok(Company::Alone))) {
        return Ok(());
    }
    let goal = goal(context, local).await?;
    // What it has itself grows no more; but siblings may be written to, and one is read after the other.
    let limit = if goal.own { Duration::ZERO } else { CATCH_UP_LIMIT };
    match caught_up(job, local, &goal, limit).await? {
        None => Ok(()),
        Some(lack) => Err(refused(&local.name, &lack_of(&lack, &goal), remedy_of(&local.name, &lack, &goal))),
    }
}

/// Wait until each sibling on this sled has what it is to have, for so long; tell which has not.
async fn caught_up(job: &Job, local: &LocalRegion, goal: &Goal, limit: Duration) -> Result<Option<Lack>, wire::Error> {
    let deadline = Instant::now() + limit;
    while let Some(lack) = lacking(&job.context, local, goal).await? {
        if Instant::now() >= deadline {
            return Ok(Some(lack));
        }
        job.progress.step("waiting for its siblings to flush what they are to have", 0, 0);
        tokio::select! {
            () = sleep(POLL) => {}
            () = job.progress.cancelled() => return Err(cancelled()),
        }
    }
    Ok(None)
}

fn lack_of(Lack { sibling, extent }: &Lack, goal: &Goal) -> String {
    if goal.own {
        format!("of extent {extent} it has flushed what {sibling} has not, which would be lost")
    } else {
        format!("of extent {extent} {sibling} has not flushed what another of the volume has: it is not whole")
    }
}

fn remedy_of(name: &RegionName, Lack { sibling, .. }: &Lack, goal: &Goal) -> String {
    let filled = format!(
        "if {sibling} was made anew, have its host fill it first (sledctl region rebuild {sibling} watches that); {}",
        show(name)
    );
    if goal.own {
        // After a power cut it may be a flush ahead that nobody was told of.
        format!("{}; or sledctl region rebuild {name} makes that one, and watches it", or_replace(&filled, name))
    } else {
        filled
    }
}

fn show(name: &RegionName) -> String {
    format!("see sledctl region show {name} --extents, and those of its siblings")
}

/// Stop the old region in its turn, and keep it from running.
async fn take_down(job: &Job, local: &LocalRegion, attached: bool) -> Result<(), wire::Error> {
    let Job { context, id, bus, progress } = job;
    let name = &local.name;
    turn(context, *id, local, manner(attached), bus, progress).await?;
    // Since it was asked for, its turn may have been long in coming.
    still_whole(context, local).await?;
    keeps_no_data(job, local).await?;
    left_alone(context, local, attached).await?;
    progress.no_way_back().map_err(|_| cancelled())?;
    context.tell(Report::Mark { job: *id, region: name.clone(), busy: Busy::Holding }).await;
    progress.step("holding and stopping it", 0, 0);
    let why = format!("its rebuild was begun; sledctl region rebuild {name} goes on with it");
    let hold = Hold { by: HeldBy::Operator, why, remedy: None, since: times::now() };
    let held = keep(context, name, hold).await?;
    units::stop(bus, name).await.map_err(|why| left_held(name, &format!("its unit was not stopped: {why}")))?;
    match may_be_lost(job, local, attached).await {
        Ok(()) => Ok(()),
        Err(why) if held => Err(left_held(name, cause(name, &why.message))),
        Err(why) => Err(let_run_again(job, local, why).await),
    }
}

/// Find, of a region that is stopped, that the others have all that it has.
async fn may_be_lost(job: &Job, local: &LocalRegion, attached: bool) -> Result<(), wire::Error> {
    let goal = goal(&job.context, local).await?;
    if let Some(lack) = caught_up(job, local, &goal, CATCH_UP_LIMIT).await? {
        return Err(refused(&local.name, &lack_of(&lack, &goal), remedy_of(&local.name, &lack, &goal)));
    }
    // What it has flushed since they were asked grows no more.
    others_are_whole_still(job, local, attached).await
}

/// Let a region run again as it was that was held and stopped for nothing: its host is not left with less than before.
async fn let_run_again(job: &Job, local: &LocalRegion, why: wire::Error) -> wire::Error {
    let (name, cause) = (&local.name, cause(&local.name, &why.message));
    match release(&job.context, local, &job.progress).await {
        Ok(_) => {
            let message =
                format!("{name} is not rebuilt: {cause}; it was stopped for that, and is released: all is as it was");
            wire::Error { message, ..why }
        }
        Err(unreleased) => left_held(name, &format!("{cause}; and it was not released: {}", unreleased.message)),
    }
}

/// The reason of a refusal, for whoever says himself what becomes of the region.
fn cause<'a>(name: &RegionName, refusal: &'a str) -> &'a str {
    let why = reason(name, refusal);
    why.strip_prefix(&format!("{name} is not rebuilt: ")).unwrap_or(why)
}

/// Find that no host is connected to the volume on this sled, unless that does not matter.
async fn left_alone(context: &Context, local: &LocalRegion, attached: bool) -> Result<(), wire::Error> {
    if attached {
        return Ok(());
    }
    let name = &local.name;
    let mut hosts = context.hosts(name).await.map_err(|why| refused(name, &why, show(name)))?;
    hosts.retain(|host| !is_fleet(&context.config, *host));
    if hosts.is_empty() { Ok(()) } else { Err(under(name, &hosts)) }
}

/// Find that the region's process, if one runs, has nothing that its directory has not: a file that was deleted under it is
/// gone when it ends. One that it replaces as it repairs an extent is back soon.
async fn keeps_no_data(job: &Job, local: &LocalRegion) -> Result<(), wire::Error> {
    let Job { context, bus, progress, .. } = job;
    let (name, began) = (&local.name, Instant::now());
    loop {
        let Err(why) = own(context, local).await? else { return Ok(()) };
        let pid = units::main_pid(bus, name).await;
        let pid = pid.map_err(|why| refused(name, &format!("it cannot be told whether it runs: {why}"), show(name)))?;
        let Some(pid) = pid else { return Ok(()) };
        if began.elapsed() >= FAULT_LIMIT {
            let why = format!("{why}; process {pid} serves it still, and may have what nothing else has");
            let remedy = format!(
                "see sledctl checks; if its files are all there, and it is the disk that cannot read them (dmesg): \
                 sledctl region hold {name}, and ask again"
            );
            return Err(refused(name, &why, remedy));
        }
        progress.step("waiting for its files to be there", 0, 0);
        tokio::select! {
            () = sleep(POLL) => {}
            () = progress.cancelled() => return Err(cancelled()),
        }
    }
}

/// Find that the siblings on this sled serve still, and that no scrub has found anything meanwhile.
async fn still_whole(context: &Context, local: &LocalRegion) -> Result<(), wire::Error> {
    let (root, serving) = (context.config.sled.storage.root.clone(), context.serving.borrow().clone());
    let (name, beside) = (local.name.clone(), beside(&context.config, &local.name));
    let look = move || {
        let unread = |what: &dyn Display, why: std::io::Error| refused(&name, &format!("{what}: {why}"), show(&name));
        let on_record = ledger::load(&root).map_err(|why| unread(&"the ledger", why))?.ledger.regions;
        beside.iter().try_for_each(|sibling| {
            let read = scrubs::read(&root, &sibling.name).map_err(|why| unread(&sibling.name, why))?;
            // A scrub of another region that had its name says nothing.
            let uuid = on_record.get(&sibling.name).map(|record| record.uuid);
            let read = read.filter(|scrubs| Some(scrubs.uuid) == uuid);
            let serves = serving.contains_key(&sibling.name);
            let known = Known { serves, scrubs: read.as_ref(), counts_from: Timestamp::MIN };
            whole(&name, &sibling.name, known).map(drop)
        })
    };
    context.aside(look).await?
}

/// Move the old region to the trash, and the new one to its place. Tell the new one's record, and what the old one is called.
async fn put_in_place(
    job: &Job,
    local: &LocalRegion,
    stage: Stage,
    made: Made,
) -> Result<(Record, Option<String>), wire::Error> {
    let Job { context, id, bus, progress } = job;
    progress.no_way_back().map_err(|_| cancelled())?;
    context.tell(Report::Mark { job: *id, region: local.name.clone(), busy: Busy::Creating }).await;
    progress.step("putting it in place", 0, 0);
    let (config, clock, name) = (context.config.clone(), context.clock.clone(), local.name.clone());
    let change = move || {
        let (root, dir) = (&config.sled.storage.root, config.region_dir(&name));
        let kept = match stage {
            Stage::Replaces(Deletion::Bury(_)) => {
                let alone = unused(&dir, |_| false).map_err(std::io::Error::other);
                let stone = alone.and_then(|()| places::bury(root, &name, clock.stamp()));
                Some(stone.map_err(|why| left_held(&name, &why.to_string()))?.dir())
            }
            Stage::Replaces(Deletion::Forget(_)) => {
                places::forget(root, &name).map_err(|why| left_held(&name, &why.to_string()))?;
                None
            }
            Stage::Makes(_) | Stage::Fills(_) => None,
        };
        let record = made.finish(&config, &name).map_err(|why| left_empty(&name, &why))?;
        Ok((record, kept))
    };
    let done = anew(context, &local.name, change).await?;
    // What the old one's unit ended with is not the new one's doing.
    _ = units::forgive(bus, &local.name).await;
    context.tell(Report::Released(context.disk, local.name.clone())).await;
    if let Some(disk) = context.scanner.look_changed().await {
        context.tell(Report::Seen(disk)).await;
    }
    done
}

/// Let the new region serve, and keep its siblings where they are meanwhile.
async fn serve(job: &Job, local: &LocalRegion, uuid: Uuid, kept: Option<&String>) -> Result<(), wire::Error> {
    let Job { context, id, bus, progress } = job;
    let name = &local.name;
    progress.step("waiting until it serves", 0, 0);
    let before = units::invocation(bus, name).await.unwrap_or_default();
    context.tell(Report::Mark { job: *id, region: name.clone(), busy: Busy::Watching }).await;
    context.tell(Report::Released(context.disk, name.clone())).await;
    let served = host_redundancy::wait_until_it_serves(context, local, bus, before).await;
    served.map_err(|why| {
        let kept = kept.map(|kept| format!(" (what was there is kept as {TRASH}/{kept})")).unwrap_or_default();
        let message = format!("{name} was made anew as {uuid}{kept}, and does not serve: {why}");
        let remedy = format!("see sledctl region show {name}; then: sledctl region rebuild {name} goes on");
        wire::Error::new(Refusal::NotRebuilt, message, remedy)
    })
}

fn refused(name: &RegionName, why: &str, remedy: String) -> wire::Error {
    wire::Error::new(Refusal::NotRebuilt, format!("{name} is not rebuilt: {why}"), remedy)
}

/// Say that the old region is where it was, and held.
fn left_held(name: &RegionName, why: &str) -> wire::Error {
    let remedy = format!(
        "mend that; then: sledctl region rebuild {name} goes on; to have it run again as it is: sledctl region release {name}"
    );
    refused(name, &format!("it is held, and nothing took its place: {why}"), remedy)
}

/// Say that the old region is in the trash, and none in its place.
fn left_empty(name: &RegionName, why: &CreateError) -> wire::Error {
    let remedy = format!(
        "mend that; then: sledctl region rebuild {name} goes on; to have the old one back: sledctl region restore {name}"
    );
    refused(name, &format!("what was there is in the trash, and nothing took its place: {why}"), remedy)
}
