//! Reconciliation of a volume's replicas, foreseen. When an upstairs is activated it copies every extent from the replica
//! with the highest (generation, flush, dirty) to those that differ, before any I/O: whose extent is *highest* wins,
//! whichever of them is newer. So a directory that comes back (from the trash, from another place) is compared with its
//! siblings before it may take part. Pure.

use super::format::Trailer;
use crate::names::RegionName;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// Longest time by which a replica that has flushed less may have written later, and is still not the newer one: what is
/// outstanding for a slow one (at most 1,000 jobs or 50 MiB, then it is given up).
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// Extent as it stands in one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// What its trailer says.
    pub trailer: Trailer,
    /// Time at which its file was last written.
    pub modified: Timestamp,
}

impl Extent {
    /// The order in which replicas win.
    fn rank(&self) -> (u64, u64, bool) {
        (self.trailer.generation, self.trailer.flush, self.trailer.dirty)
    }
}

/// Extents of which an older state would win over a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderWins {
    /// Sibling that would lose.
    pub sibling: RegionName,
    /// Number of extents of which that is so.
    pub extents: usize,
    /// The first of them.
    pub first: usize,
    /// It, in the one that comes back.
    pub ours: Extent,
    /// It, in the sibling.
    pub theirs: Extent,
}

impl fmt::Display for OlderWins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sibling, extents, first, ours, theirs } = self;
        let of = if *extents == 1 { format!("extent {first}") } else { format!("{extents} extents (first: {first})") };
        write!(
            f,
            "of {of} it has generation {} and flush {}, written {}; {sibling} has {} and {}, and was written later, {}: \
             at the next activation the older data would be copied over the newer",
            ours.trailer.generation,
            ours.trailer.flush,
            shown(ours.modified),
            theirs.trailer.generation,
            theirs.trailer.flush,
            shown(theirs.modified),
        )
    }
}

/// A time to the second.
fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Find whether a replica that comes back would win over a sibling that is newer: it ranks higher than every sibling in some
/// extent, one of which has been flushed and was written later. An extent that a sibling never flushed is filled by it,
/// which is as it should be. The sibling with most of them is told.
pub fn older_wins(ours: &[Extent], siblings: &[(RegionName, Vec<Extent>)]) -> Option<OlderWins> {
    let highest = |number: usize| siblings.iter().filter_map(|(_, theirs)| theirs.get(number)).map(Extent::rank).max();
    let wins = |number: usize, ours: &Extent| highest(number).is_some_and(|highest| ours.rank() > highest);
    let loses = |ours: &Extent, theirs: &Extent| {
        (theirs.trailer.generation, theirs.trailer.flush) > (0, 0)
            && theirs.modified.duration_since(ours.modified) > LATE
    };
    let of = |(sibling, theirs): &(RegionName, Vec<Extent>)| {
        let pairs = ours.iter().zip(theirs).enumerate();
        let mut lost = pairs.filter(|(number, (ours, theirs))| wins(*number, ours) && loses(ours, theirs));
        let (first, (ours, theirs)) = lost.next()?;
        let extents = 1 + lost.count();
        Some(OlderWins { sibling: sibling.clone(), extents, first, ours: *ours, theirs: *theirs })
    };
    siblings.iter().filter_map(of).max_by_key(|found| found.extents)
}

/// Generation and flush of each extent.
pub type Flushes = Vec<(u64, u64)>;

/// The highest generation and flush of each extent over some replicas: what the others have once they are reconciled.
pub fn highest(replicas: &[Vec<Trailer>]) -> Flushes {
    let extents = replicas.iter().map(Vec::len).max().unwrap_or_default();
    let one = |number: usize| replicas.iter().filter_map(|replica| replica.get(number)).map(flushed).max();
    (0..extents).map(|number| one(number).unwrap_or_default()).collect()
}

/// Generation and flush of each extent of one replica.
pub fn flushes(replica: &[Trailer]) -> Flushes {
    replica.iter().map(flushed).collect()
}

/// The first extent of which a replica has not flushed what it should have.
pub fn lacks(theirs: &[Trailer], wanted: &[(u64, u64)]) -> Option<usize> {
    let has = |number: usize, wanted: &(u64, u64)| theirs.get(number).is_some_and(|theirs| flushed(theirs) >= *wanted);
    wanted.iter().enumerate().position(|(number, wanted)| !has(number, wanted))
}

/// How much of a replica that was made anew is filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filling {
    /// The extents that have what is wanted, of those that were ever flushed.
    pub done: u64,
    /// The extents that were ever flushed: nobody copies others.
    pub all: u64,
}

/// Tell how much of a replica is filled, by what its siblings had flushed of each extent.
pub fn filling(ours: &[Trailer], wanted: &[(u64, u64)]) -> Filling {
    let mut filling = Filling::default();
    for (ours, wanted) in ours.iter().zip(wanted).filter(|(_, wanted)| **wanted > (0, 0)) {
        filling.all += 1;
        filling.done += u64::from(flushed(ours) >= *wanted);
    }
    filling
}

fn flushed(trailer: &Trailer) -> (u64, u64) {
    (trailer.generation, trailer.flush)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u64, flush: u64, second: i64) -> Extent {
        let trailer = Trailer { dirty: false, generation, flush };
        Extent { trailer, modified: Timestamp::from_second(second).unwrap() }
    }

    #[test]
    fn what_comes_back_is_refused_where_its_older_state_would_win_and_only_there() {
        let name = |index: u8| format!("a-{index}").parse::<RegionName>().unwrap();
        let found = |ours: &[Extent], one: &[Extent], other: &[Extent]| {
            let siblings = [(name(1), one.to_vec()), (name(2), other.to_vec())];
            older_wins(ours, &siblings).map(|found| (found.sibling.to_string(), found.extents, found.first))
        };
        let wrong = |sibling: &str, extents, first| Some((sibling.to_owned(), extents, first));
        for (case, ours, one, other, wanted) in [
            ("behind, as what was deleted is", at(5, 10, 100), at(6, 1, 900), at(6, 1, 900), None),
            ("equal, and nobody wrote since", at(5, 10, 100), at(5, 10, 101), at(5, 10, 99), None),
            ("ahead by a flush that was not acknowledged", at(5, 11, 100), at(5, 10, 101), at(5, 10, 99), None),
            ("the siblings are new and empty", at(5, 10, 100), at(0, 0, 900), at(0, 0, 900), None),
            ("the volume began anew", at(900, 10, 100), at(3, 1, 900), at(3, 1, 901), wrong("a-2", 1, 0)),
            ("of one sibling, the other being empty", at(9, 1, 100), at(3, 1, 900), at(0, 0, 900), wrong("a-1", 1, 0)),
            ("it would win over one, and the other over it", at(5, 1, 100), at(3, 1, 900), at(6, 1, 900), None),
            ("a slow sibling", at(5, 11, 100), at(5, 10, 160), at(5, 10, 160), None),
            ("one that is newer", at(5, 11, 100), at(5, 10, 161), at(5, 10, 100), wrong("a-1", 1, 0)),
        ] {
            assert_eq!(found(&[ours], &[one], &[other]), wanted, "{case}");
        }
        let ours = [at(0, 0, 1), at(9, 1, 100), at(9, 1, 100), at(1, 1, 100)];
        let theirs = [at(0, 0, 900), at(3, 1, 900), at(3, 1, 900), at(3, 1, 900)];
        assert_eq!(found(&ours, &theirs, &theirs[..2]), wrong("a-1", 2, 1));
        assert_eq!(older_wins(&ours, &[]), None, "there is nobody to win over");
    }

    #[test]
    fn a_dirty_extent_ranks_above_a_clean_one_of_the_same_flush() {
        let mut dirty = at(5, 10, 100);
        dirty.trailer.dirty = true;
        let sibling = [("a-1".parse().unwrap(), vec![at(5, 10, 900)])];
        let said = older_wins(&[dirty], &sibling).unwrap().to_string();
        assert!(
            said.starts_with("of extent 0 it has generation 5 and flush 10, written 1970-01-01 00:01:40 UTC"),
            "{said}"
        );
    }

    #[test]
    fn a_new_replica_is_filled_once_each_extent_that_was_ever_flushed_is_what_its_siblings_had() {
        let of = |flushes: &[(u64, u64)]| -> Vec<Trailer> {
            flushes
                .iter()
                .map(|(generation, flush)| Trailer { dirty: true, generation: *generation, flush: *flush })
                .collect()
        };
        let siblings = [of(&[(7, 3), (0, 0), (2, 9), (7, 1)]), of(&[(7, 2), (0, 0), (3, 1), (7, 1)])];
        let wanted = highest(&siblings);
        assert_eq!(wanted, [(7, 3), (0, 0), (3, 1), (7, 1)]);
        for (case, ours, done) in [
            ("empty", [(0, 0), (0, 0), (0, 0), (0, 0)], 0),
            ("half way", [(7, 3), (0, 0), (0, 0), (0, 0)], 1),
            ("one is of the sibling that is behind", [(7, 3), (0, 0), (2, 9), (7, 1)], 2),
            ("filled, and written to since", [(8, 1), (8, 1), (3, 1), (8, 2)], 3),
        ] {
            assert_eq!(filling(&of(&ours), &wanted), Filling { done, all: 3 }, "{case}");
        }
        assert_eq!(highest(&[]), []);
    }
    /// One that was made anew and is not filled is none, beside however many that are.
    #[test]
    fn a_replica_has_what_another_has_only_if_it_has_each_extent_of_it() {
        let of = |flushes: &[(u64, u64)]| -> Vec<Trailer> {
            flushes
                .iter()
                .map(|(generation, flush)| Trailer { dirty: false, generation: *generation, flush: *flush })
                .collect()
        };
        let ours = flushes(&of(&[(7, 3), (0, 0), (3, 1)]));
        for (case, theirs, wanted) in [
            ("equal", of(&[(7, 3), (0, 0), (3, 1)]), None),
            ("beyond", of(&[(7, 4), (1, 1), (4, 0)]), None),
            ("a flush behind", of(&[(7, 3), (0, 0), (3, 0)]), Some(2)),
            ("empty", of(&[(0, 0), (0, 0), (0, 0)]), Some(0)),
            ("cut off", of(&[(7, 3), (0, 0)]), Some(2)),
        ] {
            assert_eq!(lacks(&theirs, &ours), wanted, "{case}");
        }
        assert_eq!(lacks(&[], &[]), None);
    }
}
