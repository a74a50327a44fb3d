//! Looks at the data disk, and changes of it: one at a time, whoever asks. Reads only, but for the try of a write, which takes no
//! turn: where it hangs, looks go on.

use crate::config::Configuration;
use crate::decide::facts::{Disk, OnDisk, Scrubbed};
use crate::decide::storage::{belongs, unreserved};
use crate::files::{Room, may_use, room};
use crate::kernel::block::mount_at;
use crate::names::RegionName;
use crate::observe::surveys::{self, Surveys};
use crate::region::{Ledger, Record, Tombstone};
use crate::store::grants;
use crate::store::layout::{DIR, TRASH, legacy_dir};
use crate::store::ledger::{self, Loaded};
use crate::store::mark;
use crate::store::region_dir::{allocated, region_json};
use crate::store::scrubs;
use crate::times;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::{JoinError, JoinHandle};

/// Looks at the disk, never while something is being changed there. One thread does either, and all
/// others wait for it without one: at a disk that hangs no more than one is stuck.
#[derive(Debug)]
pub struct Scanner {
    /// The configuration, and its number.
    config: Mutex<(u64, Arc<Configuration>)>,
    /// Turn at the disk.
    turn: Arc<tokio::sync::Mutex<Surveys>>,
    /// The serial of the last look that was begun.
    begun: AtomicU64,
    /// The last look that has ended: it answers all who asked before it began.
    last: Mutex<Option<Disk>>,
    /// The regions whose downstairs have ended since the last look was begun.
    distrusted: Mutex<BTreeSet<RegionName>>,
    /// The next look is to survey the files of every region.
    afresh: AtomicBool,
    /// The same, if more is promised than is free.
    changed: AtomicBool,
    /// The disk refuses what is written, whatever its mount says.
    refuses: AtomicBool,
}

/// A panic leaves nothing half done in these.
fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scanner {
    /// A scanner of the regions that the configuration has here.
    pub fn new(config: Arc<Configuration>) -> Self {
        let (turn, last, distrusted) = Default::default();
        let (config, begun) = (Mutex::new((0, config)), AtomicU64::new(0));
        let [afresh, changed, refuses] = [const { AtomicBool::new(false) }; 3];
        Self { config, turn, begun, last, distrusted, afresh, changed, refuses }
    }

    /// The configuration by which it looks.
    pub(super) fn config(&self) -> Arc<Configuration> {
        lock(&self.config).1.clone()
    }

    /// Looks for the regions of another configuration, of this number, from now on.
    pub fn configure(&self, number: u64, config: Arc<Configuration>) {
        *lock(&self.config) = (number, config);
    }

    /// Look at everything, begun after it was asked for; who asks while another one is under way
    /// shares the next. `None` if it ended early.
    pub async fn look(self: &Arc<Self>) -> Option<Disk> {
        let before = self.begun.load(Ordering::Relaxed);
        let mut known = self.turn.clone().lock_owned().await;
        if let Some(disk) = lock(&self.last).as_ref().filter(|disk| disk.serial > before) {
            return Some(disk.clone());
        }
        let scanner = self.clone();
        // The turn goes with the thread: it is over when that is, whoever waits for it or not.
        let look = move || {
            let serial = scanner.begun.fetch_add(1, Ordering::Relaxed) + 1;
            if scanner.afresh.swap(false, Ordering::Relaxed) {
                known.forget();
            }
            for region in std::mem::take(&mut *lock(&scanner.distrusted)) {
                known.distrust(region);
            }
            let changed = scanner.changed.swap(false, Ordering::Relaxed);
            let disk =
                scanner.scan(serial, &mut known, if changed { Duration::ZERO } else { surveys::SCARCE_LIFETIME });
            *lock(&scanner.last) = Some(disk.clone());
            disk
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.inspect_err(|why| tracing::error!("the look at the disk ended early: {why}")).ok()
    }

    /// Look at everything once as another configuration has it, which changes nothing that is known
    /// of the one in force. `None` if it ended early.
    pub async fn look_for(&self, config: &Arc<Configuration>) -> Option<Disk> {
        let (turn, config) = (self.turn.clone().lock_owned().await, config.clone());
        let serial = self.begun.load(Ordering::Relaxed);
        let look = move || {
            let _turn = turn;
            Self::new(config).scan(serial, &mut Surveys::default(), surveys::SCARCE_LIFETIME)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.inspect_err(|why| tracing::error!("the look at the disk ended early: {why}")).ok()
    }

    /// Look as [`Scanner::look`] does, the files of every region included.
    pub async fn look_afresh(self: &Arc<Self>) -> Option<Disk> {
        self.afresh.store(true, Ordering::Relaxed);
        self.look().await
    }

    /// Look as [`Scanner::look`] does, after a region has come or gone: if more is promised than is free, by
    /// what is taken of it now.
    pub async fn look_changed(self: &Arc<Self>) -> Option<Disk> {
        self.changed.store(true, Ordering::Relaxed);
        self.look().await
    }

    /// Changes something: no look falls between the two halves of a change, and no two changes
    /// of the ledger meet.
    ///
    /// # Errors
    /// It panicked.
    pub async fn change<T: Send + 'static>(&self, change: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let turn = self.turn.clone().lock_owned().await;
        let change = move || {
            let _turn = turn;
            change()
        };
        tokio::task::spawn_blocking(change).await
    }

    /// Begin to write the least that there is to a disk that is this sled's: the time of a directory, which goes through the
    /// journal. A thread of its own does, as a write waits for a disk that hangs, and a look is not to. `None`: there is
    /// no such disk, or somebody has mounted it read-only.
    pub(super) fn try_to_write(&self) -> Option<JoinHandle<io::Result<()>>> {
        let config = self.config();
        let refuses = self.refuses.load(Ordering::Relaxed);
        let known = lock(&self.last);
        let disk = known.as_ref().filter(|disk| disk.mounted && (refuses || !disk.read_only))?;
        belongs(&config, disk).ok()?;
        let dir = config.sled.storage.root.join(DIR);
        Some(tokio::task::spawn_blocking(move || fs::File::open(dir)?.set_modified(SystemTime::now())))
    }

    /// Keep what became of a write; returns whether the next look finds another disk than the last one.
    pub(super) fn tried(&self, outcome: &io::Result<()>) -> bool {
        let refuses =
            outcome.as_ref().is_err_and(|why| matches!(why.raw_os_error(), Some(nix::libc::EROFS | nix::libc::EIO)));
        self.refuses.swap(refuses, Ordering::Relaxed) != refuses
    }

    /// The downstairs of a region has ended: the next look surveys its files anew, and counts what
    /// was left dirty. The serial of the first look that is begun from now on.
    pub fn distrust(&self, region: &RegionName) -> u64 {
        lock(&self.distrusted).insert(region.clone());
        self.begun.load(Ordering::Relaxed) + 1
    }

    /// `scarce` is how old a survey may be while more is promised than is free.
    fn scan(&self, serial: u64, known: &mut Surveys, scarce: Duration) -> Disk {
        let (number, config) = lock(&self.config).clone();
        let regions: Vec<_> = config.local_regions().into_iter().map(|local| local.name).collect();
        let storage = &config.sled.storage;
        let root = &storage.root;
        if !may_use(root, storage.require_mount) {
            return Disk { serial, config: number, ..Disk::default() };
        }
        let Room { capacity, free, inodes, inodes_free, read_only } = room(root).unwrap_or_default();
        let mark = mark::read(root);
        // A kernel (6.6 to 6.13) that has given up a file system of type ext4 leaves its mount as it was, and refuses even to
        // open what lies there: EXT4_FLAGS_SHUTDOWN in ext4_handle_error of fs/ext4/super.c.
        let given_up = mark.is_err() && mark::is_refused(root) || self.refuses.load(Ordering::Relaxed) && !read_only;
        let frozen = given_up || mount_at(root).is_some_and(|mount| mount.frozen);
        let on_disk = |name: &RegionName| (name.clone(), region(&root.join(name.to_string())));
        let old = |name: &&RegionName| fs::symlink_metadata(legacy_dir(root, name)).is_ok_and(|found| found.is_dir());
        let disk = Disk {
            serial,
            config: number,
            mounted: true,
            capacity,
            free,
            inodes,
            inodes_free,
            read_only: read_only || frozen,
            frozen,
            mark,
            remembered: mark::remembered(&mark::memory()).unwrap_or_else(|why| {
                tracing::warn!("what this machine remembers of its disk cannot be read: {why}");
                None
            }),
            regions: regions.iter().map(on_disk).collect(),
            unadopted: regions.iter().filter(old).cloned().collect(),
            ..Disk::default()
        };
        match belongs(&config, &disk) {
            Ok(()) => with_ledger(&config, disk, known, scarce),
            // What another sled's ledger says is not this one's to show or to act on.
            Err(_) => Disk { ledger: Err("the disk is not this sled's".into()), ..disk },
        }
    }
}

/// Adds what the ledger says, and what lies on the disk by its word.
fn with_ledger(config: &Configuration, mut disk: Disk, known: &mut Surveys, scarce: Duration) -> Disk {
    let root = &config.sled.storage.root;
    // Whether or not the ledger can be read: whom a volume lets in does not depend on it.
    disk.grants = grants::load(root).map_err(|why| format!("{}: {why}", root.display()));
    let Loaded { ledger, damage } = match ledger::load(root) {
        Err(why) => return Disk { ledger_lost: ledger::is_lost(&why), ledger: Err(why.to_string()), ..disk },
        Ok(loaded) => loaded,
    };
    if let Ok(records) = &mut disk.grants {
        grants::miss(root, records, &ledger.tickets);
    }
    // Regions on record that the map does not have are looked at as well.
    for name in ledger.regions.keys() {
        disk.regions.entry(name.clone()).or_insert_with(|| region(&root.join(name.to_string())));
    }
    let (surveys, trash) = (known.of(config, &ledger, disk.free, None), trash(root, &ledger));
    let scrubs = ledger.regions.iter().map(|(name, record)| (name.clone(), scrubbed(root, name, record))).collect();
    let mut disk = Disk { surveys, trash, scrubs, ledger: Ok(ledger), damage, ..disk };
    if unreserved(&disk) > disk.free {
        let anew = |ledger| known.of(config, ledger, disk.free, Some(scarce));
        disk.surveys = disk.ledger.iter().flat_map(anew).collect();
    }
    disk
}

/// How a region's scrubs went. A record of another region that had its name says nothing; one that cannot be read is
/// begun anew by the next scrub, and told then.
fn scrubbed(root: &Path, name: &RegionName, record: &Record) -> Scrubbed {
    let known = scrubs::read(root, name).ok().flatten().filter(|known| known.uuid == record.uuid);
    let last = known.as_ref().and_then(|known| known.completed).unwrap_or(record.created);
    let hours = times::now().duration_since(last).as_hours().try_into().unwrap_or_default();
    Scrubbed { record: known, hours }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::sync::mpsc;

    fn scanner() -> Arc<Scanner> {
        Arc::new(Scanner::new(Arc::new(config::shipped(""))))
    }

    /// A disk that hangs: whoever asks for a look or a change waits, and no thread does.
    #[test]
    fn at_a_disk_that_hangs_one_thread_is_stuck_and_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).build().unwrap();
        runtime.block_on(async {
            let scanner = scanner();
            let (let_go, hung) = mpsc::channel::<()>();
            let (begun, stuck) = tokio::sync::oneshot::channel();
            let hangs = scanner.clone();
            let hanging = tokio::spawn(async move {
                hangs
                    .change(move || {
                        _ = begun.send(());
                        _ = hung.recv();
                    })
                    .await
            });
            stuck.await.unwrap();
            let name: RegionName = "still-fawn-0".parse().unwrap();
            assert_eq!(scanner.distrust(&name), 1, "the loop must not wait for the disk");
            let waiting: Vec<_> = (0..50)
                .map(|_| {
                    tokio::spawn({
                        let scanner = scanner.clone();
                        async move { scanner.look().await.map(|disk| disk.serial) }
                    })
                })
                .collect();
            let given_up = tokio::spawn({
                let scanner = scanner.clone();
                async move { scanner.change(|| ()).await }
            });
            tokio::task::yield_now().await;
            given_up.abort();
            // The other thread is free for whatever is not on that disk.
            for _ in 0..50 {
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
            let_go.send(()).unwrap();
            hanging.await.unwrap().unwrap();
            for look in waiting {
                // All that waited have one look.
                assert_eq!(look.await.unwrap(), Some(1));
            }
            assert_eq!(scanner.look().await.map(|disk| disk.serial), Some(2));
        });
    }
}
