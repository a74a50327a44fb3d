//! Processes that have a region's files open for writing and are not the region's own: a second
//! downstairs that somebody started by hand, above all. Upstream takes no lock, and two writers
//! corrupt a region. From procfs; reported, never touched.
//!
//! Only files open for writing count: who reads a region, to back it up or to check it, does no
//! harm. Files are told by the disk that they are on, whatever path a process came by.

use super::rhythm::Rhythm;
use super::{NobodyListens, Observation, Publisher, publish};
use crate::act::peers::{shortened, unit};
use crate::decide::facts::Stranger;
use crate::names::RegionName;
use crate::systemd::names;
use procfs::process::{FDPermissions, FDTarget, Process, all_processes};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often to look when nobody knows of a reason.
pub const SLOW_LOOK: Duration = Duration::from_secs(15);

/// Watches until nobody listens any more. `look` asks for a look at once.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    root: PathBuf,
    regions: Vec<RegionName>,
    rhythm: Rhythm,
    look: Arc<Notify>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let (root, regions) = (Arc::new(root), Arc::new(regions));
    let mut slow = rhythm.every(SLOW_LOOK);
    loop {
        // Cancel-safe: a beat or a permit that is not taken stays.
        tokio::select! {
            _ = slow.next() => {}
            () = look.notified() => {}
        }
        let (root, regions) = (root.clone(), regions.clone());
        match tokio::task::spawn_blocking(move || scan(&root, &regions)).await {
            Ok(seen) => publish(&to, Observation::Intruders(seen)).await?,
            Err(why) => tracing::error!("the look at open files ended early: {why}"),
        }
    }
}

/// One look at every process.
fn scan(root: &Path, regions: &[RegionName]) -> BTreeMap<RegionName, Vec<Stranger>> {
    let mut found: BTreeMap<RegionName, Vec<Stranger>> = BTreeMap::new();
    let Ok(disk) = fs::metadata(root).map(|root| root.dev()) else { return found };
    let own = std::process::id().cast_signed();
    for process in all_processes().into_iter().flatten().flatten().filter(|process| process.pid != own) {
        let unit = unit(&process);
        // What the supervisor has run is its own to look after, and a region's own unit writes where
        // it was told to: their many descriptors are not looked at.
        let own = [names::DOWNSTAIRS, "crucible-create-", "crucible-remove-"];
        if unit.as_deref().is_some_and(|unit| own.iter().any(|own| unit.starts_with(own))) {
            continue;
        }
        for region in written(&process, disk, regions) {
            let words = process.cmdline().unwrap_or_default().join(" ");
            let stranger =
                Stranger { pid: process.pid.try_into().ok(), command: shortened(&words), unit: unit.clone() };
            found.entry(region).or_default().push(stranger);
        }
    }
    found
}

/// The regions of which a process has a file open for writing.
fn written(process: &Process, disk: u64, regions: &[RegionName]) -> Vec<RegionName> {
    let mut found: Vec<RegionName> = Vec::new();
    for descriptor in process.fd().into_iter().flatten().flatten() {
        let FDTarget::Path(path) = &descriptor.target else { continue };
        if !descriptor.mode().contains(FDPermissions::WRITE) {
            continue;
        }
        // By its name first: to look at a file on a file system of somebody else's may take for ever.
        let parts = path.components().filter_map(|part| part.as_os_str().to_str());
        let named = parts.filter_map(|part| regions.iter().find(|region| region.to_string() == part)).next_back();
        let Some(region) = named.filter(|region| !found.contains(region)) else { continue };
        let link = format!("/proc/{}/fd/{}", process.pid, descriptor.fd);
        if fs::metadata(link).is_ok_and(|file| file.dev() == disk && file.is_file()) {
            found.push(region.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Command, Stdio};

    #[test]
    fn who_writes_is_told_and_who_reads_is_not() {
        let root = tempfile::tempdir().unwrap();
        let regions: Vec<RegionName> = vec!["still-fawn-0".parse().unwrap(), "still-fawn-1".parse().unwrap()];
        for region in &regions {
            fs::create_dir_all(root.path().join(region.to_string()).join("00/000")).unwrap();
            fs::write(root.path().join(region.to_string()).join("00/000/000"), "x").unwrap();
        }
        let extent = |region: usize| root.path().join(regions[region].to_string()).join("00/000/000");
        let writer = File::options().append(true).open(extent(0)).unwrap();
        let cat = || {
            let mut cat = Command::new("cat");
            cat.stdin(Stdio::piped());
            cat
        };
        let mut writing = cat().stdout(writer).spawn().unwrap();
        let mut reading = Command::new("tail").args(["-f"]).arg(extent(1)).stdout(Stdio::null()).spawn().unwrap();
        let found = scan(root.path(), &regions);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&regions[0]]);
        let stranger = &found[&regions[0]][0];
        assert_eq!((stranger.pid, stranger.command.as_str()), (Some(writing.id()), "cat"));
        for child in [&mut writing, &mut reading] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(scan(root.path(), &regions), BTreeMap::new());
    }
}
