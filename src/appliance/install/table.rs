//! Table of a disk's partitions, as `sfdisk` tells it and takes it, and the names of an image's parts. Pure.

use serde::Deserialize;
use std::fmt::Write as _;

/// The parts of the layout that an image fills: ESP, two slots of two partitions, CONFIG. Behind them lie what the sled
/// remembers and its data.
pub const PARTS: usize = 6;
/// The name of the partition of what brings a configuration.
pub const CONFIG: &str = "CONFIG";
/// The name of the boot loader's partition.
pub const ESP: &str = "esp";
/// The name of the partition of the regions.
pub const DATA: &str = "crucible";
/// The name of the partition of what a sled remembers.
pub const MEMORY: &str = "sled-var";
/// The name of a slot with nothing in it.
pub const EMPTY: &str = "_empty";

/// A partition. Places and sizes in sectors.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Partition {
    /// The first sector.
    pub start: u64,
    /// The number of sectors.
    pub size: u64,
    /// The GUID of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its own GUID.
    #[serde(default)]
    pub uuid: String,
    /// Its name; empty if it has none.
    #[serde(default)]
    pub name: String,
    /// Its attributes, in `sfdisk`'s words.
    #[serde(default)]
    pub attrs: Option<String>,
}

impl Partition {
    /// The sector behind the last.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// Whether another one lies at the same place and is of the same type.
    fn lies_as(&self, other: &Self) -> bool {
        let same_kind = self.kind.eq_ignore_ascii_case(&other.kind);
        self.start == other.start && self.size == other.size && same_kind
    }
}

/// A table of partitions (GPT), in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Table {
    /// The kind of table: `gpt`.
    pub label: String,
    /// The disk's own GUID; absent in one that is to be written: then the disk gets a new one.
    #[serde(default)]
    pub id: Option<String>,
    /// The partitions.
    #[serde(default)]
    pub partitions: Vec<Partition>,
}

#[derive(Debug, Deserialize)]
struct Told {
    partitiontable: Table,
}

impl Table {
    /// Read what `sfdisk --json` says.
    ///
    /// # Errors
    /// It is no table.
    pub fn parse(told: &[u8]) -> Result<Self, String> {
        serde_json::from_slice::<Told>(told).map(|told| told.partitiontable).map_err(|why| why.to_string())
    }

    /// Write the table for `sfdisk`.
    pub fn script(&self) -> String {
        let id = self.id.as_ref().map(|id| format!("label-id: {id}\n")).unwrap_or_default();
        let mut script = format!("label: {}\n{id}unit: sectors\n\n", self.label);
        for Partition { start, size, kind, uuid, name, attrs } in &self.partitions {
            _ = write!(script, "start={start}, size={size}, type={kind}, uuid={uuid}");
            let named = [("name", Some(name).filter(|name| !name.is_empty())), ("attrs", attrs.as_ref())];
            for (key, value) in named {
                value.into_iter().for_each(|value| _ = write!(script, ", {key}=\"{value}\""));
            }
            script.push('\n');
        }
        script
    }

    /// Find the first partition of a name.
    pub fn named(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// Whether the parts of an image lie here where they lie there, with something behind them.
    pub fn has_layout_of(&self, image: &Self) -> bool {
        let (own, parts) = (&self.partitions, image.parts());
        own.len() > PARTS && own.iter().zip(parts).all(|(own, part)| own.lies_as(part))
    }

    /// The parts that an image fills.
    pub fn parts(&self) -> &[Partition] {
        self.partitions.get(..PARTS).unwrap_or(&self.partitions)
    }

    /// Whether it is the table of an image: its parts are there, in their order.
    pub fn is_an_image(&self) -> bool {
        let names: Vec<_> = self.parts().iter().map(|part| part.name.as_str()).collect();
        let [ESP, slots @ .., CONFIG] = names.as_slice() else { return false };
        self.label == "gpt" && names.len() == PARTS && slots.iter().any(|name| *name != EMPTY)
    }

    /// Whether what was written is what is read: everything but the disk's own GUID, if that was left to `sfdisk`.
    pub fn is_as_written(&self, written: &Self) -> bool {
        let folded = |one: &Partition| {
            let (kind, uuid) = (one.kind.to_ascii_uppercase(), one.uuid.to_ascii_uppercase());
            Partition { kind, uuid, ..one.clone() }
        };
        let same_id = written.id.is_none() || written.id == self.id;
        let both = [self, written].map(|table| table.partitions.iter().map(folded).collect::<Vec<_>>());
        let [read, wrote] = both;
        self.label == written.label && same_id && read == wrote
    }
}
