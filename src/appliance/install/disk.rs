//! Disk of a machine, as `lsblk` tells of it, and what lies on it. Pure.

use super::table::{DATA, MEMORY, Table};
use crate::appliance::data::Data;
use crate::clean;
use serde::{Deserialize, Serialize};

/// A block device and what lies on it, as `lsblk --json --bytes` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Block {
    /// The kernel's name.
    pub name: String,
    /// The path of its node.
    pub path: String,
    /// `disk`, `part`, `loop`, `crypt`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The size in bytes.
    pub size: u64,
    /// The disk's model.
    pub model: Option<String>,
    /// The disk's serial number.
    pub serial: Option<String>,
    /// The bus: `usb`, `nvme`, `sata`, `virtio`.
    pub tran: Option<String>,
    /// Whether the disk says that it can be taken out.
    pub rm: bool,
    /// Whether it is write-protected.
    pub ro: bool,
    /// The size of a sector, in bytes.
    #[serde(rename = "log-sec")]
    pub sector_bytes: u64,
    /// The kind of file system on it.
    pub fstype: Option<String>,
    /// The name of that file system.
    pub label: Option<String>,
    /// The partition's name.
    pub partlabel: Option<String>,
    /// The kind of table of partitions.
    pub pttype: Option<String>,
    /// Where it is mounted; `[SWAP]` for memory that is put there.
    pub mountpoints: Vec<Option<String>>,
    /// The devices that lie on it.
    pub children: Vec<Block>,
}

#[derive(Debug, Deserialize)]
struct Told {
    blockdevices: Vec<Block>,
}

impl Block {
    /// Read what `lsblk --json` says.
    ///
    /// # Errors
    /// It is no list of block devices.
    pub fn parse(told: &[u8]) -> Result<Vec<Self>, String> {
        serde_json::from_slice::<Told>(told).map(|told| told.blockdevices).map_err(|why| why.to_string())
    }

    /// The uses that are made of it and of what lies on it, in a sentence each.
    pub fn uses(&self) -> Vec<String> {
        let mounted = self.mountpoints.iter().flatten().map(|at| match at.as_str() {
            "[SWAP]" => format!("{} holds memory that is swapped out", self.path),
            at => format!("{} is mounted at {}", self.path, clean::line(at)),
        });
        let other = !["disk", "part", "loop"].contains(&self.kind.as_str());
        let own = other.then(|| format!("{} ({}) lies on it and is in use", self.path, self.kind));
        mounted.chain(own).chain(self.children.iter().flat_map(Self::uses)).collect()
    }

    /// Whether a partition of that name lies on it.
    pub fn has(&self, name: &str) -> bool {
        self.children.iter().any(|part| part.partlabel.as_deref() == Some(name))
    }

    /// Whether a sled's data or memory lies on it.
    pub fn is_a_sleds(&self) -> bool {
        self.has(DATA) || self.has(MEMORY)
    }

    /// Whether it is one to be listed: a whole disk with a medium in it.
    pub fn is_a_disk(&self) -> bool {
        let made_up = ["zram", "ram", "nbd", "loop", "dm-", "md"].iter().any(|begin| self.name.starts_with(begin));
        self.kind == "disk" && self.size > 0 && !made_up
    }
}

/// The thing that lies on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Holds {
    /// Neither partitions nor a file system.
    Nothing,
    /// Something of somebody else's: its partitions and file systems, in a few words each.
    Other {
        /// The words.
        found: Vec<String>,
    },
    /// A sled's data, or what a sled remembers.
    Sled(Data),
}

impl Holds {
    /// Whether regions lie there, or may.
    pub fn has_regions(&self) -> bool {
        matches!(self, Self::Sled(data) if data.may_have_regions())
    }

    /// Say it.
    pub fn said(&self) -> String {
        match self {
            Self::Nothing => "nothing".into(),
            Self::Other { found } => found.join(", "),
            Self::Sled(data) => {
                let whose = data.sled.as_ref().map_or_else(|| "a sled".to_owned(), |sled| format!("the sled {sled}"));
                format!("{whose}, with {}", data.said())
            }
        }
    }
}

/// What lies on a block device that is no sled's, and has this table.
pub fn foreign(block: &Block, table: &Reading) -> Holds {
    let word = |one: &Block| {
        let name = one.label.as_ref().or(one.partlabel.as_ref()).map(|name| format!(" \"{}\"", clean::line(name)));
        let kind = one.fstype.as_ref().map(|kind| clean::line(kind).into_owned());
        let kind = kind.or_else(|| name.is_some().then(|| "partition".to_owned()))?;
        Some(format!("{kind}{}", name.unwrap_or_default()))
    };
    let mut found: Vec<_> = [block].into_iter().chain(&block.children).filter_map(word).collect();
    if found.is_empty() {
        let parts = match table {
            Reading::Table(table) => table.partitions.len().max(block.children.len()),
            _ => block.children.len(),
        };
        found.extend((parts > 0).then(|| format!("{parts} partition(s)")));
        found.extend(block.pttype.as_ref().filter(|_| parts == 0).map(|kind| format!("an empty table ({kind})")));
    }
    if found.is_empty() { Holds::Nothing } else { Holds::Other { found } }
}

/// The reading of a disk's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// No table is there.
    None,
    /// The table.
    Table(Table),
    /// One is there that cannot be read.
    Unreadable,
}

impl Reading {
    /// Whether it has a partition of that name.
    pub fn has(&self, name: &str) -> bool {
        matches!(self, Self::Table(table) if table.named(name).is_some())
    }

    /// Count the partitions of that name.
    pub fn count(&self, name: &str) -> usize {
        match self {
            Self::Table(table) => table.partitions.iter().filter(|partition| partition.name == name).count(),
            _ => 0,
        }
    }

    /// Whether it has the partition of a sled's data or memory.
    pub fn is_a_sleds(&self) -> bool {
        self.has(DATA) || self.has(MEMORY)
    }
}

/// A disk that may be installed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The device, and what lies on it.
    pub block: Block,
    /// Its table.
    pub table: Reading,
    /// What that holds.
    pub holds: Holds,
    /// Whether somebody has it or a part of it open for himself: in another namespace, a RAID, a virtual machine.
    pub taken: bool,
    /// The kernel's own word for it among all that have had its name; absent if it has none.
    pub identity: Option<String>,
}

impl Disk {
    /// The word by which somebody shows that this disk is meant: its serial number, or its path where it tells none.
    pub fn word(&self) -> &str {
        match self.block.serial.as_deref().map(str::trim) {
            Some(serial) if !serial.is_empty() => serial,
            _ => &self.block.path,
        }
    }

    /// Find in what it is another one than the disk that was shown, of the same path; `None`: it is that, as it was.
    pub fn is_other_than(&self, shown: &Self) -> Option<&'static str> {
        let same_block = self.word() == shown.word() && self.block.size == shown.block.size;
        if !same_block || self.identity != shown.identity {
            return Some("another disk has its name now");
        }
        if self.table != shown.table {
            return Some("its partitions are others now");
        }
        (self.holds != shown.holds).then_some("what lies on it is something else now")
    }
}
