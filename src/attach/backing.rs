//! Backing of a volume: its identity when this host attached it first, kept in a file a volume. A volume of the same
//! name that is something else must not be written to as if it were that.

use super::failure::{CHANGED, Failure, NOT_RECORDED};
use crate::files;
use crate::names::{RegionName, VolumeName};
use crate::wire::Ticket;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The identity of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backing {
    volume: VolumeName,
    size_bytes: u64,
    block_size: u64,
    /// The identities of its regions, as far as the sleds that granted it have told them.
    regions: BTreeMap<RegionName, Uuid>,
    /// The identity for the kernel, which tells the volume from another that had its name: the same for as long as
    /// this record lasts. Absent before it is on record.
    #[serde(default)]
    identity: Option<String>,
    /// The last generation that a server of this host began with, 0 if none did.
    #[serde(default)]
    generation: u64,
}

impl Backing {
    /// The backing as a ticket has it.
    pub(super) fn of(ticket: &Ticket) -> Self {
        let regions = ticket.regions.iter().filter_map(|region| Some((region.name.clone(), region.uuid?)));
        Self {
            volume: ticket.volume.clone(),
            size_bytes: ticket.size_bytes,
            block_size: ticket.block_size,
            regions: regions.collect(),
            identity: None,
            generation: 0,
        }
    }

    /// Read what is on record of a volume; `None` if this host has never attached it.
    ///
    /// # Errors
    /// `NOT_RECORDED`, if the record cannot be read.
    pub(super) fn recorded(dir: &Path, volume: &VolumeName) -> Result<Option<Self>, Failure> {
        let path = path(dir, volume);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|why| broken(&path, volume, &why)),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
            Err(why) => Err(broken(&path, volume, &why)),
        }
    }

    pub(super) fn volume(&self) -> &VolumeName {
        &self.volume
    }

    /// The volume's size in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The size of the volume's blocks in bytes.
    pub(super) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// The identity for the kernel, which tells the volume from another that had its name; `None` before it is on
    /// record.
    pub(super) fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// The last generation that a server of this host began with, 0 if none did.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Put a generation on record, before a server begins with it.
    ///
    /// # Errors
    /// `NOT_RECORDED`.
    pub(super) fn begins_with(&mut self, dir: &Path, generation: u64) -> Result<(), Failure> {
        self.generation = generation;
        self.record(dir)
    }

    fn record(&self, dir: &Path) -> Result<(), Failure> {
        let broken = |why: &dyn Display| broken(&path(dir, &self.volume), &self.volume, why);
        let text = serde_json::to_vec_pretty(self).map_err(|why| broken(&why))?;
        fs::create_dir_all(dir).map_err(|why| broken(&why))?;
        files::replace(dir, &format!("{}.json", self.volume), &text).map_err(|why| broken(&why))
    }

    /// Make an identity for a volume that has none: of what it is now, and so the same if the record is lost.
    fn identify(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.size_bytes.to_le_bytes());
        self.regions.values().for_each(|uuid| hash.update(uuid.as_bytes()));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The difference from the backing on record; `None` if it is the same, or more is known of it now.
    fn differs(&self, was: &Self) -> Option<String> {
        if self.size_bytes != was.size_bytes {
            return Some(format!("it has {} bytes, and had {}", self.size_bytes, was.size_bytes));
        }
        if self.block_size != was.block_size {
            return Some(format!("its blocks have {} bytes, and had {}", self.block_size, was.block_size));
        }
        self.regions.iter().find_map(|(name, uuid)| {
            let before = was.regions.get(name).filter(|before| *before != uuid)?;
            Some(format!("its region {name} is {uuid}, and was {before}"))
        })
    }

    /// Find the backing to be what this host has attached before, or the first under this name, and give it as it is
    /// on record.
    ///
    /// # Errors
    /// `BACKEND_CHANGED`, or why it cannot be put on record.
    pub(super) fn is_known(&self, dir: &Path) -> Result<Self, Failure> {
        let was = Self::recorded(dir, &self.volume)?;
        if let Some(how) = was.as_ref().and_then(|was| self.differs(was)) {
            let message = format!("{} is not what this host has attached before: {how}", self.volume);
            let remedy = format!(
                "if it is meant to be another one, and what was written to the first is given up: rm {}",
                path(dir, &self.volume).display()
            );
            return Err(Failure::refused(CHANGED, message, remedy));
        }
        let mut now = self.clone();
        if let Some(was) = &was {
            now.regions.extend(was.regions.clone());
            (now.identity, now.generation) = (was.identity.clone(), was.generation);
        }
        if now.identity.is_none() {
            now.identity = Some(now.identify());
        }
        if was.as_ref() != Some(&now) {
            now.record(dir)?;
        }
        Ok(now)
    }
}

fn broken(path: &Path, volume: &VolumeName, why: &dyn Display) -> Failure {
    let message = format!("what was attached as {volume} cannot be told: {}: {why}", path.display());
    Failure::refused(NOT_RECORDED, message, "name another --state, or mend the file")
}

fn path(dir: &Path, volume: &VolumeName) -> PathBuf {
    dir.join(format!("{volume}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Refusal;

    #[test]
    fn another_volume_of_the_same_name_is_told_from_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let ticket: Ticket = serde_json::from_str(include_str!("tests/ticket.json")).unwrap();
        let mut first = Backing::of(&ticket);
        first.regions.insert("still-fawn-0".parse().unwrap(), Uuid::from_u128(1));
        let mut known = first.is_known(dir.path()).unwrap();
        assert_eq!(first.is_known(dir.path()).unwrap(), known);
        known.begins_with(dir.path(), 7).unwrap();
        assert_eq!(first.is_known(dir.path()).unwrap().generation(), 7);
        assert!(known.identity().unwrap().len() == 16 && first.identity().is_none());
        // Of other sleds' regions less is known: that is no difference.
        let less = Backing { regions: BTreeMap::new(), ..first.clone() };
        assert_eq!(less.is_known(dir.path()).unwrap(), known);
        let name = first.regions.keys().next().unwrap().clone();
        let mut other = first.clone();
        other.regions.insert(name, Uuid::nil());
        for (changed, said) in [
            (Backing { size_bytes: first.size_bytes * 2, ..first.clone() }, "bytes, and had"),
            (Backing { block_size: 512, ..first.clone() }, "its blocks have 512"),
            (other, "and was"),
        ] {
            let why = changed.is_known(dir.path()).unwrap_err().error();
            assert!(why.code == Refusal::BackendChanged && why.message.contains(said), "{why:?}");
        }
        first.is_known(dir.path()).unwrap();
        fs::write(path(dir.path(), &ticket.volume), "{").unwrap();
        assert_eq!(first.is_known(dir.path()).unwrap_err().error().code, Refusal::NotRecorded);
    }
}
