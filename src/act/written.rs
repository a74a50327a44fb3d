//! The highest generation that was ever written to a region: what its extents' trailers say. Asked
//! before each ticket, so what has not changed since is not read again.

use super::inspect;
use crate::files::open_below;
use crate::region::Geometry;
use crate::region::format::extent_path;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file that was changed less long ago may be changed again without its time telling.
const SETTLED: Duration = Duration::from_secs(2);

/// What a file was like when it was read: its inode, and when it was changed.
type Version = (u64, i64, i64);

/// What was read, by file.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<PathBuf, (Version, u64)>>);

impl Written {
    /// The highest generation in the trailers of a region's extents.
    ///
    /// # Errors
    /// The first extent that is not there or not whole, and why.
    pub fn highest(&self, dir: &Path, geometry: Geometry) -> Result<u64, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut highest = 0;
        for number in 0..geometry.extent_count {
            let path = dir.join(extent_path(number));
            let named = |why: &dyn std::fmt::Display| format!("extent {number} ({}): {why}", path.display());
            let found = fs::symlink_metadata(&path).map_err(|why| named(&why))?;
            let version = (found.ino(), found.mtime(), found.mtime_nsec());
            let old = known.get(&path).filter(|(at, _)| *at == version).map(|(_, generation)| *generation);
            let generation = match old {
                Some(generation) => generation,
                None => {
                    let file = open_below(dir, &extent_path(number)).map_err(|why| named(&why))?;
                    let read = inspect::trailer(&file, geometry.extent_file_bytes()).map_err(|why| named(&why))?;
                    let age = found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
                    if age.is_some_and(|age| age > SETTLED) {
                        known.insert(path, (version, read.generation));
                    }
                    read.generation
                }
            };
            highest = highest.max(generation);
        }
        Ok(highest)
    }
}
