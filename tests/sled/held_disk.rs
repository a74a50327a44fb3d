//! Disk that a test holds: a FUSE file system with one file, which is written to and read from, or not before it is let
//! go. A machine's data disk lies on it by a loop device. Keeps what was written to it for as long as it is.

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, MountOption, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, Session, WriteFlags,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

const FILE: &str = "disk";
const INODE: INodeNo = INodeNo(2);
/// How long the kernel may keep what it was told of the two inodes, which never change.
const FOREVER: Duration = Duration::from_secs(1 << 30);

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
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("held".to_owned()), MountOption::NoAtime];
        let disk = Disk { size, content, gate: gate.clone() };
        let session = Session::new(disk, dir.path(), &config).unwrap();
        let serve = || match session.run() {
            // Its usual end, by force.
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionAborted => {}
            ended => ended.unwrap(),
        };
        Self { dir, gate, server: Some(thread::spawn(serve)) }
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
        umount2(self.dir.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
        if let Some(Err(why)) = self.server.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            resume_unwind(why);
        }
    }
}

/// The disk as the thread sees it that serves it.
struct Disk {
    size: u64,
    content: File,
    gate: Arc<Gate>,
}

impl Disk {
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
            blksize: 4096,
            flags: 0,
        })
    }
}

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
        self.gate.pass();
        let mut bytes = vec![0; u64::from(size).min(self.size.saturating_sub(offset)) as usize];
        match self.content.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
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
        self.gate.pass();
        match self.content.write_all_at(data, offset) {
            Ok(()) => reply.written(data.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.gate.pass();
        reply.ok();
    }
}
