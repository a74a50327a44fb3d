//! Repairs of extents after a power cut: the supervisor's own functions, in the order in which its job calls them. An extent
//! is the rotten one or its sibling's, whole; what was there is kept; nothing that rots is off the record; and the repair
//! that is begun anew comes to its end.

use crate::regions::cuts;
use crucible_sled::act::extent_repair::{Patch, kept_name, make_kept};
use crucible_sled::act::settle::sweep;
use crucible_sled::config::{self, Configuration, Sources};
use crucible_sled::files::make_dir;
use crucible_sled::lived::Moment;
use crucible_sled::names::RegionName;
use crucible_sled::port_map::LocalRegion;
use crucible_sled::region::Record;
use crucible_sled::region::extent::{Array, Layout, SLOT_BYTES};
use crucible_sled::region::format::extent_path;
use crucible_sled::region::scrub::{Passed, Scrubs};
use crucible_sled::source::Source;
use crucible_sled::store::layout::{INCOMING, TRASH};
use crucible_sled::store::{extent_scrub, ledger, places, scrubs};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use twox_hash::XxHash64;
use uuid::Uuid;

/// The layout of the extents: of more than one block of the disk.
const LAYOUT: Layout = Layout { block_bytes: 4096, blocks: 3 };
/// The extents of a region, each of which rots and is repaired in a step of its own.
const EXTENTS: u32 = 1;
const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[volumes.still-fawn]
block_size = 4096
extent_size = 3
extent_count = 1
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
"#;

/// The moment of an attempt, which names what it keeps.
fn moment(attempt: u64) -> Moment {
    Moment { clock: Uuid::from_u128(7), ms: attempt }
}

/// The configuration of a sled whose disk this is.
fn configuration(root: &Path) -> Configuration {
    let source = |file: &str, text: String| Source { file: file.into(), text: Ok(text) };
    let sled = format!(
        "[sled]\nname = \"proper-raptor\"\n[network]\nnic = \"enp1s0\"\n[storage]\nroot = \"{}\"\nrequire_mount = false\n",
        root.display()
    );
    let sources = Sources {
        sled: vec![source("sled.toml", sled)],
        port_map: source("port-map.toml", MAP.into()),
        ephemeral: 32768..=60999,
    };
    config::read(&sources).unwrap()
}

/// The region that rots, and the sibling from which it is repaired.
fn regions(config: &Configuration) -> [LocalRegion; 2] {
    let [first, second, _] = config.local_regions().try_into().unwrap();
    [first, second]
}

fn file(config: &Configuration, region: &RegionName, extent: u32) -> PathBuf {
    config.region_dir(region).join(extent_path(extent))
}

/// The bytes of an extent as a flush leaves it, every block of it written.
fn whole(extent: u32) -> Vec<u8> {
    let mut bytes = vec![0; LAYOUT.file_bytes() as usize];
    for block in 0..LAYOUT.blocks {
        let own = block..block + 1;
        let data = vec![(17 * extent + block as u32) as u8 | 1; LAYOUT.block_bytes as usize];
        let hash = XxHash64::oneshot(0, &data).to_le_bytes();
        let mut slot = [0; SLOT_BYTES];
        slot[0] = 1;
        slot[1..9].copy_from_slice(&hash);
        slot[10..18].copy_from_slice(&hash);
        for (at, part) in [(LAYOUT.data(&own).start, &data[..]), (LAYOUT.slots(Array::First, &own).start, &slot)] {
            bytes[at as usize..][..part.len()].copy_from_slice(part);
        }
    }
    let trailer = LAYOUT.trailer() as usize;
    (bytes[trailer + 1], bytes[trailer + 9], bytes[trailer + 17]) = (7, 3, 2);
    bytes
}

/// The same with a bit of its third block flipped.
fn rotten(extent: u32) -> Vec<u8> {
    let mut bytes = whole(extent);
    bytes[2 * LAYOUT.block_bytes as usize + 100] ^= 4;
    bytes
}

fn synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap())?;
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Two regions on record, of which the first rots in every extent, and was scrubbed.
fn prepare(root: &Path) -> io::Result<()> {
    let config = configuration(root);
    ledger::begin(root, &Default::default())?;
    for (LocalRegion { name, geometry, .. }, contents) in
        regions(&config).into_iter().zip([rotten as fn(u32) -> Vec<u8>, whole])
    {
        let uuid = Uuid::from_u128(u128::from(name.index()) + 1);
        (0..EXTENTS).try_for_each(|extent| synced(&file(&config, &name, extent), &contents(extent)))?;
        let record = Record { uuid, geometry, created: jiff::Timestamp::UNIX_EPOCH, by: "a test".into() };
        ledger::change(root, |ledger| Ok(ledger.regions.insert(name, record)))?;
    }
    let mut found = Scrubs::first(Uuid::from_u128(1), jiff::Timestamp::UNIX_EPOCH);
    (0..EXTENTS).for_each(|extent| found.pass(extent, Passed { rotten: 1, ..Passed::default() }));
    scrubs::write(root, &regions(&config)[0].name, &found)?;
    // The directories as well.
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

/// Repairs the first of the extents that are on record as rotten, as a job does: a copy is made aside and held to its hashes,
/// put in place, and the extent taken off the record.
fn repair(root: &Path, attempt: u64) -> Result<(), String> {
    let (config, text) = (configuration(root), |why: io::Error| why.to_string());
    let [region, sibling] = regions(&config);
    let mut found = scrubs::read(root, &region.name).map_err(text)?.ok_or("it was never scrubbed")?;
    let extent = *found.rotten.keys().next().ok_or("nothing is wrong with it")?;
    let path = file(&config, &region.name, extent);
    let looked = extent_scrub::scrub(&File::open(path).map_err(text)?, LAYOUT, |_| Ok(())).map_err(text)?;
    // What was in place before it was off the record is right.
    if !looked.findings.is_empty() {
        make_dir(&root.join(INCOMING), 0o755).map_err(text)?;
        let aside = root.join(INCOMING).join(format!("{}.{}", region.name, Uuid::from_u128(attempt.into()).simple()));
        fs::create_dir(&aside).map_err(text)?;
        let patch = Patch::copy(&config, &region, extent, &sibling.name, &aside, |_| Ok(()));
        let patch = patch.map_err(|why| format!("that of {} {why}", sibling.name))?;
        let kept = make_kept(&root.join(TRASH), &kept_name(&region.name, moment(attempt))).map_err(text)?;
        let dir = config.region_dir(&region.name);
        patch.put_in_place(&dir, region.geometry.extent_file_bytes(), &kept).map_err(text)?;
        fs::remove_dir_all(&aside).map_err(text)?;
    }
    found.repaired(extent);
    scrubs::write(root, &region.name, &found).map_err(text)
}

fn step(root: &Path, number: usize) {
    match number {
        0 => prepare(root).unwrap(),
        _ => repair(root, number as u64).unwrap(),
    }
}

/// The extents that are kept in the trash, of every attempt.
fn kept(root: &Path, extent: u32) -> Vec<Vec<u8>> {
    let dirs = fs::read_dir(root.join(TRASH)).into_iter().flatten().flatten();
    dirs.filter_map(|dir| fs::read(dir.path().join(extent.to_string())).ok()).collect()
}

fn is_one_or_the_other(root: &Path, returned: usize) -> Result<(), String> {
    let Some(repaired) = returned.checked_sub(1) else { return Ok(()) };
    // As a start does it.
    let (_, left) = places::settle(root, &Default::default(), moment(1000)).map_err(|why| why.to_string())?;
    sweep(left);
    let config = configuration(root);
    let [region, sibling] = regions(&config).map(|region| region.name);
    let read = |name: &RegionName, extent| fs::read(file(&config, name, extent)).map_err(|why| why.to_string());
    let record = scrubs::read(root, &region).map_err(|why| why.to_string())?.ok_or("no scrub is on record")?;
    for extent in 0..EXTENTS {
        let (found, off) = (read(&region, extent)?, !record.rotten.contains_key(&extent));
        let (is_new, done) = (found == whole(extent), (extent as usize) < repaired);
        if !is_new && (done || off || found != rotten(extent)) {
            return Err(format!("extent {extent} is not what it should be; repaired: {done}, off the record: {off}"));
        }
        if is_new && !kept(root, extent).contains(&rotten(extent)) {
            return Err(format!("what was there of extent {extent} is not kept"));
        }
        if done && !off {
            return Err(format!("extent {extent} was repaired, and is on record still"));
        }
        if read(&sibling, extent)? != whole(extent) {
            return Err(format!("extent {extent} of the sibling has changed"));
        }
    }
    for attempt in 0..record.rotten.len() as u64 {
        repair(root, 1000 + attempt).map_err(|why| format!("it is not repaired any more: {why}"))?;
    }
    let left = fs::read_dir(root.join(INCOMING)).into_iter().flatten().count();
    match (0..EXTENTS).all(|extent| read(&region, extent).is_ok_and(|found| found == whole(extent))) {
        true if left == 0 => Ok(()),
        so => Err(format!("after another repair: all of it is right: {so}, and {left} attempt(s) are left")),
    }
}

#[test]
fn a_repaired_extent_is_the_one_that_was_there_or_its_siblings_whole() {
    cuts("repairs", 1 + EXTENTS as usize, step, is_one_or_the_other);
}
