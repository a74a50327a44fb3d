//! Ledger's file on the data disk: `<root>/.sled/ledger.json`, written aside, synced and renamed, so that a crash
//! leaves the old one or the new one and never half of one. A copy of it lies beside it, for the day on which the
//! file cannot be read.
//!
//! The disk is held by whoever changes it (`Scanner::change` of `observe::scanner`).

use crate::files::{keep_aside, make_dir, move_dir, swap_in, sync_dir, write_aside};
use crate::names::RegionName;
use crate::region::Ledger;
use crate::region::ledger::LedgerError;
use crate::store::layout::{DIR, TICKETS, TRASH};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const FILE: &str = "ledger.json";
const COPY: &str = "ledger.json.copy";
/// The most bytes that are read: a record has about 300, a sled a few hundred regions.
const LEDGER_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// The ledger as it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The ledger itself.
    pub ledger: Ledger,
    /// The fault of one of its two copies, while the other is good.
    pub damage: Option<String>,
}

/// Read the ledger of a data disk, below its storage root: the newer of its two copies that can be read.
///
/// # Errors
/// Neither can be read. No ledger at all is an error too: a disk that was marked has one, and an empty one would hide
/// that regions exist.
pub fn load(root: &Path) -> io::Result<Loaded> {
    match (read(root, FILE), read(root, COPY)) {
        (Ok(file), Ok(copy)) => {
            // The copies differ by one change if a crash came between the two.
            let ledger = if copy.serial > file.serial { copy } else { file };
            Ok(Loaded { ledger, damage: None })
        }
        // A ledger that a newer supervisor wrote has the last word, and is never written over.
        (Err(why), _) | (_, Err(why)) if why.kind() == io::ErrorKind::Unsupported => Err(why),
        (Ok(ledger), Err(why)) | (Err(why), Ok(ledger)) => Ok(Loaded { ledger, damage: Some(why.to_string()) }),
        // Of two reasons the one that must not be overlooked: one of them may not be lost.
        (Err(file), Err(copy)) => {
            let kind = if is_lost(&file) { copy.kind() } else { file.kind() };
            Err(io::Error::new(kind, format!("{file}; {copy}")))
        }
    }
}

fn read(root: &Path, file: &str) -> io::Result<Ledger> {
    let path = root.join(DIR).join(file);
    let named = |kind, why: String| io::Error::new(kind, format!("{}: {why}", path.display()));
    let mut text = Vec::new();
    let open = File::open(&path).map_err(|why| named(why.kind(), why.to_string()))?;
    open.take(LEDGER_LIMIT_BYTES).read_to_end(&mut text).map_err(|why| named(why.kind(), why.to_string()))?;
    Ledger::parse(&text).map_err(|why| match why {
        LedgerError::Garbage(_) => named(io::ErrorKind::InvalidData, why.to_string()),
        LedgerError::Version(_) => named(io::ErrorKind::Unsupported, why.to_string()),
    })
}

/// Change the ledger, durably.
///
/// # Errors
/// The ledger cannot be read or written, or `change` refused; then it is as it was.
pub fn change<T>(root: &Path, change: impl FnOnce(&mut Ledger) -> io::Result<T>) -> io::Result<T> {
    let mut ledger = load(root)?.ledger;
    ledger.learn();
    let changed = change(&mut ledger)?;
    ledger.learn();
    let wanted = ledger.clone();
    match save(root, ledger) {
        // The ledger is there, and only its last sync failed: to say that it is not would be wrong.
        Err(why) if load(root).is_ok_and(|now| Ledger { serial: wanted.serial, ..now.ledger } == wanted) => {
            tracing::error!("the ledger is written, and was not synced: {why}");
            Ok(changed)
        }
        saved => saved.map(|()| changed),
    }
}

/// Write both copies anew if one of them is not as it should be, or does not say yet which of `regions`, those of the
/// map, it doubts.
///
/// # Errors
/// As [`change`].
pub fn mend(root: &Path, regions: &BTreeSet<RegionName>) -> io::Result<()> {
    let Loaded { ledger: found, damage } = load(root)?;
    let behind = read(root, FILE).ok() != read(root, COPY).ok();
    let mut ledger = found.clone();
    ledger.settle(regions);
    if damage.is_some() || behind || ledger != found { save(root, ledger) } else { Ok(()) }
}

/// Make sure that the ledger can be changed and a region deleted although the disk has no inodes left: what that
/// takes is there already, from when there were some.
///
/// # Errors
/// The room is not there, and cannot be made now.
pub fn keep_room(root: &Path) -> io::Result<()> {
    if !root.join(TRASH).exists() {
        make_dir(&root.join(TRASH), 0o700)?;
    }
    [FILE, COPY].into_iter().try_for_each(|file| keep_aside(&root.join(DIR), file))
}

/// Write the first ledger of a disk, if there is none at all. Where regions or traces of them lie, there was one, and
/// it was lost: of `regions`, those of the map, it may have known each.
///
/// # Errors
/// The ledger cannot be written.
pub fn begin(root: &Path, regions: &BTreeSet<RegionName>) -> io::Result<()> {
    make_dir(&root.join(DIR), 0o700)?;
    let missing = |file: &str| !root.join(DIR).join(file).exists();
    if missing(FILE) && missing(COPY) {
        save(root, if has_traces(root)? { rebuilt(regions) } else { Ledger::default() })
    } else {
        Ok(())
    }
}

/// Whether something lies on a disk that only a supervisor with a ledger has put there.
fn has_traces(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root.join(DIR))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == TICKETS || name.contains(".unreadable.") {
            return Ok(true);
        }
    }
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The runbook's directories are called vm-HOST-i, and never were on record.
        let named = name.parse::<RegionName>().is_ok() && !name.starts_with("vm-");
        let region = named && entry.path().join("region.json").exists();
        if region || name == TRASH {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Make a ledger that knows that the one before it was lost.
fn rebuilt(regions: &BTreeSet<RegionName>) -> Ledger {
    Ledger::rebuilt(regions.clone(), crate::times::in_seconds(jiff::Timestamp::now()))
}

/// Whether a ledger that [`load`] could not read is lost: garbage, or not there at all. One of
/// another version, or on a disk that gives errors, is not.
pub fn is_lost(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
}

/// Put a ledger that is lost aside, and begin a new one, which doubts of each of `regions`, those of the map, whether
/// it existed. Nothing is deleted.
///
/// # Errors
/// The ledger is not lost, or the file system refused.
pub fn begin_anew(root: &Path, regions: &BTreeSet<RegionName>) -> io::Result<Vec<PathBuf>> {
    if let Some(why) = load(root).err().filter(|why| !is_lost(why)) {
        return Err(why);
    }
    let dir = root.join(DIR);
    let mut aside = Vec::new();
    for file in [FILE, COPY] {
        match put_aside(&dir, file) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            renamed => aside.push(renamed?),
        }
    }
    save(root, rebuilt(regions))?;
    Ok(aside)
}

/// Give a file another name, by the time of day: never that of one that was put aside before, whatever the clock
/// says.
fn put_aside(dir: &Path, file: &str) -> io::Result<PathBuf> {
    let second = jiff::Timestamp::now().as_second();
    let names = (second..).map(|second| dir.join(format!("{file}.unreadable.{second}")));
    for bad in names {
        match move_dir(&dir.join(file), &bad) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| bad),
        }
    }
    Err(io::Error::other("there is no name left"))
}

fn save(root: &Path, mut ledger: Ledger) -> io::Result<()> {
    ledger.serial += 1;
    let (dir, text) = (root.join(DIR), ledger.to_text()?);
    write_aside(&dir, COPY, &text)?;
    write_aside(&dir, FILE, &text)?;
    swap_in(&dir, FILE)?;
    sync_dir(&dir)?;
    // Never before the file itself: until here the copy is the ledger before this change, and
    // whether its own name is durable at once does not matter.
    swap_in(&dir, COPY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Geometry, Record};
    use uuid::Uuid;

    fn put(root: &Path, name: &str, uuid: u128) -> io::Result<()> {
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let created = jiff::Timestamp::UNIX_EPOCH;
        let record = Record { uuid: Uuid::from_u128(uuid), geometry, created, by: "a test".into() };
        let name: RegionName = name.parse().unwrap();
        change(root, |ledger| Ok(ledger.regions.insert(name, record))).map(|_| ())
    }

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        begin(root.path(), &BTreeSet::new()).unwrap();
        root
    }

    fn file(root: &Path, name: &str) -> PathBuf {
        root.join(DIR).join(name)
    }

    #[test]
    fn what_is_recorded_is_read_from_either_copy() {
        let root = root();
        for (name, uuid) in [("a-0", 1), ("a-1", 2), ("a-2", 3)] {
            put(root.path(), name, uuid).unwrap();
        }
        for gone in [FILE, COPY] {
            let whole = fs::read(file(root.path(), gone)).unwrap();
            for damaged in [&whole[..whole.len() / 2], b"", b"garbage"] {
                fs::write(file(root.path(), gone), damaged).unwrap();
                let loaded = load(root.path()).unwrap();
                assert_eq!(loaded.ledger.regions.len(), 3);
                assert!(loaded.damage.unwrap().contains(gone));
            }
            mend(root.path(), &BTreeSet::new()).unwrap();
            assert_eq!(load(root.path()).unwrap().damage, None);
        }
    }

    #[test]
    fn the_newer_copy_counts() {
        let root = root();
        put(root.path(), "a-0", 1).unwrap();
        let old = fs::read(file(root.path(), FILE)).unwrap();
        put(root.path(), "a-1", 2).unwrap();
        for behind in [FILE, COPY] {
            fs::write(file(root.path(), behind), &old).unwrap();
            assert_eq!(load(root.path()).unwrap().ledger.regions.len(), 2);
            mend(root.path(), &BTreeSet::new()).unwrap();
        }
    }

    #[test]
    fn without_a_good_copy_nothing_is_read_and_nothing_written() {
        let root = root();
        put(root.path(), "a-0", 1).unwrap();
        fs::write(file(root.path(), FILE), "{").unwrap();
        fs::remove_file(file(root.path(), COPY)).unwrap();
        assert!(load(root.path()).unwrap_err().to_string().contains("ledger.json"));
        assert!(put(root.path(), "a-1", 2).is_err());
        assert_eq!(fs::read(file(root.path(), FILE)).unwrap(), b"{");
        let (known, other): (RegionName, RegionName) = ("a-0".parse().unwrap(), "a-1".parse().unwrap());
        let aside = begin_anew(root.path(), &[known.clone(), other.clone()].into()).unwrap();
        assert_eq!(fs::read(&aside[0]).unwrap(), b"{");
        let anew = load(root.path()).unwrap().ledger;
        assert!(anew.regions.is_empty() && anew.doubted(&known).is_some());
        put(root.path(), "a-0", 1).unwrap();
        change(root.path(), |ledger| {
            ledger.regions.clear();
            Ok(())
        })
        .unwrap();
        let anew = load(root.path()).unwrap().ledger;
        assert!(anew.doubted(&known).is_none() && anew.doubted(&other).is_some());
        put(root.path(), "a-1", 2).unwrap();
        assert_eq!(load(root.path()).unwrap().ledger.rebuilt, None, "nothing is left that is not known");
    }

    #[test]
    fn it_is_changed_without_another_inode() {
        let root = tempfile::tempdir().unwrap();
        begin(root.path(), &BTreeSet::new()).unwrap();
        keep_room(root.path()).unwrap();
        let files = || {
            let entries = fs::read_dir(root.path().join(DIR)).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
            let mut inodes: Vec<_> = entries.map(|found| std::os::unix::fs::MetadataExt::ino(&found)).collect();
            inodes.sort_unstable();
            inodes
        };
        let before = files();
        for index in 0..5 {
            put(root.path(), &format!("a-{}", index % 3), index + 1).unwrap();
            assert_eq!(files(), before);
        }
        assert_eq!(load(root.path()).unwrap().ledger.regions.len(), 3);
        assert!(root.path().join(TRASH).is_dir());
    }

    /// A mark and a ledger that were both removed: what lies there tells that there was one.
    #[test]
    fn a_disk_with_regions_on_it_had_a_ledger() {
        for (trace, lost) in [
            ("a-0/region.json", true),
            (".trash/x", true),
            (".sled/tickets/a", true),
            (".sled/ledger.json.unreadable.7", true),
            // Directories of the runbook, what mkfs makes, and a beginning that the power cut off.
            ("vm-a-0/region.json", false),
            ("lost+found/x", false),
            (".sled/ledger.json.new", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(trace);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
            let mapped: RegionName = "b-0".parse().unwrap();
            begin(root.path(), &[mapped.clone()].into()).unwrap();
            let ledger = load(root.path()).unwrap().ledger;
            assert_eq!(ledger.doubted(&mapped).is_some(), lost, "{trace}");
            // A region that the map gets later was not lost.
            assert_eq!(ledger.doubted(&"c-0".parse().unwrap()), None, "{trace}");
        }
    }

    #[test]
    fn a_newer_ledger_is_not_lost() {
        let root = root();
        put(root.path(), "a-0", 1).unwrap();
        let newer = fs::read_to_string(file(root.path(), FILE)).unwrap().replace("\"version\": 2", "\"version\": 6");
        fs::write(file(root.path(), FILE), &newer).unwrap();
        fs::write(file(root.path(), COPY), &newer).unwrap();
        assert!(!is_lost(&load(root.path()).unwrap_err()));
        // The same beside one that can be read.
        let own = fs::read_to_string(file(root.path(), FILE)).unwrap().replace("\"version\": 6", "\"version\": 2");
        fs::write(file(root.path(), COPY), own).unwrap();
        assert!(!is_lost(&load(root.path()).unwrap_err()) && mend(root.path(), &BTreeSet::new()).is_err());
        fs::write(file(root.path(), COPY), &newer).unwrap();
        assert!(begin_anew(root.path(), &BTreeSet::new()).is_err());
        assert_eq!(fs::read_to_string(file(root.path(), FILE)).unwrap(), newer);
    }

    #[test]
    fn a_change_that_is_refused_changes_nothing() {
        let root = root();
        let refused: io::Result<()> = change(root.path(), |ledger| {
            ledger.regions.clear();
            Err(io::Error::other("no"))
        });
        assert!(refused.is_err());
        assert_eq!(load(root.path()).unwrap().ledger.serial, 1);
    }
}
