//! Grants of a volume on record, one file a volume: `<root>/.sled/tickets/VOLUME`.
//!
//! A ticket is on record before it is answered, and a host waits for that: so the file is two
//! slots that are written in turn, in place, and one `fdatasync` is all it costs. A slot that was
//! torn by a power cut does not parse, and the other is the record before it. If the record is lost,
//! generations do not fall all the same, as the clock and the regions' trailers are floors, too
//! ([`generation`](crate::decide::generation)); whom the volume lets in is then for an operator to say.

use crate::files::{make_dir, open_below, replace, sync_dir};
use crate::names::VolumeName;
use crate::region::Grant;
use crate::region::grant::SLOT_BYTES;
use crate::store::layout::{DIR, TICKETS};
use nix::fcntl::OFlag;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The number of slots that a file has.
const SLOTS: usize = 2;

/// The record of each volume that has one, or why that cannot be read.
pub type Records = BTreeMap<VolumeName, Result<Grant, String>>;

/// The record of one volume, open to be written.
#[derive(Debug)]
pub struct Book(File);

fn dir(root: &Path) -> PathBuf {
    root.join(DIR).join(TICKETS)
}

/// Read the record of every volume, or why that cannot be read. Nothing that lies in a record's place can hold this
/// up.
///
/// # Errors
/// Why it cannot be told which volumes have a record.
pub fn load(root: &Path) -> io::Result<Records> {
    let (dir, mut grants) = (dir(root), BTreeMap::new());
    let entries = match fs::read_dir(&dir) {
        // No ticket was granted yet, as far as can be told from here.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(grants),
        entries => entries?,
    };
    for entry in entries {
        let Some(volume) = entry?.file_name().to_str().and_then(|name| name.parse::<VolumeName>().ok()) else {
            continue;
        };
        let grant =
            read(&dir, volume.as_str()).map_err(|why| format!("{}: {why}", dir.join(volume.as_str()).display()));
        grants.insert(volume, grant);
    }
    Ok(grants)
}

/// Add those that are known to have had a record and have none: it was lost.
pub fn miss(root: &Path, records: &mut Records, known: &BTreeSet<VolumeName>) {
    for volume in known {
        let lost = || format!("{} is gone, and tickets were granted", dir(root).join(volume.as_str()).display());
        records.entry(volume.clone()).or_insert_with(|| Err(lost()));
    }
}

/// Read the later of the two slots.
fn read(dir: &Path, file: &str) -> io::Result<Grant> {
    let mut text = Vec::new();
    open_below(dir, file)?.take((SLOT_BYTES * SLOTS) as u64).read_to_end(&mut text)?;
    let newest = text.chunks(SLOT_BYTES).filter_map(Grant::parse).max_by_key(|grant| grant.serial);
    newest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "neither of its two slots is whole"))
}

/// Open the record of a volume to write to it; `None` if there is none, or something else in its place: then it is to
/// be begun.
///
/// # Errors
/// The record cannot be written to.
pub fn open(root: &Path, volume: &VolumeName) -> io::Result<Option<Book>> {
    let path = dir(root).join(volume.as_str());
    match fs::symlink_metadata(&path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if !found.is_file() => return Ok(None),
        found => found?,
    };
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    OpenOptions::new().write(true).custom_flags(flags).open(path).map(|file| Some(Book(file)))
}

/// Begin the record of a volume in its full length, so that no later write changes more than its bytes; with a record
/// of nothing in it, so that the first one that is torn leaves one that can be read. A directory in its place is put
/// aside, and not deleted.
///
/// # Errors
/// The file system refused.
pub fn begin(root: &Path, volume: &VolumeName) -> io::Result<()> {
    let (dir, name) = (dir(root), volume.as_str());
    make_dir(&dir, 0o700)?;
    if fs::symlink_metadata(dir.join(name)).is_ok_and(|found| found.is_dir()) {
        let aside = format!("{name}.unreadable.{}", jiff::Timestamp::now().as_second());
        fs::rename(dir.join(name), dir.join(aside)).and_then(|()| sync_dir(&dir))?;
    }
    let mut text = Grant::default().to_text().map_err(io::Error::other)?;
    text.resize(SLOT_BYTES * SLOTS, 0);
    replace(&dir, name, &text)
}

impl Book {
    /// Put a grant on record, durably. It must be a later one than the last.
    ///
    /// # Errors
    /// The grant is not on record for certain; after a power cut it may be.
    pub fn record(&self, grant: &Grant) -> io::Result<()> {
        let text = grant.to_text().map_err(io::Error::other)?;
        let slot = (SLOT_BYTES * usize::from(grant.serial % 2 == 1)) as u64;
        let written = self.0.write_all_at(&text, slot).and_then(|()| self.0.sync_data());
        if written.is_err() {
            // A grant that is not given is not to be read back as if it were.
            _ = self.0.write_all_at(&[0; SLOT_BYTES], slot);
        }
        written
    }
}

/// Put a grant on record, durably; begin the record if there is none.
///
/// # Errors
/// As [`Book::record`], or it cannot be begun.
pub fn record(root: &Path, volume: &VolumeName, grant: &Grant) -> io::Result<()> {
    let book = match open(root, volume)? {
        Some(book) => book,
        None => {
            begin(root, volume)?;
            open(root, volume)?.ok_or(io::ErrorKind::NotFound)?
        }
    };
    book.record(grant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

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
            let slot = usize::from(next.serial % 2 == 1) * SLOT_BYTES;
            for cut in [0, 1, 100, 300] {
                let mut torn = whole.clone();
                torn[slot + cut..slot + SLOT_BYTES].fill(0);
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

    /// A pipe without anybody at its other end, a directory, a link: none holds up a look, none is
    /// followed, and an operator's word takes its place.
    #[test]
    fn what_is_no_file_is_no_record_and_holds_up_nobody() {
        let root = tempfile::tempdir().unwrap();
        make_dir(&root.path().join(DIR), 0o700).unwrap();
        let path = dir(root.path()).join("still-fawn");
        let mut last = Grant::default();
        for kind in ["pipe", "directory", "link"] {
            begin(root.path(), &volume()).unwrap();
            fs::remove_file(&path).unwrap();
            match kind {
                "pipe" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                "directory" => fs::create_dir_all(path.join("something")).unwrap(),
                _ => std::os::unix::fs::symlink("elsewhere", &path).unwrap(),
            }
            assert!(matches!(load(root.path()).unwrap().remove(&volume()), Some(Err(_))), "{kind}");
            last = after(&last);
            record(root.path(), &volume(), &last).unwrap();
            assert_eq!(load(root.path()).unwrap().remove(&volume()), Some(Ok(last.clone())), "{kind}");
            assert!(!dir(root.path()).join("elsewhere").exists());
        }
    }

    #[test]
    fn one_that_is_known_and_gone_was_lost() {
        let root = tempfile::tempdir().unwrap();
        let (mut records, known) = (load(root.path()).unwrap(), BTreeSet::from([volume()]));
        miss(root.path(), &mut records, &known);
        assert!(records[&volume()].as_ref().unwrap_err().contains("still-fawn is gone"));
        make_dir(&root.path().join(DIR), 0o700).unwrap();
        record(root.path(), &volume(), &after(&Grant::default())).unwrap();
        let mut records = load(root.path()).unwrap();
        miss(root.path(), &mut records, &known);
        assert!(records[&volume()].is_ok());
    }
}
