//! Processes that have a region's files open for writing and are not the region's own: a second
//! downstairs that somebody started by hand, above all. Upstream takes no lock, and two writers
//! corrupt a region. From procfs; reported, never touched.
//!
//! Only files open for writing count: who reads a region, to back it up or to check it, does no
//! harm. Files are told by the disk that they are on, whatever path a process came by.

use crate::config::Configuration;
use crate::decide::facts::{Facts, Stranger};
use crate::kernel::processes::{command, descriptors, unit};
use crate::names::RegionName;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::region::format::extent_path;
use crate::systemd::names;
use futures_util::FutureExt;
use nix::time::{ClockId, clock_gettime};
use procfs::process::{Process, all_processes};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Time between looks when nobody knows of a reason.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// Whoever owns a link in `/proc/PID/fd` may write to it, as stat(2) has it: the descriptor is open for writing
/// (proc_pid_fd(5)).
const WRITES: u32 = 0o200;
/// Number of downstairs that are remembered as harmless.
const MOST_LOOKED: usize = 1000;

/// Observer of who else writes to a region.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "intruders";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = Some("open files");
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let regions = ground.config.local_regions().into_iter().map(|local| local.name).collect();
        let (root, look) = (ground.config.sled.storage.root.clone(), ground.looks.heard_by::<Self>());
        Some(watch(root, regions, ground.rhythm.clone(), look, to).boxed())
    });
    type Fact = BTreeMap<RegionName, Vec<Stranger>>;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.intruders = Some(seen))
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        facts.intruders.is_some()
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        let before: BTreeSet<_> = by.old.local_regions().into_iter().map(|local| local.name).collect();
        if by.new.local_regions().iter().any(|local| !before.contains(&local.name)) {
            // Whoever writes to a new one was not looked for.
            facts.intruders = None;
        }
    }
}

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
    let mut slow = rhythm.in_turn(SLOW_LOOK, 2);
    let mut looked = Looked::new();
    loop {
        // Cancel-safe: a beat or a permit that is not taken stays.
        tokio::select! {
            _ = slow.next() => {}
            () = look.notified() => {}
        }
        let (root, regions, mut known) = (root.clone(), regions.clone(), std::mem::take(&mut looked));
        let look = move || {
            // Those that have ended are forgotten now and then, and the others looked at once more.
            if known.len() > MOST_LOOKED {
                known.clear();
            }
            let seen = scan(&root, &regions, &mut known);
            (seen, known)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok((seen, known)) => {
                looked = known;
                publish::<Watch>(&to, seen).await?;
            }
            Err(why) => tracing::error!("the look at open files ended early: {why}"),
        }
    }
}

/// The downstairs of regions' own units that were found to write nowhere else, once they had opened
/// all that they open: their many descriptors are not looked at again. By id and start.
type Looked = BTreeSet<(i32, u64)>;

/// A downstairs opens its extents at its start; after this it has them all.
const OPENS_WITHIN: Duration = Duration::from_secs(60);

/// Tell for how long a process has run.
fn age(process: &Process) -> Option<Duration> {
    let began = process.stat().ok()?.starttime / procfs::ticks_per_second();
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    Some(Duration::from_secs(u64::try_from(now.tv_sec()).ok()?.saturating_sub(began)))
}

/// Look at every process once.
fn scan(root: &Path, regions: &[RegionName], looked: &mut Looked) -> BTreeMap<RegionName, Vec<Stranger>> {
    let mut found: BTreeMap<RegionName, Vec<Stranger>> = BTreeMap::new();
    let Ok(disk) = fs::metadata(root).map(|root| root.dev()) else { return found };
    let own = std::process::id().cast_signed();
    for process in all_processes().into_iter().flatten().flatten().filter(|process| process.pid != own) {
        let unit = unit(&process);
        // What the supervisor has run is its own to look after.
        let helpers = ["crucible-create-", "crucible-remove-"];
        if unit.as_deref().is_some_and(|unit| helpers.iter().any(|own| unit.starts_with(own))) {
            continue;
        }
        // A region's own unit may write to that region, and to no other: a drop-in can have it do so.
        let own = unit.as_deref().and_then(|unit| regions.iter().find(|region| names::unit(region) == unit));
        let long_lived = own.is_some() && age(&process).is_some_and(|age| age > OPENS_WITHIN);
        if long_lived && !looked.insert((process.pid, process.stat().map_or(0, |stat| stat.starttime))) {
            continue;
        }
        for region in written(&process, root, disk, regions).into_iter().filter(|region| own != Some(region)) {
            let stranger =
                Stranger { pid: process.pid.try_into().ok(), command: command(&process), unit: unit.clone() };
            // One that does harm is looked at each time: it may stop.
            looked.retain(|(pid, _)| *pid != process.pid);
            found.entry(region).or_default().push(stranger);
        }
    }
    found
}

/// The regions of which a process has a file open for writing.
fn written(process: &Process, root: &Path, disk: u64, regions: &[RegionName]) -> Vec<RegionName> {
    let mut found: Vec<RegionName> = Vec::new();
    for (link, path) in descriptors(process.pid).filter(|(_, path)| path.is_absolute()) {
        // By its name first: to look at a file on a file system of somebody else's may take for ever.
        let parts = path.components().filter_map(|part| part.as_os_str().to_str());
        let named = parts.filter_map(|part| regions.iter().find(|region| region.to_string() == part)).next_back();
        let region = named.or_else(|| regions.iter().find(|region| is_first_extent(&link, &path, root, region)));
        let Some(region) = region.filter(|region| !found.contains(region)) else { continue };
        // Of the link itself the mode is that of the descriptor.
        let writes = fs::symlink_metadata(&link).is_ok_and(|link| link.mode() & WRITES != 0);
        if writes && fs::metadata(link).is_ok_and(|file| file.dev() == disk && file.is_file()) {
            found.push(region.clone());
        }
    }
    found
}

/// Tell whether an open file is a region's first extent, which every downstairs has open: a unit with
/// its own view of the disk may have the region's directory as a mount, and its files are known by
/// nothing else.
fn is_first_extent(link: &Path, path: &Path, root: &Path, region: &RegionName) -> bool {
    let first = extent_path(0);
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    path.ends_with(&first)
        && file(&root.join(region.to_string()).join(first)).is_some_and(|own| file(link) == Some(own))
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
        let found = scan(root.path(), &regions, &mut Looked::new());
        assert_eq!(found.keys().collect::<Vec<_>>(), [&regions[0]]);
        let stranger = &found[&regions[0]][0];
        assert_eq!((stranger.pid, stranger.command.as_str()), (Some(writing.id()), "cat"));
        for child in [&mut writing, &mut reading] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(scan(root.path(), &regions, &mut Looked::new()), BTreeMap::new());
    }
}
