//! Verification of regions after the machine ended without a shutdown: which of their extents are held to their checksums
//! before they serve, and how far that is. Pure: the record's text and how it changes; its file is `store::verification`'s.
//!
//! **What can be wrong.** A power cut in the middle of a flush can leave an extent that says that it is clean and has
//! blocks that do not fit their contexts: the trailer and the blocks are pages of one file, which a disk takes in any order.
//! An extent that is dirty is none of these: its downstairs hashes it anew when it starts. So what may be wrong is an
//! extent that is clean and was flushed, or was about to be, just before the end.
//!
//! **How that is told.** The first write after a flush makes the extent dirty and is synchronised (fsync), and each write
//! and flush after it sets the time of the file. The supervisor writes a sign of life each minute, with the time since
//! when a file counts as changed before it ([`changed_since`]). An extent whose file changed then or later is verified.
//! The last sign may be old, as that of a supervisor that was killed: then more is verified, and never less.
//!
//! **Why that is enough.** ext4 commits the time of a file within 5 s (`commit=`), and with each fsync of any file; xfs
//! within 30 s. So the time on the disk is behind the blocks there by half a minute at most, and a whole one is looked back.
//! A clock that is set is no matter: the earliest time that it has shown since the sign before counts.
//!
//! **Where it is not.** With `lazytime`, or `commit=` of more than half a minute, the time on the disk may be older: such
//! a mount is noticed, and all extents are verified there. A disk that loses, with its power, what it has said that it has
//! written (or blocks beside these, as some without capacitors do) can spoil any extent: `verify_after_crash = "all"` is
//! for it. A clock that is set back in the last seconds, and a machine whose supervisor was stopped when it ended (of its
//! end nothing is known), go unseen; the scrub that the schedule begins is what finds the rest.

use super::reconciliation::Extent;
use crate::names::RegionName;
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The time before a sign of life from which on a file counts as changed: twice what the slower of two file systems takes
/// to write down when that was.
pub const LOOKED_BACK: SignedDuration = SignedDuration::from_secs(60);

/// Verification that a boot of the machine has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The boot (random(4), `boot_id`) that has it to do.
    pub boot: String,
    /// The time since when a file counts as changed; absent: no sign of life was found, and all count.
    #[serde(default, with = "OptionalRfc3339")]
    pub since: Option<Timestamp>,
    /// The regions that lay on the disk when it was first looked at, those in the trash included; absent before.
    #[serde(default)]
    pub regions: Option<BTreeMap<RegionName, Verified>>,
    /// The time at which that was: what was scrubbed since is not as the end has left it.
    #[serde(default, with = "OptionalRfc3339")]
    pub listed: Option<Timestamp>,
    /// The reason why the record of what was to be verified could not be read, if it could not: then everything is.
    #[serde(default)]
    pub lost: Option<String>,
    /// The regions that an earlier boot was to verify and did not come to the end of: nobody verifies them any more, and
    /// what an end of the machine has left of them is in doubt still.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unverified: BTreeMap<RegionName, Unverified>,
}

/// Region that was not verified after an end of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unverified {
    /// The region: another one that takes its name is not in doubt.
    pub uuid: Uuid,
    /// The time from which on a whole scrub says that it is as it should be.
    #[serde(with = "Rfc3339")]
    pub until: Timestamp,
}

/// Verification of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The region: another one that takes its name is none of this.
    pub uuid: Uuid,
    /// The next extent to be looked at: those before it are done.
    #[serde(default)]
    pub next: u32,
    /// The extents that were verified.
    #[serde(default)]
    pub extents: u32,
    /// The blocks of these that are not what their checksums say.
    #[serde(default)]
    pub rotten: u64,
    /// The places of these that could not be read.
    #[serde(default)]
    pub unreadable: u64,
    /// What came of it; absent while it is to be done.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

/// What came of the verification of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every extent that was to be verified was looked at.
    Through,
    /// It could not go on, and why.
    Failed(String),
    /// Somebody has cancelled it.
    Cancelled,
    /// It is not wanted, by the configuration.
    Off,
    /// The region was served already.
    Served,
}

/// Sign of life of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// The time at which it was given.
    #[serde(with = "Rfc3339")]
    pub at: Timestamp,
    /// The time since when a file counts as changed, if this is the last sign.
    #[serde(with = "Rfc3339")]
    pub changed_since: Timestamp,
}

impl Sign {
    /// Make the sign of `now`, after the one before if there was one: of a clock that was set in between, the earlier
    /// time counts.
    pub fn at(now: Timestamp, before: Option<Self>) -> Self {
        let back = changed_since(now);
        Self { at: now, changed_since: before.map_or(back, |before| back.min(before.at)) }
    }
}

/// The time since when a file counts as changed before a sign of life.
pub fn changed_since(sign: Timestamp) -> Timestamp {
    sign.checked_sub(LOOKED_BACK).unwrap_or(Timestamp::MIN)
}

/// Tell whether an extent is to be verified: it says that it is clean, and its file has changed since (`None`: that does
/// not matter).
pub fn is_suspect(extent: &Extent, since: Option<Timestamp>) -> bool {
    !extent.trailer.dirty && since.is_none_or(|since| extent.modified >= since)
}

impl Verification {
    /// Find what a boot has to do, by what is on record of an earlier one or of this: `unclean` if the boot before ended
    /// without a shutdown, `sign` the last sign of life of it, and `now` the time. What an earlier one has left undone is
    /// done by this, and what it has passed over stays in doubt.
    pub fn of_boot(known: Option<Self>, boot: &str, unclean: bool, sign: Option<Sign>, now: Timestamp) -> Option<Self> {
        if known.as_ref().is_some_and(|known| known.boot == boot) {
            return known;
        }
        let unverified = known.as_ref().map(|known| known.passed_over(now)).unwrap_or_default();
        let (left, since) = (known.filter(Self::is_open), sign.map(|sign| sign.changed_since));
        let in_doubt = !unverified.is_empty();
        let anew =
            |since, regions, lost| Self { boot: boot.to_owned(), since, regions, listed: None, lost, unverified };
        match left {
            None if unclean => Some(anew(since, None, None)),
            None => in_doubt.then(|| anew(None, Some(BTreeMap::new()), None)),
            // The earlier of both, and nothing if one is not known.
            Some(left) if unclean => {
                let since = left.since.zip(since).map(|(before, since)| before.min(since));
                Some(anew(since, None, left.lost))
            }
            Some(left) => Some(Self { boot: boot.to_owned(), ..left }),
        }
    }

    /// The regions that are in doubt and are not to be verified any more, for a boot that comes after this one.
    fn passed_over(&self, now: Timestamp) -> BTreeMap<RegionName, Unverified> {
        let mut all = self.unverified.clone();
        let until = self.until().unwrap_or(now);
        let passed = |known: &Verified| known.outcome.as_ref().is_some_and(|outcome| *outcome != Outcome::Through);
        for (name, known) in self.regions.iter().flatten().filter(|(_, known)| passed(known)) {
            all.insert(name.clone(), Unverified { uuid: known.uuid, until });
        }
        all
    }

    /// The time until which a scrub may have seen what was there before the machine's end: the last sign of life may be
    /// older than that by two pauses. Without one: until what there was to verify was listed in this boot.
    fn until(&self) -> Option<Timestamp> {
        let ended = self.since.and_then(|since| since.checked_add(LOOKED_BACK * 3).ok());
        ended.or(self.listed)
    }

    /// The time from which on a whole scrub of a region says that it is as it should be; `None`: at any time. A region that
    /// an end of the machine has left in doubt, and that was not verified since, has to have been scrubbed since.
    pub fn counts_from(&self, name: &RegionName, uuid: Uuid) -> Option<Timestamp> {
        let due = self.of(name, uuid).filter(|known| known.outcome != Some(Outcome::Through));
        let now = due.map(|_| self.until().unwrap_or(Timestamp::MAX));
        let before = self.unverified.get(name).filter(|known| known.uuid == uuid).map(|known| known.until);
        now.max(before)
    }

    /// What a boot has to do if the record of it cannot be read, and why: everything, as nothing is known.
    pub fn lost(boot: &str, why: String) -> Self {
        let lost = Some(why);
        Self { boot: boot.to_owned(), since: None, regions: None, listed: None, lost, unverified: BTreeMap::new() }
    }

    /// Whether something is left to be done, or that is not known yet.
    pub fn is_open(&self) -> bool {
        self.regions.as_ref().is_none_or(|regions| regions.values().any(|region| region.outcome.is_none()))
    }

    /// What is on record of a region, if it is this one.
    pub fn of(&self, name: &RegionName, uuid: Uuid) -> Option<&Verified> {
        self.regions.as_ref()?.get(name).filter(|known| known.uuid == uuid)
    }
}

impl Verified {
    /// One that is to be verified.
    pub fn due(uuid: Uuid) -> Self {
        Self { uuid, next: 0, extents: 0, rotten: 0, unreadable: 0, outcome: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::format::Trailer;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sign(second: i64) -> Option<Sign> {
        Some(Sign::at(at(second), None))
    }

    #[test]
    fn an_extent_is_suspect_if_it_is_clean_and_its_file_has_changed_since() {
        let extent =
            |dirty, second| Extent { trailer: Trailer { dirty, generation: 7, flush: 3 }, modified: at(second) };
        for (name, extent, since, suspect) in [
            ("long ago", extent(false, 939), Some(940), false),
            ("at that time", extent(false, 940), Some(940), true),
            ("after the last sign", extent(false, 5000), Some(940), true),
            ("dirty", extent(true, 990), Some(940), false),
            ("without a sign", extent(false, 0), None, true),
            ("without one, and dirty", extent(true, 0), None, false),
        ] {
            assert_eq!(is_suspect(&extent, since.map(at)), suspect, "{name}");
        }
    }

    /// Signs a minute apart, each with the time that the clock showed, and what counts as changed by the last.
    #[test]
    fn a_clock_that_is_set_makes_no_file_older() {
        for (name, shown, since) in [
            ("one sign", vec![1000], 940),
            ("a clock that goes right", vec![1000, 1060, 1120], 1060),
            ("a sign that came late", vec![1000, 1200], 1000),
            ("set ahead in between", vec![1000, 900_060], 1000),
            ("and for a minute", vec![1000, 900_060, 900_120], 900_060),
            ("set back in between", vec![900_000, 1060], 1000),
        ] {
            let last = shown.into_iter().fold(None, |before, second| Some(Sign::at(at(second), before))).unwrap();
            assert_eq!(last.changed_since, at(since), "{name}");
        }
    }

    #[test]
    fn what_a_boot_has_to_do_is_done_once_and_what_it_leaves_by_the_next() {
        let of = |known, boot, unclean, sign| Verification::of_boot(known, boot, unclean, sign, at(9000));
        assert_eq!(of(None, "b", false, sign(1000)), None);
        let begun = of(None, "b", true, sign(1000)).unwrap();
        assert_eq!((begun.since, begun.regions.clone(), begun.is_open()), (Some(at(940)), None, true));
        // Another supervisor of this boot goes on with it, whatever its sign.
        let region: RegionName = "a-0".parse().unwrap();
        let due = BTreeMap::from([(region.clone(), Verified { next: 7, ..Verified::due(Uuid::nil()) })]);
        let under_way = Verification { regions: Some(due), ..begun.clone() };
        assert_eq!(of(Some(under_way.clone()), "b", true, sign(2000)), Some(under_way.clone()));
        // A shutdown leaves it undone, and another cut adds to it.
        let after = of(Some(under_way.clone()), "c", false, sign(2000)).unwrap();
        assert_eq!((after.boot.as_str(), after.since, &after.regions), ("c", Some(at(940)), &under_way.regions));
        let cut = of(Some(under_way.clone()), "c", true, sign(2000)).unwrap();
        assert_eq!((cut.since, cut.regions), (Some(at(940)), None));
        assert_eq!(of(Some(under_way.clone()), "c", true, None).unwrap().since, None);
        // One that is done is done.
        let mut done = under_way;
        let through = Some(Outcome::Through);
        done.regions.iter_mut().flatten().for_each(|(_, verified)| verified.outcome.clone_from(&through));
        assert_eq!((done.is_open(), of(Some(done.clone()), "c", false, sign(2000))), (false, None));
        assert_eq!(of(Some(done.clone()), "c", true, sign(2000)).unwrap().since, Some(at(1940)));
        assert_eq!(of(Some(done.clone()), "b", true, sign(2000)), Some(done.clone()));
        assert_eq!(done.of(&region, Uuid::from_u128(1)), None, "another region has its name");
        let text = serde_json::to_string(&done).unwrap();
        assert_eq!(serde_json::from_str::<Verification>(&text).unwrap(), done);
    }

    /// A boot whose verification was passed over, an orderly one after it, and another: a scrub has to come first still.
    #[test]
    fn what_was_passed_over_is_in_doubt_until_it_is_scrubbed_whichever_way_later_boots_end() {
        let [off, through, due]: [RegionName; 3] = ["a-0", "a-1", "a-2"].map(|name| name.parse().unwrap());
        let of = |outcome| Verified { outcome, ..Verified::due(Uuid::nil()) };
        let regions = [(&off, Some(Outcome::Off)), (&through, Some(Outcome::Through))];
        let regions =
            regions.into_iter().map(|(name, outcome)| (name.clone(), of(outcome))).collect::<BTreeMap<_, _>>();
        let mut first = Verification::of_boot(None, "b", true, sign(1000), at(1100)).unwrap();
        (first.regions, first.listed) = (Some(regions.clone()), Some(at(1110)));
        let counts = |known: &Verification, name| known.counts_from(name, Uuid::nil());
        let is_in_doubt = |known: &Verification| {
            assert_eq!((counts(known, &off), counts(known, &through)), (Some(at(940 + 180)), None), "{known:?}");
            assert_eq!(known.counts_from(&off, Uuid::from_u128(1)), None, "another region has its name");
        };
        is_in_doubt(&first);
        let second = Verification::of_boot(Some(first.clone()), "c", false, sign(2000), at(2100)).unwrap();
        is_in_doubt(&second);
        assert!(!second.is_open());
        let text = serde_json::to_string(&second).unwrap();
        let second = serde_json::from_str::<Verification>(&text).unwrap();
        let third = Verification::of_boot(Some(second), "d", false, sign(3000), at(3100)).unwrap();
        is_in_doubt(&third);
        // One that is cut off begins anew beside it.
        let cut = Verification::of_boot(Some(third), "e", true, sign(4000), at(4100)).unwrap();
        is_in_doubt(&cut);
        assert_eq!((cut.since, &cut.regions), (Some(at(3940)), &None));
        // What is to be verified still is not in doubt beside that.
        first.regions.get_or_insert_default().insert(due.clone(), of(None));
        let cut = Verification::of_boot(Some(first), "c", true, sign(2000), at(2100)).unwrap();
        is_in_doubt(&cut);
        assert_eq!(counts(&cut, &due), None);
        // Nothing tells when the machine ended: then what was scrubbed before a later boot says nothing.
        let unknown =
            Verification { regions: Some(regions), ..Verification::of_boot(None, "b", true, None, at(7)).unwrap() };
        assert_eq!(counts(&unknown, &off), Some(Timestamp::MAX));
        let later = Verification::of_boot(Some(unknown), "c", false, None, at(2100)).unwrap();
        assert_eq!(counts(&later, &off), Some(at(2100)));
    }
}
