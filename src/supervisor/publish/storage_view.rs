//! Parts of the bodies that come from the facts of the data disk alone.

use crate::config::{Configuration, Provisioning};
use crate::decide::attach::keeper;
use crate::decide::facts::{Disk, Facts, OnDisk};
use crate::decide::storage::{repair_room, unreserved};
use crate::names::{RegionName, VolumeName};
use crate::region::{Ledger, Tombstone};
use crate::times;
use crate::wire;
use jiff::SignedDuration;

/// Find a region's identity: the one on record, or else the one that lies on disk.
pub(in crate::supervisor) fn uuid(facts: &Facts, name: &RegionName) -> Option<uuid::Uuid> {
    let disk = facts.disk.as_ref()?;
    let recorded = disk.ledger.as_ref().ok().and_then(|ledger| ledger.regions.get(name)).map(|record| record.uuid);
    recorded.or_else(|| match disk.regions.get(name) {
        Some(OnDisk::Present(region)) => Some(region.uuid),
        _ => None,
    })
}

/// Find who holds the last ticket of a volume.
pub(in crate::supervisor) fn holder(
    config: &Configuration,
    facts: &Facts,
    volume: &VolumeName,
) -> Option<wire::Holder> {
    let grant = facts.grants.as_ref()?.get(volume)?;
    let (address, since) = grant.holder?;
    Some(wire::Holder {
        address,
        host: config.map.name_of(address).map(str::to_owned),
        generation: grant.generation,
        since: times::in_milliseconds(since),
        denied: grant.denied.iter().copied().collect(),
        released: grant.released,
        keeps: Some(keeper(&config.map, volume, grant, facts.away.get(volume).copied()).is_some()),
    })
}

fn ledger(disk: &Disk) -> Option<&Ledger> {
    disk.ledger.as_ref().ok()
}

/// Describe the storage in short.
pub(in crate::supervisor) fn storage(config: &Configuration, disk: Option<&Disk>) -> wire::Storage {
    let regions = disk.and_then(ledger).into_iter().flat_map(|ledger| ledger.regions.values());
    let surveyed = disk.into_iter().flat_map(|disk| disk.surveys.values().map(|survey| survey.allocated));
    let buried = disk.into_iter().flat_map(|disk| disk.trash.values().copied());
    wire::Storage {
        root: config.sled.storage.root.display().to_string(),
        mounted: disk.is_some_and(|disk| disk.mounted),
        capacity_bytes: disk.map_or(0, |disk| disk.capacity),
        free_bytes: disk.map_or(0, |disk| disk.free),
        promised_bytes: regions.map(|record| record.geometry.disk_bytes()).sum(),
        used_bytes: surveyed.chain(buried).sum(),
    }
}

/// Describe the storage in every detail.
pub(in crate::supervisor) fn storage_detail(config: &Configuration, facts: &Facts) -> wire::StorageDetail {
    let disk = facts.disk.as_ref();
    let mark = disk.and_then(|disk| disk.mark.as_ref().ok()?.as_ref());
    let settings = &config.sled.storage;
    wire::StorageDetail {
        storage: storage(config, disk),
        disk: mark.map(|mark| mark.disk),
        belongs_to: mark.map(|mark| mark.sled.clone()),
        reserve_bytes: settings.reserve.of(disk.map_or(0, |disk| disk.capacity)),
        repair_bytes: disk.and_then(repair_room).unwrap_or_default(),
        inodes_free: disk.filter(|disk| disk.inodes > 0).map(|disk| disk.inodes_free),
        wanted: disk.and_then(ledger).map(|ledger| wanted(config, ledger)).unwrap_or_default(),
        provisioning: match settings.provisioning {
            Provisioning::Thick => "thick".into(),
            Provisioning::Thin => "thin".into(),
        },
        unreserved_bytes: disk.map_or(0, unreserved),
        regions: disk.map(regions).unwrap_or_default(),
        trash: disk.map(|disk| trash(config, facts, disk)).unwrap_or_default(),
    }
}

fn wanted(config: &Configuration, ledger: &Ledger) -> Vec<wire::WantedRegion> {
    let local = config.local_regions().into_iter();
    let new = local.filter(|local| !ledger.regions.contains_key(&local.name));
    let one = |local: crate::port_map::LocalRegion| wire::WantedRegion {
        region: local.name,
        bytes: local.geometry.disk_bytes(),
        repair_bytes: local.geometry.extent_file_bytes(),
    };
    new.map(one).collect()
}

fn regions(disk: &Disk) -> Vec<wire::StoredRegion> {
    let all = ledger(disk).into_iter().flat_map(|ledger| &ledger.regions);
    let one = |(name, record): (&RegionName, &crate::region::Record)| wire::StoredRegion {
        region: name.clone(),
        uuid: record.uuid,
        promised_bytes: record.geometry.disk_bytes(),
        used_bytes: disk.surveys.get(name).map(|survey| survey.allocated),
        created: record.created,
        by: record.by.clone(),
    };
    all.map(one).collect()
}

fn trash(config: &Configuration, facts: &Facts, disk: &Disk) -> Vec<wire::DeletedRegion> {
    let (keep, now) = (std::time::Duration::from(config.sled.storage.keep_deleted), times::now());
    let left = |stone: &Tombstone| facts.kept_for.get(&stone.dir()).copied().unwrap_or(keep.as_secs());
    // By the clock, unless that was set since.
    let until = |stone: &Tombstone| {
        let wanted = stone.deleted.saturating_add(keep).unwrap_or(stone.deleted);
        times::steady(
            wanted,
            now.saturating_add(SignedDuration::from_secs(left(stone).cast_signed())).unwrap_or(wanted),
        )
    };
    let all = ledger(disk).into_iter().flat_map(|ledger| &ledger.tombstones);
    let one = |stone: &Tombstone| wire::DeletedRegion {
        region: stone.region.clone(),
        uuid: stone.record.uuid,
        deleted: stone.deleted,
        kept_until: until(stone),
        kept_for_seconds: left(stone),
        removing: stone.removing,
        used_bytes: disk.trash.get(&stone.dir()).copied().unwrap_or_default(),
    };
    all.map(one).collect()
}
