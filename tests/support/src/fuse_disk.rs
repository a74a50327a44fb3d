//! Disk that a test answers for: a FUSE file system with one file, from which a loop device makes a disk. Whatever is asked
//! of the disk is asked of its [`Content`]. It does no more than a disk can: of what is missing, fallocate(2) is asked for by
//! the loop device, and the block layer then writes the zeroes itself.

use fuser::{
    Config, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, MountOption, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, Session, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use std::ffi::OsStr;
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

pub use fuser::Errno;

/// The name of the file that is the disk.
pub const FILE: &str = "disk";
const INODE: INodeNo = INodeNo(2);
/// How long the kernel may keep what it was told of the two inodes, which never change.
const FOREVER: Duration = Duration::from_secs(1 << 30);
/// Bytes of a block, in which the kernel asks.
const BLOCK: u32 = 4096;

/// What is on a disk, and what becomes of what is written to it.
pub trait Content: Send + Sync + 'static {
    /// Reads bytes that lie within the disk.
    fn read(&self, offset: u64, size: usize) -> Result<Vec<u8>, Errno>;
    /// Writes bytes, which may lie beyond its end.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;
    /// Passes a flush of the block layer on.
    fn flush(&self);
}

/// The disk as the thread sees it that serves it.
pub struct FuseDisk<C> {
    size: u64,
    content: C,
}

impl<C: Content> FuseDisk<C> {
    /// Mounts a disk of so many bytes at a directory, under a name that `mount` shows.
    pub fn mount(content: C, size: u64, dir: &Path, name: &str) -> io::Result<Session<Self>> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(name.to_owned()), MountOption::NoAtime];
        Session::new(Self { size, content }, dir, &config)
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
            blksize: BLOCK,
            flags: 0,
        })
    }
}

/// Serves a disk until it is unmounted.
pub fn serve<C: Content>(session: Session<FuseDisk<C>>) {
    match session.run() {
        // Its usual end, by force.
        Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
        ended => ended.unwrap(),
    }
}

/// Ends a disk by force: whoever still has the file open gets errors, and the server its end.
pub fn end(dir: &Path, server: JoinHandle<()>) {
    umount2(dir, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
    if let Err(why) = server.join()
        && !thread::panicking()
    {
        resume_unwind(why);
    }
}

impl<C: Content> Filesystem for FuseDisk<C> {
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
        match self.content.read(offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(why) => reply.error(why),
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
        match self.content.write(offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(why) => reply.error(why),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.content.flush();
        reply.ok();
    }
}
