//! What is looked at before a region that serves is stopped to be started again: whether it could
//! start. One that runs has its files open and its program in memory, whatever became of either; once
//! it is stopped, it stays away.

use crate::act::programs;
use crate::check::Code;
use crate::config::Configuration;
use crate::decide::facts::{Disk, OnDisk};
use crate::decide::remedy;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::store::region_dir;
use crate::supervisor::jobs::context::Workshop;
use crate::wire;
use nix::unistd::User;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zbus::Connection;

/// How long it is believed of a program that it runs, if nothing was done to its file.
const LATELY: Duration = Duration::from_secs(10);

/// The programs that were found to run a moment ago: a restart looks when it is asked for and when its turn
/// has come, and of many regions at once.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Lately(Mutex<HashMap<Ran, Said>>);

/// When a program has said that it runs, or that it does not and why.
type Said = (Instant, Result<(), String>);

/// A file, as it was when its program ran, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ran {
    user: String,
    program: PathBuf,
    state: programs::State,
}

impl Ran {
    fn now(user: &str, program: &Path) -> Option<Self> {
        let state = programs::state(program).ok()?;
        Some(Self { user: user.to_owned(), program: program.to_owned(), state })
    }
}

impl Lately {
    /// Asks a program whether it runs, unless this file of it did lately. Whoever comes meanwhile gets the same
    /// answer.
    async fn runs(
        &self,
        user: &str,
        program: &Path,
        ask: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let came = Instant::now();
        let mut known = self.0.lock().await;
        known.retain(|_, (when, _)| when.elapsed() < LATELY);
        let before = Ran::now(user, program);
        match before.as_ref().and_then(|ran| known.get(ran)) {
            Some((_, Ok(()))) => return Ok(()),
            Some((when, Err(why))) if *when > came => return Err(why.clone()),
            _ => {}
        }
        let said = ask.await;
        // Of one that was replaced meanwhile it is not known which of the two it was.
        if let Some(ran) = before.filter(|ran| Ran::now(user, program).as_ref() == Some(ran)) {
            known.insert(ran, (Instant::now(), said.clone()));
        }
        said
    }
}

/// Whether a region that is what it should be, by this look at the disk, could start again. Of one that
/// is not, or is held, others tell.
///
/// # Errors
/// What would keep it from that.
pub(in crate::supervisor) async fn of_request(
    shop: &Workshop,
    disk: &Disk,
    name: &RegionName,
    bus: Option<&Connection>,
) -> Result<(), wire::Error> {
    let Some(local) = shop.config.local_regions().into_iter().find(|local| local.name == *name) else { return Ok(()) };
    let record = disk.ledger.as_ref().ok().filter(|ledger| !ledger.holds.contains_key(name));
    let record = record.and_then(|ledger| ledger.regions.get(name));
    match (record, disk.regions.get(name), bus) {
        (Some(record), Some(OnDisk::Present(found)), Some(bus)) if found.uuid == record.uuid => {
            could_start(shop, &local, bus).await
        }
        _ => Ok(()),
    }
}

/// Whether a region could start again, by its files and by its program.
///
/// # Errors
/// What would keep it from that.
pub(in crate::supervisor) async fn could_start(
    shop: &Workshop,
    local: &LocalRegion,
    bus: &Connection,
) -> Result<(), wire::Error> {
    files(&shop.config, local).await?;
    program(shop, &local.name, bus).await
}

/// Whether a downstairs could start on a region's files.
///
/// # Errors
/// The first of them that it could not use.
pub(in crate::supervisor) async fn files(config: &Arc<Configuration>, local: &LocalRegion) -> Result<(), wire::Error> {
    let (settings, region) = (config.clone(), local.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let owner = User::from_name(&settings.sled.downstairs.user).ok().flatten().map(|user| user.uid.as_raw());
        let dir = settings.region_dir(&region.name);
        region_dir::startable(&dir, region.geometry, owner).map_err(|fault| format!("{}: {fault}", dir.display()))
    });
    let fault = match looked.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(fault)) => fault,
        Err(why) => format!("the look at its files ended early: {why}"),
    };
    let remedy = remedy::of_files(config, &local.name, &fault);
    let message = format!("{} is left as it is, as it would not start again: {fault}", local.name);
    Err(wire::Error::new(Code::RegionDamaged.as_str(), message, remedy))
}

/// Whether the program that a region is to run is one, as the service user.
async fn program(shop: &Workshop, name: &RegionName, bus: &Connection) -> Result<(), wire::Error> {
    let settings = &shop.config.sled.downstairs;
    // Without the record its unit runs what it ran before.
    let Ok(Ok(record)) = tokio::task::spawn_blocking(programs::load).await else { return Ok(()) };
    let program = record.of(name, &settings.program).to_owned();
    let ask = async { programs::ask(bus, &settings.user, &program).await.map(drop) };
    shop.lately.runs(&settings.user, &program, ask).await.map_err(|why| {
        let message =
            format!("{name} is left as it is, as it would not start again: {} does not run: {why}", program.display());
        let remedy = format!("put a crucible-downstairs that {} may run at {}", settings.user, program.display());
        wire::Error::new("PROGRAM_UNUSABLE", message, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_program_is_asked_once_for_a_request_and_its_job_and_anew_when_its_file_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "").unwrap();
        let (lately, asked) = (Lately::default(), AtomicU32::new(0));
        let runs = async |user: &str, well: bool| {
            let ask = async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                if well { Ok(()) } else { Err("it does not".to_owned()) }
            };
            lately.runs(user, &program, ask).await
        };
        let times = || asked.load(Ordering::Relaxed);
        // All twelve regions at once.
        for well in [false, true] {
            let all = futures_util::future::join_all((0..12).map(|_| runs("crucible", well))).await;
            assert!(all.iter().all(|ran| ran.is_ok() == well));
        }
        assert_eq!(times(), 2);
        asked.store(1, Ordering::Relaxed);
        runs("crucible", true).await.unwrap();
        assert_eq!(times(), 1);
        runs("nobody", true).await.unwrap();
        assert_eq!(times(), 2, "what one may run another may not");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(runs("crucible", false).await.is_err() && runs("crucible", false).await.is_err());
        assert_eq!(times(), 4, "that it does not run is seen each time");
        runs("crucible", true).await.unwrap();
        tokio::time::advance(LATELY).await;
        runs("crucible", true).await.unwrap();
        assert_eq!(times(), 6);
        fs::remove_file(&program).unwrap();
        assert!(runs("crucible", false).await.is_err());
    }
}
