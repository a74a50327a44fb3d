//! Place of a region's directory: its own, `.incoming` while it is made, `.trash` after it was deleted.
//!
//! The ledger is written first, durably, and the directory follows with one rename: after a crash between the two
//! [`settle`] does what the ledger says. No directory is ever put over another. The caller holds the disk, so that no
//! look falls between the two halves.

use crate::decide::settle::{Listing, Step, settle as steps};
use crate::files::{make_dir, move_dir, sync_dir};
use crate::lived::Moment;
use crate::names::RegionName;
use crate::region::{Ledger, Record, Tombstone};
use crate::store::layout::{INCOMING, TRASH};
use crate::store::ledger;
use crate::store::region_dir::region_json;
use crate::times;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Give a region that was made in `.incoming` its name and put it on record.
///
/// # Errors
/// The place is taken, the name or identity is on record already, or the file system refused; then the region lies
/// where it was and is not on record.
pub fn place(root: &Path, dir: &Path, name: &RegionName, record: &Record) -> io::Result<()> {
    vacant(&root.join(name.to_string()))?;
    ledger::change(root, |ledger| {
        let refuse = |message: String| Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        if let Some((other, _)) = ledger.regions.iter().find(|(_, old)| old.uuid == record.uuid) {
            return refuse(format!("{other} has the identity {} already", record.uuid));
        }
        match ledger.regions.insert(name.clone(), record.clone()) {
            None => Ok(()),
            Some(_) => refuse(format!("{name} is on record already")),
        }
    })?;
    moved(dir, &root.join(name.to_string())).inspect_err(|_| {
        undo(root, |ledger| _ = ledger.regions.remove(name));
    })
}

/// Rename a directory. One that was renamed and whose rename was not synced counts as renamed: the ledger says so
/// already.
fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match move_dir(from, to) {
        Err(why) if fs::symlink_metadata(from).is_err() && fs::symlink_metadata(to).is_ok() => {
            tracing::error!("{} is in place, and its rename was not synced: {why}", to.display());
            Ok(())
        }
        other => other,
    }
}

/// Put a region in the trash, where it is kept from this moment on.
///
/// # Errors
/// The region is not on record, or the file system refused; then it is where it was.
pub fn bury(root: &Path, name: &RegionName, moment: Moment) -> io::Result<Tombstone> {
    bury_by(root, name, moment, moved)
}

fn bury_by(
    root: &Path,
    name: &RegionName,
    moment: Moment,
    moved: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<Tombstone> {
    let (trash, place) = (root.join(TRASH), root.join(name.to_string()));
    // The directory that a link leads to is not the supervisor's, and is never removed.
    if !fs::symlink_metadata(&place)?.is_dir() {
        return Err(io::Error::other(format!("{} is not a directory: remove it by hand", place.display())));
    }
    make_dir(&trash, 0o700)?;
    let (stone, adoption, hold) = ledger::change(root, |ledger| {
        let record = ledger.regions.remove(name).ok_or_else(|| io::Error::other(format!("{name} is not on record")))?;
        // An adoption that could not be undone goes with it, and so does a hold.
        let (adoption, hold) = (ledger.adoptions.remove(name), ledger.holds.remove(name));
        let (region, deleted, buried) = (name.clone(), times::in_seconds(Timestamp::now()), Some(moment));
        let mut stone = Tombstone { region, record, deleted, buried, moved: false, removing: false };
        // Another of this name may have been deleted within this second, or the clock was set.
        while trash.join(stone.dir()).exists() || ledger.tombstones.iter().any(|other| other.dir() == stone.dir()) {
            stone.deleted += jiff::SignedDuration::from_secs(1);
        }
        ledger.tombstones.push(stone.clone());
        Ok((stone, adoption, hold))
    })?;
    moved(&place, &trash.join(stone.dir())).inspect_err(|_| {
        undo(root, |ledger| {
            ledger.tombstones.retain(|other| *other != stone);
            ledger.regions.insert(name.clone(), stone.record.clone());
            // What was held is held still: nobody has released it.
            ledger.adoptions.extend(adoption.map(|adoption| (name.clone(), adoption)));
            ledger.holds.extend(hold.map(|hold| (name.clone(), hold)));
        });
    })?;
    // The region is deleted whether that is noted now or by the next start.
    if let Err(why) = note_moved(root, &stone.dir()) {
        tracing::warn!("{} lies in the trash, and that is not noted yet: {why}", stone.dir());
    }
    Ok(Tombstone { moved: true, ..stone })
}

/// Note that a deleted region lies in the trash: what lies in its place from now on is another.
fn note_moved(root: &Path, dir: &str) -> io::Result<()> {
    ledger::change(root, |ledger| {
        ledger.tombstones.iter_mut().filter(|stone| stone.dir() == dir).for_each(|stone| stone.moved = true);
        Ok(())
    })
}

/// Take a region whose directory is gone off the record.
///
/// # Errors
/// The directory is there after all, or the file system refused.
pub fn forget(root: &Path, name: &RegionName) -> io::Result<()> {
    vacant(&root.join(name.to_string()))?;
    ledger::change(root, |ledger| {
        ledger.regions.remove(name);
        ledger.adoptions.remove(name);
        ledger.holds.remove(name);
        Ok(())
    })
}

/// Give a deleted region its place again.
///
/// # Errors
/// The place is taken, the removal has begun, or the file system refused; then the region stays deleted.
pub fn restore(root: &Path, stone: &Tombstone) -> io::Result<()> {
    let name = &stone.region;
    vacant(&root.join(name.to_string()))?;
    ledger::change(root, |ledger| {
        let known = ledger.tombstones.iter().position(|other| other.dir() == stone.dir() && !other.removing);
        let known = known.ok_or_else(|| io::Error::other("its removal has begun"))?;
        if ledger.regions.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} is on record")));
        }
        ledger.tombstones.remove(known);
        ledger.regions.insert(name.clone(), stone.record.clone());
        Ok(())
    })?;
    moved(&root.join(TRASH).join(stone.dir()), &root.join(name.to_string())).inspect_err(|_| {
        undo(root, |ledger| {
            ledger.regions.remove(name);
            ledger.tombstones.push(stone.clone());
        });
    })
}

/// Note that a deleted region is being removed: it cannot be had back any more.
///
/// # Errors
/// There is none, or the file system refused.
pub fn begin_removal(root: &Path, stone: &Tombstone) -> io::Result<PathBuf> {
    let noted = |other: &Tombstone| other.dir() == stone.dir() && other.removing;
    if ledger::load(root)?.ledger.tombstones.iter().any(noted) {
        // The removal was tried before.
        return Ok(root.join(TRASH).join(stone.dir()));
    }
    ledger::change(root, |ledger| {
        let known = ledger.tombstones.iter_mut().find(|other| other.dir() == stone.dir());
        known.ok_or_else(|| io::Error::other("it is not in the trash"))?.removing = true;
        Ok(())
    })?;
    Ok(root.join(TRASH).join(stone.dir()))
}

/// Drop a deleted region whose files have been removed.
///
/// # Errors
/// The directory is not empty, or the file system refused.
pub fn end_removal(root: &Path, stone: &Tombstone) -> io::Result<()> {
    match fs::remove_dir(root.join(TRASH).join(stone.dir())) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => sync_dir(&root.join(TRASH))?,
    }
    ledger::change(root, |ledger| {
        ledger.tombstones.retain(|other| other.dir() != stone.dir());
        Ok(())
    })
}

/// Find a region's place to be free, of a broken link too.
fn vacant(place: &Path) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", place.display()))),
    }
}

/// Take a change of the ledger back whose rename was refused.
fn undo(root: &Path, back: impl FnOnce(&mut Ledger)) {
    let undone = ledger::change(root, |ledger| {
        back(ledger);
        Ok(())
    });
    if let Err(why) = undone {
        tracing::error!("the ledger could not be taken back; the next start settles it: {why}");
    }
}

/// Make the directories what the ledger says. Return what was done, in words, and the left-overs that are still to be
/// removed: removing may take long, and needs no hold on the disk. Regions in the trash of which it was never told
/// from when on they are kept are kept from this moment on. Regions that a ledger that was begun anew may have known,
/// and does not say, are of `regions`, those of the map.
///
/// # Errors
/// The file system refused; what was done until then stays done.
pub fn settle(root: &Path, regions: &BTreeSet<RegionName>, moment: Moment) -> io::Result<(Vec<String>, Vec<PathBuf>)> {
    ledger::mend(root, regions)?;
    if let Err(why) = ledger::keep_room(root) {
        tracing::warn!("nothing is kept for when the disk has no inodes left: {why}");
    }
    let ledger = ledger::load(root)?.ledger;
    let (mut done, mut sweep) = (Vec::new(), Vec::new());
    let place = |name: &RegionName| root.join(name.to_string());
    for step in steps(&ledger, &listing(root, &ledger)?) {
        match step {
            Step::Place(dir, name) => {
                move_dir(&root.join(INCOMING).join(dir), &place(&name))?;
                done.push(format!("the creation of {name} was finished"));
            }
            Step::Restore(dir, name) => {
                move_dir(&root.join(TRASH).join(dir), &place(&name))?;
                done.push(format!("the restoration of {name} was finished"));
            }
            Step::Bury(name, dir) => {
                make_dir(&root.join(TRASH), 0o700)?;
                move_dir(&place(&name), &root.join(TRASH).join(&dir))?;
                note_moved(root, &dir)?;
                done.push(format!("the deletion of {name} was finished"));
            }
            Step::Moved(dir) => note_moved(root, &dir)?,
            Step::Sweep(dir) => sweep.push(root.join(INCOMING).join(dir)),
            Step::Remember(stone) => {
                done.push(format!("{} was found in the trash", stone.dir()));
                ledger::change(root, |ledger| {
                    ledger.tombstones.push(stone);
                    Ok(())
                })?;
            }
            Step::Drop(dir) => {
                done.push(format!("{dir} is gone from the trash"));
                ledger::change(root, |ledger| {
                    ledger.tombstones.retain(|stone| stone.dir() != dir);
                    Ok(())
                })?;
            }
        }
    }
    keep_from(root, moment)?;
    Ok((done, sweep))
}

/// Begin to count for what was deleted by a supervisor that did not, or in a life of which nothing is known any more.
fn keep_from(root: &Path, moment: Moment) -> io::Result<()> {
    let counts = |stone: &Tombstone| stone.buried.is_some_and(|buried| moment.since(buried).is_some());
    if ledger::load(root)?.ledger.tombstones.iter().all(counts) {
        return Ok(());
    }
    ledger::change(root, |ledger| {
        ledger.tombstones.iter_mut().filter(|stone| !counts(stone)).for_each(|stone| stone.buried = Some(moment));
        Ok(())
    })
}

/// List what lies on the disk, as far as it matters to [`settle`].
fn listing(root: &Path, ledger: &Ledger) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let names = ledger.regions.keys().chain(ledger.tombstones.iter().map(|stone| &stone.region));
    for name in names {
        let dir = root.join(name.to_string());
        if fs::symlink_metadata(&dir).is_ok() {
            listing.in_place.insert(name.clone(), region_json(&dir).ok());
        }
    }
    for (below, found) in [(INCOMING, &mut listing.incoming), (TRASH, &mut listing.trash)] {
        let entries = match fs::read_dir(root.join(below)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The supervisor never puts a link there.
            if entry.file_type()?.is_dir() {
                found.insert(name, region_json(&entry.path()).ok());
            }
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Geometry, HeldBy, Hold};
    use uuid::Uuid;

    /// What somebody has removed from the trash by hand is on record until it is missed: who is told that it is gone must
    /// not take another one with it.
    #[test]
    fn a_deleted_region_has_a_directory_that_no_other_has_or_had() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        ledger::begin(root, &Default::default()).unwrap();
        let (name, now): (RegionName, _) = ("a-0".parse().unwrap(), times::in_seconds(Timestamp::now()));
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let record = Record { uuid: Uuid::nil(), geometry, created: now, by: "a test".into() };
        let stones = (0..60).map(|second| Tombstone {
            region: name.clone(),
            record: record.clone(),
            deleted: now + jiff::SignedDuration::from_secs(second),
            buried: None,
            moved: true,
            removing: false,
        });
        ledger::change(root, |ledger| {
            ledger.tombstones.extend(stones);
            ledger.regions.insert(name.clone(), record.clone());
            Ok(())
        })
        .unwrap();
        fs::create_dir(root.join("a-0")).unwrap();
        let stone = bury(root, &name, Moment { clock: Uuid::nil(), ms: 1 }).unwrap();
        let same = ledger::load(root).unwrap().ledger.tombstones.iter().filter(|one| one.dir() == stone.dir()).count();
        assert_eq!(same, 1, "{}", stone.dir());
    }

    /// One that is held on purpose would start.
    #[test]
    fn a_region_that_cannot_be_moved_to_the_trash_is_held_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        ledger::begin(root, &Default::default()).unwrap();
        let (name, now): (RegionName, _) = ("a-0".parse().unwrap(), times::in_seconds(Timestamp::now()));
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let hold = Hold { by: HeldBy::Operator, why: "a test".into(), remedy: None, since: now };
        ledger::change(root, |ledger| {
            let record = Record { uuid: Uuid::nil(), geometry, created: now, by: "a test".into() };
            ledger.regions.insert(name.clone(), record);
            ledger.holds.insert(name.clone(), hold);
            Ok(())
        })
        .unwrap();
        fs::create_dir(root.join("a-0")).unwrap();
        let before = ledger::load(root).unwrap().ledger;
        let busy = |_: &Path, _: &Path| Err(io::ErrorKind::ResourceBusy.into());
        bury_by(root, &name, Moment { clock: Uuid::nil(), ms: 1 }, busy).unwrap_err();
        let after = ledger::load(root).unwrap().ledger;
        assert_eq!((after.regions, after.holds), (before.regions, before.holds));
        assert_eq!((after.adoptions.len(), after.tombstones.len()), (0, 0));
    }

    /// Regions that an older supervisor has deleted, and those that were deleted in another life, are kept from the
    /// first settling on; what counts already goes on.
    #[test]
    fn what_was_never_told_from_when_on_it_is_kept_is_kept_from_now_on() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        ledger::begin(root, &Default::default()).unwrap();
        let moment = |clock: u128, ms| Moment { clock: Uuid::from_u128(clock), ms };
        let stones = [None, Some(moment(1, 50)), Some(moment(2, 50)), Some(moment(1, 900))];
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        for (second, buried) in (1..).zip(stones) {
            let (region, deleted): (RegionName, _) = ("a-0".parse().unwrap(), Timestamp::from_second(second).unwrap());
            let record = Record { uuid: Uuid::nil(), geometry, created: deleted, by: "a test".into() };
            let stone = Tombstone { region, record, deleted, buried, moved: true, removing: false };
            fs::create_dir_all(root.join(TRASH).join(stone.dir())).unwrap();
            ledger::change(root, |ledger| {
                ledger.tombstones.push(stone);
                Ok(())
            })
            .unwrap();
        }
        for now in [100, 200] {
            settle(root, &Default::default(), moment(1, now)).unwrap();
            let stones = ledger::load(root).unwrap().ledger.tombstones;
            let buried: Vec<_> = stones.into_iter().map(|stone| stone.buried.unwrap().ms).collect();
            // The last one is of the future: a record that was put back.
            assert_eq!(buried, [100, 50, 100, 100]);
        }
    }
}
