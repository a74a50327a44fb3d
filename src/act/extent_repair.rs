//! Repair of one extent of a region from a sibling on this sled: the sibling's file is copied aside, held to its hashes, and
//! put in the place of the rotten one by one rename, which is kept. What cannot be told to be the same state is never
//! taken, and nothing is ever changed in a file that a downstairs may have open.
//!
//! A sibling's extent whose trailer was the same, and clean, before and after it was copied is the true state of that flush,
//! even of one that is being served; and of the same generation and flush, replicas are the same byte by byte.

use crate::config::{Configuration, Provisioning};
use crate::files::{make_dir, open_below, sync_dir};
use crate::lived::Moment;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::extent::Layout;
use crate::region::format::{Trailer, extent_path};
use crate::store::extent_scrub::scrub;
use crate::store::region_dir;
use nix::fcntl::{FallocateFlags, fallocate};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, SeekFrom, Uid, fchmod, fchown, linkat, openat, renameat, seek};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Word in the name of a directory of replaced extents.
const KEPT: &str = "extents";
/// Bytes that are copied at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Flags with which a directory is opened: a link in its place is an error.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Reason why a sibling's extent does not fit, in words that follow the sibling's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The region's own extent does not tell its state.
    #[error("cannot be compared: the extent itself cannot be read: {0}")]
    Unknown(String),
    /// The region's own extent was written since its last flush.
    #[error("cannot be compared: the extent was written since it was last flushed")]
    Unflushed,
    /// The sibling's cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The sibling's was written since its last flush.
    #[error("was written since it was last flushed")]
    Dirty,
    /// The sibling's is of another flush.
    #[error("is of generation {0} and flush {1}, and the extent is of {2} and {3}")]
    OtherFlush(u64, u64, u64, u64),
    /// The sibling's was flushed while it was copied.
    #[error("was written while it was copied")]
    Moving,
    /// The sibling's is not whole either.
    #[error("is rotten as well: {0} of its blocks")]
    Rotten(usize),
    /// The copy could not be made.
    #[error("could not be copied: {0}")]
    NotCopied(String),
}

/// Compare the state of a region's extent with that of its sibling's.
///
/// # Errors
/// They are not known to be the same.
pub fn fits(ours: Trailer, theirs: Trailer) -> Result<(), Unfit> {
    if theirs.dirty {
        Err(Unfit::Dirty)
    } else if ours.dirty {
        Err(Unfit::Unflushed)
    } else if (ours.generation, ours.flush) != (theirs.generation, theirs.flush) {
        Err(Unfit::OtherFlush(theirs.generation, theirs.flush, ours.generation, ours.flush))
    } else {
        Ok(())
    }
}

/// Copy of a sibling's extent, aside: whole, on disk, and of this state. Removed unless it was put in place.
#[derive(Debug)]
pub struct Patch {
    /// Number of the extent.
    pub number: u32,
    /// Sibling that it was copied from.
    pub source: RegionName,
    /// State of which it is.
    trailer: Trailer,
    path: PathBuf,
}

impl Drop for Patch {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{} is left over from a repair: {why}", self.path.display());
            }
            _ => {}
        }
    }
}

impl Patch {
    /// Make a copy of a sibling's extent in the directory `aside`, if that has the state that the region's own extent has,
    /// and all its hashes are right. `pace` hears of the bytes that are read, and ends it by an error.
    ///
    /// # Errors
    /// Why the sibling's does not fit; nothing is left aside.
    pub fn copy(
        config: &Configuration,
        region: &LocalRegion,
        number: u32,
        source: &RegionName,
        aside: &Path,
        mut pace: impl FnMut(u64) -> io::Result<()>,
    ) -> Result<Self, Unfit> {
        let (file, length) = (extent_path(number), region.geometry.extent_file_bytes());
        let trailer = |of: &RegionName| {
            let open = open_below(&config.region_dir(of), &file)?;
            region_dir::trailer(&open, length).map(|trailer| (open, trailer))
        };
        let (ours, state) = trailer(&region.name).map_err(|why| Unfit::Unknown(why.to_string()))?;
        let (theirs, before) = trailer(source).map_err(|why| Unfit::Unreadable(why.to_string()))?;
        fits(state, before)?;
        let copied = |why: io::Error| Unfit::NotCopied(why.to_string());
        let path = aside.join(number.to_string());
        let copy = File::options().read(true).write(true).create_new(true).open(&path).map_err(copied)?;
        let patch = Self { number, source: source.clone(), trailer: before, path };
        if config.sled.storage.provisioning == Provisioning::Thick {
            let most = length.try_into().map_err(|why| copied(io::Error::other(why)))?;
            fallocate(&copy, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, most).map_err(|why| copied(why.into()))?;
        }
        copy_sparse(&theirs, &copy, length, &mut pace).map_err(copied)?;
        // It may have been replaced meanwhile: that is no other state if it has the same trailer.
        let (_, after) = trailer(source).map_err(|why| Unfit::Unreadable(why.to_string()))?;
        if before != after || region_dir::trailer(&theirs, length).ok() != Some(before) {
            return Err(Unfit::Moving);
        }
        let found = scrub(&copy, Layout::of(region.geometry), &mut pace).map_err(copied)?;
        if !found.findings.is_empty() || found.restless > 0 {
            return Err(Unfit::Rotten(found.findings.len()));
        }
        as_it_was(&ours, &copy).and_then(|()| copy.sync_all()).map_err(copied)?;
        sync_dir(aside).map_err(copied)?;
        Ok(patch)
    }

    /// Put it in the place of the region's extent, which is kept in the directory `kept`. Nothing may run on the region.
    /// After a crash either the one or the other is in place, whole.
    ///
    /// # Errors
    /// The extent has another state by now, or the file system refused; then the old one is in place.
    pub fn put_in_place(self, region_dir: &Path, length: u64, kept: &Path) -> io::Result<()> {
        let file = extent_path(self.number);
        let now = region_dir::trailer(&open_below(region_dir, &file)?, length)?;
        if fits(now, self.trailer).is_err() {
            let what = format!("extent {} was written since it was compared with {}", self.number, self.source);
            return Err(io::Error::other(what));
        }
        let (parents, name) = file.rsplit_once('/').unwrap_or(("", &file));
        let parent = directory(region_dir, parents)?;
        let old = kept.join(self.number.to_string());
        linkat(&parent, name, CWD, &old, AtFlags::empty())?;
        sync_dir(kept)?;
        renameat(CWD, &self.path, &parent, name)?;
        rustix::fs::fsync(&parent)?;
        Ok(())
    }
}

/// Open a directory below another one, without following a link.
fn directory(dir: &Path, parts: &str) -> io::Result<OwnedFd> {
    let top = openat(CWD, dir, DIRECTORY, Mode::empty())?;
    let mut steps = parts.split('/').filter(|part| !part.is_empty());
    steps.try_fold(top, |at, part| Ok(openat(&at, part, DIRECTORY, Mode::empty())?))
}

/// Give a copy the owner and the mode of a file.
fn as_it_was(file: &File, copy: &File) -> io::Result<()> {
    let found = file.metadata()?;
    fchown(copy, Some(Uid::from_raw(found.uid())), Some(Gid::from_raw(found.gid())))?;
    Ok(fchmod(copy, Mode::from_raw_mode(found.mode() & 0o7777))?)
}

/// Copy what is not a hole.
fn copy_sparse(from: &File, to: &File, length: u64, pace: &mut impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    to.set_len(length)?;
    let (mut at, mut buffer) = (0, Vec::new());
    while let Some(data) = data_from(from, at, length)? {
        let end = length.min(seek(from, SeekFrom::Hole(data))?.max(data + 1));
        at = data;
        while at < end {
            let bytes = PIECE_BYTES.min(end - at);
            pace(bytes)?;
            buffer.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
            from.read_exact_at(&mut buffer, at)?;
            to.write_all_at(&buffer, at)?;
            at += bytes;
        }
    }
    Ok(())
}

/// Find where data begins, from `at` on; `None` if nothing but a hole follows.
fn data_from(file: &File, at: u64, length: u64) -> io::Result<Option<u64>> {
    if at >= length {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(at)) {
        Ok(found) => Ok(Some(found).filter(|found| *found < length)),
        Err(Errno::NXIO) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// Name of the directory in the trash in which a region's replaced extents are kept from this moment on: none that a deleted
/// region's could have.
pub fn kept_name(region: &RegionName, moment: Moment) -> String {
    format!("{region}.{KEPT}.{}.{}", moment.clock.simple(), moment.ms)
}

/// The moment from which on a directory of replaced extents is kept; `None` for what is none.
fn kept_from(name: &str) -> Option<Moment> {
    let mut parts = name.rsplitn(4, '.');
    let (ms, clock, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let of = parts.next()?.parse::<RegionName>().ok();
    of.filter(|_| kind == KEPT)?;
    Some(Moment { clock: clock.parse().ok()?, ms: ms.parse().ok()? })
}

/// Make the directory in which replaced extents are kept; `trash` is made if it is not there.
///
/// # Errors
/// The file system refused, or there is one of this name.
pub fn make_kept(trash: &Path, name: &str) -> io::Result<PathBuf> {
    make_dir(trash, 0o700)?;
    let kept = trash.join(name);
    fs::create_dir(&kept)?;
    sync_dir(trash)?;
    Ok(kept)
}

/// Remove what was replaced and has been kept for so long, by the time that the sled has lived. What was kept by a clock of
/// which nothing is known any more stays. Return the names of what is gone.
///
/// # Errors
/// The file system refused.
pub fn sweep(trash: &Path, now: Moment, keep: Duration) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(trash) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut gone = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kept = kept_from(&name).and_then(|from| now.since(from));
        if entry.file_type()?.is_dir() && kept.is_some_and(|kept| kept > keep) {
            fs::remove_dir_all(entry.path())?;
            gone.push(name);
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
