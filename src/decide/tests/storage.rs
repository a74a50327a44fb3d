//! Whose the data disk is, and whether there is room on it.

use super::*;
use crate::check::Code;
use crate::decide::storage::belongs;
use crate::decide::verdict::judge;

#[test]
fn only_the_disk_with_this_sleds_mark_is_its_own() {
    let config = config();
    let own = Mark::new(config.sled.name.clone());
    let other = Mark::new("other".parse().unwrap());
    let disk = |mark: Result<Option<&Mark>, &str>, remembered: Option<&Mark>| Disk {
        mounted: true,
        mark: mark.map(|mark| mark.cloned()).map_err(str::to_owned),
        remembered: remembered.cloned(),
        ..Disk::default()
    };
    assert_eq!(belongs(&config, &disk(Ok(Some(&own)), None)), Ok(()));
    assert_eq!(belongs(&config, &disk(Ok(Some(&own)), Some(&own))), Ok(()));
    let second = Mark::new(config.sled.name.clone());
    for (disk, cause) in [
        (disk(Ok(None), None), "is not marked as proper-raptor's"),
        (disk(Ok(None), Some(&own)), "has no mark, and this sled's is"),
        (disk(Ok(Some(&other)), None), "belongs to the sled other"),
        (disk(Ok(Some(&other)), Some(&own)), "belongs to the sled other"),
        (disk(Ok(Some(&second)), Some(&own)), "and this sled's is"),
        (disk(Err("torn"), Some(&own)), "torn"),
    ] {
        let mut facts = well(&config);
        facts.disk = Some(disk);
        let verdict = judge(&config, &facts);
        let found = verdict.findings.iter().find(|finding| finding.code == Code::DataForeign).unwrap();
        assert!(found.cause.contains(cause), "{found:?}");
        assert!(!verdict.ready(&volume()));
    }
}

#[test]
fn what_is_promised_is_held_against_what_is_free() {
    let config = config();
    let mut facts = well(&config);
    let has = |facts: &Facts, code| judge(&config, facts).findings.into_iter().find(|finding| finding.code == code);
    assert_eq!(has(&facts, Code::DiskOvercommitted), None);
    let each = config.local_regions()[0].geometry.disk_bytes();
    let disk = facts.disk.as_mut().unwrap();
    (disk.capacity, disk.free) = (4 * each, 3 * each - 1);
    let found = has(&facts, Code::DiskOvercommitted).unwrap();
    assert!(found.cause.contains("1.5 GiB is promised to regions, of which 0 B is taken"), "{}", found.cause);
    // Blocks that are taken need no room any more.
    let disk = facts.disk.as_mut().unwrap();
    disk.surveys.insert(first(), Survey { allocated: each, fault: None, dirty: 0 });
    assert_eq!(has(&facts, Code::DiskOvercommitted), None);
    // Reserved to the last block: a full disk is low, and stops nobody.
    let disk = facts.disk.as_mut().unwrap();
    for local in config.local_regions() {
        disk.surveys.insert(local.name, Survey { allocated: each, fault: None, dirty: 0 });
    }
    disk.free = 0;
    assert_eq!(has(&facts, Code::DiskFull), None);
    assert!(has(&facts, Code::DiskLow).is_some());
    // A region that was away cannot be repaired, though: no host attaches anew.
    assert!(has(&facts, Code::RepairImpossible).is_some() && !judge(&config, &facts).ready(&volume()));
    let extent = config.local_regions()[0].geometry.extent_file_bytes();
    for (free, well) in [(extent - 1, false), (extent, true)] {
        facts.disk.as_mut().unwrap().free = free;
        assert_eq!(judge(&config, &facts).ready(&volume()), well, "{free}");
    }
    facts.disk.as_mut().unwrap().free = 0;
    facts.disk.as_mut().unwrap().surveys.clear();
    assert!(has(&facts, Code::DiskFull).is_some());
}

/// Files are counted as bytes are, and where they are not limited they are not.
#[test]
fn a_disk_without_inodes_is_full() {
    let config = config();
    let mut facts = well(&config);
    for (inodes, inodes_free, code) in
        [(0, 0, None), (1000, 500, None), (1000, 49, Some(Code::DiskInodesLow)), (1000, 0, Some(Code::DiskFull))]
    {
        let disk = facts.disk.as_mut().unwrap();
        (disk.inodes, disk.inodes_free) = (inodes, inodes_free);
        let codes = [Code::DiskInodesLow, Code::DiskFull];
        let found = judge(&config, &facts).findings.into_iter().find(|finding| codes.contains(&finding.code));
        assert_eq!(found.as_ref().map(|finding| finding.code), code, "{inodes_free} of {inodes}");
        assert!(found.is_none_or(|finding| finding.cause.contains("inodes") && finding.remedy.contains("--inodes")));
    }
}

#[test]
fn three_regions_with_one_uuid_are_told_and_serve() {
    let config = config();
    let mut facts = well(&config);
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let uuid = ledger.regions[&first()].uuid;
    ledger.regions.values_mut().for_each(|record| record.uuid = uuid);
    let found = judge(&config, &facts).findings;
    let shared: Vec<_> = found.iter().filter(|finding| finding.code == Code::RegionUuidShared).collect();
    assert_eq!(shared.len(), 1);
    assert!(shared[0].cause.contains("still-fawn-0, still-fawn-1, still-fawn-2"), "{}", shared[0].cause);
    assert_eq!(shared[0].code.severity(), crate::check::Severity::Warning);
}
