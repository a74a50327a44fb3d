//! An adoption from its turn to its end: one region after the other, and none while a host
//! would be left with fewer than two of its regions.
//!
//! What is looked at, stopped, moved and started is [`act`](crate::act)'s; the order is this
//! one's, and the way back.

use super::work::{Workshop, cancelled};
use crate::act::adopt::{self, Candidate};
use crate::act::inspect::trailers;
use crate::act::legacy::{self, Served};
use crate::act::places::legacy_dir;
use crate::act::progress::Progress;
use crate::act::{ledger, units};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::format::Trailer;
use crate::wire;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use zbus::Connection;

/// How long a region may take to serve under its new unit, beside [`HASHING`].
const PATIENCE: Duration = Duration::from_secs(60);
/// Extents left dirty are hashed before it listens: up to 0.45 s each was measured.
const HASHING: Duration = Duration::from_millis(600);
/// How long hosts may take to come back to the regions of a volume, and these to catch up. An
/// upstairs connects anew every 10 s by itself.
const REUNION: Duration = Duration::from_secs(60);
/// How often to look whether they have.
const LOOK: Duration = Duration::from_millis(250);
/// A region whose downstairs systemd had to start so often does not serve.
const RESTARTS: u32 = 3;

/// Adopts a region, or leaves everything as it was.
pub(super) async fn adopt(
    shop: &Workshop,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
    progress: &Progress,
) -> Result<String, wire::Error> {
    let _turn = tokio::select! {
        turn = shop.adoptions.lock() => turn,
        () = progress.cancelled() => return Err(cancelled()),
    };
    progress.check().map_err(|_| cancelled())?;
    let name = &local.name;
    let refused = |why: String| {
        let message = format!("{name} is not adopted: {why}");
        wire::Error::new("NOT_ADOPTED", message, "everything is as it was; mend that and ask again")
    };
    readable_ledger(shop).await.map_err(refused)?;
    progress.step("checking", 0, 0);
    let (candidate, served) = proposal(shop, local, from, bus).await.map_err(refused)?;
    wait_for_siblings(shop, name, &candidate, progress).await?;
    progress.step_for_good("taking it over", 0, 0);
    let noted = adopt::adoption(&candidate, served.as_ref());
    let (root, region, note) = (shop.config.sled.storage.root.clone(), name.clone(), noted.clone());
    let begun = shop.held(move || adopt::begin(&root, &region, note)).await?;
    begun.map_err(|why| refused(why.to_string()))?;
    match carry_out(shop, local, &candidate, served.as_ref(), bus, progress).await {
        Ok(()) => Ok(format!("adopted from {} as {}", candidate.dir.display(), candidate.json.uuid)),
        Err(why) => {
            progress.step_for_good("undoing it", 0, 0);
            match adopt::undo(bus, &shop.config, name, &noted).await {
                Ok(()) => Err(refused(why)),
                Err(undo) => Err(wire::Error::new(
                    "NOT_ADOPTED",
                    format!("{name} is not adopted: {why}; and it could not be undone: {undo}"),
                    "mend that; undoing it is tried again by itself",
                )),
            }
        }
    }
}

/// With a ledger that cannot be read, adoption begins a new one: the regions themselves tell
/// what it said.
async fn readable_ledger(shop: &Workshop) -> Result<(), String> {
    let root = shop.config.sled.storage.root.clone();
    let anew = move || match ledger::load(&root) {
        Ok(_) => Ok(()),
        Err(why) => {
            let aside = ledger::begin_anew(&root).map_err(|why| why.to_string())?;
            tracing::warn!("the ledger could not be read ({why}); a new one was begun, the old lies in {aside:?}");
            Ok(())
        }
    };
    shop.held(anew).await.map_err(|why| why.message)?
}

/// What adopting a region would come to, without doing it.
pub(super) async fn propose(
    shop: &Workshop,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
) -> wire::Proposal {
    let (root, name) = (shop.config.sled.storage.root.clone(), local.name.clone());
    let hosts = tokio::task::spawn_blocking(move || legacy::connected(&root, &name)).await.unwrap_or_default();
    let connected = hosts.into_iter().collect();
    let region = local.name.clone();
    match proposal(shop, local, from, bus).await {
        Err(why) => wire::Proposal { region, from: None, uuid: None, unit: None, connected, problem: Some(why) },
        Ok((candidate, served)) => {
            let (config, name, ours) = (shop.config.clone(), region.clone(), candidate.trailers);
            let lacking = tokio::task::spawn_blocking(move || lacking(&config, &name, &ours));
            wire::Proposal {
                from: Some(candidate.dir.display().to_string()),
                uuid: Some(candidate.json.uuid),
                unit: served.map(|served| served.unit.name),
                connected,
                problem: lacking.await.unwrap_or_default(),
                region,
            }
        }
    }
}

/// What would be adopted: the directory and what serves it, both found to be as they should.
pub(super) async fn proposal(
    shop: &Workshop,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
) -> Result<(Candidate, Option<Served>), String> {
    let (config, region) = (shop.config.clone(), local.clone());
    let looked = tokio::task::spawn_blocking(move || adopt::candidate(&config, &region, from.as_deref())).await;
    let candidate = looked.map_err(|why| why.to_string())??;
    let served = legacy::find(bus, &local.name, &candidate.dir).await?;
    adopt::check_server(local, &candidate, served.as_ref())?;
    Ok((candidate, served))
}

/// Stops what served it, takes it over, and sees it serve.
async fn carry_out(
    shop: &Workshop,
    local: &LocalRegion,
    candidate: &Candidate,
    served: Option<&Served>,
    bus: &Connection,
    progress: &Progress,
) -> Result<(), String> {
    let name = &local.name;
    if let Some(served) = served {
        progress.step_for_good("stopping its old unit", 0, 0);
        legacy::switch_off(bus, &served.unit).await?;
    }
    progress.step_for_good("taking it over", 0, 0);
    let (config, region, found) = (shop.config.clone(), name.clone(), candidate.clone());
    let taken = shop.held(move || adopt::take_over(&config, &region, &found)).await.map_err(|why| why.message)?;
    taken.map_err(|why| why.to_string())?;
    // One that never ran and cannot: there is nobody to wait for.
    if served.is_some_and(|served| served.unit.active) {
        progress.step_for_good("starting its new unit", 0, 0);
        shop.look_again().await;
        units::start(bus, name).await?;
        wait_until_it_serves(shop, local, bus).await?;
    }
    let (root, region) = (shop.config.sled.storage.root.clone(), name.clone());
    let ended = shop.held(move || adopt::commit(&root, &region)).await.map_err(|why| why.message)?;
    ended.map_err(|why| why.to_string())
}

async fn wait_until_it_serves(shop: &Workshop, local: &LocalRegion, bus: &Connection) -> Result<(), String> {
    let time = PATIENCE + HASHING * local.geometry.extent_count;
    let mut serving = shop.serving.subscribe();
    let serves = serving.wait_for(|serving| serving.contains(&local.name));
    let fails = async {
        loop {
            sleep(LOOK).await;
            match units::restarts(bus, &local.name).await {
                Ok(restarts) if restarts >= RESTARTS => return,
                _ => {}
            }
        }
    };
    let unit = crate::systemd::names::unit(&local.name);
    tokio::select! {
        served = tokio::time::timeout(time, serves) => match served {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("it does not serve after {} s under {unit}", time.as_secs())),
        },
        () = fails => Err(format!("its downstairs ends again and again under {unit}: see journalctl -u {unit}")),
    }
}

/// A host that is connected must be connected to the volume's other regions on this sled as
/// well, and these must have everything that this one has: only then can this one go away for
/// a moment.
async fn wait_for_siblings(
    shop: &Workshop,
    name: &RegionName,
    candidate: &Candidate,
    progress: &Progress,
) -> Result<(), wire::Error> {
    let deadline = Instant::now() + REUNION;
    loop {
        let (config, region, ours) = (shop.config.clone(), name.clone(), candidate.trailers.clone());
        let lacking = tokio::task::spawn_blocking(move || lacking(&config, &region, &ours)).await;
        let Some(lacking) = lacking.unwrap_or_else(|why| Some(why.to_string())) else { return Ok(()) };
        if Instant::now() >= deadline {
            let message = format!("{name} is not adopted: {lacking}; taking it down now would leave the host with one");
            let remedy = "everything is as it was; wait until all three of the volume's regions are connected";
            return Err(wire::Error::new("NOT_ADOPTED", message, remedy));
        }
        progress.step("waiting for the volume's other regions", 0, 0);
        tokio::select! {
            () = sleep(LOOK) => {}
            () = progress.cancelled() => return Err(cancelled()),
        }
    }
}

/// What a connected host would miss if this region went away now.
fn lacking(config: &crate::config::Configuration, name: &RegionName, ours: &[Trailer]) -> Option<String> {
    let root = &config.sled.storage.root;
    let hosts = legacy::connected(root, name);
    let siblings = config.local_regions().into_iter().filter(|l| l.name.volume() == name.volume() && l.name != *name);
    for sibling in siblings.filter(|_| !hosts.is_empty()) {
        let there = legacy::connected(root, &sibling.name);
        let missing: BTreeSet<&IpAddr> = hosts.difference(&there).collect();
        if let Some(host) = missing.first() {
            return Some(format!("{host} is connected to it and not to {}", sibling.name));
        }
        let places = [root.join(sibling.name.to_string()), legacy_dir(root, &sibling.name)];
        let dir = places.into_iter().find(|dir| fs::symlink_metadata(dir).is_ok())?;
        match trailers(&dir, sibling.geometry, |_| ()) {
            Err(why) => return Some(format!("{}: {why}", sibling.name)),
            Ok(theirs) if behind(&theirs, ours) => return Some(format!("{} has not caught up with it", sibling.name)),
            Ok(_) => {}
        }
    }
    None
}

/// Whether some extent was flushed here and not there.
fn behind(theirs: &[Trailer], ours: &[Trailer]) -> bool {
    theirs.iter().zip(ours).any(|(their, our)| (their.generation, their.flush) < (our.generation, our.flush))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_lacks_a_flush_is_behind() {
        let at = |generation, flush| Trailer { dirty: false, generation, flush };
        assert!(!behind(&[at(1, 5), at(1, 5)], &[at(1, 5), at(1, 4)]));
        assert!(behind(&[at(1, 5), at(1, 3)], &[at(1, 5), at(1, 4)]));
        assert!(behind(&[at(1, 9)], &[at(2, 1)]));
    }
}
