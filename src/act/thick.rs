//! Thick provisioning: every block of a region's extent files is taken when the region is
//! made, so that a disk that is too small shows then, and not when a host writes.

use crate::config::{Provisioning, Storage};
use crate::files::{Room, room};
use crate::region::Geometry;
use crate::region::format::extent_path;
use crate::size;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The most files and directories that a region has beside its extents', and what a repair and a change of the ledger
/// take.
const FILES_BESIDE_LIMIT: u64 = 64;

/// A region whose blocks were not reserved, and why.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The blocks do not fit; with the arithmetic.
    #[error("{0}")]
    NoRoom(String),
    /// The file system refused.
    #[error("its blocks cannot be reserved: {0}")]
    Io(#[from] io::Error),
}

/// Find that a region fits beside the reserve, and beside what a repair takes: that of this region, or of one that is
/// there already (`repair`, in bytes). A thin one takes nothing at first.
///
/// # Errors
/// [`ReserveError::NoRoom`] with the arithmetic, or the error of statvfs(3).
pub fn fits(storage: &Storage, geometry: Geometry, repair: u64) -> Result<(), ReserveError> {
    let Room { capacity, free, inodes, inodes_free, .. } = room(&storage.root)?;
    let files = u64::from(geometry.extent_count) + FILES_BESIDE_LIMIT;
    if inodes > 0 && inodes_free < files {
        let why = format!("it has {files} files, and there are {inodes_free} inodes left for any");
        return Err(ReserveError::NoRoom(why));
    }
    let repair = repair.max(geometry.extent_file_bytes());
    let (needs, keeps) = match storage.provisioning {
        Provisioning::Thick => (geometry.disk_bytes(), storage.reserve.of(capacity).max(repair)),
        Provisioning::Thin => (0, repair),
    };
    if needs.saturating_add(keeps) <= free {
        return Ok(());
    }
    Err(ReserveError::NoRoom(format!(
        "it does not fit: it takes {}, {} is free, and {} is kept in reserve ({}, and at least {} to repair a region)",
        size::spoken(needs),
        size::spoken(free),
        size::spoken(keeps),
        storage.reserve,
        size::spoken(repair)
    )))
}

/// Take every block of a region's extent files, without changing a byte or a length of them. `progress` hears how
/// many files are done.
///
/// # Errors
/// The file system refused, or did not do it although it said so.
pub fn reserve(dir: &Path, geometry: Geometry, progress: impl Fn(u64)) -> Result<(), ReserveError> {
    let length = geometry.extent_file_bytes();
    for number in 0..geometry.extent_count {
        progress(number.into());
        let file =
            File::options().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(dir.join(extent_path(number)))?;
        let most = length.try_into().map_err(io::Error::other)?;
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, most).map_err(io::Error::from)?;
        let found = file.metadata()?;
        if found.len() != length || found.blocks() * 512 < length {
            let what = format!("extent {number} has {} bytes and takes {} blocks", found.len(), found.blocks());
            return Err(io::Error::other(what).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_block_is_taken_and_no_byte_changed() {
        let dir = tempfile::tempdir().unwrap();
        let geometry = Geometry { block_size: 4096, extent_size: 64, extent_count: 2 };
        fs::create_dir_all(dir.path().join("00/000")).unwrap();
        for number in 0..2 {
            let file = File::create(dir.path().join(extent_path(number))).unwrap();
            file.set_len(geometry.extent_file_bytes()).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"kept", 4096).unwrap();
        }
        let before = fs::read(dir.path().join(extent_path(0))).unwrap();
        reserve(dir.path(), geometry, |_| ()).unwrap();
        assert_eq!(fs::read(dir.path().join(extent_path(0))).unwrap(), before);
        let taken = crate::store::region_dir::allocated(dir.path());
        assert!(taken >= geometry.disk_bytes(), "{taken}");
    }
}
