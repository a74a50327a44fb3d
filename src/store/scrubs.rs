//! Scrubs of the regions on record, one file a region: `<root>/.sled/scrubs/REGION`. Each is the old one or the new one
//! after a crash. Only the files; whether a record is of the region that has its name now, its reader looks.

use crate::files::{make_dir, read_below, replace};
use crate::names::RegionName;
use crate::region::scrub::Scrubs;
use crate::store::layout::{DIR, SCRUBS};
use std::io;
use std::path::{Path, PathBuf};

/// The most bytes of a record that are read: it has a number for each extent that is rotten, and few faults.
const LIMIT_BYTES: u64 = 1 << 20;

fn dir(root: &Path) -> PathBuf {
    root.join(DIR).join(SCRUBS)
}

/// Read the record of a region; `None` if it was never scrubbed.
///
/// # Errors
/// The record cannot be read, or is none.
pub fn read(root: &Path, name: &RegionName) -> io::Result<Option<Scrubs>> {
    match read_below(&dir(root), &name.to_string(), LIMIT_BYTES) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(serde_json::from_slice(&text?)?)),
    }
}

/// Write the record of a region, durably.
///
/// # Errors
/// The file system's error; then it is as it was.
pub fn write(root: &Path, name: &RegionName, scrubs: &Scrubs) -> io::Result<()> {
    let dir = dir(root);
    if !dir.is_dir() {
        make_dir(&dir, 0o700)?;
    }
    replace(&dir, &name.to_string(), &serde_json::to_vec_pretty(scrubs)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::fs;
    use uuid::Uuid;

    #[test]
    fn a_record_reads_back_and_garbage_is_none() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(DIR)).unwrap();
        let (name, other): (RegionName, RegionName) = ("a-0".parse().unwrap(), "a-1".parse().unwrap());
        assert_eq!(read(root.path(), &name).unwrap(), None);
        let scrubs = Scrubs::first(Uuid::from_u128(7), Timestamp::from_second(1).unwrap());
        write(root.path(), &name, &scrubs).unwrap();
        assert_eq!(read(root.path(), &name).unwrap(), Some(scrubs));
        assert_eq!(read(root.path(), &other).unwrap(), None);
        fs::write(dir(root.path()).join("a-0"), "{").unwrap();
        assert!(read(root.path(), &name).is_err());
    }
}
