//! Ledger of a data disk: which regions exist on it, who they are, which were deleted and can still be had back, and
//! which generations adopted ones had reached; what is granted is on record elsewhere ([`Grant`](super::Grant)). Only
//! the text of it; reading and writing the file is `store::ledger`'s.
//!
//! The text carries a digest of what it says, so that garbage that happens to be JSON is told
//! from a ledger.

use super::Geometry;
use super::doubt::{Doubt, Rebuilt};
use crate::lived::Moment;
use crate::names::{RegionName, VolumeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use uuid::Uuid;

/// The newest version of the text that is understood. A text has the lowest version that can say
/// what it says: an older supervisor can read what a newer one leaves, unless a region is held, or
/// one was deleted, a ticket was granted, or the ledger was lost and it is not known yet what it knew. One
/// that it does not understand it leaves alone: it is not lost.
pub const LEDGER_VERSION: u32 = 5;
const WITH_TICKETS: u32 = 4;
const WITH_HOLDS: u32 = 3;
const OLDEST: u32 = 2;

/// The regions that exist, and those that existed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Grows with every change: of two copies the one with the higher number is newer.
    pub serial: u64,
    /// The regions by name.
    pub regions: BTreeMap<RegionName, Record>,
    /// The regions that were deleted and not removed yet, oldest first.
    pub tombstones: Vec<Tombstone>,
    /// Adoptions that have begun and not ended: after a crash each is undone.
    pub adoptions: BTreeMap<RegionName, Adoption>,
    /// The highest generation that was found in a volume's regions when they were adopted: nothing
    /// below it is granted. What is granted since is on record of its own, and is not told here.
    pub generations: BTreeMap<VolumeName, u64>,
    /// The regions that are kept from running, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub holds: BTreeMap<RegionName, Hold>,
    /// The volumes of which there is a record of tickets: one that is gone was lost, and does not
    /// say that nothing was ever granted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tickets: BTreeSet<VolumeName>,
    /// The ledger before this one was lost, and it is not known of every region yet whether it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
}

/// A hold of a region, kept from running until somebody releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The maker of the hold.
    pub by: HeldBy,
    /// The reason, in words.
    pub why: String,
    /// The remedy that comes before it is released, if that is known.
    pub remedy: Option<String>,
    /// The time since when it holds.
    pub since: Timestamp,
}

/// The maker of a hold, who keeps a region from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// An operator who asked for it.
    Operator,
    /// The supervisor: its downstairs ended again and again.
    CrashLoop,
    /// The supervisor: its downstairs would end the same way every time.
    Failure,
}

/// The record of a region. Never changes while the region exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The region's identity.
    pub uuid: Uuid,
    /// The region's geometry.
    pub geometry: Geometry,
    /// The time at which it was made or adopted.
    pub created: Timestamp,
    /// The maker: `sledd 0.1.0`, or what it was adopted from.
    pub by: String,
}

/// A region that was deleted, and lies in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// The region's name while it existed.
    pub region: RegionName,
    /// The record of the region.
    pub record: Record,
    /// The time at which it was deleted, by the clock; its directory in the trash is called by it.
    pub deleted: Timestamp,
    /// The moment from which it is kept, in the sled's life; `None` until the first settling after an older
    /// supervisor has deleted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buried: Option<Moment>,
    /// Whether its directory has been moved to the trash: what lies in its place is not it any more.
    pub moved: bool,
    /// Whether its removal has begun: it cannot be had back.
    pub removing: bool,
}

impl Tombstone {
    /// The name of its directory in the trash: `V-i.TIME`, with the time in seconds since 1970.
    pub fn dir(&self) -> String {
        format!("{}.{}", self.region, self.deleted.as_second())
    }
}

/// An adoption that is under way, with everything that undoing it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adoption {
    /// The region's identity.
    pub uuid: Uuid,
    /// The path of its directory before.
    pub from: PathBuf,
    /// The unit that served it, if one did.
    pub unit: Option<OldUnit>,
    /// The user and group that owned its files.
    pub owner: (u32, u32),
    /// The mode of its directory.
    pub mode: u32,
}

/// The unit that served a region before it was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldUnit {
    /// The unit's name.
    pub name: String,
    /// Whether it was started at boot.
    pub enabled: bool,
    /// Whether it was running.
    pub active: bool,
}

/// The file: what it says, and a digest of that.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    version: u32,
    sha256: String,
    ledger: Ledger,
}

/// A text that is no ledger, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Not what was written: cut off, altered, or something else altogether.
    #[error("{0}")]
    Garbage(String),
    /// A ledger of another version of the supervisor: what it says is not lost.
    #[error("it has version {0}, and this supervisor knows version {LEDGER_VERSION}")]
    Version(u32),
}

/// Only the version, which tells how to read the rest.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Ledger {
    /// Read a ledger's text.
    ///
    /// # Errors
    /// Why the text is none.
    pub fn parse(text: &[u8]) -> Result<Self, LedgerError> {
        let garbage = |why: serde_json::Error| LedgerError::Garbage(why.to_string());
        let versioned: Versioned = serde_json::from_slice(text).map_err(garbage)?;
        if !(OLDEST..=LEDGER_VERSION).contains(&versioned.version) {
            return Err(LedgerError::Version(versioned.version));
        }
        let sealed: Sealed = serde_json::from_slice(text).map_err(garbage)?;
        if sealed.ledger.digest().map_err(garbage)? == sealed.sha256 {
            Ok(sealed.ledger)
        } else {
            Err(LedgerError::Garbage("its digest does not fit what it says".into()))
        }
    }

    /// Write the ledger's text.
    ///
    /// # Errors
    /// None that occurs: every field has a JSON form.
    pub fn to_text(&self) -> serde_json::Result<Vec<u8>> {
        let version = self.version();
        let sealed = Sealed { version, sha256: self.digest()?, ledger: self.clone() };
        let mut text = serde_json::to_vec_pretty(&sealed)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The lowest version that can say this.
    fn version(&self) -> u32 {
        let with_tickets = !self.tickets.is_empty() || self.tombstones.iter().any(|stone| stone.buried.is_some());
        match self.rebuilt.as_ref().map(|rebuilt| &rebuilt.doubt) {
            Some(Doubt::Of(_)) => LEDGER_VERSION,
            Some(Doubt::AllBut(_)) => WITH_TICKETS,
            None if with_tickets => WITH_TICKETS,
            None if !self.holds.is_empty() => WITH_HOLDS,
            None => OLDEST,
        }
    }

    /// Equal for equal ledgers: every map in it is sorted.
    fn digest(&self) -> serde_json::Result<String> {
        let digest = Sha256::digest(serde_json::to_vec(self)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Raise the highest generation known of a volume.
    pub fn raise_generation(&mut self, volume: &VolumeName, seen: u64) {
        if seen > 0 {
            let known = self.generations.entry(volume.clone()).or_default();
            *known = seen.max(*known);
        }
    }

    /// The time since when it is not known whether a region that is not on record has existed; `None` if that is
    /// known.
    pub fn doubted(&self, region: &RegionName) -> Option<Timestamp> {
        let rebuilt = self.rebuilt.as_ref().filter(|rebuilt| rebuilt.doubt.is_about(region))?;
        (!self.regions.contains_key(region)).then_some(rebuilt.since)
    }

    /// Make a ledger in the place of one that was lost, which may have known each of these regions.
    pub fn rebuilt(doubted: BTreeSet<RegionName>, since: Timestamp) -> Self {
        let mut ledger = Self { rebuilt: Some(Rebuilt { since, doubt: Doubt::Of(doubted) }), ..Self::default() };
        ledger.learn();
        ledger
    }

    /// Learn of the regions on record: each is known from now on, even when it is not on record any more.
    pub fn learn(&mut self) {
        let dead = self.tombstones.iter().map(|stone| &stone.region);
        let recorded = self.regions.keys().chain(dead);
        self.rebuilt.take_if(|rebuilt| {
            rebuilt.doubt.learn(recorded);
            rebuilt.doubt.is_over()
        });
    }

    /// Settle the doubt: none but `regions`, those of the map, are doubted, if any is that is not known.
    pub fn settle(&mut self, regions: &BTreeSet<RegionName>) {
        if let Some(rebuilt) = &mut self.rebuilt {
            rebuilt.doubt.settle(regions);
        }
        self.learn();
    }

    /// The tombstones of a region that can still be had back, oldest first.
    pub fn restorable(&self, region: &RegionName) -> Vec<&Tombstone> {
        self.tombstones.iter().filter(|stone| stone.region == *region && !stone.removing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one() -> Ledger {
        let geometry = Geometry { block_size: 512, extent_size: 100, extent_count: 2 };
        let record =
            Record { uuid: Uuid::from_u128(7), geometry, created: Timestamp::UNIX_EPOCH, by: "sledd 0.1.0".into() };
        let region: RegionName = "still-fawn-0".parse().unwrap();
        let mut ledger = Ledger { serial: 3, ..Ledger::default() };
        let deleted = Timestamp::from_second(1_700_000_000).unwrap();
        ledger.tombstones = vec![Tombstone {
            region: region.clone(),
            record: record.clone(),
            deleted,
            buried: None,
            moved: true,
            removing: false,
        }];
        ledger.raise_generation(region.volume(), 9);
        ledger.regions.insert(region, record);
        ledger
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        assert_eq!(Ledger::parse(&one().to_text().unwrap()).unwrap(), one());
        assert_eq!(one().tombstones[0].dir(), "still-fawn-0.1700000000");
    }

    #[test]
    fn a_newer_or_altered_ledger_is_refused() {
        let text = String::from_utf8(one().to_text().unwrap()).unwrap();
        // A newer text with something in it that nobody knows yet.
        let newer = text.replace("\"version\": 2", "\"version\": 6").replace("\"serial\"", "\"odd\": 1, \"serial\"");
        assert!(Ledger::parse(newer.as_bytes()).unwrap_err() == LedgerError::Version(6));
        let altered = text.replace("\"extent_count\": 2", "\"extent_count\": 3");
        assert!(Ledger::parse(altered.as_bytes()).unwrap_err().to_string().contains("digest"));
        assert!(Ledger::parse(b"").is_err());
    }

    /// Things that an older supervisor cannot read are written only when there are some.
    #[test]
    fn a_hold_makes_it_a_ledger_of_version_3() {
        let version =
            |ledger: &Ledger| String::from_utf8(ledger.to_text().unwrap()).unwrap().contains("\"version\": 3");
        let mut ledger = one();
        assert!(!version(&ledger));
        let hold = Hold {
            by: HeldBy::Operator,
            why: "a new disk".into(),
            remedy: None,
            since: Timestamp::from_second(7).unwrap(),
        };
        ledger.holds.insert("still-fawn-0".parse().unwrap(), hold);
        assert!(version(&ledger));
        assert_eq!(Ledger::parse(&ledger.to_text().unwrap()).unwrap(), ledger);
    }

    /// Tombstones of an older supervisor read, and those of a newer one read back.
    #[test]
    fn a_tombstone_with_a_moment_makes_it_a_ledger_of_version_4() {
        let mut ledger = one();
        assert!(!String::from_utf8(ledger.to_text().unwrap()).unwrap().contains("buried"));
        ledger.tombstones[0].buried = Some(Moment { clock: Uuid::from_u128(3), ms: 77 });
        let text = ledger.to_text().unwrap();
        assert!(String::from_utf8(text.clone()).unwrap().contains("\"version\": 4"));
        assert_eq!(Ledger::parse(&text).unwrap(), ledger);
    }

    #[test]
    fn a_ticket_makes_it_a_ledger_of_version_4() {
        let mut ledger = one();
        ledger.tickets.insert("still-fawn".parse().unwrap());
        let text = ledger.to_text().unwrap();
        assert!(String::from_utf8_lossy(&text).contains("\"version\": 4"));
        assert_eq!(Ledger::parse(&text).unwrap(), ledger);
    }

    #[test]
    fn what_was_on_record_since_a_ledger_was_lost_is_known_for_good_and_the_doubt_ends_with_the_last() {
        let (region, other): (RegionName, RegionName) =
            ("still-fawn-0".parse().unwrap(), "still-fawn-1".parse().unwrap());
        let since = Timestamp::from_second(7).unwrap();
        let mut ledger = Ledger::rebuilt([region.clone(), other.clone()].into(), since);
        assert_eq!((ledger.doubted(&region), ledger.doubted(&"later-0".parse().unwrap())), (Some(since), None));
        let record = one().regions[&region].clone();
        ledger.regions.insert(region.clone(), record.clone());
        ledger.learn();
        ledger.regions.clear();
        assert_eq!((ledger.doubted(&region), ledger.doubted(&other)), (None, Some(since)));
        assert_eq!(Ledger::parse(&ledger.to_text().unwrap()).unwrap(), ledger);
        assert_eq!(one().doubted(&other), None);
        // A region that was deleted existed.
        let deleted = Tombstone { region: other.clone(), ..one().tombstones[0].clone() };
        ledger.tombstones.push(deleted);
        ledger.learn();
        assert_eq!((ledger.doubted(&other), ledger.rebuilt), (None, None));
        assert_eq!(Ledger::rebuilt(BTreeSet::new(), since), Ledger::default(), "of an empty map nothing is doubted");
    }

    /// Things that a version has beyond the one before it are written under that version, and never under an older
    /// one: a program that knows only that would take it for garbage, and the regions for lost.
    #[test]
    fn a_version_says_nothing_that_programs_of_its_time_do_not_know() {
        let known: [(&str, u32); 8] = [
            ("serial", 2),
            ("regions", 2),
            ("tombstones", 2),
            ("adoptions", 2),
            ("generations", 2),
            ("holds", 3),
            ("tickets", 4),
            ("rebuilt", 5),
        ];
        let (name, since): (RegionName, _) = ("still-fawn-0".parse().unwrap(), Timestamp::UNIX_EPOCH);
        let hold = Hold { by: HeldBy::Operator, why: String::new(), remedy: None, since };
        for extras in 0..16u8 {
            let mut ledger = if extras & 1 > 0 {
                Ledger { rebuilt: Ledger::rebuilt([name.clone()].into(), since).rebuilt, ..one() }
            } else {
                one()
            };
            if extras & 2 > 0 {
                ledger.tickets.insert("still-fawn".parse().unwrap());
            }
            if extras & 4 > 0 {
                ledger.holds.insert(name.clone(), hold.clone());
            }
            if extras & 8 > 0 {
                ledger.tombstones[0].buried = Some(Moment { clock: Uuid::from_u128(3), ms: 77 });
            }
            let text = ledger.to_text().unwrap();
            assert_eq!(Ledger::parse(&text).unwrap(), ledger);
            let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let version = text["version"].as_u64().unwrap();
            for key in text["ledger"].as_object().unwrap().keys() {
                let since = known.iter().find(|(name, _)| name == key).map(|(_, since)| *since);
                assert!(u64::from(since.unwrap()) <= version, "{key} under version {version}");
            }
            assert!(version >= 4 || !text.to_string().contains("buried"), "buried under version {version}");
        }
    }

    #[test]
    fn a_generation_never_falls() {
        let mut ledger = one();
        let volume = "still-fawn".parse().unwrap();
        ledger.raise_generation(&volume, 4);
        assert_eq!(ledger.generations[&volume], 9);
    }

    proptest! {
        #[test]
        fn no_truncation_of_a_ledger_is_a_ledger(cut in 0usize..1000) {
            let text = one().to_text().unwrap();
            let cut = cut.min(text.len() - 2);
            prop_assert!(Ledger::parse(&text[..cut]).is_err());
        }

        #[test]
        fn no_changed_byte_is_overlooked(at in 0usize..1000, to in any::<u8>()) {
            let mut text = one().to_text().unwrap();
            let at = at % text.len();
            text[at] = to;
            // A text that still reads says the same: white space, at most.
            prop_assert!(Ledger::parse(&text).is_ok_and(|read| read == one()) || Ledger::parse(&text).is_err());
        }
    }
}
