//! A crash between any two steps, and what is made of it: on a model of the disk, in which a
//! directory is its name and the region in it.

use super::*;
use crate::decide::settle::{Listing, Step, attempt, buried_as, settle};
use crate::region::Tombstone;
use proptest::prelude::*;

fn json(uuid: u128) -> RegionJson {
    let uuid = Uuid::from_u128(uuid);
    let text = format!(
        "{{\"block_size\":512,\"extent_size\":{{\"value\":1,\"shift\":9}},\"extent_count\":1,\"uuid\":\"{uuid}\",\
         \"encrypted\":false,\"database_read_version\":1,\"database_write_version\":1}}"
    );
    RegionJson::parse(text.as_bytes()).unwrap()
}

fn record(uuid: u128) -> Record {
    let (json, created) = (json(uuid), Timestamp::UNIX_EPOCH);
    Record { uuid: json.uuid, geometry: json.geometry(), created, by: "a test".into() }
}

fn stone(uuid: u128) -> Tombstone {
    let deleted = Timestamp::from_second(9).unwrap();
    Tombstone { region: first(), record: record(uuid), deleted, buried: None, moved: false, removing: false }
}

const ATTEMPT: &str = "still-fawn-0.0123456789abcdef0123456789abcdef";

/// The disk as a ledger and the directories.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    ledger: Ledger,
    listing: Listing,
}

impl Model {
    fn take(&mut self, step: &Step) {
        let listing = &mut self.listing;
        match step {
            Step::Place(dir, name) => {
                let found = listing.incoming.remove(dir).unwrap();
                assert_eq!(listing.in_place.insert(name.clone(), found), None, "put over another");
            }
            Step::Restore(dir, name) => {
                let found = listing.trash.remove(dir).unwrap();
                assert_eq!(listing.in_place.insert(name.clone(), found), None, "put over another");
            }
            Step::Bury(name, dir) => {
                let found = listing.in_place.remove(name).unwrap();
                assert_eq!(listing.trash.insert(dir.clone(), found), None, "put over another");
                self.ledger.tombstones.iter_mut().filter(|s| s.dir() == *dir).for_each(|s| s.moved = true);
            }
            Step::Moved(dir) => {
                self.ledger.tombstones.iter_mut().filter(|s| s.dir() == *dir).for_each(|s| s.moved = true);
            }
            Step::Sweep(dir) => _ = listing.incoming.remove(dir).unwrap(),
            Step::Remember(stone) => self.ledger.tombstones.push(stone.clone()),
            Step::Drop(dir) => self.ledger.tombstones.retain(|stone| stone.dir() != *dir),
        }
    }

    /// Settles, and finds that there is then nothing left to settle.
    fn settled(mut self) -> Self {
        for step in settle(&self.ledger, &self.listing) {
            self.take(&step);
        }
        assert_eq!(settle(&self.ledger, &self.listing), [], "{self:?}");
        self
    }
}

#[test]
fn a_creation_that_got_on_record_is_finished_and_any_other_swept() {
    let mut model = Model::default();
    model.listing.incoming.insert(ATTEMPT.into(), Some(json(1)));
    assert_eq!(model.clone().settled(), Model::default());
    model.ledger.regions.insert(first(), record(1));
    let settled = model.settled();
    assert_eq!(settled.listing.in_place, [(first(), Some(json(1)))].into());
    assert!(settled.listing.incoming.is_empty());
}

#[test]
fn a_deletion_and_a_restoration_end_as_the_ledger_says() {
    let mut model = Model::default();
    model.listing.in_place.insert(first(), Some(json(1)));
    model.ledger.tombstones.push(stone(1));
    let buried = model.settled();
    assert_eq!(buried.listing.trash, [(stone(1).dir(), Some(json(1)))].into());

    let mut model = buried;
    model.ledger = Ledger { regions: [(first(), record(1))].into(), ..Ledger::default() };
    let restored = model.settled();
    assert_eq!(restored.listing.in_place, [(first(), Some(json(1)))].into());
    assert!(restored.listing.trash.is_empty());
}

#[test]
fn nothing_but_own_left_overs_is_ever_removed() {
    let mut listing = Listing::default();
    let names = ["precious", "still-fawn-0", "still-fawn-0.bad", "still-fawn-0.0ff", "still-fawn-7.9", "../x.9"];
    for name in names {
        listing.incoming.insert(name.into(), None);
        listing.trash.insert(name.into(), Some(json(1)));
        assert!(attempt(name).is_none() && buried_as(name).is_none(), "{name}");
    }
    assert_eq!(settle(&Ledger::default(), &listing), []);
    // Another region with the name of one that was deleted is not taken for it.
    let mut model = Model::default();
    model.listing.in_place.insert(first(), Some(json(2)));
    model.ledger.tombstones.push(stone(1));
    assert_eq!(model.settled().listing.in_place, [(first(), Some(json(2)))].into());
    // Nor is one that an operator has put back by hand buried again.
    let mut model = Model::default();
    model.listing.in_place.insert(first(), Some(json(1)));
    model.ledger.tombstones.push(Tombstone { moved: true, ..stone(1) });
    let settled = model.settled();
    assert_eq!(settled.listing.in_place, [(first(), Some(json(1)))].into());
    assert_eq!(settled.ledger.tombstones, []);
}

#[test]
fn a_lost_ledger_finds_its_dead_again() {
    let mut model = Model::default();
    model.listing.trash.insert(stone(1).dir(), Some(json(1)));
    let settled = model.settled();
    assert_eq!(settled.ledger.tombstones.len(), 1);
    assert_eq!(settled.ledger.restorable(&first())[0].record.uuid, record(1).uuid);
}

fn any_json() -> impl Strategy<Value = Option<RegionJson>> {
    proptest::option::of((1u128..4).prop_map(json))
}

proptest! {
    /// Whatever the ledger says and whatever lies there: no directory is lost but swept
    /// attempts, none is put over another, and one settling is enough.
    #[test]
    fn no_region_is_lost(
        recorded in proptest::option::of(1u128..4),
        dead in proptest::option::of(1u128..4),
        in_place in proptest::option::of(any_json()),
        incoming in proptest::option::of(any_json()),
        trash in proptest::option::of(any_json()),
        moved in any::<bool>(),
        removing in any::<bool>(),
    ) {
        let mut model = Model::default();
        model.ledger.regions.extend(recorded.map(|uuid| (first(), record(uuid))));
        model.ledger.tombstones.extend(dead.map(|uuid| Tombstone { moved, removing, ..stone(uuid) }));
        model.listing.in_place.extend(in_place.map(|json| (first(), json)));
        model.listing.incoming.extend(incoming.clone().map(|json| (ATTEMPT.to_owned(), json)));
        model.listing.trash.extend(trash.map(|json| (stone(1).dir(), json)));
        let count = |listing: &Listing| listing.in_place.len() + listing.trash.len();
        let before = count(&model.listing);
        let settled = model.settled();
        prop_assert!(count(&settled.listing) >= before);
        prop_assert!(settled.listing.incoming.is_empty() || incoming.is_some());
    }
}
