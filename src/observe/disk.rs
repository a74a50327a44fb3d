//! The data disk: whether it is mounted, how full it is, and what lies in the regions'
//! directories. Reads only.
//!
//! The kernel tells of every mount and unmount through `/proc/self/mountinfo`; whoever
//! changes something on the disk asks for a look.

use super::{NobodyListens, Observation, Publisher, publish};
use crate::act::ledger;
use crate::config;
use crate::decide::facts::{Disk, OnDisk};
use crate::files::{Room, may_use, read_below, room};
use crate::names::RegionName;
use crate::region::RegionJson;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

/// How often to look when nobody knows of a reason.
pub const SLOW_LOOK: Duration = Duration::from_secs(10);
/// The most bytes of a `region.json` that are read; a real one has under 300.
const MOST_REGION_JSON: u64 = 64 * 1024;

/// Watches until nobody listens any more. `look` asks for a look at once.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(scanner: Arc<Scanner>, look: Arc<Notify>, to: Publisher) -> Result<(), NobodyListens> {
    let mounts = Mounts::open();
    let mut slow = interval(SLOW_LOOK);
    slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Cancel-safe: a tick, a permit or a readiness that is not taken stays.
        tokio::select! {
            _ = slow.tick() => {}
            () = look.notified() => {}
            () = mounts.changed() => {}
        }
        let scanner = scanner.clone();
        match tokio::task::spawn_blocking(move || scanner.scan()).await {
            Ok(seen) => publish(&to, Observation::Disk(seen)).await?,
            Err(why) => tracing::error!("the look at the disk ended early: {why}"),
        }
    }
}

/// The kernel's word that the mounts have changed. Without it (an odd kernel or sandbox) the
/// slow look is all there is.
struct Mounts(Option<AsyncFd<File>>);

impl Mounts {
    fn open() -> Self {
        let watched = File::open("/proc/self/mountinfo").and_then(register);
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

#[expect(unsafe_code, reason = "tokio has no safe way to register a file of procfs")]
fn register(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is the file's own, open as long as the file is, and the `AsyncFd`
    // owns the file.
    Ok(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?)
}

/// Looks at the disk, never while something is being changed there.
#[derive(Debug)]
pub struct Scanner {
    storage: config::Storage,
    regions: Vec<RegionName>,
    serial: Mutex<u64>,
}

impl Scanner {
    /// A scanner of these regions.
    pub fn new(storage: config::Storage, regions: Vec<RegionName>) -> Self {
        Self { storage, regions, serial: Mutex::new(0) }
    }

    /// One look at everything.
    pub fn scan(&self) -> Disk {
        self.after(|| ()).1
    }

    /// Changes something, and looks before anybody else can: no look falls between the two
    /// halves of a change.
    pub fn after<T>(&self, change: impl FnOnce() -> T) -> (T, Disk) {
        // A panic under the lock leaves nothing half done that a look would not see.
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change();
        *serial += 1;
        (changed, self.look(*serial))
    }

    fn look(&self, serial: u64) -> Disk {
        let root = &self.storage.root;
        if !may_use(root, self.storage.require_mount) {
            return Disk { serial, ..Disk::default() };
        }
        let Room { capacity, free, read_only } = room(root).unwrap_or_default();
        let on_disk = |name: &RegionName| (name.clone(), region(&root.join(name.to_string())));
        Disk {
            serial,
            mounted: true,
            capacity,
            free,
            read_only,
            ledger: ledger::load(root).map_err(|why| why.to_string()),
            regions: self.regions.iter().map(on_disk).collect(),
        }
    }
}

fn region(dir: &Path) -> OnDisk {
    match fs::symlink_metadata(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return OnDisk::Absent,
        Err(why) => return OnDisk::Unreadable(why.to_string()),
        Ok(found) if !found.is_dir() => return OnDisk::Unreadable("it is not a directory".into()),
        Ok(_) => {}
    }
    match read_below(dir, "region.json", MOST_REGION_JSON) {
        Err(why) => OnDisk::Unreadable(format!("region.json: {why}")),
        Ok(text) => RegionJson::parse(&text).map_or_else(|why| OnDisk::Unreadable(why.to_string()), OnDisk::Present),
    }
}
