//! Record of a region's scrubs: how far the one is that was begun last, when one came to its end, and what is wrong by
//! what each extent was last found to be. Only the text and how it changes; reading and writing the file is
//! `store::scrubs`'.

use super::extent::Fault;
use crate::names::RegionName;
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// The most faults that are kept with all that is known of them; the others are counted.
pub const KEPT_LIMIT: usize = 64;
/// The time after which a scrub that was left in the middle is not gone on with: what it has read is long ago.
const RESUMED_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The scrubs of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubs {
    /// The region that was scrubbed: of another one that has its name now this says nothing.
    pub uuid: Uuid,
    /// The scrub that was begun last.
    pub last: Run,
    /// The time at which one came to its end that could read everything.
    #[serde(default, with = "OptionalRfc3339")]
    pub completed: Option<Timestamp>,
    /// The blocks of each extent that are not what their contexts say, counted.
    #[serde(default)]
    pub rotten: BTreeMap<u32, u64>,
    /// The places of each extent that could not be read, counted.
    #[serde(default)]
    pub unreadable: BTreeMap<u32, u64>,
    /// The first of both, by extent and block; [`KEPT_LIMIT`] at most.
    #[serde(default)]
    pub faults: Vec<BlockFault>,
    /// The last time at which a verification after the machine's end has changed what is known to be wrong.
    #[serde(default, with = "OptionalRfc3339")]
    pub verified: Option<Timestamp>,
}

/// A scrub, from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The time at which it was begun.
    #[serde(with = "Rfc3339")]
    pub begun: Timestamp,
    /// The next extent to be scrubbed: those before it are.
    pub next: u32,
    /// The bytes that were read.
    pub bytes: u64,
    /// The blocks that were written and were looked at.
    pub blocks: u64,
    /// The blocks that were being written all the time: nothing is known of them.
    pub restless: u64,
    /// The end of it; absent while it is under way, or if the supervisor ended meanwhile.
    #[serde(default)]
    pub ended: Option<Ended>,
}

/// The end of a scrub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The time of it.
    #[serde(with = "Rfc3339")]
    pub at: Timestamp,
    /// How it ended.
    pub how: End,
}

/// How a scrub ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It went through all extents. What could not be read is counted.
    Through,
    /// Somebody has cancelled it.
    Cancelled,
    /// It could not go on, and why.
    Failed(String),
    /// It was none: the region was never scrubbed, and only verified after the machine ended without a shutdown.
    Verified,
}

/// A place of an extent at which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockFault {
    /// The number of the extent.
    pub extent: u32,
    /// The number of the block in its extent; absent if it is the extent's file as a whole.
    pub block: Option<u64>,
    /// What is wrong.
    pub wrong: Wrong,
    /// The time at which it was found.
    #[serde(with = "Rfc3339")]
    pub seen: Timestamp,
    /// The same block of the volume's other regions on this sled.
    #[serde(default)]
    pub siblings: Vec<Sibling>,
}

/// What is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// Its bytes are not what its context says.
    Rotten {
        /// The hash that the context has.
        expected: Hash,
        /// The hash of what lies there.
        found: Hash,
    },
    /// Its bytes are what the context says of the disk, and not what it says of the host.
    Refused {
        /// The hash that the context has.
        expected: Hash,
        /// The hash of what a host would read.
        found: Hash,
    },
    /// It was never written, by its context, and is not zeroes.
    Unwritten {
        /// The hash of what lies there.
        found: Hash,
    },
    /// A context of it is none that anybody wrote: a downstairs that is killed does not start on such an extent again.
    NoContext,
    /// It cannot be read from the disk, which says nothing of what lies there.
    Unreadable {
        /// The offset in the extent's file, in bytes; absent if it is the file as a whole.
        offset: Option<u64>,
        /// The reason.
        why: String,
    },
}

/// A block of another region of the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sibling {
    /// The other region.
    pub region: RegionName,
    /// The hash of what lies there; absent if it cannot be read.
    pub found: Option<Hash>,
    /// Whether that is what its own context says.
    pub right: bool,
}

/// A hash of a block (XxHash64), in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Hash(pub u64);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Rotten { expected, found } => Self::Rotten { expected: Hash(expected), found: Hash(found) },
            Fault::Refused { expected, found } => Self::Refused { expected: Hash(expected), found: Hash(found) },
            Fault::Unwritten { found } => Self::Unwritten { found: Hash(found) },
            Fault::NoContext => Self::NoContext,
        }
    }
}

impl Wrong {
    /// Whether nothing is known of what lies there: that is no rot.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }

    /// The hash that the block's bytes are to have, if its context says one.
    pub fn expected(&self) -> Option<Hash> {
        match self {
            Self::Rotten { expected, .. } => Some(*expected),
            _ => None,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotten { expected, found } => {
                write!(f, "its bytes have the hash {found}, and its context says {expected}")
            }
            Self::Refused { expected, found } => {
                write!(f, "a host would read the hash {found}, and its context says {expected}")
            }
            Self::Unwritten { found } => {
                write!(f, "it was never written, by its context, and its bytes have the hash {found}")
            }
            Self::NoContext => f.write_str("a context of it is none that anybody wrote"),
            Self::Unreadable { offset: Some(offset), why } => write!(f, "it cannot be read at offset {offset}: {why}"),
            Self::Unreadable { offset: None, why } => write!(f, "its file cannot be read: {why}"),
        }
    }
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => write!(f, "extent {} block {block}: {}", self.extent, self.wrong),
            None => write!(f, "extent {}: {}", self.extent, self.wrong),
        }
    }
}

/// What the scrub of one extent came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// The bytes that were read.
    pub bytes: u64,
    /// The blocks that were written and were looked at.
    pub blocks: u64,
    /// The blocks of which nothing is known, as they were written all the time.
    pub restless: u64,
    /// The blocks that are not what their contexts say, all of them.
    pub rotten: u64,
    /// The places that could not be read, all of them.
    pub unreadable: u64,
    /// The first of both.
    pub faults: Vec<BlockFault>,
}

impl Scrubs {
    /// Begin the first one of a region.
    pub fn first(uuid: Uuid, now: Timestamp) -> Self {
        let last = Run { begun: now, next: 0, bytes: 0, blocks: 0, restless: 0, ended: None };
        let (rotten, unreadable, faults) = Default::default();
        Self { uuid, last, completed: None, rotten, unreadable, faults, verified: None }
    }

    /// Begin the record of a region that is verified and was never scrubbed.
    pub fn first_verified(uuid: Uuid, now: Timestamp) -> Self {
        let mut first = Self::first(uuid, now);
        first.end(End::Verified, now);
        first
    }

    /// Begin the next one, or go on with the one that was left in the middle a short time ago. What is known to be
    /// wrong stays, until its extent is scrubbed again.
    #[must_use]
    pub fn next(mut self, now: Timestamp) -> Self {
        let through = self.ended_as(&End::Through) || self.is_only_verified();
        let lately = now.duration_since(self.last.begun).abs() < RESUMED_WITHIN;
        if through || !lately {
            self.last = Run { begun: now, next: 0, bytes: 0, blocks: 0, restless: 0, ended: None };
        }
        self.last.ended = None;
        self
    }

    /// Take what an extent was found to be: what was wrong with it before and is not any more, is over.
    pub fn pass(&mut self, extent: u32, passed: Passed) {
        self.last.next = extent.saturating_add(1);
        self.last.bytes += passed.bytes;
        self.last.blocks += passed.blocks;
        self.last.restless += passed.restless;
        self.take(extent, passed);
    }

    /// Take what an extent was found to be by a verification, which is no scrub; tell whether that is news.
    pub fn verify(&mut self, extent: u32, passed: Passed, now: Timestamp) -> bool {
        let known = self.rotten.contains_key(&extent) || self.unreadable.contains_key(&extent);
        let news = known || passed.rotten > 0 || passed.unreadable > 0;
        if news {
            self.verified = Some(now);
            self.take(extent, passed);
        }
        news
    }

    fn take(&mut self, extent: u32, passed: Passed) {
        for (counts, found) in [(&mut self.rotten, passed.rotten), (&mut self.unreadable, passed.unreadable)] {
            counts.remove(&extent);
            if found > 0 {
                counts.insert(extent, found);
            }
        }
        self.faults.retain(|fault| fault.extent != extent);
        self.faults.extend(passed.faults);
        self.faults.sort_by_key(|fault| (fault.extent, fault.block));
        self.faults.truncate(KEPT_LIMIT);
    }

    /// Take off what was wrong with an extent: it was replaced by one that is right.
    pub fn repaired(&mut self, extent: u32) {
        self.rotten.remove(&extent);
        self.unreadable.remove(&extent);
        self.faults.retain(|fault| fault.extent != extent);
    }

    /// End it.
    pub fn end(&mut self, how: End, now: Timestamp) {
        if how == End::Through && self.unreadable.is_empty() {
            self.completed = Some(now);
        }
        self.last.ended = Some(Ended { at: now, how });
    }

    /// The blocks that are not what their contexts say.
    pub fn rotten(&self) -> u64 {
        self.rotten.values().sum()
    }

    /// The places that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.values().sum()
    }

    /// Whether the region was verified and never scrubbed.
    pub fn is_only_verified(&self) -> bool {
        self.ended_as(&End::Verified)
    }

    fn ended_as(&self, how: &End) -> bool {
        self.last.ended.as_ref().is_some_and(|ended| ended.how == *how)
    }

    /// Whether it was left in the middle, and nobody has ended it: the supervisor did not go on.
    pub fn is_interrupted(&self) -> bool {
        self.last.ended.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn rotten(extent: u32, blocks: std::ops::Range<u64>) -> Passed {
        let one = |block| BlockFault {
            extent,
            block: Some(block),
            wrong: Wrong::Rotten { expected: Hash(1), found: Hash(2) },
            seen: at(7),
            siblings: vec![Sibling { region: "a-1".parse().unwrap(), found: Some(Hash(u64::MAX)), right: true }],
        };
        let faults: Vec<_> = blocks.map(one).collect();
        Passed { bytes: 100, blocks: 10, rotten: faults.len() as u64, faults, ..Passed::default() }
    }

    #[test]
    fn what_is_wrong_stays_until_its_extent_is_found_right() {
        let mut scrubs = Scrubs::first(Uuid::nil(), at(0));
        scrubs.pass(0, rotten(0, 0..60));
        scrubs.pass(1, rotten(1, 3..9));
        let lost = Wrong::Unreadable { offset: Some(4096), why: "EIO".into() };
        let fault = BlockFault { extent: 2, block: Some(1), wrong: lost, seen: at(7), siblings: vec![] };
        scrubs.pass(2, Passed { unreadable: 1, faults: vec![fault], ..Passed::default() });
        assert_eq!((scrubs.rotten(), scrubs.unreadable(), scrubs.faults.len()), (66, 1, KEPT_LIMIT));
        scrubs.end(End::Through, at(9));
        assert_eq!(scrubs.completed, None, "it could not read everything");
        let mut next = scrubs.clone().next(at(20));
        assert_eq!((next.last.next, next.last.begun, next.rotten()), (0, at(20), 66));
        next.pass(0, Passed::default());
        assert_eq!((next.rotten(), next.faults[0].extent, next.last.next), (6, 1, 1));
        next.pass(1, Passed::default());
        next.pass(2, Passed::default());
        next.end(End::Through, at(30));
        assert_eq!((next.rotten(), next.unreadable(), next.completed), (0, 0, Some(at(30))));
        assert!(next.faults.is_empty());
    }

    /// It tells what it has found, and is no scrub: neither is one completed by it, nor is one gone on with.
    #[test]
    fn a_verification_is_no_scrub() {
        let mut scrubs = Scrubs::first(Uuid::nil(), at(0));
        scrubs.pass(0, Passed::default());
        scrubs.pass(1, rotten(1, 3..4));
        let last = scrubs.last.clone();
        assert!(!scrubs.verify(0, Passed::default(), at(50)), "that was known");
        assert_eq!(scrubs.verified, None);
        assert!(scrubs.verify(1, Passed::default(), at(50)) && scrubs.verify(2, rotten(2, 0..2), at(50)));
        assert_eq!((scrubs.rotten(), scrubs.verified, &scrubs.last), (2, Some(at(50)), &last));
        assert_eq!(scrubs.completed, None);

        let mut only = Scrubs::first_verified(Uuid::nil(), at(50));
        assert!(only.verify(2, rotten(2, 0..2), at(51)) && only.is_only_verified() && !only.is_interrupted());
        let next = only.next(at(60));
        assert_eq!((next.last.begun, next.last.next, next.rotten(), next.completed), (at(60), 0, 2, None));
    }

    #[test]
    fn one_that_was_left_in_the_middle_is_gone_on_with_for_a_week() {
        let mut scrubs = Scrubs::first(Uuid::nil(), at(0));
        scrubs.pass(0, Passed { bytes: 5, ..Passed::default() });
        scrubs.pass(1, Passed::default());
        for end in [None, Some(End::Cancelled), Some(End::Failed("x".into()))] {
            let mut left = scrubs.clone();
            end.into_iter().for_each(|end| left.end(end, at(3)));
            let (soon, late) = (left.clone().next(at(100)), left.next(at(8 * 86_400)));
            assert_eq!((soon.last.next, soon.last.bytes, soon.is_interrupted()), (2, 5, true));
            assert_eq!((late.last.next, late.last.bytes), (0, 0));
        }
        let text = serde_json::to_string(&scrubs).unwrap();
        assert_eq!(serde_json::from_str::<Scrubs>(&text).unwrap(), scrubs);
    }
}
