//! Settlement of what a crash may have left undone on the data disk, from the ledger and from what lies there.
//!
//! Every change of a region's place is written to the ledger first and carried out after it:
//! so whatever the ledger says and the directories do not is carried out now. Left-overs of
//! attempts that never got into the ledger are swept away, and nothing else ever is.

use crate::names::RegionName;
use crate::region::{Ledger, Record, RegionJson, Tombstone};
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The listing of the data disk: the names of directories, and what the region in each says of itself, if one can be
/// read there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Directories with a region's name.
    pub in_place: BTreeMap<RegionName, Option<RegionJson>>,
    /// Attempts, `V-i.` and 32 hexadecimal digits.
    pub incoming: BTreeMap<String, Option<RegionJson>>,
    /// Deleted regions, `V-i.` and seconds since 1970.
    pub trash: BTreeMap<String, Option<RegionJson>>,
}

/// A step towards what the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An attempt that is on record gets its place.
    Place(String, RegionName),
    /// A restored region leaves the trash.
    Restore(String, RegionName),
    /// A deleted region goes to the trash, under this name.
    Bury(RegionName, String),
    /// A deleted region lies in the trash, under this name: that is noted.
    Moved(String),
    /// A left-over in `.incoming` is removed.
    Sweep(String),
    /// A directory in the trash that the ledger does not know gets its tombstone again.
    Remember(Tombstone),
    /// A tombstone whose directory is gone is dropped.
    Drop(String),
}

/// Find the steps to take, in any order.
pub fn settle(ledger: &Ledger, listing: &Listing) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, record) in &ledger.regions {
        if listing.in_place.contains_key(name) {
            continue;
        }
        let own = |(dir, json): &(&String, &Option<RegionJson>)| {
            has(json, record.uuid) && dir.split_once('.').is_some_and(|(of, _)| of == name.to_string())
        };
        let attempt = listing.incoming.iter().find(own);
        let deleted = listing.trash.iter().filter(|(dir, _)| !buried(ledger, dir)).find(own);
        steps.extend(attempt.map(|(dir, _)| Step::Place(dir.clone(), name.clone())));
        steps.extend(deleted.filter(|_| attempt.is_none()).map(|(dir, _)| Step::Restore(dir.clone(), name.clone())));
    }
    steps.extend(ledger.tombstones.iter().filter_map(|stone| tombstone(stone, ledger, listing)));
    let moved = |dir: &String| {
        steps.iter().any(|step| matches!(step, Step::Place(from, _) | Step::Restore(from, _) if from == dir))
    };
    let sweep = listing.incoming.keys().filter(|dir| attempt(dir).is_some() && !moved(dir)).cloned().map(Step::Sweep);
    let unknown = listing.trash.iter().filter(|(dir, _)| !buried(ledger, dir) && !moved(dir));
    let unknown = unknown.filter_map(|(dir, json)| found(dir, json.as_ref()?)).map(Step::Remember);
    let rest: Vec<_> = sweep.chain(unknown).collect();
    steps.extend(rest);
    steps
}

fn has(json: &Option<RegionJson>, uuid: Uuid) -> bool {
    json.as_ref().is_some_and(|json| json.uuid == uuid)
}

fn buried(ledger: &Ledger, dir: &str) -> bool {
    ledger.tombstones.iter().any(|stone| stone.dir() == dir)
}

/// The tombstone of a directory in the trash, from what it says itself: the ledger that had it
/// was lost.
fn found(dir: &str, json: &RegionJson) -> Option<Tombstone> {
    let (region, deleted) = buried_as(dir)?;
    let record =
        Record { uuid: json.uuid, geometry: json.geometry(), created: deleted, by: "found in the trash".into() };
    Some(Tombstone { region, record, deleted, buried: None, moved: true, removing: false })
}

fn tombstone(stone: &Tombstone, ledger: &Ledger, listing: &Listing) -> Option<Step> {
    let (name, dir) = (&stone.region, stone.dir());
    if listing.trash.contains_key(&dir) {
        return (!stone.moved).then_some(Step::Moved(dir));
    }
    // A region that had been moved is gone from the trash: whatever lies in the place is another.
    let here = listing.in_place.get(name).is_some_and(|json| has(json, stone.record.uuid));
    let here = here && !stone.moved && !stone.removing && !ledger.regions.contains_key(name);
    Some(if here { Step::Bury(name.clone(), dir) } else { Step::Drop(dir) })
}

/// The region that a directory in `.incoming` was to be: `V-i.` and 32 hexadecimal digits. None
/// for a name that the supervisor does not give.
pub fn attempt(dir: &str) -> Option<RegionName> {
    let (name, rest) = dir.split_once('.')?;
    let plain = rest.len() == 32 && rest.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    name.parse().ok().filter(|_| plain)
}

/// The region that a directory in `.trash` was, and when it was deleted: `V-i.` and seconds
/// since 1970. None for a name that the supervisor does not give.
pub fn buried_as(dir: &str) -> Option<(RegionName, Timestamp)> {
    let (name, rest) = dir.split_once('.')?;
    let seconds: i64 = rest.parse().ok()?;
    let deleted = Timestamp::from_second(seconds).ok().filter(|_| seconds.to_string() == rest)?;
    Some((name.parse().ok()?, deleted))
}
