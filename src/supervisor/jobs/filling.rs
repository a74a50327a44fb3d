//! Filling of a region that was made anew: its host copies every extent that was ever flushed, when its server is started
//! anew, and that is watched by the trailers. Reads only; the host is never told by itself: whose server is started anew is
//! the operator's to say.

use crate::decide::attach::is_fleet;
use crate::decide::rebuild::beside;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::Tombstone;
use crate::region::format::Trailer;
use crate::region::reconciliation::{Filling, Flushes, ahead, filling, highest};
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
const FAULT_LIMIT: Duration = Duration::from_secs(60);

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
        let siblings = beside(&config, &local.name);
        if !siblings.is_empty() {
            let one = |sibling: &LocalRegion| {
                let read = trailers(&config.region_dir(&sibling.name), geometry, |_| ());
                read.map_err(|why| format!("{}: {why}", sibling.name))
            };
            let replicas = siblings.iter().map(one).collect::<Result<Vec<_>, _>>()?;
            let names = siblings.iter().map(|sibling| sibling.name.to_string()).collect::<Vec<_>>();
            return Ok(Some(Wanted { flushes: highest(&replicas), from: names.join(" and ") }));
        }
        let ledger = ledger::load(root).map_err(|why| why.to_string())?.ledger;
        let stone = ledger.restorable(&local.name).pop().map(Tombstone::dir);
        let read = stone.and_then(|dir| {
            let replica = trailers(&root.join(TRASH).join(&dir), geometry, |_| ()).ok()?;
            Some(Wanted { flushes: highest(&[replica]), from: format!("{TRASH}/{dir}") })
        });
        Ok(read)
    };
    let done = tokio::task::spawn_blocking(read).await.map_err(|why| cut_short(&why))?;
    done.map_err(|why| wire::Error::new(Refusal::NotRebuilt, why, "see sledctl checks"))
}

/// Find an extent of which a region has flushed more than its siblings on this sled, which would be lost with it; `None` also
/// if its own trailers cannot be read: such a one could not serve either.
///
/// # Errors
/// A sibling's cannot be read.
pub(super) async fn ahead_of_siblings(context: &Context, local: &LocalRegion) -> Result<Option<usize>, wire::Error> {
    if beside(&context.config, &local.name).is_empty() {
        return Ok(None);
    }
    // First: whoever writes meanwhile is ahead of what was read.
    let ours = own(context, local).await?;
    let wanted = wanted(context, local).await?.unwrap_or_default();
    Ok(ours.ok().and_then(|ours| ahead(&ours, &wanted.flushes)))
}

/// Read a region's own trailers, or why they cannot be read.
async fn own(context: &Context, local: &LocalRegion) -> Result<Result<Vec<Trailer>, String>, wire::Error> {
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
    let who = if hosts.is_empty() { "its host".to_owned() } else { hosts };
    format!("{who} fills it when its server is started anew (there: systemctl restart crucible-attach@{volume})")
}

/// Say that a region that was made anew is not filled yet.
fn not_filled(name: &RegionName, why: &str, remedy: String) -> wire::Error {
    wire::Error::new(Refusal::NotRebuilt, format!("{name} was made anew, and is not filled: {why}"), remedy)
}
