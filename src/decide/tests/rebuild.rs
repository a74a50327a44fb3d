//! Rebuilds: which region may be made anew, from which siblings, and with how much room.

use super::*;
use crate::decide::facts::Scrubbed;
use crate::decide::permits::Deletion;
use crate::decide::rebuild::{Stage, maker, may_rebuild};
use crate::region::scrub::{End, Passed, Scrubs};
use crate::region::verification::{Outcome, Verification, Verified};
use crate::region::{HeldBy, Hold, Tombstone};
use crate::wire::Refusal;
use std::collections::BTreeMap;

/// What is otherwise in a case, by what is told of it.
type Case<'a> = (&'static str, &'a dyn Fn(&mut Facts));

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn named(index: usize) -> RegionName {
    format!("still-fawn-{index}").parse().unwrap()
}

/// Put a scrub of a region on record that went through at this second and found so much.
fn scrubbed(facts: &mut Facts, index: usize, (rotten, unreadable): (u64, u64), second: i64) {
    let mut scrubs = Scrubs::first(Uuid::from_u128(100 + index as u128), at(second));
    scrubs.pass(0, Passed { rotten, unreadable, ..Passed::default() });
    scrubs.end(End::Through, at(second));
    facts.disk.as_mut().unwrap().scrubs.insert(named(index), Scrubbed { record: Some(scrubs), hours: 0 });
}

/// The first region rots, and the others were found whole.
fn rotten() -> Facts {
    let mut facts = well(&config());
    scrubbed(&mut facts, 0, (1, 0), 5000);
    (1..3).for_each(|index| scrubbed(&mut facts, index, (0, 0), 5000));
    facts
}

fn ledger(facts: &mut Facts) -> &mut Ledger {
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap()
}

fn stage(facts: &Facts) -> Stage {
    may_rebuild(&config(), facts, &first()).unwrap().stage
}

#[test]
fn a_region_is_rebuilt_only_from_two_siblings_that_are_known_to_be_whole() {
    let rebuild = may_rebuild(&config(), &rotten(), &first()).unwrap();
    assert!(matches!(rebuild.stage, Stage::Replaces(Deletion::Bury(_))));
    assert_eq!(rebuild.siblings.len(), 2);
    assert!(rebuild.siblings[1].starts_with("still-fawn-2 serves, and its scrub that ended at"), "{rebuild:?}");
    let interrupted = |facts: &mut Facts| {
        let mut scrubs = Scrubs::first(Uuid::from_u128(102), at(1));
        scrubs.pass(0, Passed::default());
        facts.disk.as_mut().unwrap().scrubs.insert(named(2), Scrubbed { record: Some(scrubs), hours: 0 });
    };
    let situations: [Case<'_>; 8] = [
        ("does not serve", &|f| f.regions.get_mut(&named(1)).unwrap().unit = Some(unit(Active::Inactive))),
        ("does not serve", &|f| _ = f.busy.insert(named(1), Busy::Restarting)),
        ("has 2 rotten block(s) and 0 place(s)", &|f| scrubbed(f, 1, (2, 0), 5000)),
        ("has 0 rotten block(s) and 3 place(s)", &|f| scrubbed(f, 2, (0, 3), 5000)),
        ("was never scrubbed", &|f| _ = f.disk.as_mut().unwrap().scrubs.remove(&named(2))),
        ("was never scrubbed", &interrupted),
        // The scrub was of another region that had its name.
        ("was never scrubbed", &|f| {
            f.disk.as_mut().unwrap().scrubs.get_mut(&named(2)).unwrap().record.as_mut().unwrap().uuid = Uuid::nil();
        }),
        ("since the machine ended without a shutdown", &|f| {
            let verified = Verified { outcome: Some(Outcome::Cancelled), ..Verified::due(Uuid::from_u128(101)) };
            let regions = Some(BTreeMap::from([(named(1), verified)]));
            f.verification = Some(Verification { boot: "b".into(), since: Some(at(4900)), regions, lost: None });
        }),
    ];
    for (wanted, change) in situations {
        let mut facts = rotten();
        change(&mut facts);
        let why = may_rebuild(&config(), &facts, &first()).unwrap_err();
        assert_eq!(why.code, Refusal::SiblingNotWhole, "{wanted}: {why:?}");
        assert!(why.message.contains(wanted), "{wanted}: {why:?}");
    }
    // One that was verified since, or scrubbed since, is whole.
    for (outcome, since) in [(Outcome::Through, 4900), (Outcome::Off, 100)] {
        let mut facts = rotten();
        let verified = Verified { outcome: Some(outcome), ..Verified::due(Uuid::from_u128(101)) };
        let regions = Some(BTreeMap::from([(named(1), verified)]));
        facts.verification = Some(Verification { boot: "b".into(), since: Some(at(since)), regions, lost: None });
        assert!(may_rebuild(&config(), &facts, &first()).is_ok());
    }
}

#[test]
fn a_region_is_rebuilt_only_with_room_for_one_more() {
    let mut facts = rotten();
    let local = config().local_regions().remove(0);
    let disk = facts.disk.as_mut().unwrap();
    disk.free = local.geometry.disk_bytes();
    let why = may_rebuild(&config(), &facts, &first()).unwrap_err();
    assert!(why.code == Refusal::NoRoom && why.message.contains("is kept in reserve"), "{why:?}");
    // A thin one takes nothing at first, and what its siblings take once it is filled.
    let thin = {
        let mut config = config();
        config.sled.storage.provisioning = crate::config::Provisioning::Thin;
        config
    };
    let extent = local.geometry.extent_file_bytes();
    for (filled, fits) in [(1000, true), (1001, false)] {
        let disk = facts.disk.as_mut().unwrap();
        disk.free = extent + 1000;
        disk.surveys.insert(named(2), Survey { allocated: filled, ..Survey::default() });
        assert_eq!(may_rebuild(&thin, &facts, &first()).is_ok(), fits, "{filled}");
    }
}

#[test]
fn a_region_with_which_nothing_is_wrong_stays_and_one_that_cannot_be_used_goes() {
    let refused = |change: &dyn Fn(&mut Facts)| {
        let mut facts = rotten();
        change(&mut facts);
        may_rebuild(&config(), &facts, &first()).unwrap_err()
    };
    let why = refused(&|f| scrubbed(f, 0, (0, 0), 5000));
    assert!(why.code == Refusal::NotRebuilt && why.remedy.contains("sledctl region scrub still-fawn-0"), "{why:?}");
    let hold = |by| Hold { by, why: String::new(), remedy: None, since: at(1) };
    refused(&|f| {
        scrubbed(f, 0, (0, 0), 5000);
        ledger(f).holds.insert(first(), hold(HeldBy::Operator));
    });
    assert_eq!(refused(&|f| _ = f.scrubbing.insert(first(), 7)).code, Refusal::Busy);
    assert_eq!(refused(&|f| _ = f.busy.insert(first(), Busy::Waiting)).code, Refusal::Busy);
    let other = on_disk(Uuid::nil(), config().local_regions()[0].geometry);
    let why = refused(&|f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Present(other.clone())));
    assert!(why.message.contains("is on record"), "{why:?}");
    assert_eq!(may_rebuild(&config(), &rotten(), &"pve-0".parse().unwrap()).unwrap_err().code, Refusal::RegionUnknown);
    let situations: [Case<'_>; 4] = [
        ("places cannot be read", &|f| scrubbed(f, 0, (0, 1), 5000)),
        ("it ended again and again", &|f| _ = ledger(f).holds.insert(first(), hold(HeldBy::CrashLoop))),
        ("a file is missing", &|f| {
            let survey = Survey { fault: Some("00/000/003: gone".into()), ..Survey::default() };
            f.disk.as_mut().unwrap().surveys.insert(first(), survey);
        }),
        ("its region.json is none", &|f| {
            f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Unreadable("x".into()));
        }),
    ];
    for (name, change) in situations {
        let mut facts = rotten();
        scrubbed(&mut facts, 0, (0, 0), 5000);
        change(&mut facts);
        assert!(matches!(stage(&facts), Stage::Replaces(Deletion::Bury(_))), "{name}");
    }
    let mut facts = rotten();
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    assert!(matches!(stage(&facts), Stage::Replaces(Deletion::Forget(_))));
}

/// Asked for again after the supervisor has ended in between, it goes on where it was left.
#[test]
fn a_rebuild_goes_on_where_it_was_left() {
    // Held, in its place: as from the beginning.
    let mut facts = rotten();
    let hold = Hold { by: HeldBy::Operator, why: "its rebuild".into(), remedy: None, since: at(1) };
    ledger(&mut facts).holds.insert(first(), hold);
    assert!(matches!(stage(&facts), Stage::Replaces(Deletion::Bury(_))));
    // In the trash, and nothing in its place.
    stopped(&mut facts);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    let record = ledger(&mut facts).regions.remove(&first()).unwrap();
    ledger(&mut facts).holds.clear();
    let why = may_rebuild(&config(), &facts, &first()).unwrap_err();
    assert!(why.remedy.contains("sledctl region create"), "none was there: {why:?}");
    let (region, deleted) = (first(), at(6000));
    let stone = Tombstone { region, record: record.clone(), deleted, buried: None, moved: true, removing: false };
    ledger(&mut facts).tombstones.push(stone);
    assert_eq!(stage(&facts), Stage::Makes(Uuid::from_u128(100)));
    // In its place, made anew: it is watched, whatever its siblings are, until something is wrong with it as well.
    let mut facts = rotten();
    let made = Record { uuid: Uuid::from_u128(900), by: maker(record.uuid), ..record };
    ledger(&mut facts).regions.insert(first(), made.clone());
    let geometry = made.geometry;
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Present(on_disk(made.uuid, geometry)));
    facts.disk.as_mut().unwrap().scrubs.clear();
    assert_eq!(stage(&facts), Stage::Fills(made));
    ledger(&mut facts).regions.get_mut(&first()).unwrap().uuid = Uuid::from_u128(100);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Present(on_disk(Uuid::from_u128(100), geometry)));
    (0..3).for_each(|index| scrubbed(&mut facts, index, (u64::from(index == 0), 0), 5000));
    assert!(matches!(stage(&facts), Stage::Replaces(Deletion::Bury(_))));
}
