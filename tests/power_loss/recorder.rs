//! Disk that keeps a log: it records every write and every flush in their order. ext4 lies on it by a loop device, which
//! passes a flush of the block layer on as fsync(2).

use crate::mounts::{Mounted, run};
use crate::replay::{BLOCK, Entry, Image, Log, Write};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use support::fuse_disk::{self, Content, Errno, FILE, FuseDisk};

/// The recording disk. Ends when it is dropped; nothing may be mounted on it then.
pub struct Recorder {
    dir: PathBuf,
    file: PathBuf,
    disk: Disk,
    server: Option<JoinHandle<()>>,
}

/// The disk as the thread sees it that serves it.
#[derive(Clone)]
struct Disk {
    size: u64,
    recording: Arc<Mutex<Recording>>,
}

#[derive(Default)]
struct Recording {
    image: Image,
    entries: Vec<Entry>,
    /// The block that cannot be read any more.
    bad: Option<u64>,
}

impl Recorder {
    /// Starts to record a disk of zeroes; `place` is a directory of [`crate::mounts::in_private`].
    pub fn start(place: &Path, size: u64) -> Self {
        let dir = place.join("recorder");
        fs::create_dir(&dir).unwrap();
        let disk = Disk { size, recording: Arc::default() };
        let (up, is_up) = mpsc::channel();
        let (to_serve, at) = (disk.clone(), dir.clone());
        let server = thread::spawn(move || serve(to_serve, &at, &up));
        is_up.recv().unwrap().unwrap();
        Self { file: dir.join(FILE), dir, disk, server: Some(server) }
    }

    /// The file that is the disk.
    pub fn device_file(&self) -> &Path {
        &self.file
    }

    /// Makes an ext4 file system on the disk and mounts it: as Debian would, but with little
    /// room for inodes and journal, and with nothing left for the kernel to do in its idle time.
    pub fn mount(&self, dir: &Path) -> Mounted<'_> {
        let block = BLOCK.to_string();
        let few = ["-q", "-b", &block, "-N", "256", "-m", "0", "-J", "size=4"];
        let now = ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
        run(Command::new("mkfs.ext4").args(few).args(now).arg(self.device_file())).unwrap();
        Mounted::new(self.device_file(), dir).unwrap()
    }

    /// The position in the log: what was written before it, the disk had been given by now.
    pub fn mark(&self) -> usize {
        self.disk.recording().entries.len()
    }

    /// From now on the only block of the disk that has these bytes cannot be read.
    pub fn spoil(&self, bytes: &[u8; BLOCK]) {
        let mut recording = self.disk.recording();
        let blocks: Vec<_> = (0..self.disk.size / BLOCK as u64)
            .filter(|block| recording.image.read(block * BLOCK as u64, BLOCK) == bytes)
            .collect();
        assert_eq!(blocks.len(), 1, "{blocks:?}");
        recording.bad = blocks.first().copied();
    }

    /// Ends the disk and returns its log.
    pub fn finish(mut self) -> Log {
        self.end();
        Log::new(self.disk.size, std::mem::take(&mut self.disk.recording().entries))
    }

    fn end(&mut self) {
        self.server.take().into_iter().for_each(|server| fuse_disk::end(&self.dir, server));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves the disk until it is unmounted.
fn serve(disk: Disk, dir: &Path, up: &mpsc::Sender<io::Result<()>>) {
    let size = disk.size;
    match apart(|| FuseDisk::mount(disk, size, dir, "recorder")) {
        Err(why) => _ = up.send(Err(why)),
        Ok(session) => {
            _ = up.send(Ok(()));
            fuse_disk::serve(session);
        }
    }
}

/// Mounts, and sees to it that nothing waits for ever if the test is killed: then others of its
/// threads may sit in an fsync(2) that cannot be interrupted, until the kernel ends it with an
/// error because the connection was closed.
///
/// So the connection is in this thread's table of open files alone, which is closed when this
/// thread dies. And this thread leaves the mount namespace, lest it is the last one there and
/// dies of unmounting what lies on its own disk, before anything is closed.
fn apart<T>(mount: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    unshare(CloneFlags::CLONE_FILES | CloneFlags::CLONE_FS)?;
    close_all()?;
    let mounted = mount()?;
    // The process's first thread is in the namespace that all came from.
    setns(File::open("/proc/self/ns/mnt")?, CloneFlags::CLONE_NEWNS)?;
    Ok(mounted)
}

/// Closes this thread's copies of all that is open in the process: they would keep open what
/// the others close.
fn close_all() -> io::Result<()> {
    let open = fs::read_dir("/proc/thread-self/fd")?.flatten();
    let open: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for file in open.into_iter().filter(|file| *file > 2) {
        // The directory that was just read is among them, and closed already.
        _ = nix::unistd::close(file);
    }
    Ok(())
}

impl Disk {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap()
    }
}

impl Content for Disk {
    fn read(&self, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let recording = self.recording();
        let end = offset + size as u64;
        let within = |block: u64| offset < (block + 1) * BLOCK as u64 && block * (BLOCK as u64) < end;
        if recording.bad.is_some_and(within) { Err(Errno::EIO) } else { Ok(recording.image.read(offset, size)) }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        if offset + bytes.len() as u64 > self.size {
            return Err(Errno::ENOSPC);
        }
        let mut recording = self.recording();
        for write in Write::split(offset, bytes) {
            recording.image.apply(&write);
            recording.entries.push(Entry::Write(write));
        }
        Ok(())
    }

    fn flush(&self) {
        self.recording().entries.push(Entry::Barrier);
    }
}
