//! Regions and the ledger after a power cut, while they are created, deleted and had back: the supervisor's own
//! functions, on a recorded disk, in the order in which its jobs call them.

use crate::{Commits, SUBSETS, Story, mounts, say};
use crucible_sled::act::create;
use crucible_sled::lived::Moment;
use crucible_sled::names::RegionName;
use crucible_sled::progress::{Course, Progress};
use crucible_sled::region::{Geometry, Record, Tombstone};
use crucible_sled::store::layout;
use crucible_sled::store::ledger;
use crucible_sled::store::places;
use crucible_sled::store::region_dir::{region_json, trailers};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::sync::watch;
use uuid::Uuid;

const LIVED_MOMENT: Moment = Moment { clock: Uuid::from_u128(7), ms: 7 };
const GEOMETRY: Geometry = Geometry { block_size: 512, extent_size: 8, extent_count: 3 };

fn name(number: usize) -> RegionName {
    format!("volume{number}-0").parse().unwrap()
}

fn record(number: usize) -> Record {
    let uuid = Uuid::from_u128(number as u128 + 1);
    Record { uuid, geometry: GEOMETRY, created: jiff::Timestamp::UNIX_EPOCH, by: "a test".into() }
}

fn put_on_record(root: &Path, number: usize) -> io::Result<()> {
    ledger::begin(root, &Default::default())?;
    ledger::change(root, |ledger| Ok(ledger.regions.insert(name(number), record(number)))).map(|_| ())
}

/// The ledger must have every record that was made, and may have the next one; nothing of the
/// cut stands in the way of another.
fn has_records(root: &Path, returned: usize) -> Result<(), String> {
    if returned == 0 && ledger::load(root).is_err() {
        return Ok(());
    }
    let found = ledger::load(root).map_err(|why| why.to_string())?.ledger.regions;
    let wanted = |count: usize| (0..count).map(|number| (name(number), record(number))).collect();
    if found != wanted(returned) && found != wanted(returned + 1) {
        return Err(format!("{} records, and {returned} were made", found.len()));
    }
    put_on_record(root, 1000).map_err(|why| format!("no more can be recorded: {why}"))
}

/// The program that creates regions: the stand-in beside this test, or the real one.
fn program() -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let beside = built.ancestors().nth(2).unwrap().join("examples");
    std::env::var_os("CRUCIBLE_BIN").map_or(beside, PathBuf::from).join("crucible-downstairs")
}

/// Makes a region as a creation's job does.
fn make(root: &Path, number: usize) {
    ledger::begin(root, &Default::default()).unwrap();
    let dir = root.join(layout::INCOMING).join(format!("{}.{}", name(number), record(number).uuid.simple()));
    fs::create_dir_all(&dir).unwrap();
    let size = [("--block-size", GEOMETRY.block_size), ("--extent-size", GEOMETRY.extent_size)];
    let mut command = Command::new(program());
    command.args(["create", "--data"]).arg(&dir).args(["--uuid", &record(number).uuid.to_string()]);
    size.iter().for_each(|(key, value)| _ = command.args([*key, &value.to_string()]));
    let made = command.args(["--extent-count", &GEOMETRY.extent_count.to_string()]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let course = watch::Sender::new(Course::Open);
    create::harden(&dir, &record(number), false, &Progress::new(|_| (), course)).unwrap();
    places::place(root, &dir, &name(number), &record(number)).unwrap();
}

/// The region of this number must be whole at this place.
fn is_whole(dir: &Path, number: usize) -> Result<(), String> {
    let json = region_json(dir).map_err(|why| format!("{}: {why}", dir.display()))?;
    if (json.uuid, json.geometry()) != (record(number).uuid, GEOMETRY) {
        return Err(format!("{} is another region", dir.display()));
    }
    trailers(dir, GEOMETRY, |_| ()).map(|_| ()).map_err(|why| format!("{}: {why}", dir.display()))
}

/// After settling, every region on record is whole and in its place, no other is in a place,
/// and no attempt is left but those that are swept.
fn is_settled(root: &Path) -> Result<Vec<RegionName>, String> {
    if ledger::load(root).is_err() {
        // Before the first ledger there is nothing but attempts.
        let stray = fs::read_dir(root).map_err(|why| why.to_string())?.flatten();
        let stray = stray.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let stray: Vec<_> = stray.filter(|name| name.starts_with("volume")).collect();
        return if stray.is_empty() { Ok(Vec::new()) } else { Err(format!("{stray:?} without a ledger")) };
    }
    places::settle(root, &Default::default(), LIVED_MOMENT).map_err(|why| format!("it is not settled: {why}"))?;
    let ledger = ledger::load(root).map_err(|why| why.to_string())?.ledger;
    for number in 0..10 {
        let place = root.join(name(number).to_string());
        if ledger.regions.contains_key(&name(number)) {
            is_whole(&place, number)?;
        } else if place.exists() {
            return Err(format!("{} is there without a record", place.display()));
        }
    }
    Ok(ledger.regions.into_keys().collect())
}

fn created_so_far(root: &Path, returned: usize) -> Result<(), String> {
    let found = is_settled(root)?.len();
    if (returned..=returned + 1).contains(&found) {
        Ok(())
    } else {
        Err(format!("{found} regions, and {returned} were created"))
    }
}

/// Deleted, had back, deleted and removed, in turns: the region is always whole somewhere until
/// its removal has begun.
fn delete_and_restore(root: &Path, number: usize) {
    match number {
        0 => make(root, 0),
        _ if number % 2 == 1 => _ = places::bury(root, &name(0), LIVED_MOMENT).unwrap(),
        _ => places::restore(root, &stone(root).unwrap()).unwrap(),
    }
}

fn stone(root: &Path) -> Option<Tombstone> {
    ledger::load(root).unwrap().ledger.tombstones.first().cloned()
}

fn is_somewhere(root: &Path, returned: usize) -> Result<(), String> {
    let in_place = !is_settled(root)?.is_empty();
    match returned {
        0 => return Ok(()),
        // In place after every odd number of steps, or one step further.
        _ if in_place => {}
        _ => {
            let stone = stone(root).ok_or("it is neither in its place nor in the trash")?;
            is_whole(&root.join(layout::TRASH).join(stone.dir()), 0)?;
        }
    }
    Ok(())
}

/// Cuts the power at every moment of a story in which both modes of committing are told.
pub fn cuts(what: &str, steps: usize, step: fn(&Path, usize), check: fn(&Path, usize) -> Result<(), String>) {
    for (mode, commits) in [("", Commits::WhenTold), (", step by step", Commits::EachStep)] {
        let report = mounts::in_private(|place| Story::record(place, commits, steps, step).cut(place, check));
        say(&format!("{what}{mode}"), &report);
        assert!(report.cuts > 50 * SUBSETS && report.violations.is_empty(), "{report}");
    }
}

#[test]
fn the_ledger_has_every_record_that_was_made() {
    cuts("ledger", 8, |root, number| put_on_record(root, number).unwrap(), has_records);
}

#[test]
fn a_created_region_is_whole_and_on_record_or_it_is_not_there() {
    cuts("create", 3, make, created_so_far);
}

#[test]
fn a_deleted_region_is_whole_in_its_place_or_in_the_trash() {
    cuts("delete and restore", 5, delete_and_restore, is_somewhere);
}
