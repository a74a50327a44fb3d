//! Mounts that end with the test, however it ends: in a mount namespace of its thread's own,
//! below a directory in memory.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount as mount_it, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Cargo's directory for what these tests write, so that a killed one leaves no new one behind.
const PLACE: &str = env!("CARGO_TARGET_TMPDIR");

/// How long a mount may stay in use when it should end.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);

/// Does something in a mount namespace of its own, with an empty directory in memory for all
/// that it mounts and writes. Threads and processes that are started there are in it too.
pub fn in_private<T: Send>(what: impl FnOnce(&Path) -> T + Send) -> T {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_it(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        fs::create_dir_all(PLACE).unwrap();
        mount_it(Some("tmpfs"), PLACE, Some("tmpfs"), MsFlags::empty(), Some("mode=0700")).unwrap();
        what(Path::new(PLACE))
    };
    let named = thread::Builder::new().name(thread::current().name().unwrap_or_default().to_owned());
    thread::scope(|scope| named.spawn_scoped(scope, inside).unwrap().join().unwrap_or_else(|why| resume_unwind(why)))
}

/// An ext4 file system in a file, mounted until this is dropped.
pub struct Mounted<'a> {
    dir: PathBuf,
    // Held, because an image that goes away under its mount is no power cut.
    _image: &'a Path,
}

impl<'a> Mounted<'a> {
    /// Mounts the file system in `image` on `dir`. The loop device goes away with the mount.
    ///
    /// # Errors
    /// What mount(8) says.
    pub fn new(image: &'a Path, dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).unwrap();
        let options = ["--no-mtab", "--types", "ext4", "--options", "loop,noinit_itable"];
        run(Command::new("mount").args(options).arg(image).arg(dir))?;
        Ok(Self { dir: dir.to_owned(), _image: image })
    }

    /// From now on every step is committed by itself, as any may be: what several of them do is
    /// found half done. That it is durable, too, hides a sync that is missing.
    pub fn commit_each_step(&self) {
        let each = MsFlags::MS_REMOUNT | MsFlags::MS_SYNCHRONOUS;
        mount_it(None::<&str>, &self.dir, None::<&str>, each, None::<&str>).unwrap();
    }

    /// The directory at which it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Any process that another test starts has a copy of all that is open, until it is
        // another program.
        let began = Instant::now();
        while began.elapsed() < UNMOUNT_LIMIT {
            match umount2(&self.dir, MntFlags::empty()) {
                Err(Errno::EBUSY) => thread::sleep(Duration::from_millis(1)),
                other => return other.unwrap(),
            }
        }
        // So somebody has a file open, and the mount ends when it is closed.
        umount2(&self.dir, MntFlags::MNT_DETACH).unwrap();
        assert!(thread::panicking(), "{} is still in use", self.dir.display());
    }
}

/// Runs a command that prints nothing unless it fails.
///
/// # Errors
/// What it printed.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}
