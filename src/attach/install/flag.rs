//! The immutable flag of a directory, as chattr(1) sets it: nothing can be written into it, and something can be
//! mounted on it.

use super::facts::Flag;
use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Read the flag.
///
/// # Errors
/// If the directory cannot be opened.
pub(super) fn of(path: &Path) -> io::Result<Flag> {
    match ioctl_getflags(directory(path)?) {
        Ok(flags) if flags.contains(IFlags::IMMUTABLE) => Ok(Flag::Set),
        Ok(_) => Ok(Flag::Unset),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(Flag::Unknown),
        Err(why) => Err(why.into()),
    }
}

/// Set the flag, or take it away; return what it is then. Where it cannot be set, it is not: of a file system that
/// does not know it, and of a container, which may not.
///
/// # Errors
/// The error of the kernel.
pub(super) fn set(path: &Path, immutable: bool) -> io::Result<Flag> {
    let directory = directory(path)?;
    let Ok(mut flags) = ioctl_getflags(&directory) else { return Ok(Flag::Unknown) };
    flags.set(IFlags::IMMUTABLE, immutable);
    match ioctl_setflags(&directory, flags) {
        Ok(()) => of(path),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Ok(Flag::Unknown),
        Err(why) => Err(why.into()),
    }
}
