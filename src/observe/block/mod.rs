//! Block devices that carry the data disk: the errors that ext4 has on record, the requests that a disk fails, how long
//! one takes. Reads sysfs only, which does not wait for a disk that hangs.
//!
//! ext4 tells of an error through its attribute `errors_count` (since Linux 6.5); whoever is told looks at the data disk
//! as well, which may be read-only from then on. When there are other disks than before, they are asked for their health
//! at once.

mod history;

use crate::config::Configuration;
use crate::decide::facts::{Block, Drive, Facts, FsErrors};
use crate::kernel::attributes::{names, number, raw, text};
use crate::kernel::block::{Mount, identity, mount_at, name, stack};
use crate::observe::observer::{Begin, Ground, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, disk, publish, register, smart};
use futures_util::FutureExt;
use history::{Counters, History};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Time between looks when the kernel has told of no error.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// The places of what says that a timer is enabled (systemctl(1)): by the operator, and by the distribution.
const ENABLED: [&str; 2] = ["/etc/systemd/system/timers.target.wants", "/usr/lib/systemd/system/timers.target.wants"];
/// The timer of what tells disks what is freed (fstrim(8)).
const TRIM_TIMER: &str = "fstrim.timer";
/// The bytes of a sector, whatever the disk has: sysfs counts in these.
const SECTOR_BYTES: u64 = 512;

/// Observer of the block devices that carry the data disk.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "block";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| Some(Devices::new(ground).watch(to).boxed()));
    type Fact = Option<Block>;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.block = seen)
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        if by.old.sled.storage.root != by.new.sled.storage.root {
            facts.block = None;
        }
    }
}

/// The devices, and what is needed to watch them.
struct Devices {
    root: PathBuf,
    sysfs: PathBuf,
    rhythm: Rhythm,
    /// The bell by which the data disk is looked at.
    disk: Arc<Notify>,
    /// The bell by which the disks are asked for their health.
    health: Arc<Notify>,
    /// The time since which this one watches: by it the histories have their times.
    began: Instant,
}

impl Devices {
    fn new(ground: &Ground) -> Self {
        Self {
            root: ground.config.sled.storage.root.clone(),
            sysfs: ground.kernel.sysfs.clone(),
            rhythm: ground.rhythm.clone(),
            disk: ground.looks.heard_by::<disk::Watch>(),
            health: ground.looks.heard_by::<smart::Watch>(),
            began: Instant::now(),
        }
    }

    /// Watch until nobody listens any more.
    async fn watch(self, to: Publisher) -> Result<(), NobodyListens> {
        let (mut slow, mut known, mut histories) = (self.rhythm.in_turn(SLOW_LOOK, 2), None, BTreeMap::new());
        let mut errors = Errors::default();
        loop {
            // Cancel-safe: a beat or a readiness that is not taken stays.
            let told = tokio::select! {
                _ = slow.next() => false,
                () = errors.told() => true,
            };
            let (root, sysfs, at) = (self.root.clone(), self.sysfs.clone(), self.began.elapsed());
            let look = move || {
                let seen = look(&root, &sysfs, at, &mut histories);
                (seen, histories)
            };
            let seen;
            (seen, histories) = match tokio::task::spawn_blocking(look).await {
                Ok(looked) => looked,
                Err(why) => {
                    tracing::error!("the look at the block devices ended early: {why}");
                    (None, BTreeMap::new())
                }
            };
            errors.of(record(&self.sysfs, seen.as_ref()));
            if known.as_ref() != Some(&seen) {
                if known.as_ref().is_some_and(|known| are_others(known.as_ref(), seen.as_ref())) {
                    self.health.notify_one();
                }
                known = Some(seen.clone());
                publish::<Watch>(&to, seen).await?;
            }
            // What is known of the error is there when the disk is found to be read-only.
            if told {
                self.disk.notify_one();
            }
        }
    }
}

/// Tell whether there are other disks than before.
fn are_others(before: Option<&Block>, now: Option<&Block>) -> bool {
    let disks = |block: Option<&Block>| -> Vec<_> {
        let disks = block.into_iter().flat_map(|block| &block.disks);
        disks.map(|disk| (disk.name.clone(), disk.identity.clone())).collect()
    };
    disks(before) != disks(now)
}

/// The directory of the file system's record of errors.
fn record(sysfs: &Path, seen: Option<&Block>) -> Option<PathBuf> {
    let seen = seen.filter(|seen| seen.errors.is_some())?;
    Some(sysfs.join("fs").join(&seen.kind).join(seen.device.as_ref()?))
}

/// The histories of disks, by name and identity.
type Histories = BTreeMap<(String, Option<String>), History>;

fn look(root: &Path, sysfs: &Path, at: Duration, histories: &mut Histories) -> Option<Block> {
    let Mount { number, kind, discard, .. } = mount_at(root)?;
    let stack = stack(sysfs, &number);
    let device = stack.as_ref().map(|stack| stack.device.clone());
    let errors = device.as_ref().and_then(|device| fs_errors(&sysfs.join("fs").join(&kind).join(device)));
    let dirs = stack.map(|stack| stack.disks).unwrap_or_default();
    let disks: Vec<_> = dirs.iter().filter_map(|dir| drive(dir, at, histories)).collect();
    histories.retain(|(name, identity), _| disks.iter().any(|disk| (&disk.name, &disk.identity) == (name, identity)));
    let trimmed = ENABLED.iter().any(|dir| Path::new(dir).join(TRIM_TIMER).is_symlink());
    Some(Block { kind, device, discard, trimmed, errors, disks })
}

/// Read the record of errors that ext4 keeps.
fn fs_errors(dir: &Path) -> Option<FsErrors> {
    let time = |name: &str| number(&dir.join(name)).filter(|at| *at > 0).and_then(|at| Timestamp::from_second(at).ok());
    Some(FsErrors {
        count: number(&dir.join("errors_count"))?,
        first: time("first_error_time"),
        last: time("last_error_time"),
        function: text(&dir.join("last_error_func")),
        block: number(&dir.join("last_error_block")).filter(|block| *block > 0),
    })
}

fn drive(dir: &Path, at: Duration, histories: &mut Histories) -> Option<Drive> {
    let (name, identity) = (name(dir)?, identity(dir));
    let rotational = number(&dir.join("queue/rotational")) == Some(1);
    let counters = raw(&dir.join("stat")).and_then(|text| Counters::parse(&text));
    let history = histories.entry((name.clone(), identity.clone())).or_default();
    let failed = failures(dir);
    history.note(at, counters, failed);
    Some(Drive {
        bytes: number::<u64>(&dir.join("size")).unwrap_or_default() * SECTOR_BYTES,
        model: text(&dir.join("device/model")),
        discards: number::<u64>(&dir.join("queue/discard_max_bytes")).unwrap_or_default() > 0,
        failed: failed.map(|_| history.failed()),
        slow: history.slow(rotational, at),
        rotational,
        hangs_on: hangs_on(dir),
        name,
        identity,
    })
}

/// Name the port of SATA or the controller of NVMe that a disk hangs on: it is above the disk, or, where several lead to
/// one, beside it.
fn hangs_on(dir: &Path) -> Vec<String> {
    let of = |name: &str, word: &str| name.strip_prefix(word).is_some_and(|number| number.parse::<u32>().is_ok());
    let above = dir.components().filter_map(|part| part.as_os_str().to_str()).map(str::to_owned);
    let beside = names(&dir.join("device"));
    above.chain(beside).filter(|name| of(name, "ata") || of(name, "nvme")).collect()
}

/// Count the requests that a SCSI disk has failed since it was plugged in: SATA and USB are such.
fn failures(dir: &Path) -> Option<u64> {
    let count = text(&dir.join("device/ioerr_cnt"))?;
    u64::from_str_radix(count.trim_start_matches("0x"), 16).ok()
}

/// The kernel's word that a file system has met an error. Without it (before Linux 6.5) the slow look is all there is.
#[derive(Default)]
struct Errors {
    dir: Option<PathBuf>,
    file: Option<AsyncFd<File>>,
}

impl Errors {
    /// Hear of errors on this record from now on.
    fn of(&mut self, dir: Option<PathBuf>) {
        if self.dir != dir {
            let open = |dir: &PathBuf| register(File::open(dir.join("errors_count"))?, Interest::PRIORITY);
            self.file = dir.as_ref().and_then(|dir| open(dir).ok());
            self.dir = dir;
            self.read();
        }
    }

    /// The kernel tells of a change after the last time that the attribute was read.
    fn read(&self) {
        if let Some(file) = &self.file {
            let mut file = file.get_ref();
            _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read(&mut [0; 32]));
        }
    }

    /// Return when an error was met. Cancel-safe: what is told and not taken stays.
    async fn told(&self) {
        let Some(file) = &self.file else { return std::future::pending().await };
        match file.ready(Interest::PRIORITY).await {
            Ok(mut ready) => {
                ready.clear_ready();
                self.read();
            }
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
