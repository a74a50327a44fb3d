//! A disk that keeps a log: a FUSE file system with one file, `disk`, which records every write
//! and every flush in their order. ext4 lies on it by a loop device, which passes a flush of the
//! block layer on as fsync(2).

use crate::mounts::{Mounted, run};
use crate::replay::{BLOCK, Entry, Image, Log, Write};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, MountOption, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, Session, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

const FILE: &str = "disk";
const INODE: INodeNo = INodeNo(2);
/// How long the kernel may keep what it was told of the two inodes, which never change.
const FOREVER: Duration = Duration::from_secs(1 << 30);

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
        let Some(server) = self.server.take() else { return };
        // By force: whoever still has the file open gets errors, and the server its end.
        umount2(&self.dir, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
        if let Err(why) = server.join()
            && !thread::panicking()
        {
            resume_unwind(why);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves the disk until it is unmounted.
fn serve(disk: Disk, dir: &Path, up: &mpsc::Sender<io::Result<()>>) {
    let session = apart(|| {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("recorder".to_owned()), MountOption::NoAtime];
        Session::new(disk, dir, &config)
    });
    match session {
        Err(why) => _ = up.send(Err(why)),
        Ok(session) => {
            _ = up.send(Ok(()));
            match session.run() {
                // Its usual end, by force.
                Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
                ended => ended.unwrap(),
            }
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

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            INODE => (FileType::RegularFile, 0o600, self.size),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }
}

/// No more than a disk can do. Of what is missing, fallocate(2) is asked for by the loop device:
/// the block layer then writes the zeroes itself, and they are recorded.
impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(INODE) {
            Some(attributes) if parent == INodeNo::ROOT && name == FILE => {
                reply.entry(&FOREVER, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&FOREVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = u64::from(size).min(self.size.saturating_sub(offset));
        let recording = self.recording();
        let within = |block: u64| offset < (block + 1) * BLOCK as u64 && block * (BLOCK as u64) < offset + size;
        if recording.bad.is_some_and(within) {
            return reply.error(Errno::EIO);
        }
        reply.data(&recording.image.read(offset, size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset + data.len() as u64 > self.size {
            return reply.error(Errno::ENOSPC);
        }
        let mut recording = self.recording();
        for write in Write::split(offset, data) {
            recording.image.apply(&write);
            recording.entries.push(Entry::Write(write));
        }
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.recording().entries.push(Entry::Barrier);
        reply.ok();
    }
}
