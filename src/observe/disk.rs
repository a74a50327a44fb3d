//! The data disk: whether it is mounted, how full it is, and what lies in the regions'
//! directories. Reads only.
//!
//! The kernel tells of every mount and unmount through `/proc/self/mountinfo`; whoever
//! changes something on the disk asks for a look.

use super::rhythm::{ROUND, Rhythm};
use super::{NobodyListens, Observation, Publisher, publish, register};
use crate::act::inspect::{self, allocated, region_json, survey};
use crate::act::ledger::{self, Loaded};
use crate::act::mark;
use crate::act::places::{TRASH, legacy_dir};
use crate::act::tickets;
use crate::config::Configuration;
use crate::decide::facts::{Disk, OnDisk, Survey};
use crate::decide::storage::{belongs, full, no_inodes, repair_room, unreserved};
use crate::files::{Room, may_use, room};
use crate::names::RegionName;
use crate::region::{Ledger, Record, Tombstone};
use nix::unistd::User;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// How often to look when nobody knows of a reason.
pub const SLOW_LOOK: Duration = Duration::from_secs(15);
/// How long a survey of a region's files is good: a hundred files each, so not at every look.
/// Whoever has changed something, or has seen a downstairs end, distrusts it before.
const SURVEY_AGAIN: Duration = Duration::from_secs(60);

/// Watches until nobody listens any more. `look` asks for a look at once.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    scanner: Arc<Scanner>,
    rhythm: Rhythm,
    look: Arc<Notify>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let mounts = Mounts::open();
    let (mut slow, mut soon) = (rhythm.every(SLOW_LOOK), rhythm.every(ROUND));
    let mut wrong = false;
    loop {
        // Cancel-safe: a beat, a permit or a readiness that is not taken stays.
        tokio::select! {
            _ = slow.next() => {}
            // Somebody may be putting it right, and nothing tells of that.
            _ = soon.next(), if wrong => {}
            () = look.notified() => {}
            () = mounts.changed() => {}
        }
        let scanner = scanner.clone();
        match tokio::task::spawn_blocking(move || scanner.scan()).await {
            Ok(seen) => {
                wrong = is_wrong(&seen);
                publish(&to, Observation::Disk(Box::new(seen))).await?;
            }
            Err(why) => tracing::error!("the look at the disk ended early: {why}"),
        }
        soon.skip_past();
    }
}

/// Whether something is there that cannot be used as it is.
fn is_wrong(disk: &Disk) -> bool {
    let unreadable = disk.regions.values().any(|found| matches!(found, OnDisk::Unreadable(_)));
    // Nobody tells of room that is made, nor of a directory that is put where a region is missed.
    let missed = disk.regions.values().any(|found| *found == OnDisk::Absent);
    let scarce = missed || full(disk) || no_inodes(disk) || repair_room(disk).is_some_and(|needs| disk.free < needs);
    unreadable || scarce || disk.surveys.values().any(|survey| survey.fault.is_some()) || disk.ledger.is_err()
}

/// The kernel's word that the mounts have changed. Without it (an odd kernel or sandbox) the
/// slow look is all there is.
struct Mounts(Option<AsyncFd<File>>);

impl Mounts {
    fn open() -> Self {
        let watched = File::open("/proc/self/mountinfo").and_then(|file| register(file, Interest::PRIORITY));
        Self(watched.inspect_err(|why| tracing::warn!("the kernel does not tell of mounts: {why}")).ok())
    }

    async fn changed(&self) {
        match &self.0 {
            None => std::future::pending().await,
            Some(file) => match file.ready(Interest::PRIORITY).await {
                Ok(mut ready) => ready.clear_ready(),
                Err(why) => {
                    tracing::warn!("the kernel stopped telling of mounts: {why}");
                    std::future::pending().await
                }
            },
        }
    }
}

/// Looks at the disk, never while something is being changed there.
#[derive(Debug)]
pub struct Scanner {
    config: Mutex<Arc<Configuration>>,
    serial: Mutex<u64>,
    /// The last surveys: to look at every file again whenever somebody asks would be too much.
    surveyed: Mutex<BTreeMap<RegionName, (Instant, Record, Survey)>>,
    /// More was promised than is free: how much of it is taken is looked at more often.
    scarce: Mutex<bool>,
    /// How many extents of those whose downstairs has ended were dirty then, once they are counted.
    dirty: Mutex<BTreeMap<RegionName, Option<u32>>>,
}

impl Scanner {
    /// A scanner of the regions that the configuration has here.
    pub fn new(config: Arc<Configuration>) -> Self {
        let config = Mutex::new(config);
        Self {
            config,
            serial: Mutex::new(0),
            surveyed: Mutex::default(),
            scarce: Mutex::default(),
            dirty: Mutex::default(),
        }
    }

    /// Looks for the regions of another configuration from now on.
    pub fn configure(&self, config: Arc<Configuration>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// One look at everything.
    pub fn scan(&self) -> Disk {
        let mut serial = self.hold();
        *serial += 1;
        self.look(*serial)
    }

    /// One look at everything as another configuration has it, which changes nothing that is known of
    /// the one in force.
    pub fn scan_for(&self, config: &Arc<Configuration>) -> Disk {
        let serial = self.hold();
        Self::new(config.clone()).look(*serial)
    }

    /// One look at everything, the files of every region included.
    pub fn scan_afresh(&self) -> Disk {
        self.surveyed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.scan()
    }

    /// Changes something: no look falls between the two halves of a change, and no two changes
    /// of the ledger meet.
    pub fn while_held<T>(&self, change: impl FnOnce() -> T) -> T {
        let _serial = self.hold();
        change()
    }

    /// The downstairs of a region has ended: the next look surveys its files anew, and counts what
    /// was left dirty.
    pub fn distrust(&self, region: &RegionName) {
        self.surveyed.lock().unwrap_or_else(PoisonError::into_inner).remove(region);
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(region.clone(), None);
    }

    fn hold(&self) -> MutexGuard<'_, u64> {
        // A panic under the lock leaves nothing half done that a look would not see.
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, serial: u64) -> Disk {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let regions: Vec<_> = config.local_regions().into_iter().map(|local| local.name).collect();
        let storage = &config.sled.storage;
        let root = &storage.root;
        if !may_use(root, storage.require_mount) {
            return Disk { serial, ..Disk::default() };
        }
        let Room { capacity, free, inodes, inodes_free, read_only } = room(root).unwrap_or_default();
        let on_disk = |name: &RegionName| (name.clone(), region(&root.join(name.to_string())));
        let old = |name: &&RegionName| fs::symlink_metadata(legacy_dir(root, name)).is_ok_and(|found| found.is_dir());
        let disk = Disk {
            serial,
            mounted: true,
            capacity,
            free,
            inodes,
            inodes_free,
            read_only,
            mark: mark::read(root),
            remembered: mark::remembered(&mark::memory()).unwrap_or_else(|why| {
                tracing::warn!("what this machine remembers of its disk cannot be read: {why}");
                None
            }),
            regions: regions.iter().map(on_disk).collect(),
            unadopted: regions.iter().filter(old).cloned().collect(),
            ..Disk::default()
        };
        match belongs(&config, &disk) {
            Ok(()) => self.with_ledger(&config, disk),
            // What another sled's ledger says is not this one's to show or to act on.
            Err(_) => Disk { ledger: Err("the disk is not this sled's".into()), ..disk },
        }
    }

    /// Adds what the ledger says, and what lies on the disk by its word.
    fn with_ledger(&self, config: &Configuration, mut disk: Disk) -> Disk {
        let root = &config.sled.storage.root;
        // Whether or not the ledger can be read: whom a volume lets in does not depend on it.
        disk.grants = tickets::load(root).map_err(|why| format!("{}: {why}", root.display()));
        let Loaded { ledger, damage } = match ledger::load(root) {
            Err(why) => return Disk { ledger_lost: ledger::is_lost(&why), ledger: Err(why.to_string()), ..disk },
            Ok(loaded) => loaded,
        };
        if let Ok(records) = &mut disk.grants {
            tickets::miss(root, records, &ledger.tickets);
        }
        // Regions on record that the map does not have are looked at as well.
        for name in ledger.regions.keys() {
            disk.regions.entry(name.clone()).or_insert_with(|| region(&root.join(name.to_string())));
        }
        let (surveys, trash) = (self.surveys(config, &ledger), trash(root, &ledger));
        let disk = Disk { surveys, trash, ledger: Ok(ledger), damage, ..disk };
        *self.scarce.lock().unwrap_or_else(PoisonError::into_inner) = unreserved(&disk) > disk.free;
        disk
    }

    /// The files of every region on record whose directory is there.
    fn surveys(&self, config: &Configuration, ledger: &Ledger) -> BTreeMap<RegionName, Survey> {
        let owner = User::from_name(&config.sled.downstairs.user).ok().flatten().map(|user| user.uid.as_raw());
        let mut known = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        let good =
            if *self.scarce.lock().unwrap_or_else(PoisonError::into_inner) { SLOW_LOOK / 2 } else { SURVEY_AGAIN };
        known.retain(|name, (at, record, survey)| {
            let same = ledger.regions.get(name) == Some(record);
            // What is wrong is looked at each time: it may have been put right.
            same && survey.fault.is_none() && at.elapsed() < good
        });
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let mut surveys = BTreeMap::new();
        for (name, record) in &ledger.regions {
            let dir = config.region_dir(name);
            if fs::symlink_metadata(&dir).is_ok() {
                let count = || inspect::dirty(&dir, record.geometry);
                let dirty = dirty.get_mut(name).map_or(0, |counted| *counted.get_or_insert_with(count));
                let survey = || Survey { dirty, ..survey(&dir, record.geometry, owner) };
                let fresh = || (Instant::now(), record.clone(), survey());
                let (_, _, survey) = known.entry(name.clone()).or_insert_with(fresh);
                surveys.insert(name.clone(), survey.clone());
            } else {
                known.remove(name);
            }
        }
        surveys
    }
}

fn trash(root: &Path, ledger: &Ledger) -> BTreeMap<String, u64> {
    let dirs = ledger.tombstones.iter().map(Tombstone::dir);
    dirs.map(|dir| (dir.clone(), allocated(&root.join(TRASH).join(dir)))).collect()
}

fn region(dir: &Path) -> OnDisk {
    match fs::symlink_metadata(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => OnDisk::Absent,
        Err(why) => OnDisk::Unreadable(why.to_string()),
        Ok(found) if !found.is_dir() => OnDisk::Unreadable("it is not a directory".into()),
        Ok(_) => region_json(dir).map_or_else(OnDisk::Unreadable, OnDisk::Present),
    }
}
