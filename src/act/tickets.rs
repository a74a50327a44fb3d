//! The record of what was granted, one file a volume: `<root>/.sled/tickets/VOLUME`.
//!
//! A ticket is on record before it is answered, and a host waits for that: so the file is two
//! slots that are written in turn, in place, and one `fdatasync` is all it costs. A slot that was
//! torn by a power cut does not parse, and the other is the record before it. If the record is lost,
//! generations do not fall all the same, as the clock and the regions' trailers are floors, too
//! ([`generation`](crate::decide::generation)); whom the volume lets in is then for an operator to say.

use super::ledger::DIR;
use crate::files::{make_dir, replace};
use crate::names::VolumeName;
use crate::region::Grant;
use crate::region::grant::SLOT;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The directory below the supervisor's own.
const TICKETS: &str = "tickets";
/// How many slots a file has.
const SLOTS: usize = 2;

fn dir(root: &Path) -> PathBuf {
    root.join(DIR).join(TICKETS)
}

/// What is on record of every volume, or why that cannot be read.
///
/// # Errors
/// Why it cannot be told which volumes have a record.
pub fn load(root: &Path) -> io::Result<BTreeMap<VolumeName, Result<Grant, String>>> {
    let mut grants = BTreeMap::new();
    let entries = match fs::read_dir(dir(root)) {
        // Nothing was granted yet.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(grants),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Some(volume) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let grant = read(&entry.path()).map_err(|why| format!("{}: {why}", entry.path().display()));
        grants.insert(volume, grant);
    }
    Ok(grants)
}

/// The later of the two slots.
fn read(file: &Path) -> io::Result<Grant> {
    let mut text = Vec::new();
    File::open(file)?.take((SLOT * SLOTS) as u64).read_to_end(&mut text)?;
    let newest = text.chunks(SLOT).filter_map(Grant::parse).max_by_key(|grant| grant.serial);
    newest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "neither of its two slots is whole"))
}

/// Puts a grant on record, durably. It must be a later one than the last.
///
/// # Errors
/// It is not on record for certain; after a power cut it may be.
pub fn record(root: &Path, volume: &VolumeName, grant: &Grant) -> io::Result<()> {
    let text = grant.to_text().map_err(io::Error::other)?;
    let file = match open(root, volume) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            begin(root, volume)?;
            open(root, volume)?
        }
        opened => opened?,
    };
    let slot = (SLOT * usize::from(grant.serial % 2 == 1)) as u64;
    let written = file.write_all_at(&text, slot).and_then(|()| file.sync_data());
    if written.is_err() {
        // What is not granted is not to be read back as if it were.
        _ = file.write_all_at(&[0; SLOT], slot);
    }
    written
}

fn open(root: &Path, volume: &VolumeName) -> io::Result<File> {
    OpenOptions::new().write(true).open(dir(root).join(volume.as_str()))
}

/// Makes the file in its full length, so that no later write changes more than its bytes; with a
/// record of nothing in it, so that the first one that is torn leaves one that can be read.
fn begin(root: &Path, volume: &VolumeName) -> io::Result<()> {
    let dir = dir(root);
    make_dir(&dir, 0o700)?;
    let mut text = Grant::default().to_text().map_err(io::Error::other)?;
    text.resize(SLOT * SLOTS, 0);
    replace(&dir, volume.as_str(), &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::collections::BTreeSet;

    fn volume() -> VolumeName {
        "still-fawn".parse().unwrap()
    }

    fn after(grant: &Grant) -> Grant {
        grant.to("10.0.0.1".parse().unwrap(), grant.generation + 1, Timestamp::UNIX_EPOCH, &BTreeSet::new())
    }

    #[test]
    fn the_last_grant_is_read_and_a_torn_one_never_was() {
        let root = tempfile::tempdir().unwrap();
        make_dir(&root.path().join(DIR), 0o700).unwrap();
        assert_eq!(load(root.path()).unwrap(), BTreeMap::new());
        let mut last = Grant::default();
        for _ in 0..5 {
            let next = after(&last);
            record(root.path(), &volume(), &next).unwrap();
            assert_eq!(load(root.path()).unwrap(), [(volume(), Ok(next.clone()))].into());
            // The same write, torn at any place, leaves the one before.
            let path = dir(root.path()).join("still-fawn");
            let whole = fs::read(&path).unwrap();
            let slot = usize::from(next.serial % 2 == 1) * SLOT;
            for cut in [0, 1, 100, 300] {
                let mut torn = whole.clone();
                torn[slot + cut..slot + SLOT].fill(0);
                fs::write(&path, torn).unwrap();
                let read = load(root.path()).unwrap().remove(&volume());
                assert_eq!(read, Some(Ok(last.clone())), "cut at {cut}");
            }
            fs::write(&path, whole).unwrap();
            last = next;
        }
    }

    #[test]
    fn garbage_is_no_record_and_is_written_over() {
        let root = tempfile::tempdir().unwrap();
        make_dir(&dir(root.path()), 0o700).unwrap_or_else(|_| fs::create_dir_all(dir(root.path())).unwrap());
        fs::write(dir(root.path()).join("still-fawn"), "garbage").unwrap();
        assert!(matches!(load(root.path()).unwrap().remove(&volume()), Some(Err(_))));
        let next = after(&Grant::default());
        record(root.path(), &volume(), &next).unwrap();
        assert_eq!(load(root.path()).unwrap()[&volume()], Ok(next));
    }
}
