//! An adoption from its turn to its end: one region after the other, and none while a host
//! would be left with fewer than two of its regions.
//!
//! What is looked at, stopped, moved and started is [`act`](crate::act)'s; the order is this
//! one's, and the way back.

use super::Event;
use super::workshop::{Workshop, cancelled};
use crate::act::adopt::{self, Candidate};
use crate::act::inspect::trailers;
use crate::act::legacy::{self, Served};
use crate::act::peers;
use crate::act::places::legacy_dir;
use crate::act::progress::Progress;
use crate::act::{ledger, units};
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::Adoption;
use crate::region::format::Trailer;
use crate::systemd::{job, names};
use crate::wire;
use Company::{Accompanied, Alone};
use std::fs;
use std::path::{Path, PathBuf};
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
/// An upstairs flushes at least so often while it writes.
const FLUSH: Duration = Duration::from_secs(2);
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
    progress.step("checking", 0, 0);
    readable_ledger(shop).await.map_err(refused)?;
    let (candidate, served) = proposal(shop, local, from, bus).await.map_err(refused)?;
    wait_for_siblings(shop, local, &candidate, progress).await?;
    progress.no_way_back().map_err(|_| cancelled())?;
    progress.step("taking it over", 0, 0);
    let noted = adopt::adoption(&candidate, served.as_ref());
    let (root, region, note) = (shop.config.sled.storage.root.clone(), name.clone(), noted);
    let begun = shop.held(move || adopt::begin(&root, &region, note)).await?;
    // An earlier one that could not be undone has noted how everything was before it.
    let noted = begun.map_err(|why| refused(why.to_string()))?;
    match carry_out(shop, local, &candidate, served.as_ref(), bus, progress).await {
        Ok(()) => Ok(format!("adopted from {} as {}", candidate.dir.display(), candidate.json.uuid)),
        Err(why) => {
            progress.step("undoing it", 0, 0);
            match undo(shop, name, noted, bus).await {
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
    let anew = move || -> Result<bool, String> {
        match ledger::load(&root) {
            Ok(_) => Ok(false),
            Err(why) => {
                // One that a newer supervisor wrote is not lost, and this says so.
                let aside = ledger::begin_anew(&root).map_err(|why| format!("the ledger cannot be read: {why}"))?;
                tracing::warn!("the ledger could not be read ({why}); a new one was begun, the old lies in {aside:?}");
                Ok(true)
            }
        }
    };
    if shop.held(anew).await.map_err(|why| why.message)?? {
        // What lies in the trash is found again when the adoptions are done.
        shop.tell(Event::Unsettled).await;
    }
    Ok(())
}

/// What adopting a region would come to, without doing it.
pub(super) async fn propose(
    shop: &Workshop,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
) -> wire::Proposal {
    let (port, region) = (local.port, local.name.clone());
    let hosts = tokio::task::spawn_blocking(move || peers::at_port(port)).await;
    let connected = hosts.into_iter().flatten().flatten().collect();
    match proposal(shop, local, from, bus).await {
        Err(why) => wire::Proposal { region, from: None, uuid: None, unit: None, connected, problem: Some(why) },
        Ok((candidate, served)) => {
            let (config, local, dir) = (shop.config.clone(), local.clone(), candidate.dir.clone());
            let company = tokio::task::spawn_blocking(move || siblings(&config, &local, &dir)).await;
            wire::Proposal {
                from: Some(candidate.dir.display().to_string()),
                uuid: Some(candidate.json.uuid),
                unit: served.map(|served| served.unit.name),
                connected,
                problem: company.map_or_else(|why| Some(why.to_string()), Result::err),
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
    let local = local.clone();
    let checking = move || adopt::check_server(&local, &candidate, served.as_ref()).map(|()| (candidate, served));
    tokio::task::spawn_blocking(checking).await.map_err(|why| why.to_string())?
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
        progress.step("stopping its old unit", 0, 0);
        legacy::switch_off(bus, &served.unit).await?;
    }
    progress.step("taking it over", 0, 0);
    let (config, region, found, own) = (shop.config.clone(), name.clone(), candidate.clone(), names::unit(name));
    let taking = move || {
        // What was started since it was looked at; in its place its own unit may run on it.
        let in_place = found.dir == config.region_dir(&region);
        adopt::unused(&found.dir, |runner| in_place && runner.unit.as_ref() == Some(&own))?;
        adopt::take_over(&config, &region, &found).map_err(|why| why.to_string())
    };
    shop.held(taking).await.map_err(|why| why.message)??;
    // One that never ran and cannot: there is nobody to wait for.
    if served.is_some_and(|served| served.unit.active) {
        progress.step("starting its new unit", 0, 0);
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
    let unit = names::unit(&local.name);
    tokio::select! {
        served = tokio::time::timeout(time, serves) => match served {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("it does not serve after {} s under {unit}", time.as_secs())),
        },
        () = fails => Err(format!("its downstairs ends again and again under {unit}: see journalctl -u {unit}")),
    }
}

/// Undoes an adoption wholly: the old unit serves the region again, as it was. Can be done
/// again after a crash.
///
/// # Errors
/// Why it is not undone, in words for an operator; it stays noted.
pub(super) async fn undo(
    shop: &Workshop,
    name: &RegionName,
    adoption: Adoption,
    bus: &Connection,
) -> Result<(), String> {
    // In place, and running under its own unit: that was so before.
    if adoption.unit.is_some() || adoption.from != shop.config.region_dir(name) {
        job::stop(bus, &names::unit(name)).await?;
    }
    let (config, region, unit) = (shop.config.clone(), name.clone(), adoption.unit.clone());
    shop.held(move || adopt::give_back(&config, &region, &adoption)).await.map_err(|why| why.message)??;
    if let Some(unit) = &unit {
        legacy::switch_on(bus, unit).await?;
    }
    let (root, region) = (shop.config.sled.storage.root.clone(), name.clone());
    let ended = shop.held(move || adopt::commit(&root, &region)).await.map_err(|why| why.message)?;
    ended.map_err(|why| why.to_string())
}

/// A host that is connected must be connected to the volume's other regions on this sled as
/// well, and these must have everything that this one has: only then can this one go away for
/// a moment. It must be so in two looks, between which a host flushes what it has.
async fn wait_for_siblings(
    shop: &Workshop,
    local: &LocalRegion,
    candidate: &Candidate,
    progress: &Progress,
) -> Result<(), wire::Error> {
    let (deadline, name) = (Instant::now() + REUNION, &local.name);
    let mut well = false;
    loop {
        let (config, region, dir) = (shop.config.clone(), local.clone(), candidate.dir.clone());
        let seen = tokio::task::spawn_blocking(move || siblings(&config, &region, &dir)).await;
        let lacking = match seen.unwrap_or_else(|why| Err(why.to_string())) {
            Ok(Alone) => return Ok(()),
            Ok(Accompanied) if well => return Ok(()),
            Ok(Accompanied) => None,
            Err(lacking) => Some(lacking),
        };
        well = lacking.is_none();
        if let Some(lacking) = lacking.filter(|_| Instant::now() >= deadline) {
            let message = format!("{name} is not adopted: {lacking}; taking it down now would leave the host with one");
            let remedy = "everything is as it was; wait until all three of the volume's regions are connected";
            return Err(wire::Error::new("NOT_ADOPTED", message, remedy));
        }
        progress.step("waiting for the volume's other regions", 0, 0);
        tokio::select! {
            () = sleep(if well { FLUSH } else { LOOK }) => {}
            () = progress.cancelled() => return Err(cancelled()),
        }
    }
}

/// Whether a region may go away for a moment.
enum Company {
    /// Nobody is connected to it.
    Alone,
    /// Whoever is has the other two, and they have what it has.
    Accompanied,
}

/// Looks who is connected to a region and its siblings, and whether these have caught up.
///
/// # Errors
/// What a connected host would miss if this region went away now.
fn siblings(config: &Configuration, local: &LocalRegion, dir: &Path) -> Result<Company, String> {
    let connected = |port| peers::at_port(port).map_err(|why| format!("it cannot be told who is connected: {why}"));
    let hosts = connected(local.port)?;
    if hosts.is_empty() {
        return Ok(Alone);
    }
    let ours = trailers(dir, local.geometry, |_| ())?;
    let name = &local.name;
    let others = config.local_regions().into_iter().filter(|l| l.name.volume() == name.volume() && l.name != *name);
    for sibling in others {
        if let Some(host) = hosts.difference(&connected(sibling.port)?).next() {
            return Err(format!("{host} is connected to it and not to {}", sibling.name));
        }
        let root = &config.sled.storage.root;
        let places = [root.join(sibling.name.to_string()), legacy_dir(root, &sibling.name)];
        // One that is served from elsewhere, and waits to be adopted from there, cannot be read.
        let Some(there) = places.iter().find(|dir| fs::symlink_metadata(dir).is_ok()) else { continue };
        let theirs = trailers(there, sibling.geometry, |_| ()).map_err(|why| format!("{}: {why}", sibling.name))?;
        if behind(&theirs, &ours) {
            return Err(format!("{} has not caught up with it", sibling.name));
        }
    }
    Ok(Accompanied)
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
