//! Rebuild of a region from its siblings: which region may be made anew, how far an earlier attempt has got, which sibling
//! counts as whole, and whether there is room for one more. Of siblings on other sleds nothing is known here: the work asks
//! them. Never when it is its turn.

use super::facts::{Disk, Facts, OnDisk, Region};
use super::failure::Kind;
use super::identity::rescue;
use super::permits::{Deletion, idle, local, not_on_record, ports_free, unseen};
use super::region::serving;
use super::remedy::{Remedy, may_be_lost, of_files};
use super::storage::usable;
use super::turns::{Denied, unscrubbed};
use super::verification;
use crate::config::{Configuration, Provisioning};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::scrub::Scrubs;
use crate::region::{HeldBy, Hold, Ledger, Record, Tombstone};
use crate::size;
use crate::times::in_seconds;
use crate::wire::{self, Refusal};
use jiff::Timestamp;
use std::net::IpAddr;
use uuid::Uuid;

/// The words in a record between the maker and the region that was there before.
const IN_THE_PLACE_OF: &str = ", in the place of ";

/// The stage from which a rebuild goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The region is on record: it goes to the trash, or off the record, and an empty one takes its place.
    Replaces(Deletion),
    /// The region lies in the trash, with this identity: an empty one takes its place.
    Makes(Uuid),
    /// The region was made anew: it is watched how its host fills it.
    Fills(Record),
}

/// A rebuild that may be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// The region.
    pub local: LocalRegion,
    /// The stage that it is at.
    pub stage: Stage,
    /// What makes each sibling on this sled whole, in words.
    pub siblings: Vec<String>,
    /// Whether it is made anew under hosts that are connected to its volume as well.
    pub attached: bool,
}

/// The maker of a region in the place of the one with this identity, as its record has it.
pub fn maker(before: Uuid) -> String {
    format!("sledd {}{IN_THE_PLACE_OF}{before}", env!("CARGO_PKG_VERSION"))
}

/// Whether a region was made anew, empty, in the place of another.
pub fn is_made_anew(record: &Record) -> bool {
    record.by.contains(IN_THE_PLACE_OF)
}

/// The regions in the trash of which one took the place of the other, from the one in whose place the region on record was
/// made back to the first that is there: an attempt before may have gone to the trash before it was filled.
pub fn predecessors<'a>(ledger: &'a Ledger, name: &RegionName) -> Vec<&'a Tombstone> {
    let (stones, mut found) = (ledger.restorable(name), Vec::new());
    let mut record = ledger.regions.get(name);
    while let Some((_, before)) = record.and_then(|record| record.by.split_once(IN_THE_PLACE_OF))
        && let Some(stone) = stones.iter().find(|stone| stone.record.uuid.to_string() == before)
        && found.len() < stones.len()
    {
        found.push(*stone);
        record = Some(&stone.record);
    }
    found
}

/// Find whether a region may be made anew, and from which stage, as far as can be told now. `attached`: also under hosts that
/// are connected to its volume.
///
/// # Errors
/// Why not: no such region here, a job is at it, there is no disk or no room, nothing is known to be wrong with it, a host is
/// connected to its volume, or a sibling on this sled is not known to be whole.
pub fn may_rebuild(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    attached: bool,
) -> Result<Rebuild, wire::Error> {
    let local = local(config, name)?;
    let region = idle(facts, name)?;
    unscrubbed(facts, name)?;
    verification::not_due(facts, name)?;
    let stage = stage(config, facts, &local, usable(config, facts)?)?;
    match stage {
        Stage::Fills(_) => return Ok(Rebuild { local, stage, siblings: Vec::new(), attached }),
        Stage::Replaces(_) => keeps_data(config, facts, name)?,
        Stage::Makes(_) => {}
    }
    let hosts = facts.visitors(config, name.volume());
    if !attached && !hosts.is_empty() {
        return Err(under(name, hosts.keys()));
    }
    let siblings = siblings(config, facts, name)?;
    room(config, facts.disk.as_ref().ok_or_else(|| unseen(config, name))?, &local)?;
    if matches!(stage, Stage::Makes(_)) {
        ports_free(&region, &local)?;
    }
    Ok(Rebuild { local, stage, siblings, attached })
}

/// Refuse to make a region anew under hosts that are connected to its volume.
pub fn under<'a>(name: &RegionName, hosts: impl IntoIterator<Item = &'a IpAddr>) -> wire::Error {
    let hosts = hosts.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let why = format!(
        "{hosts} is connected to the volume {}, and its server ends at once when a region with another UUID is in the \
         place of one that it knows",
        name.volume()
    );
    let remedy = format!(
        "detach the volume there first, then ask again; or sledctl region rebuild {name} --attached: with \
         crucible-attach, the server is started anew by itself, and the guest stands still until the region is filled; \
         with crucible-nbd-server alone the guest loses its disk"
    );
    refused(Refusal::InUse, name, &why, remedy)
}

/// Find whether a region whose turn has come is still one that may go, as things are now.
///
/// # Errors
/// Why not, as [`may_rebuild`] says it, and whether it is worth asking again.
pub fn may_go(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<(), Denied> {
    let local = local(config, name).map_err(Denied::Refused)?;
    let ledger = usable(config, facts).map_err(Denied::Refused)?;
    match stage(config, facts, &local, ledger).map_err(Denied::Refused)? {
        // A downstairs that repairs an extent replaces its file.
        Stage::Replaces(_) => keeps_data(config, facts, name).map_err(Denied::Later)?,
        Stage::Makes(_) | Stage::Fills(_) => {
            let why = "nothing is known to be wrong with it any more";
            return Err(Denied::Refused(refused(Refusal::NotRebuilt, name, why, see(name))));
        }
    }
    siblings(config, facts, name).map(drop).map_err(Denied::Refused)
}

/// Find that no process has what the region's directory has not: with that one it would be gone.
fn keeps_data(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<(), wire::Error> {
    let disk = facts.disk.as_ref().ok_or_else(|| unseen(config, name))?;
    let Some(pid) = facts.regions.get(name).and_then(Region::alive) else { return Ok(()) };
    let (why, passing) = match disk.regions.get(name) {
        Some(OnDisk::Absent) => ("it is gone".to_owned(), false),
        Some(OnDisk::Unreadable(why)) => (why.clone(), false),
        Some(OnDisk::Present(_)) | None => match disk.surveys.get(name).and_then(|survey| survey.fault.clone()) {
            Some(fault) => (fault, true),
            None => return Ok(()),
        },
    };
    let dir = config.region_dir(name).display().to_string();
    let files = of_files(config, name, &why);
    let saves = if passing && !may_be_lost(&files) { files } else { rescue(pid, &dir) };
    let remedy = if passing {
        format!("ask again in a moment, as a downstairs that repairs an extent replaces its file; else: {saves}")
    } else {
        saves
    };
    let what = format!("{dir}: {why}; process {pid} serves it still, and may have what nothing else has");
    Err(refused(Refusal::NotRebuilt, name, &what, remedy))
}

/// Find the stage that a region is at.
fn stage(config: &Configuration, facts: &Facts, local: &LocalRegion, ledger: &Ledger) -> Result<Stage, wire::Error> {
    let name = &local.name;
    let disk = facts.disk.as_ref().ok_or_else(|| unseen(config, name))?;
    let there = disk.regions.get(name).ok_or_else(|| unseen(config, name))?;
    match (ledger.regions.get(name), there) {
        (None, OnDisk::Absent) => match ledger.restorable(name).last() {
            Some(stone) => Ok(Stage::Makes(stone.record.uuid)),
            None => {
                let why = "it does not exist, and none of it lies in the trash";
                Err(refused(Refusal::NotRebuilt, name, why, format!("sledctl region create {name}")))
            }
        },
        (None, _) => Err(not_on_record(config, name)),
        (Some(record), OnDisk::Absent) => Ok(Stage::Replaces(Deletion::Forget(record.clone()))),
        (Some(record), OnDisk::Present(found)) if found.uuid != record.uuid => {
            let why = format!("{} lies there, and {} is on record", found.uuid, record.uuid);
            Err(refused(Refusal::NotRebuilt, name, &why, format!("see sledctl region show {name}")))
        }
        (Some(record), _) if is_wrong(config, (facts, disk), name, record) => {
            Ok(Stage::Replaces(Deletion::Bury(record.clone())))
        }
        (Some(record), _) if is_made_anew(record) => Ok(Stage::Fills(record.clone())),
        (Some(_), _) => {
            let why = "nothing is known to be wrong with it that only a rebuild mends";
            let remedy = format!("{}; to have its data looked at: sledctl region scrub {name}", see(name));
            Err(refused(Refusal::NotRebuilt, name, why, remedy))
        }
    }
}

/// Whether something is known to be wrong with the region that lies there, which neither a wait nor anything milder would
/// mend: not the file of an extent that a downstairs is replacing, and no wrong owner.
fn is_wrong(config: &Configuration, (facts, disk): (&Facts, &Disk), name: &RegionName, record: &Record) -> bool {
    let region = facts.regions.get(name);
    let rots = scrubs_of(disk, name, record.uuid).is_some_and(|scrubs| scrubs.rotten() + scrubs.unreadable() > 0);
    let unusable = matches!(disk.regions.get(name), Some(OnDisk::Unreadable(_)));
    let fault = disk.surveys.get(name).and_then(|survey| survey.fault.as_deref());
    let fault = fault.filter(|_| region.is_none_or(|region| region.alive().is_none()));
    let faulty = fault.is_some_and(|fault| may_be_lost(&of_files(config, name, fault)));
    let failure = region.and_then(|region| region.failure.as_ref()).filter(|failure| failure.kind == Kind::Permanent);
    let fails = failure.is_some_and(|failure| failure.row.is_some_and(|row| matches!(row.remedy, Remedy::Lost(_))));
    rots || unusable || faulty || fails || facts.held(name).is_some_and(is_lost)
}

/// Whether a region is held as it may be lost: whoever holds it for something milder has said what that is.
fn is_lost(hold: &Hold) -> bool {
    hold.by != HeldBy::Operator && hold.remedy.as_deref().is_none_or(may_be_lost)
}

fn see(name: &RegionName) -> String {
    format!("see sledctl region show {name}")
}

fn scrubs_of<'a>(disk: &'a Disk, name: &RegionName, uuid: Uuid) -> Option<&'a Scrubs> {
    disk.scrubs.get(name).and_then(|seen| seen.record.as_ref()).filter(|scrubs| scrubs.uuid == uuid)
}

/// Find that the siblings on this sled are whole, and tell why.
fn siblings(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<Vec<String>, wire::Error> {
    let (serving, ledger) = (serving(config, facts), usable(config, facts)?);
    let beside = beside(config, name).into_iter().map(|sibling| {
        let name = &sibling.name;
        let record = ledger.regions.get(name).ok_or_else(|| not_on_record(config, name))?;
        let known = Known {
            serves: serving.contains(name) && facts.at_work(name).is_none(),
            scrubs: facts.disk.as_ref().and_then(|disk| scrubs_of(disk, name, record.uuid)),
            counts_from: counts_from(facts, name, record.uuid),
        };
        Ok((sibling, known))
    });
    beside.map(|found| found.and_then(|(sibling, known)| whole(name, &sibling.name, known))).collect()
}

/// Find the volume's other regions on this sled.
pub fn beside(config: &Configuration, name: &RegionName) -> Vec<LocalRegion> {
    let all = config.local_regions().into_iter();
    all.filter(|other| other.name.volume() == name.volume() && other.name != *name).collect()
}

/// The time from which on a whole scrub says that a region is so; [`Timestamp::MIN`]: at any time.
pub fn counts_from(facts: &Facts, name: &RegionName, uuid: Uuid) -> Timestamp {
    let known = facts.verification.as_ref();
    known.and_then(|known| known.counts_from(name, uuid)).unwrap_or(Timestamp::MIN)
}

/// What is known of a sibling.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Whether it serves, and no job is at it.
    pub serves: bool,
    /// Its scrubs, of the region that is on record.
    pub scrubs: Option<&'a Scrubs>,
    /// The time before which a scrub says nothing.
    pub counts_from: Timestamp,
}

/// Find that a sibling is whole, so that the region `name` may be filled from it, and tell why, in words.
///
/// # Errors
/// It is not known to be, and what to do.
pub fn whole(name: &RegionName, sibling: &RegionName, known: Known<'_>) -> Result<String, wire::Error> {
    let not = |what: &str, remedy: String| {
        let why = format!("{sibling} {what}, and it is filled from both others");
        Err(refused(Refusal::SiblingNotWhole, name, &why, remedy))
    };
    let scrub = || format!("sledctl region scrub {sibling}; then ask again");
    if !known.serves {
        return not("does not serve", format!("see sledctl region show {sibling}"));
    }
    let wrong = known.scrubs.map_or((0, 0), |scrubs| (scrubs.rotten(), scrubs.unreadable()));
    if wrong != (0, 0) {
        let what = format!("has {} rotten block(s) and {} place(s) that cannot be read", wrong.0, wrong.1);
        let back =
            format!("see sledctl region show {sibling}; what can be is mended by: sledctl region repair {sibling}");
        return not(&what, back);
    }
    match known.scrubs.and_then(|scrubs| scrubs.completed) {
        None => not("was never scrubbed to its end", scrub()),
        Some(at) if at < known.counts_from => {
            not("was not held to its checksums since the machine ended without a shutdown", scrub())
        }
        Some(at) => Ok(format!("{sibling} serves, and its scrub that ended at {} found nothing", in_seconds(at))),
    }
}

/// Find that there is room for one more region beside what lies there. A thin one takes it all as well, once it is filled:
/// its host copies the files of extents whole.
fn room(config: &Configuration, disk: &Disk, local: &LocalRegion) -> Result<(), wire::Error> {
    let (storage, name, repair) = (&config.sled.storage, &local.name, local.geometry.extent_file_bytes());
    let needs = local.geometry.disk_bytes();
    let keeps = match storage.provisioning {
        Provisioning::Thick => storage.reserve.of(disk.capacity).max(repair),
        Provisioning::Thin => repair,
    };
    if needs.saturating_add(keeps) <= disk.free {
        return Ok(());
    }
    let why = format!(
        "there is no room for one more: it takes {}, {} is free, and {} is kept in reserve",
        size::spoken(needs),
        size::spoken(disk.free),
        size::spoken(keeps)
    );
    let remedy = "make room first: sledctl storage shows what takes it, and what is in the trash".to_owned();
    Err(refused(Refusal::NoRoom, name, &why, remedy))
}

fn refused(code: Refusal, name: &RegionName, why: &str, remedy: String) -> wire::Error {
    wire::Error::new(code, format!("{name} is not rebuilt: {why}"), remedy)
}
