//! Data disk's facts and what they mean: whether it is this sled's, whether it may be used, and whether there is
//! room.

use super::block;
use super::facts::{Active, Disk, Facts, Settled};
use super::finding::Finding;
use crate::check::Code;
use crate::config::{Configuration, Provisioning};
use crate::names::{RegionName, VolumeName};
use crate::region::Ledger;
use crate::size;
use crate::times::in_seconds;
use crate::wire::{self, Refusal};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The free bytes below which a thin region cannot count on its next write.
const FULL_BELOW_BYTES: u64 = 16 << 20;
/// The free inodes below which no file can be counted on: a change of the ledger takes two.
const FULL_BELOW_INODES: u64 = 8;
/// The percentage of all inodes below which they are low.
const LOW_BELOW_INODES_PERCENT: u64 = 5;

/// A disk that is not this sled's, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    cause: String,
    remedy: String,
}

/// Find that the disk that is mounted is this sled's.
///
/// # Errors
/// Why the disk is not.
pub fn belongs(config: &Configuration, disk: &Disk) -> Result<(), Foreign> {
    let (root, sled) = (config.sled.storage.root.display(), &config.sled.name);
    let foreign = |cause: String, remedy: String| Err(Foreign { cause, remedy });
    let right = format!("mount this sled's own data disk at {root}");
    match (&disk.mark, &disk.remembered) {
        (Err(why), known) => {
            let name = known.as_ref().map_or_else(|| "UUID".to_owned(), |known| known.disk.to_string());
            foreign(
                format!("the mark of the disk at {root} cannot be read: {why}"),
                format!("{right}; if it is that, and only its mark is lost: sledctl storage init --replace {name}"),
            )
        }
        (Ok(None), None) => foreign(
            format!("the disk at {root} is not marked as {sled}'s"),
            "if it is the right disk: sledctl storage init".into(),
        ),
        (Ok(None), Some(known)) => foreign(
            format!(
                "the disk at {root} has no mark, and this sled's is {}, marked {}",
                known.disk,
                in_seconds(known.marked)
            ),
            format!(
                "{right}; if it is that one and only its mark is gone, or if that one is lost for good: sledctl storage \
                 init --replace {}",
                known.disk
            ),
        ),
        (Ok(Some(mark)), _) if mark.sled != *sled => foreign(
            format!("the disk at {root} belongs to the sled {} (marked {})", mark.sled, in_seconds(mark.marked)),
            format!("{right}; to take this one over for good: sledctl storage init --replace {}", mark.disk),
        ),
        (Ok(Some(mark)), Some(known)) if known.disk != mark.disk => foreign(
            format!(
                "the disk at {root} is {}, and this sled's is {}, marked {}",
                mark.disk,
                known.disk,
                in_seconds(known.marked)
            ),
            format!("{right}; if that one is lost for good: sledctl storage init --replace {}", known.disk),
        ),
        (Ok(Some(_)), _) => Ok(()),
    }
}

/// The ledger of a disk on which something may be done.
///
/// # Errors
/// Why nothing may be done.
pub fn usable<'a>(config: &Configuration, facts: &'a Facts) -> Result<&'a Ledger, wire::Error> {
    let ledger = readable(config, facts)?;
    let disk = facts.disk.as_ref();
    match (&facts.settled, disk) {
        (_, Some(disk)) if disk.read_only => Err(refusal(&read_only(config, facts))),
        (Settled::Done(known), Some(disk)) if identity(disk) == Some(*known) => Ok(ledger),
        (Settled::Failed(why), _) => Err(refusal(&unsettled(why))),
        _ => {
            let message = "what an earlier supervisor left undone on the data disk is being looked for";
            Err(wire::Error::new(Refusal::Starting, message, "ask again in a moment"))
        }
    }
}

/// The disk's own identity, by its mark.
pub fn identity(disk: &Disk) -> Option<Uuid> {
    disk.mark.as_ref().ok()?.as_ref().map(|mark| mark.disk)
}

/// The ledger of a disk that may be looked at.
///
/// # Errors
/// Why the disk may not.
pub fn readable<'a>(config: &Configuration, facts: &'a Facts) -> Result<&'a Ledger, wire::Error> {
    let Some(disk) = &facts.disk else {
        return Err(wire::Error::new(
            Code::NotSeen,
            "the data disk has not been looked at yet",
            "ask again in a moment",
        ));
    };
    match unavailable(config, facts, disk) {
        Some(finding) => Err(refusal(&finding)),
        None => disk.ledger.as_ref().map_err(|why| refusal(&unreadable(config, disk, why))),
    }
}

fn refusal(finding: &Finding) -> wire::Error {
    wire::Error::new(finding.code, format!("nothing is done: {}", finding.cause), finding.remedy.clone())
}

/// The findings about the disk as a whole.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let Some(disk) = &facts.disk else { return Vec::new() };
    let mut found = Vec::new();
    match (unavailable(config, facts, disk), &disk.ledger, &facts.settled) {
        (Some(finding), ..) if finding.code == Code::DiskReadOnly => return vec![finding],
        (Some(mut finding), ..) => {
            let running = running(facts);
            if running > 0 {
                finding.cause += &format!("; {running} downstairs still serve from the disk that was there");
            }
            return vec![finding];
        }
        (None, _, _) if disk.read_only => found.push(read_only(config, facts)),
        (None, Err(why), _) => found.push(unreadable(config, disk, why)),
        (None, Ok(_), Settled::Failed(why)) => found.push(unsettled(why)),
        (None, Ok(_), _) => {
            found.extend(room(config, disk));
            found.extend(files(config, disk));
            found.extend(repairs(config, disk));
        }
    }
    if let Some(why) = &disk.damage {
        let cause = format!("one of the ledger's two copies cannot be read: {why}");
        found.push(about(config, Code::LedgerDamaged, cause, Code::LedgerDamaged.remedy()));
    }
    found.extend(overcommitted(config, disk));
    found.extend(unmapped(config, disk));
    found
}

/// The number of downstairs that run.
pub fn running(facts: &Facts) -> usize {
    let units = facts.regions.values().filter_map(|region| region.unit.as_ref());
    units.filter(|unit| unit.active == Active::Active).count()
}

/// The finding that the disk is not there, not this sled's, or that the kernel has given it up so that nobody knows.
fn unavailable(config: &Configuration, facts: &Facts, disk: &Disk) -> Option<Finding> {
    let root = config.sled.storage.root.display();
    if disk.mounted && disk.frozen && disk.mark.is_err() {
        return Some(block::frozen(config, facts));
    }
    if disk.mounted {
        let foreign = belongs(config, disk).err()?;
        return Some(about(config, Code::DataForeign, foreign.cause, foreign.remedy));
    }
    let (cause, remedy) = if config.sled.storage.require_mount {
        (
            format!("no file system is mounted at {root}: nothing is created and nothing is started"),
            format!("mount the data disk at {root} (systemctl status '*.mount' shows why it is not)"),
        )
    } else {
        (
            format!("there is no directory {root}: nothing is created and nothing is started"),
            format!("make {root}, or correct storage.root of sled.toml"),
        )
    };
    Some(about(config, Code::DataNotMounted, cause, remedy))
}

fn read_only(config: &Configuration, facts: &Facts) -> Finding {
    if facts.disk.as_ref().is_some_and(|disk| disk.frozen) {
        return block::frozen(config, facts);
    }
    let cause = format!("the file system at {} cannot be written to", config.sled.storage.root.display());
    about(config, Code::DataReadOnly, cause, Code::DataReadOnly.remedy())
}

fn unreadable(config: &Configuration, disk: &Disk, why: &str) -> Finding {
    let cause = format!("neither copy of the ledger can be read: {why}");
    let remedy = if disk.ledger_lost {
        "nothing is started or created until it is rebuilt from the regions themselves: \
         sledctl region adopt --all --dry-run, then without --dry-run"
    } else {
        "it is not lost: install the sledd that wrote it, or see dmesg for errors of the disk"
    };
    about(config, Code::LedgerUnreadable, cause, remedy)
}

fn unsettled(why: &str) -> Finding {
    let cause = format!("what an earlier supervisor left undone cannot be finished: {why}");
    Finding::new(Code::NotSettled, "disk", cause, Code::NotSettled.remedy())
}

fn about(config: &Configuration, code: Code, cause: String, remedy: impl Into<String>) -> Finding {
    Finding::new(code, format!("disk {}", config.sled.storage.root.display()), cause, remedy)
}

/// Whether regions would find no room for what they still have to write.
pub fn full(disk: &Disk) -> bool {
    disk.mounted && !disk.read_only && disk.ledger.is_ok() && disk.free < FULL_BELOW_BYTES && unreserved(disk) > 0
}

/// Whether no file can be made on a disk: one is needed for a repair, and for every change of the ledger.
pub fn no_inodes(disk: &Disk) -> bool {
    disk.mounted && !disk.read_only && disk.inodes > 0 && disk.inodes_free < FULL_BELOW_INODES
}

/// The shortages: of blocks for what regions still have to write, of inodes, of room for a repair.
pub fn shortages(disk: &Disk) -> [bool; 3] {
    [full(disk), no_inodes(disk), repair_room(disk).is_some_and(|needs| disk.free < needs)]
}

/// Whether files can be made on the data disk.
fn files(config: &Configuration, disk: &Disk) -> Option<Finding> {
    let root = config.sled.storage.root.display();
    let low = disk.inodes > 0 && disk.inodes_free < disk.inodes / 100 * LOW_BELOW_INODES_PERCENT;
    let room = format!("{} of {} inodes are free at {root}", disk.inodes_free, disk.inodes);
    let remedy = format!(
        "remove small files that are no region's, or a region for good (sledctl region delete, then purge): du --inodes -xS {root} | sort -n | tail shows where they lie; their size \
         does not matter"
    );
    // A condition of its own: the disk may be short of bytes as well, or get more of the one and not of the other.
    let about = |code, cause| Finding { subject: format!("inodes {root}"), ..about(config, code, cause, remedy) };
    if no_inodes(disk) {
        let cause = format!(
            "{room}: no file can be made, however many bytes are free: nothing is created, and no region can be \
             repaired"
        );
        Some(about(Code::DiskFull, cause))
    } else {
        low.then(|| about(Code::DiskInodesLow, format!("{room}: soon no file can be made on it")))
    }
}

/// The bytes that must be free so that a region on record can be repaired: its largest extent's file is copied beside
/// the old one, however the region's own blocks were taken. `None` without regions.
pub fn repair_room(disk: &Disk) -> Option<u64> {
    let regions = disk.ledger.iter().flat_map(|ledger| ledger.regions.values());
    regions.map(|record| record.geometry.extent_file_bytes()).max()
}

/// The volumes whose regions cannot be repaired. A full disk has a finding of its own.
fn repairs(config: &Configuration, disk: &Disk) -> Vec<Finding> {
    let Ok(ledger) = disk.ledger.as_ref().map_err(|_| ()) else { return Vec::new() };
    if full(disk) {
        return Vec::new();
    }
    let mut needs: BTreeMap<&VolumeName, u64> = BTreeMap::new();
    for (name, record) in &ledger.regions {
        let most = needs.entry(name.volume()).or_default();
        *most = record.geometry.extent_file_bytes().max(*most);
    }
    let short =
        needs.into_iter().filter(|(volume, needs)| disk.free < *needs && config.map.volumes.contains_key(*volume));
    let finding = |(volume, needs): (&VolumeName, u64)| {
        let cause = format!(
            "{} is free at {}, and to repair a region takes {}: a region that was away stays out of date, and a host that \
             attaches anew would wait for its repair without end",
            size::spoken(disk.free),
            config.sled.storage.root.display(),
            size::spoken(needs)
        );
        Finding::about_volume(volume, Code::RepairImpossible, cause, Code::RepairImpossible.remedy())
    };
    short.map(finding).collect()
}

/// Whether there is room on the data disk.
fn room(config: &Configuration, disk: &Disk) -> Option<Finding> {
    let storage = &config.sled.storage;
    let (root, reserve) = (storage.root.display(), storage.reserve.of(disk.capacity));
    let room = format!("{} of {} is free at {root}", size::spoken(disk.free), size::spoken(disk.capacity));
    if full(disk) {
        let cause = format!("{room}: a region that is written to hangs until there is more");
        return Some(about(config, Code::DiskFull, cause, Code::DiskFull.remedy()));
    }
    (disk.free < reserve).then(|| {
        let cause = format!("{room}, and {} ({}) is to be kept in reserve", size::spoken(reserve), storage.reserve);
        about(config, Code::DiskLow, cause, Code::DiskLow.remedy())
    })
}

/// The bytes that the regions may still take: blocks that were promised and are not reserved.
pub fn unreserved(disk: &Disk) -> u64 {
    let regions = disk.ledger.iter().flat_map(|ledger| &ledger.regions);
    let open = regions.map(|(name, record)| {
        let taken = disk.surveys.get(name).map_or(0, |survey| survey.allocated);
        record.geometry.disk_bytes().saturating_sub(taken)
    });
    open.sum()
}

/// Whether more was promised than there is.
fn overcommitted(config: &Configuration, disk: &Disk) -> Option<Finding> {
    let open = unreserved(disk);
    if open <= disk.free || disk.ledger.is_err() {
        return None;
    }
    let promised: u64 = disk.ledger.iter().flat_map(|l| l.regions.values()).map(|r| r.geometry.disk_bytes()).sum();
    let taken = promised.saturating_sub(open);
    let cause = format!(
        "{} is promised to regions, of which {} is taken: {} more may be written, and {} is free",
        size::spoken(promised),
        size::spoken(taken),
        size::spoken(open),
        size::spoken(disk.free)
    );
    let remedy = match config.sled.storage.provisioning {
        Provisioning::Thin => Code::DiskOvercommitted.remedy(),
        Provisioning::Thick => {
            "regions from before storage.provisioning = \"thick\" reserve nothing: watch sledctl storage"
        }
    };
    Some(about(config, Code::DiskOvercommitted, cause, remedy))
}

/// Regions that exist here and that the map knows nothing of: a volume that was renamed or
/// removed. Its downstairs are stopped, and its data stays.
fn unmapped(config: &Configuration, disk: &Disk) -> Vec<Finding> {
    let local = config.local_regions();
    let recorded = disk.ledger.iter().flat_map(|ledger| ledger.regions.keys());
    let others = recorded.filter(|name| !local.iter().any(|local| local.name == **name));
    let finding = |name: &RegionName| {
        let cause = format!(
            "it is on record, and the port map does not put {name} on this sled: it is stopped unless a host uses it, and its data stays"
        );
        let twice = if config.map.volumes.contains_key(name.volume()) {
            format!(" --yes-destroy {name}")
        } else {
            String::new()
        };
        let remedy = format!(
            "put it back into port-map.toml, then: sledctl reload; or, to delete it, which keeps its data for a while: \
             sledctl region delete {name}{twice}"
        );
        Finding::new(Code::RegionUnmapped, format!("region {name}"), cause, remedy)
    };
    others.map(finding).collect()
}
