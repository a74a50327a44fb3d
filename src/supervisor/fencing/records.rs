//! Records of tickets, by a look at the disk: which are as they are known, and which are to be written anew.

use crate::decide::facts::Disk;
use crate::decide::storage::belongs;
use crate::names::VolumeName;
use crate::supervisor::fencing::Fencing;
use crate::supervisor::fencing::ground::Ground;
use std::collections::{BTreeMap, BTreeSet};

/// Memory of the records.
#[derive(Default)]
pub(super) struct Records {
    /// Last entries that were read of records that have later ones, by their serial.
    behind: BTreeMap<VolumeName, u64>,
}

impl Fencing {
    /// Take what is on record of tickets. Of two records the later counts: a look at the disk may have begun
    /// before the last ticket was granted. What cannot be read, or is not there any more, is as it was known,
    /// and is written anew.
    pub(in crate::supervisor) fn see_records(&mut self, disk: &Disk, by: &mut Ground) {
        if !disk.mounted || belongs(by.config, disk).is_err() {
            return;
        }
        let Ok(seen) = &disk.grants else { return };
        let known = by.facts.grants.get_or_insert_default();
        let mut damaged = BTreeMap::new();
        for volume in seen.keys().chain(known.keys()).cloned().collect::<BTreeSet<_>>() {
            let before = known.get(&volume);
            match (seen.get(&volume), before.map(|before| before.serial)) {
                (Some(Ok(grant)), serial) if serial.is_none_or(|serial| serial <= grant.serial) => {
                    self.records.behind.remove(&volume);
                    by.facts.unread_grants.remove(&volume);
                    if serial != Some(grant.serial) {
                        known.insert(volume, grant.clone());
                    }
                }
                (Some(Err(why)), None) => _ = by.facts.unread_grants.insert(volume, why.clone()),
                (Some(Err(why)), Some(_)) => _ = damaged.insert(volume, why.clone()),
                (later, _) => {
                    let serial = later.and_then(|later| later.as_ref().ok()).map_or(0, |grant| grant.serial);
                    // Twice the same, and it is not that the look was too early.
                    if self.records.behind.insert(volume.clone(), serial) == Some(serial) {
                        let why = if later.is_some() { "its last entry is missing" } else { "it is gone" };
                        damaged.insert(volume, why.into());
                    }
                }
            }
        }
        let volumes: Vec<_> = damaged.keys().cloned().collect();
        by.facts.damaged_grants = damaged;
        volumes.into_iter().for_each(|volume| self.write_anew(volume, by));
    }
}
