//! Plan of an installation: why a disk is none to install on, what has to be said about its regions, and what is written
//! where. Pure.

use super::disk::{Disk, Holds, Reading};
use super::table::{CONFIG, DATA, EMPTY, ESP, MEMORY, PARTS, Partition, Table};
use crate::names::SledName;
use crate::size::spoken;
use serde::Serialize;
use std::net::IpAddr;
use uuid::Uuid;

/// The bytes of a sector that the table of an image is for.
pub const SECTOR_BYTES: u64 = 512;
/// The least that a memory takes (`40-var.conf`), with its alignment, and the least of the data (`50-crucible.conf`), in
/// bytes.
const MEMORY_BYTES: u64 = 1025 << 20;
const DATA_BYTES: u64 = 257 << 20;

/// The reason why a disk that calls itself removable is not given a new data partition.
const AS_A_STICK: &str = "it can be taken out, and so would be a stick, from which a machine serves nothing";

/// The disk that is installed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The kernel's name of it.
    pub name: String,
    /// Its table.
    pub table: Table,
    /// The configuration that it brings, if it does.
    pub brings: Option<Brings>,
}

/// Configuration of a stick, as far as it matters to whoever is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brings {
    /// The sled that it makes of a machine; absent if it has faults.
    pub sled: Option<SledName>,
    /// That one's address.
    pub address: Option<IpAddr>,
    /// The fragments of it, which go with it as they are.
    pub fragments: Vec<String>,
    /// The reason why it cannot go with it as it is in force, if it cannot.
    pub unfit: Option<String>,
}

impl Brings {
    /// Say which sled it makes.
    fn said(&self) -> String {
        match (&self.sled, self.address) {
            (Some(sled), Some(address)) => format!("the sled {sled}, {address}"),
            (Some(sled), None) => format!("the sled {sled}"),
            (None, _) => "a sled whose configuration has faults".into(),
        }
    }
}

/// Origin of the configuration of what is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Configuration {
    /// The stick's.
    Stick,
    /// The one that is on the disk.
    Disk,
    /// None: the screen asks for one.
    None,
}

/// The word that was given about a sled's regions on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// None.
    #[default]
    Unsaid,
    /// They are kept.
    Keep,
    /// They are given up.
    Erase,
}

/// The fate of what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Everything is erased.
    Erased,
    /// The regions stay, and so does what the sled remembers.
    Kept,
    /// The regions stay, and what the sled remembers is forgotten: the parts lay elsewhere.
    KeptRegions,
}

/// A part of the image that is copied: its name, and where it lies on both disks, in sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The name.
    pub name: String,
    /// The first sector.
    pub start: u64,
    /// The number of sectors.
    pub size: u64,
}

/// Everything that an installation writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What becomes of what is there.
    pub fate: Fate,
    /// Whose configuration it has then.
    pub configuration: Configuration,
    /// The parts that are copied, in their order.
    pub pieces: Vec<Piece>,
    /// The table that is written last.
    pub table: Table,
}

/// Find why a disk cannot be installed on, whatever is said; in a sentence each.
pub fn hindrances(source: &Source, disk: &Disk) -> Vec<String> {
    let (block, mut found) = (&disk.block, Vec::new());
    if block.name == source.name {
        return vec!["it is the disk that this machine was started from".into()];
    }
    found.extend(block.uses());
    if found.is_empty() && disk.taken {
        found.push("it is in use by somebody else".into());
    }
    // At boot a disk that can be taken out and has no data partition is a stick.
    if block.rm && !block.has(DATA) && !disk.table.has(DATA) {
        found.push(AS_A_STICK.into());
    }
    found.extend(block.ro.then(|| "it is write-protected".to_owned()));
    if block.sector_bytes != SECTOR_BYTES {
        found.push(format!("it has sectors of {} bytes, and the image is for {SECTOR_BYTES}", block.sector_bytes));
    }
    let least = least(&source.table);
    if block.size < least {
        found.push(format!("it has {}, and {} is the least", spoken(block.size), spoken(least)));
    }
    if disk.table == Reading::Unreadable {
        found.push("its table of partitions cannot be read, and so it is not known what lies on it".into());
    }
    found
}

/// The least size of a disk, in bytes.
fn least(image: &Table) -> u64 {
    let parts = image.parts().last().map_or(0, Partition::end).saturating_mul(SECTOR_BYTES);
    parts.saturating_add(MEMORY_BYTES).saturating_add(DATA_BYTES)
}

/// Find why the disk that was started from is none to install from.
pub fn no_source(source: &Source) -> Option<String> {
    if !source.table.is_an_image() {
        return Some(format!("{} has not the parts of an image", source.name));
    }
    let data = source.table.named(DATA)?;
    let size = spoken(data.size.saturating_mul(SECTOR_BYTES));
    let name = &source.name;
    Some(format!("{name} is a sled's own disk, with {size} for its regions, and no stick to install from"))
}

/// Plan the installation on a disk.
///
/// # Errors
/// Why nothing is written, in a sentence each.
pub fn plan(source: &Source, disk: &Disk, wish: Wish, mut new: impl FnMut() -> Uuid) -> Result<Plan, Vec<String>> {
    let mut refused = hindrances(source, disk);
    if refused.is_empty() {
        refused.extend(unsaid(&disk.holds, wish));
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let fate = if wish == Wish::Keep { keeping(source, disk).map_err(|why| vec![why])? } else { Fate::Erased };
    if fate == Fate::Erased && disk.block.rm {
        return Err(vec![AS_A_STICK.into()]);
    }
    let configuration = configuration(source, disk, fate);
    let unfit = source.brings.as_ref().and_then(|brings| brings.unfit.as_ref());
    if let Some(why) = unfit.filter(|_| configuration == Configuration::Stick) {
        return Err(vec![format!("the stick's configuration would go with it, and cannot as it is: {why}")]);
    }
    let keeps_config = configuration == Configuration::Disk;
    let pieces =
        source.table.parts().iter().filter(|part| part.name != EMPTY && !(keeps_config && part.name == CONFIG));
    let pieces =
        pieces.map(|Partition { name, start, size, .. }| Piece { name: name.clone(), start: *start, size: *size });
    let mut partitions: Vec<_> = source.table.parts().iter().map(|part| renamed(part, &mut new)).collect();
    let (id, kept) = match (&disk.table, fate) {
        (Reading::Table(table), Fate::Kept | Fate::KeptRegions) => (table.id.clone(), kept(table, fate)),
        _ => (None, Vec::new()),
    };
    partitions.extend(kept);
    let table = Table { label: "gpt".into(), id, partitions };
    Ok(Plan { fate, configuration, pieces: pieces.collect(), table })
}

/// Whose configuration the disk has then. What makes another sled of a machine does not go onto one whose memory stays.
fn configuration(source: &Source, disk: &Disk, fate: Fate) -> Configuration {
    match (&source.brings, fate) {
        (Some(brings), Fate::Kept) if !is_for(brings, disk) => Configuration::Disk,
        (Some(_), _) => Configuration::Stick,
        (None, Fate::Erased) => Configuration::None,
        (None, _) => Configuration::Disk,
    }
}

/// The sled whose data lies on a disk, as far as that is known.
fn whose(disk: &Disk) -> Option<&SledName> {
    if let Holds::Sled(data) = &disk.holds { data.sled.as_ref() } else { None }
}

/// Whether a configuration is that of the sled whose data lies on a disk, as far as that is known.
fn is_for(brings: &Brings, disk: &Disk) -> bool {
    whose(disk).is_none_or(|sled| brings.sled.as_ref() == Some(sled))
}

/// What has to be said about what is there and was not, or does not go with it.
fn unsaid(holds: &Holds, wish: Wish) -> Option<String> {
    match (holds, wish) {
        (Holds::Sled(data), Wish::Unsaid) if data.may_have_regions() => {
            let which = data.said();
            Some(format!(
                "regions lie on it, or may ({which}): --keep-regions keeps them, --erase-regions gives them up"
            ))
        }
        (Holds::Nothing | Holds::Other { .. }, Wish::Keep) => {
            Some("no sled's data is on it, and so no regions would be kept".into())
        }
        _ => None,
    }
}

/// What can be kept of a sled's disk.
fn keeping(source: &Source, disk: &Disk) -> Result<Fate, String> {
    let Reading::Table(table) = &disk.table else { return Err("it has no table of partitions".into()) };
    let data: Vec<_> = table.partitions.iter().filter(|partition| partition.name == DATA).collect();
    let [data] = data.as_slice() else {
        return Err(format!("{} partitions of it are called {DATA}: which has the regions is not known", data.len()));
    };
    if table.has_layout_of(&source.table) {
        return Ok(Fate::Kept);
    }
    let end = source.table.parts().last().map_or(0, Partition::end);
    if data.start.saturating_sub(end).saturating_mul(SECTOR_BYTES) < MEMORY_BYTES {
        return Err("its parts lie elsewhere, and before the regions is no room for those of this image: \
                    back them up, then --erase-regions"
            .into());
    }
    let lacks = match (&source.brings, whose(disk)) {
        (None, _) => "no configuration".to_owned(),
        (Some(brings), Some(sled)) if !is_for(brings, disk) => format!("that of {}, and not of {sled}", brings.said()),
        _ => return Ok(Fate::KeptRegions),
    };
    Err(format!(
        "its parts lie elsewhere, so that what it remembers cannot stay, and the stick brings {lacks}: put the sled's \
         files on the stick's CONFIG first"
    ))
}

/// What a table has behind the parts of the image, and keeps.
fn kept(table: &Table, fate: Fate) -> Vec<Partition> {
    let behind = table.partitions.iter().skip(PARTS);
    match fate {
        Fate::Kept => behind.cloned().collect(),
        _ => table.partitions.iter().filter(|partition| partition.name == DATA).cloned().collect(),
    }
}

/// The same with an identity of its own, but for what the root is found by: its two parts have theirs of its hash.
fn renamed(part: &Partition, new: &mut impl FnMut() -> Uuid) -> Partition {
    let own = [ESP, CONFIG, EMPTY].contains(&part.name.as_str());
    let uuid = if own { new().to_string().to_uppercase() } else { part.uuid.clone() };
    Partition { uuid, ..part.clone() }
}

/// Say what becomes of the disk and of what is on it.
pub fn told(plan: &Plan, source: &Source, disk: &Disk) -> String {
    format!("{}\n{}", fate_told(plan.fate, disk), becomes(plan, source, disk))
}

/// Say which sled it becomes.
fn becomes(plan: &Plan, source: &Source, disk: &Disk) -> String {
    let stays = whose(disk).map(|sled| format!(" of the sled {sled}")).unwrap_or_default();
    match (plan.configuration, &source.brings) {
        (Configuration::Stick, Some(brings)) => {
            let with = match brings.fragments.as_slice() {
                [] => String::new(),
                files => format!(", with {}", files.join(", ")),
            };
            let stays = match plan.fate {
                Fate::Kept => {
                    " What lies in sled.toml.d on the disk under other names stays, and goes before sled.toml."
                }
                Fate::Erased | Fate::KeptRegions => "",
            };
            format!("It becomes {}, by the stick's configuration{with}.{stays}", brings.said())
        }
        (Configuration::Disk, Some(brings)) => {
            format!(
                "The configuration{stays} stays; the stick's is that of {}, and does not go onto it.",
                brings.said()
            )
        }
        (Configuration::Disk, None) => format!("The configuration{stays} stays."),
        (_, None) | (Configuration::None, _) => "It has no configuration: its screen asks for one.".into(),
    }
}

fn fate_told(fate: Fate, disk: &Disk) -> String {
    match (fate, &disk.holds) {
        (Fate::Kept, _) => {
            format!("The system is written anew; its regions ({DATA}) and what it remembers ({MEMORY}) stay.")
        }
        (Fate::KeptRegions, _) => format!(
            "The system is written anew; its regions ({DATA}) stay, and WHAT IT REMEMBERS ({MEMORY}) IS FORGOTTEN."
        ),
        (Fate::Erased, Holds::Sled(data)) => match data.lost() {
            Some(lost) => format!("EVERYTHING on it is erased, and {lost}."),
            None => "EVERYTHING on it is erased.".into(),
        },
        (Fate::Erased, Holds::Nothing) => "Nothing is on it.".into(),
        (Fate::Erased, _) => "EVERYTHING on it is erased.".into(),
    }
}

#[cfg(test)]
mod tests;
