//! Generations that were written to a region: the highest that its extents' trailers say. Asked before each ticket,
//! so what has not changed since is not read again.

use crate::files::open_below;
use crate::region::Geometry;
use crate::region::format::extent_path;
use crate::store::region_dir;
use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The age below which a file may be changed again without its time telling.
const CHANGE_SETTLES: Duration = Duration::from_secs(2);

/// The version of a file that was read: its inode, and when it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    seconds: i64,
    nanoseconds: u64,
}

/// The generations that were read of a region's extents, by their numbers.
type Known = Vec<Option<(Version, u64)>>;

/// The generations that were read, by region.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<PathBuf, Known>>);

impl Written {
    /// Find the highest generation in the trailers of a region's extents.
    ///
    /// # Errors
    /// The first extent that is not there or not whole, and why.
    pub fn highest(&self, dir: &Path, geometry: Geometry) -> Result<u64, String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(dir.to_owned()).or_default();
        known.resize(geometry.extent_count as usize, None);
        // The files are looked at by their names in a folder that is open: a host waits for this.
        let mut folder: Option<(String, OwnedFd)> = None;
        let mut highest = 0;
        for (number, known) in (0..).zip(known) {
            let path = extent_path(number);
            let named = |why: io::Error| format!("extent {number} ({}): {why}", dir.join(&path).display());
            let version = version(dir, &path, &mut folder).map_err(named)?;
            let generation = match *known {
                Some((at, generation)) if at == version => generation,
                _ => {
                    let file = open_below(dir, &path).map_err(named)?;
                    let read = region_dir::trailer(&file, geometry.extent_file_bytes()).map_err(named)?;
                    *known = version.is_settled().then_some((version, read.generation));
                    read.generation
                }
            };
            highest = highest.max(generation);
        }
        Ok(highest)
    }
}

impl Version {
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = u64::try_from(self.seconds).map(|seconds| Duration::new(seconds, self.nanoseconds as u32));
        changed.is_ok_and(|changed| now.checked_sub(changed).is_some_and(|age| age > CHANGE_SETTLES))
    }
}

/// Read the version of the file at a path below a region's directory. Of the folders that it lies in the last one
/// stays open.
fn version(dir: &Path, path: &str, folder: &mut Option<(String, OwnedFd)>) -> io::Result<Version> {
    let (parent, file) = path.rsplit_once('/').unwrap_or((".", path));
    let at = match folder.take() {
        Some((name, at)) if name == parent => at,
        _ => open(dir.join(parent), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
    };
    let found = statat(&at, file, AtFlags::SYMLINK_NOFOLLOW);
    *folder = Some((parent.to_owned(), at));
    let found = found?;
    Ok(Version { inode: found.st_ino, seconds: found.st_mtime, nanoseconds: found.st_mtime_nsec })
}
