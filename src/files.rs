//! The few things that the standard library lacks for files that must survive a power cut.

use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the names in a directory durable.
///
/// # Errors
/// What fsync(2) says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Capacity and free bytes of the file system at a path.
///
/// # Errors
/// What statvfs(3) says.
pub fn room(path: &Path) -> io::Result<(u64, u64)> {
    let stat = statvfs(path)?;
    Ok((stat.blocks() * stat.fragment_size(), stat.blocks_available() * stat.fragment_size()))
}
