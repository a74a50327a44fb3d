//! Disk that a test holds: it is written to and read from, or not before it is let go. A machine's data disk lies on it by
//! a loop device. Keeps what was written to it for as long as it is.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use support::fuse_disk::{Content, Errno, FILE, FuseDisk, end, serve};
use tempfile::TempDir;

/// Does something in a mount namespace of its own: what is mounted there ends with it, however it ends.
pub fn in_private(what: impl FnOnce() + Send) {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        what();
    };
    let named = thread::Builder::new().name(thread::current().name().unwrap_or_default().to_owned());
    thread::scope(|scope| named.spawn_scoped(scope, inside).unwrap().join().unwrap_or_else(|why| resume_unwind(why)));
}

/// The disk. Ends when it is dropped; whatever lies on it must have ended before.
pub struct HeldDisk {
    dir: TempDir,
    gate: Arc<Gate>,
    server: Option<JoinHandle<()>>,
}

/// What is in the way of whoever asks the disk for something.
#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        drop(self.changed.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
    }

    fn set(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.changed.notify_all();
    }
}

/// The time for which the disk answers nobody. Ends when it is dropped: so it must be made after what is on the disk,
/// which else waits for ever when the test fails.
pub struct Held<'a>(&'a Gate);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl HeldDisk {
    /// Makes a disk of zeroes, within [`in_private`].
    pub fn new(size: u64) -> Self {
        let (dir, gate) = (tempfile::tempdir().unwrap(), Arc::<Gate>::default());
        // It has no name, and is gone with its last descriptor.
        let content = tempfile::tempfile_in("/var/tmp").unwrap();
        content.set_len(size).unwrap();
        let disk = Gated { content, gate: gate.clone() };
        let session = FuseDisk::mount(disk, size, dir.path(), "held").unwrap();
        Self { dir, gate, server: Some(thread::spawn(|| serve(session))) }
    }

    /// The file that is the disk.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }

    /// From now on it answers nobody.
    pub fn hold(&self) -> Held<'_> {
        self.gate.set(true);
        Held(&self.gate)
    }
}

impl Drop for HeldDisk {
    fn drop(&mut self) {
        self.gate.set(false);
        self.server.take().into_iter().for_each(|server| end(self.dir.path(), server));
    }
}

/// The disk as the thread sees it that serves it.
struct Gated {
    content: File,
    gate: Arc<Gate>,
}

impl Content for Gated {
    fn read(&self, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        self.gate.pass();
        let mut bytes = vec![0; size];
        self.content.read_exact_at(&mut bytes, offset).map(|()| bytes).map_err(|_| Errno::EIO)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.gate.pass();
        self.content.write_all_at(bytes, offset).map_err(|_| Errno::EIO)
    }

    fn flush(&self) {
        self.gate.pass();
    }
}
