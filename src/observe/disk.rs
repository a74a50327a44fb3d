//! The data disk: whether it is mounted, how full it is, and what lies in the regions'
//! directories. Reads only, but for a time that it sets now and then: a journal that was given up is not told by anything that
//! can be read.
//!
//! The kernel tells of every mount and unmount through `/proc/self/mountinfo`; whoever
//! changes something on the disk asks for a look.

use crate::config::Configuration;
use crate::decide::facts::{Disk, Facts, OnDisk};
use crate::decide::storage::shortages;
use crate::files::{Room, room};
use crate::kernel::block::mount_at;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::{Beats, ROUND, Rhythm};
use crate::observe::scanner::Scanner;
use crate::observe::{NobodyListens, Observation, Publisher, publish, register};
use futures_util::FutureExt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Time between looks when nobody knows of a reason.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// Time between tries whether what is written is taken: a journal that was given up is told by nothing else, and nobody may
/// write for long.
const TRY: Duration = Duration::from_mins(1);
/// Time between looks whether there is room, while there is too little. Nothing tells of it.
const ROOM_LOOK: Duration = Duration::from_millis(500);

/// The data disk and what lies on it.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "disk";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = Some("data disk");
    const BEFORE_A_START: bool = true;
    const BEGIN: Begin = Begin::Once(|ground, to| {
        let look = ground.looks.heard_by::<Self>();
        Some(watch(ground.scanner.clone(), ground.rhythm.clone(), look, to).boxed())
    });
    type Fact = Disk;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::Disk(Box::new(seen))
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        facts.disk.is_some()
    }

    fn forget(_: &TakenOver, _: &mut Facts) {
        // A look for the other regions is asked for, and until it has ended this is how they are known.
    }
}

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
    let (mut slow, mut soon) = (rhythm.in_turn(SLOW_LOOK, 1), rhythm.every(ROUND));
    let mut tries = Tries::new(rhythm.in_turn(TRY, 1));
    let (mut wrong, mut short) = (false, None);
    loop {
        // Cancel-safe: a beat, a permit or a readiness that is not taken stays.
        tokio::select! {
            _ = slow.next() => {}
            // Somebody may be putting it right, and nothing tells of that.
            _ = soon.next(), if wrong => {}
            () = look.notified() => {}
            () = mounts.changed() => {}
            () = relieved(&scanner, short.as_ref()) => {}
            () = tries.otherwise(&scanner) => {}
        }
        tries.see(mount_at(&scanner.config().sled.storage.root).map(|mount| mount.line));
        if let Some(seen) = scanner.look().await {
            wrong = is_wrong(&seen);
            short = shortages(&seen).contains(&true).then(|| seen.clone());
            publish::<Watch>(&to, seen).await?;
        }
        soon.skip_past();
    }
}

/// Tell whether something is there that cannot be used as it is.
fn is_wrong(disk: &Disk) -> bool {
    let unreadable = disk.regions.values().any(|found| matches!(found, OnDisk::Unreadable(_)));
    // Nobody tells of a directory that is put where a region is missed.
    let missed = disk.regions.values().any(|found| *found == OnDisk::Absent);
    unreadable || missed || disk.surveys.values().any(|survey| survey.fault.is_some()) || disk.ledger.is_err()
}

/// Waits until something is not short any more that was, or something else is; for ever if nothing was.
/// Cancel-safe: nothing is taken.
async fn relieved(scanner: &Scanner, before: Option<&Disk>) {
    let Some(before) = before else { return std::future::pending().await };
    let was = shortages(before);
    loop {
        tokio::time::sleep(ROOM_LOOK).await;
        let root = scanner.config().sled.storage.root.clone();
        let now = scanner.change(move || room(&root)).await;
        if let Ok(Ok(Room { free, inodes_free, .. })) = now
            && shortages(&Disk { free, inodes_free, ..before.clone() }) != was
        {
            return;
        }
    }
}

/// Tries of whether the disk takes what is written.
struct Tries {
    beat: Beats,
    /// One that has not ended: there is never another one beside it.
    begun: Option<JoinHandle<io::Result<()>>>,
    /// What is mounted there, in the kernel's words.
    mounted: Option<String>,
    /// The next one waits for no beat.
    due: bool,
}

impl Tries {
    fn new(beat: Beats) -> Self {
        Self { beat, begun: None, mounted: None, due: false }
    }

    /// Takes note of what is mounted. A disk that was mounted anew, or otherwise, may take what it refused: somebody has mended
    /// it, and is not to wait for the next try. What is mounted elsewhere is nothing to it.
    fn see(&mut self, mounted: Option<String>) {
        self.due |= self.mounted != mounted;
        self.mounted = mounted;
    }

    /// Waits until the disk refuses what it took, or takes what it refused. Cancel-safe: a try that was begun stays.
    async fn otherwise(&mut self, scanner: &Scanner) {
        loop {
            if let Some(begun) = &mut self.begun {
                let ended = begun.await;
                self.begun = None;
                // What was mounted before says nothing of what is there now.
                if !self.due && ended.is_ok_and(|outcome| scanner.tried(&outcome)) {
                    return;
                }
            }
            if !std::mem::take(&mut self.due) {
                self.beat.next().await;
            }
            self.begun = scanner.try_to_write();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shipped;
    use crate::store::mark;
    use nix::libc::EROFS;

    const OWN: &str = "3 1 8:17 / /crucible rw,noatime shared:4 - ext4 /dev/sdb1 rw";

    #[tokio::test]
    async fn a_disk_that_was_mounted_anew_is_tried_at_once_and_not_because_of_another() {
        let root = tempfile::tempdir().unwrap();
        let config = shipped(&format!("[storage]\nroot = \"{}\"\nrequire_mount = false\n", root.path().display()));
        mark::put(root.path(), &config.sled.name, &std::collections::BTreeSet::new()).unwrap();
        let scanner = Arc::new(Scanner::new(Arc::new(config)));
        // Nobody beats this drum: only the first beat comes, at once.
        let (rhythm, _drum) = Rhythm::new(ROUND);
        let mut tries = Tries::new(rhythm.every(TRY));
        tries.beat.next().await;
        tries.see(Some(OWN.into()));
        tries.due = false;
        assert!(scanner.tried(&Err(io::Error::from_raw_os_error(EROFS))));
        assert!(scanner.look().await.unwrap().read_only);
        assert!(tries.otherwise(&scanner).now_or_never().is_none(), "it is not due");
        // Something was mounted elsewhere.
        tries.see(Some(OWN.into()));
        assert!(tries.otherwise(&scanner).now_or_never().is_none(), "it is due for nothing");
        for mended in [OWN.replacen('3', "5", 1), OWN.replace("noatime", "relatime")] {
            tries.see(Some(mended));
            tries.otherwise(&scanner).await;
            assert!(!scanner.look().await.unwrap().read_only, "it takes what is written");
            assert!(scanner.tried(&Err(io::Error::from_raw_os_error(EROFS))));
        }
        // A try of the one before ends late.
        assert!(scanner.tried(&Ok(())));
        tries.begun = Some(tokio::task::spawn_blocking(|| Err(io::Error::from_raw_os_error(EROFS))));
        tries.see(None);
        while tries.due || tries.begun.is_some() {
            assert!(tries.otherwise(&scanner).now_or_never().is_none(), "it is believed of another disk");
            tokio::task::yield_now().await;
        }
        assert!(!scanner.look().await.unwrap().read_only);
    }
}
