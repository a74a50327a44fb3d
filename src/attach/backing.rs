//! What a volume was when this host attached it first: what has the same name and is something else must
//! not be written to as if it were that. Kept in a file a volume.

use super::failure::{CHANGED, Failure};
use crate::files;
use crate::names::{RegionName, VolumeName};
use crate::wire::Ticket;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backing {
    volume: VolumeName,
    size_bytes: u64,
    block_size: u64,
    /// The identities of its regions, as far as the sleds that granted it have told them.
    regions: BTreeMap<RegionName, Uuid>,
}

impl Backing {
    /// As a ticket has it.
    pub(super) fn of(ticket: &Ticket) -> Self {
        let regions = ticket.regions.iter().filter_map(|region| Some((region.name.clone(), region.uuid?)));
        Self {
            volume: ticket.volume.clone(),
            size_bytes: ticket.size_bytes,
            block_size: ticket.block_size,
            regions: regions.collect(),
        }
    }

    /// In what it differs from what it was; `None` if it is the same, or more is known of it now.
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

    /// That it is what this host has attached before, or the first that it attaches under this name; on record
    /// from now on.
    ///
    /// # Errors
    /// `BACKEND_CHANGED`, or why it cannot be put on record.
    pub(super) fn is_known(&self, dir: &Path) -> Result<(), Failure> {
        let (path, file) = (path(dir, &self.volume), format!("{}.json", self.volume));
        let broken = |why: &dyn std::fmt::Display| {
            let message = format!("what was attached as {} cannot be told: {}: {why}", self.volume, path.display());
            Failure::refused("NOT_RECORDED", message, "name another --state, or mend the file")
        };
        let was = match fs::read(&path) {
            Ok(text) => Some(serde_json::from_slice::<Self>(&text).map_err(|why| broken(&why))?),
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => return Err(broken(&why)),
        };
        if let Some(how) = was.as_ref().and_then(|was| self.differs(was)) {
            let message = format!("{} is not what this host has attached before: {how}", self.volume);
            let remedy = format!(
                "if it is meant to be another one, and what was written to the first is given up: rm {}",
                path.display()
            );
            return Err(Failure::refused(CHANGED, message, remedy));
        }
        let mut now = self.clone();
        now.regions.extend(was.iter().flat_map(|was| was.regions.clone()));
        if was.as_ref() != Some(&now) {
            let text = serde_json::to_vec_pretty(&now).map_err(|why| broken(&why))?;
            fs::create_dir_all(dir).map_err(|why| broken(&why))?;
            files::replace(dir, &file, &text).map_err(|why| broken(&why))?;
        }
        Ok(())
    }
}

fn path(dir: &Path, volume: &VolumeName) -> PathBuf {
    dir.join(format!("{volume}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_volume_of_the_same_name_is_told_from_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let ticket: Ticket = serde_json::from_str(include_str!("tests/ticket.json")).unwrap();
        let mut first = Backing::of(&ticket);
        first.regions.insert("still-fawn-0".parse().unwrap(), Uuid::from_u128(1));
        first.is_known(dir.path()).unwrap();
        first.is_known(dir.path()).unwrap();
        // Of other sleds' regions less is known: that is no difference.
        let less = Backing { regions: BTreeMap::new(), ..first.clone() };
        less.is_known(dir.path()).unwrap();
        let name = first.regions.keys().next().unwrap().clone();
        let mut other = first.clone();
        other.regions.insert(name, Uuid::nil());
        for (changed, said) in [
            (Backing { size_bytes: first.size_bytes * 2, ..first.clone() }, "bytes, and had"),
            (Backing { block_size: 512, ..first.clone() }, "its blocks have 512"),
            (other, "and was"),
        ] {
            let why = changed.is_known(dir.path()).unwrap_err().error();
            assert!(why.code == "BACKEND_CHANGED" && why.message.contains(said), "{why:?}");
        }
        first.is_known(dir.path()).unwrap();
        fs::write(path(dir.path(), &ticket.volume), "{").unwrap();
        assert_eq!(first.is_known(dir.path()).unwrap_err().error().code, "NOT_RECORDED");
    }
}
