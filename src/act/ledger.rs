//! The ledger's file on the data disk: `<root>/.sled/ledger.json`, written aside, synced and
//! renamed, so that a crash leaves the old one or the new one and never half of one.

use crate::files::sync_dir;
use crate::names::RegionName;
use crate::region::{Ledger, Record};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory of the supervisor's own files below the storage root.
pub const DIR: &str = ".sled";
const FILE: &str = "ledger.json";
/// The ledger before the last change, to restore from.
const PREVIOUS: &str = "ledger.json.previous";
/// The most bytes that are read: a record has about 200, a sled a few hundred regions.
const MOST: u64 = 4 * 1024 * 1024;

fn path(root: &Path, file: &str) -> PathBuf {
    root.join(DIR).join(file)
}

/// Reads the ledger below a storage root; an empty one if none was ever written.
///
/// # Errors
/// It cannot be read, or is none. One that is gone while its previous copy is still there is
/// an error too: an empty ledger would hide that regions existed.
pub fn load(root: &Path) -> io::Result<Ledger> {
    let file = path(root, FILE);
    let mut text = Vec::new();
    match File::open(&file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound && !path(root, PREVIOUS).exists() => {
            return Ok(Ledger::default());
        }
        Err(why) => return Err(io::Error::new(why.kind(), format!("{}: {why}", file.display()))),
        Ok(open) => open.take(MOST).read_to_end(&mut text)?,
    };
    Ledger::parse(&text).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display())))
}

/// Puts a region on record, durably.
///
/// # Errors
/// The ledger cannot be read or written, or has another record of that name or identity;
/// then it is as it was.
pub fn record(root: &Path, region: &RegionName, record: Record) -> io::Result<()> {
    let mut ledger = load(root)?;
    let conflict = |message: String| Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    if let Some((other, _)) = ledger.regions.iter().find(|(_, old)| old.uuid == record.uuid) {
        return conflict(format!("{other} has the identity {} already", record.uuid));
    }
    if ledger.regions.contains_key(region) {
        return conflict(format!("{region} is on record already"));
    }
    ledger.regions.insert(region.clone(), record);
    save(root, &ledger)
}

fn save(root: &Path, ledger: &Ledger) -> io::Result<()> {
    let dir = root.join(DIR);
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => sync_dir(root)?,
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
        Err(why) => return Err(why),
    }
    let (file, aside, previous) = (path(root, FILE), path(root, "ledger.json.new"), path(root, PREVIOUS));
    let mut new = File::create(&aside)?;
    new.write_all(&ledger.to_text()?)?;
    new.sync_all()?;
    match fs::remove_file(&previous).and_then(|()| fs::hard_link(&file, &previous)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => link_first(&file, &previous)?,
        other => other?,
    }
    fs::rename(&aside, &file)?;
    sync_dir(&dir)
}

/// The second ledger ever written has no previous copy to replace; the first has none at all.
fn link_first(file: &Path, previous: &Path) -> io::Result<()> {
    match fs::hard_link(file, previous) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Geometry;
    use uuid::Uuid;

    fn of(uuid: u128) -> Record {
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        Record { uuid: Uuid::from_u128(uuid), geometry, created: jiff::Timestamp::UNIX_EPOCH }
    }

    fn name(text: &str) -> RegionName {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_recorded_is_read_and_the_previous_ledger_is_kept() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(load(root.path()).unwrap(), Ledger::default());
        record(root.path(), &name("a-0"), of(1)).unwrap();
        record(root.path(), &name("a-1"), of(2)).unwrap();
        record(root.path(), &name("a-2"), of(3)).unwrap();
        assert_eq!(load(root.path()).unwrap().regions.len(), 3);
        let previous = Ledger::parse(&fs::read(path(root.path(), PREVIOUS)).unwrap()).unwrap();
        assert_eq!(previous.regions.len(), 2);
    }

    #[test]
    fn no_name_and_no_identity_is_recorded_twice() {
        let root = tempfile::tempdir().unwrap();
        record(root.path(), &name("a-0"), of(1)).unwrap();
        assert!(record(root.path(), &name("a-0"), of(2)).is_err());
        assert!(record(root.path(), &name("a-1"), of(1)).unwrap_err().to_string().contains("a-0"));
        assert_eq!(load(root.path()).unwrap().regions.len(), 1);
    }

    #[test]
    fn a_damaged_or_vanished_ledger_is_an_error_and_no_empty_one() {
        let root = tempfile::tempdir().unwrap();
        record(root.path(), &name("a-0"), of(1)).unwrap();
        record(root.path(), &name("a-1"), of(2)).unwrap();
        let file = path(root.path(), FILE);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert!(load(root.path()).unwrap_err().to_string().contains("ledger.json"));
        assert!(record(root.path(), &name("a-2"), of(3)).is_err());
        fs::remove_file(&file).unwrap();
        assert!(load(root.path()).is_err());
    }
}
