//! Mark of the data disk, and the machine's memory of it: which disk is this sled's.

use crate::config::Storage;
use crate::files::{make_dir, may_use, replace};
use crate::names::{RegionName, SledName};
use crate::region::Mark;
use crate::store::layout::DIR;
use crate::store::ledger;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The file, below [`DIR`] on the disk and in the machine's memory.
const FILE: &str = "disk.json";
/// The directory of the machine's memory, unless systemd says otherwise (`StateDirectory=`).
const MEMORY: &str = "/var/lib/sled";
/// The mode of that directory, as in the unit (`StateDirectoryMode=`): the service user must reach staged programs.
pub const MEMORY_MODE: u32 = 0o711;

/// The directory in which the machine remembers its disk.
pub fn memory() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| MEMORY.into(), PathBuf::from)
}

/// Read the mark of the disk at a storage root; `None` if it has none.
///
/// # Errors
/// Why the mark cannot be read.
pub fn read(root: &Path) -> Result<Option<Mark>, String> {
    parse(&root.join(DIR).join(FILE))
}

/// Tell whether the file system at a storage root refuses to open the mark, which is there: the disk cannot be read, or the
/// kernel has given it up.
pub fn is_refused(root: &Path) -> bool {
    fs::File::open(root.join(DIR).join(FILE)).is_err_and(|why| why.raw_os_error() == Some(nix::libc::EIO))
}

/// Find that this disk is mounted at the storage root, right now: time passes between a request and its turn, and
/// nothing may be done on another disk or below the mount point.
///
/// # Errors
/// The disk is not.
pub fn is_mounted(storage: &Storage, disk: Uuid) -> io::Result<()> {
    let root = storage.root.display();
    if !may_use(&storage.root, storage.require_mount) {
        return Err(io::Error::other(format!("no file system is mounted at {root} any more")));
    }
    match read(&storage.root) {
        Ok(Some(mark)) if mark.disk == disk => Ok(()),
        _ => Err(io::Error::other(format!("another disk than {disk} is mounted at {root} now"))),
    }
}

/// Read the mark that the machine remembers; `None` before it has seen its disk for the first time.
///
/// # Errors
/// Why the mark cannot be read.
pub fn remembered(memory: &Path) -> Result<Option<Mark>, String> {
    parse(&memory.join(FILE))
}

fn parse(file: &Path) -> Result<Option<Mark>, String> {
    match fs::read(file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(format!("{}: {why}", file.display())),
        Ok(text) => Mark::parse(&text).map(Some).map_err(|why| format!("{}: {why}", file.display())),
    }
}

/// Mark the disk at a storage root as this sled's and begin its ledger, by the `regions` that the map puts on it;
/// what lies there is left as it is.
///
/// # Errors
/// The mark cannot be written.
pub fn put(root: &Path, sled: &SledName, regions: &BTreeSet<RegionName>) -> io::Result<Mark> {
    make_dir(&root.join(DIR), 0o700)?;
    // The ledger first: a disk that is marked has one.
    ledger::begin(root, regions)?;
    let mark = Mark::new(sled.clone());
    replace(&root.join(DIR), FILE, &mark.to_text()?)?;
    Ok(mark)
}

/// Remember a disk on the machine.
///
/// # Errors
/// The mark cannot be written.
pub fn remember(memory: &Path, mark: &Mark) -> io::Result<()> {
    make_dir(memory, MEMORY_MODE)?;
    replace(memory, FILE, &mark.to_text()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_marked_once_and_remembered() {
        let (root, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(read(root.path()), Ok(None));
        let mark = put(root.path(), &"proper-raptor".parse().unwrap(), &BTreeSet::new()).unwrap();
        assert_eq!(read(root.path()), Ok(Some(mark.clone())));
        assert_eq!(ledger::load(root.path()).unwrap().ledger.regions.len(), 0);
        assert_eq!(remembered(memory.path()), Ok(None));
        remember(memory.path(), &mark).unwrap();
        assert_eq!(remembered(memory.path()), Ok(Some(mark)));
        fs::write(root.path().join(DIR).join(FILE), "{").unwrap();
        assert!(read(root.path()).unwrap_err().contains("disk.json"));
    }
}
