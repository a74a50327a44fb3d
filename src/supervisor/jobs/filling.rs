//! Filling of a region that was made anew: its host copies every extent that was ever flushed, when its server is started
//! anew, and that is watched by the trailers. Reads only; the host is never told by itself: whose server is started anew is
//! the operator's to say.

use crate::config::Configuration;
use crate::decide::attach::is_fleet;
use crate::decide::rebuild::{beside, is_made_anew, predecessors};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::Record;
use crate::region::format::Trailer;
use crate::region::reconciliation::{Filling, Flushes, filling, flushes, highest, lacks};
use crate::store::layout::TRASH;
use crate::store::ledger;
use crate::store::region_dir::trailers;
use crate::supervisor::jobs::context::{Context, cancelled, cut_short};
use crate::supervisor::jobs::work::Job;
use crate::wire::{self, Refusal};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Time between two looks at the trailers.
const LOOK_POLL: Duration = Duration::from_secs(2);
/// Time for which it is waited that one more extent is filled: somebody has to start a server anew, and an extent of 128 MiB
/// takes seconds.
const PATIENCE: Duration = Duration::from_secs(900);

/// Time for which an extent's file may not be what it should: longer than it takes to put another in its place.
pub(super) const FAULT_LIMIT: Duration = Duration::from_secs(60);

/// What a region is to be filled with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Generation and flush of each extent, at least.
    pub(super) flushes: Flushes,
    /// Where that was read.
    pub(super) from: String,
}

/// Read what a region is to be filled with: what its siblings on this sled have flushed, or else what had been flushed of it
/// when it was moved to the trash; `None` if neither is there.
///
/// # Errors
/// It cannot be read.
pub(super) async fn wanted(context: &Context, local: &LocalRegion) -> Result<Option<Wanted>, wire::Error> {
    let (config, local) = (context.config.clone(), local.clone());
    let read = move || -> Result<Option<Wanted>, String> {
        let (root, geometry) = (&config.sled.storage.root, local.geometry);
        let siblings = siblings(&config, &local)?;
        if !siblings.is_empty() {
            let (names, replicas): (Vec<_>, Vec<_>) =
                siblings.into_iter().map(|(name, replica)| (name.to_string(), replica)).unzip();
            return Ok(Some(Wanted { flushes: highest(&replicas), from: names.join(" and ") }));
        }
        let ledger = ledger::load(root).map_err(|why| why.to_string())?.ledger;
        let read = predecessors(&ledger, &local.name).into_iter().filter_map(|stone| {
            let replica = trailers(&root.join(TRASH).join(stone.dir()), geometry, |_| ()).ok()?;
            Some((stone.dir(), &stone.record, replica))
        });
        Ok(of_trash(read.collect()))
    };
    let done = tokio::task::spawn_blocking(read).await.map_err(|why| cut_short(&why))?;
    done.map_err(|why| wire::Error::new(Refusal::NotRebuilt, why, "see sledctl checks"))
}

/// Read what each extent had of the regions in the trash in whose place one was made. One that was made anew itself, and had
/// nothing yet, says nothing.
fn of_trash(read: Vec<(String, &Record, Vec<Trailer>)>) -> Option<Wanted> {
    let known = read.iter().any(|(_, record, _)| !is_made_anew(record));
    let (dirs, replicas): (Vec<_>, Vec<_>) =
        read.into_iter().map(|(dir, _, replica)| (format!("{TRASH}/{dir}"), replica)).unzip();
    let flushes = highest(&replicas);
    let empty = flushes.iter().all(|flushed| *flushed == (0, 0));
    (!replicas.is_empty() && (known || !empty)).then(|| Wanted { flushes, from: dirs.join(" and ") })
}

/// Read the trailers of a region's siblings on this sled.
fn siblings(config: &Configuration, local: &LocalRegion) -> Result<Vec<(RegionName, Vec<Trailer>)>, String> {
    let one = |sibling: LocalRegion| {
        let read = trailers(&config.region_dir(&sibling.name), local.geometry, |_| ());
        read.map_err(|why| format!("{}: {why}", sibling.name)).map(|read| (sibling.name, read))
    };
    beside(config, &local.name).into_iter().map(one).collect()
}

/// What each sibling on this sled is to have before a region may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goal {
    /// Generation and flush of each extent, at least.
    flushes: Flushes,
    /// Whether that is what the region has flushed itself; else, as that cannot be read, what any of its siblings has.
    pub(super) own: bool,
}

/// Sibling that has not what it is to have, and the first extent of which that is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) sibling: RegionName,
    pub(super) extent: usize,
}

/// Read what each sibling on this sled is to have before a region may go: its host may have but one whole replica, that of a
/// sibling that was made anew being empty still.
///
/// # Errors
/// A sibling's trailers cannot be read.
pub(super) async fn goal(context: &Context, local: &LocalRegion) -> Result<Goal, wire::Error> {
    if let Ok(ours) = own(context, local).await? {
        return Ok(Goal { flushes: flushes(&ours), own: true });
    }
    let siblings = read_siblings(context, local).await?;
    let replicas: Vec<_> = siblings.into_iter().map(|(_, replica)| replica).collect();
    Ok(Goal { flushes: highest(&replicas), own: false })
}

/// Find a sibling on this sled that has not what it is to have.
///
/// # Errors
/// A sibling's trailers cannot be read.
pub(super) async fn lacking(context: &Context, local: &LocalRegion, goal: &Goal) -> Result<Option<Lack>, wire::Error> {
    let lack = |(sibling, theirs): (RegionName, Vec<Trailer>)| {
        lacks(&theirs, &goal.flushes).map(|extent| Lack { sibling, extent })
    };
    Ok(read_siblings(context, local).await?.into_iter().find_map(lack))
}

async fn read_siblings(context: &Context, local: &LocalRegion) -> Result<Vec<(RegionName, Vec<Trailer>)>, wire::Error> {
    let (config, local) = (context.config.clone(), local.clone());
    let read = tokio::task::spawn_blocking(move || siblings(&config, &local)).await.map_err(|why| cut_short(&why))?;
    read.map_err(|why| wire::Error::new(Refusal::NotRebuilt, why, "see sledctl checks"))
}

/// Read a region's own trailers, or why they cannot be read.
pub(super) async fn own(context: &Context, local: &LocalRegion) -> Result<Result<Vec<Trailer>, String>, wire::Error> {
    let (dir, geometry) = (context.config.region_dir(&local.name), local.geometry);
    let read = tokio::task::spawn_blocking(move || trailers(&dir, geometry, |_| ())).await;
    read.map_err(|why| cut_short(&why))
}

/// Look how much of a region is filled.
///
/// # Errors
/// It cannot be read.
pub(super) async fn look(context: &Context, local: &LocalRegion, wanted: &Wanted) -> Result<Filling, wire::Error> {
    let ours = own(context, local).await?;
    let ours = ours.map_err(|why| not_filled(&local.name, &why, "see sledctl region show and dmesg".into()))?;
    Ok(filling(&ours, &wanted.flushes))
}

/// Watch a region until it is filled, and tell what became of it.
///
/// # Errors
/// Nothing more was filled for [`PATIENCE`], or it was cancelled.
pub(super) async fn watch(job: &Job, local: &LocalRegion, uuid: Uuid) -> Result<String, wire::Error> {
    let Job { context, progress, .. } = job;
    let name = &local.name;
    let Some(wanted) = wanted(context, local).await? else {
        let advice = advice(context, name).await;
        return Ok(format!(
            "{uuid} serves, and is empty: {advice}; how far it is cannot be told here, as neither a sibling nor what it was \
             before is on this sled: sledctl region show {name} --extents"
        ));
    };
    let (mut filling, mut since, mut read) = (Filling::default(), Instant::now(), Instant::now());
    loop {
        match look(context, local, &wanted).await {
            Ok(seen) if seen.done == seen.all => return Ok(whole(uuid, &wanted, seen)),
            Ok(seen) => {
                read = Instant::now();
                since = if seen.done > filling.done { read } else { since };
                filling = Filling { done: seen.done.max(filling.done), ..seen };
            }
            // A downstairs replaces the file of an extent while it is filled.
            Err(why) if read.elapsed() >= FAULT_LIMIT => return Err(why),
            Err(_) => {}
        }
        let advice = advice(context, name).await;
        if since.elapsed() >= PATIENCE {
            let why =
                format!("{} of {} extents are, and no more for {} s", filling.done, filling.all, PATIENCE.as_secs());
            return Err(not_filled(
                name,
                &why,
                format!("{advice}; then: sledctl region rebuild {name} goes on watching"),
            ));
        }
        let doing = if filling.done > 0 {
            "being filled by its host".into()
        } else {
            format!("waiting to be filled: {advice}")
        };
        progress.step(doing, filling.done, filling.all);
        tokio::select! {
            () = sleep(LOOK_POLL) => {}
            () = progress.cancelled() => return Err(cancelled()),
        }
    }
}

/// Say that a region is filled.
fn whole(uuid: Uuid, wanted: &Wanted, filling: Filling) -> String {
    match filling.all {
        0 => format!("{uuid} serves; nothing was ever flushed to {}, so that there is nothing to fill", wanted.from),
        all => format!("{uuid} serves and is filled: {all} of {all} extents have what {} had", wanted.from),
    }
}

/// Say what is to be done on the host, and on which.
pub(super) async fn advice(context: &Context, name: &RegionName) -> String {
    let (config, volume) = (&context.config, name.volume());
    let seen = context.hosts(name).await.unwrap_or_default();
    let hosts = seen.into_iter().filter(|host| !is_fleet(config, *host));
    let hosts = hosts.map(|host| match config.map.name_of(host) {
        Some(name) => format!("{name} ({host})"),
        None => host.to_string(),
    });
    let hosts = hosts.collect::<Vec<_>>().join(", ");
    let (who, so) = if hosts.is_empty() {
        ("its host".to_owned(), "")
    } else {
        (hosts, "; one that was attached ends, and with crucible-attach, it is started anew by itself")
    };
    format!("{who} fills it when its server is started anew (there: systemctl restart crucible-attach@{volume}{so})")
}

/// Say that a region that was made anew is not filled yet.
fn not_filled(name: &RegionName, why: &str, remedy: String) -> wire::Error {
    wire::Error::new(Refusal::NotRebuilt, format!("{name} was made anew, and is not filled: {why}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::rebuild::maker;
    use crate::region::Geometry;

    /// Of a second attempt, before which the first had been filled in part or not at all.
    #[test]
    fn an_empty_attempt_before_does_not_say_that_nothing_is_to_be_filled() {
        let geometry = Geometry { block_size: 512, extent_size: 100, extent_count: 2 };
        let record = |by: String| Record { uuid: Uuid::nil(), geometry, created: jiff::Timestamp::UNIX_EPOCH, by };
        let (first, anew) = (record("sledd 0.1.0".into()), record(maker(Uuid::nil())));
        let of = |flushes: [u64; 2]| flushes.map(|flush| Trailer { dirty: false, generation: flush, flush }).to_vec();
        let (full, empty, half) = (|| of([7, 3]), || of([0, 0]), || of([7, 0]));
        let wanted = |read: Vec<(&Record, Vec<Trailer>)>| {
            let read = read.into_iter().map(|(record, replica)| ("x".to_owned(), record, replica)).collect();
            of_trash(read).map(|wanted| wanted.flushes)
        };
        for (case, read, flushes) in [
            ("nothing is there", vec![], None),
            ("the one before", vec![(&first, full())], Some(vec![(7, 7), (3, 3)])),
            ("it was empty as well", vec![(&first, empty())], Some(vec![(0, 0), (0, 0)])),
            ("an empty attempt", vec![(&anew, empty())], None),
            (
                "an empty attempt, and the one before",
                vec![(&anew, empty()), (&first, full())],
                Some(vec![(7, 7), (3, 3)]),
            ),
            (
                "half an attempt, and the one before",
                vec![(&anew, half()), (&first, full())],
                Some(vec![(7, 7), (3, 3)]),
            ),
        ] {
            assert_eq!(wanted(read), flushes, "{case}");
        }
    }
}
