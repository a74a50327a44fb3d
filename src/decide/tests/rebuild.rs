//! Rebuilds: which region may be made anew, from which siblings, and with how much room.

use super::*;
use crate::decide::facts::Scrubbed;
use crate::decide::failure::{Exit, classify};
use crate::decide::permits::Deletion;
use crate::decide::rebuild::{Stage, maker, may_go, may_rebuild, predecessors};
use crate::decide::remedy::or_replace;
use crate::decide::repair::may_go as may_go_away;
use crate::decide::turns::{Asks, Denied, Manner, claim, unforced};
use crate::region::scrub::{End, Passed, Scrubs};
use crate::region::verification::{Outcome, Verification, Verified};
use crate::region::{HeldBy, Hold, Tombstone};
use crate::wire::{Peer, Refusal};
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
    may_rebuild(&config(), facts, &first(), false).unwrap().stage
}

#[test]
fn a_region_is_rebuilt_only_from_two_siblings_that_are_known_to_be_whole() {
    let rebuild = may_rebuild(&config(), &rotten(), &first(), false).unwrap();
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
            f.verification = Some(Verification {
                boot: "b".into(),
                since: Some(at(4900)),
                regions,
                listed: None,
                lost: None,
                unverified: BTreeMap::new(),
            });
        }),
    ];
    for (wanted, change) in situations {
        let mut facts = rotten();
        change(&mut facts);
        let why = may_rebuild(&config(), &facts, &first(), false).unwrap_err();
        assert_eq!(why.code, Refusal::SiblingNotWhole, "{wanted}: {why:?}");
        assert!(why.message.contains(wanted), "{wanted}: {why:?}");
    }
}

/// One that was verified since the machine's end, or scrubbed since, is whole: without a sign of life since then, if that was
/// in this boot.
#[test]
fn a_sibling_that_the_end_of_the_machine_left_in_doubt_is_whole_once_it_was_looked_at_since() {
    for (outcome, since, listed, whole) in [
        (Outcome::Through, Some(4900), None, true),
        (Outcome::Off, Some(100), None, true),
        (Outcome::Off, Some(4900), Some(4000), false),
        (Outcome::Off, None, Some(4999), true),
        (Outcome::Off, None, Some(5001), false),
        (Outcome::Off, None, None, false),
    ] {
        let mut facts = rotten();
        let verified = Verified { outcome: Some(outcome), ..Verified::due(Uuid::from_u128(101)) };
        let regions = Some(BTreeMap::from([(named(1), verified)]));
        let (since_at, listed_at) = (since.map(at), listed.map(at));
        facts.verification = Some(Verification {
            boot: "b".into(),
            since: since_at,
            regions,
            listed: listed_at,
            lost: None,
            unverified: BTreeMap::new(),
        });
        assert_eq!(may_rebuild(&config(), &facts, &first(), false).is_ok(), whole, "{since:?} {listed:?}");
    }
}

#[test]
fn a_region_is_rebuilt_only_with_room_for_one_more() {
    let mut facts = rotten();
    let local = config().local_regions().remove(0);
    let disk = facts.disk.as_mut().unwrap();
    disk.free = local.geometry.disk_bytes();
    let why = may_rebuild(&config(), &facts, &first(), false).unwrap_err();
    assert!(why.code == Refusal::NoRoom && why.message.contains("is kept in reserve"), "{why:?}");
    // A thin one takes nothing at first, and as much as a thick one once it is filled: extents are copied whole.
    let thin = {
        let mut config = config();
        config.sled.storage.provisioning = crate::config::Provisioning::Thin;
        config
    };
    let needed = local.geometry.disk_bytes() + local.geometry.extent_file_bytes();
    for (free, fits) in [(needed, true), (needed - 1, false)] {
        let disk = facts.disk.as_mut().unwrap();
        disk.free = free;
        disk.surveys.insert(named(2), Survey { allocated: 1000, ..Survey::default() });
        assert_eq!(may_rebuild(&thin, &facts, &first(), false).is_ok(), fits, "{free}");
    }
}

#[test]
fn a_region_with_which_nothing_is_wrong_stays_and_one_that_cannot_be_used_goes() {
    let refused = |change: &dyn Fn(&mut Facts)| {
        let mut facts = rotten();
        change(&mut facts);
        may_rebuild(&config(), &facts, &first(), false).unwrap_err()
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
    assert_eq!(
        may_rebuild(&config(), &rotten(), &"pve-0".parse().unwrap(), false).unwrap_err().code,
        Refusal::RegionUnknown
    );
    let situations: [Case<'_>; 4] = [
        ("places cannot be read", &|f| scrubbed(f, 0, (0, 1), 5000)),
        ("it ended again and again", &|f| _ = ledger(f).holds.insert(first(), hold(HeldBy::CrashLoop))),
        ("a file is missing", &|f| {
            stopped(f);
            faulty(f, GONE);
        }),
        ("its region.json is none", &|f| {
            stopped(f);
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
    stopped(&mut facts);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    assert!(matches!(stage(&facts), Stage::Replaces(Deletion::Forget(_))));
}

/// The server of a host that is attached ends when another region is in the place of one that it knows.
#[test]
fn a_region_is_made_anew_under_a_host_only_if_that_is_said() {
    let mut facts = rotten();
    let came = |facts: &mut Facts, address: &str| {
        let peer = Peer { address: address.parse().unwrap(), port: 40_000, host: None };
        let region = facts.regions.get_mut(&named(2)).unwrap();
        region.sockets.as_mut().unwrap().connected.push(peer);
    };
    let may = |facts: &Facts, attached| may_rebuild(&config(), facts, &first(), attached);
    came(&mut facts, "192.168.4.189");
    assert!(may(&facts, false).is_ok(), "a sled is no host");
    came(&mut facts, "192.168.4.17");
    let why = may(&facts, false).unwrap_err();
    assert_eq!(why.code, Refusal::InUse);
    assert!(why.message.contains("192.168.4.17 is connected to the volume still-fawn"), "{why:?}");
    assert!(why.remedy.contains("sledctl region rebuild still-fawn-0 --attached"), "{why:?}");
    assert!(may(&facts, true).is_ok_and(|rebuild| rebuild.attached));
    // One that was made anew already is only watched.
    scrubbed(&mut facts, 0, (0, 0), 5000);
    ledger(&mut facts).regions.get_mut(&first()).unwrap().by = maker(Uuid::nil());
    assert!(matches!(may(&facts, false).unwrap().stage, Stage::Fills(_)));
}

/// What cannot be forced does not say that it can be.
#[test]
fn a_refusal_of_what_is_never_forced_names_no_force() {
    let mut facts = rotten();
    facts.regions.get_mut(&named(1)).unwrap().unit = Some(unit(Active::Inactive));
    facts.disk.as_mut().unwrap().free = 0;
    let manner = Manner {
        force: false,
        unrepaired: false,
        asks: Asks::Whole { attached: false },
        rolling: false,
        starts: false,
    };
    let local = config().local_regions().remove(0);
    let down = claim(&config(), &facts, &first(), manner).unwrap_err().error();
    let full = may_go_away(&config(), facts.disk.as_ref().unwrap(), &local, &["192.168.4.17".parse().unwrap()].into());
    for why in [down, full.unwrap_err()] {
        assert!(why.remedy.contains("--force"), "{why:?}");
        let bare = unforced(why.clone());
        assert!(!bare.remedy.contains("force") && why.remedy.starts_with(&bare.remedy), "{bare:?}");
        assert!(bare.remedy.contains("sledctl") && unforced(bare.clone()) == bare, "{bare:?}");
    }
}

/// What a look at the files says of an extent that is not there.
const GONE: &str = "00/000/003: No such file or directory (os error 2)";

fn faulty(facts: &mut Facts, fault: &str) {
    let survey = Survey { fault: Some(fault.into()), ..Survey::default() };
    facts.disk.as_mut().unwrap().surveys.insert(first(), survey);
}

/// The first region is held for a failure, with this remedy.
fn held(facts: &mut Facts, remedy: &str) {
    let hold = Hold { by: HeldBy::Failure, why: String::new(), remedy: Some(remedy.into()), since: at(1) };
    ledger(facts).holds.insert(first(), hold);
}

/// The first region's downstairs has said this last.
fn failed(facts: &mut Facts, words: &str) {
    region(facts).failure = Some(classify(Exit::Status(1), &[format!("Error: {words}")]));
}

/// The milder cause comes first here as well: a region that is good does not go to the trash.
#[test]
fn what_passes_or_is_mended_in_a_milder_way_is_nothing_for_a_rebuild() {
    let stay: [Case<'_>; 5] = [
        ("an extent is being replaced", &|f| faulty(f, GONE)),
        ("it belongs to somebody else", &|f| {
            stopped(f);
            faulty(f, "region.json: it belongs to the user with id 0, and 998 is right");
        }),
        ("something is mounted over it", &|f| {
            stopped(f);
            faulty(f, "it cannot be written to: something is mounted read-only there");
        }),
        ("it is held as its files may not be opened", &|f| held(f, "chown it")),
        ("its files may not be opened", &|f| failed(f, "Permission denied")),
    ];
    let go: [Case<'_>; 2] = [
        ("it is held as it may be lost", &|f| held(f, &or_replace("put it back", &first()))),
        ("an extent of it is garbage", &|f| failed(f, "metadata deserialization failed")),
    ];
    let situations = stay.into_iter().map(|(name, change)| (name, change, false));
    for (name, change, goes) in situations.chain(go.into_iter().map(|(name, change)| (name, change, true))) {
        let mut facts = rotten();
        scrubbed(&mut facts, 0, (0, 0), 5000);
        change(&mut facts);
        let found = may_rebuild(&config(), &facts, &first(), false);
        assert_eq!(found.is_ok(), goes, "{name}: {found:?}");
        assert_eq!(may_go(&config(), &facts, &first()).is_ok(), goes, "{name}");
        assert!(goes || found.unwrap_err().remedy.contains("sledctl region show still-fawn-0"), "{name}");
        // One that was made anew is watched all the same.
        let by = maker(Uuid::from_u128(1));
        ledger(&mut facts).regions.get_mut(&first()).unwrap().by = by;
        assert_eq!(matches!(stage(&facts), Stage::Fills(_)), !goes, "{name}");
    }
}

/// A process that serves what its directory has no more has the only copy of it.
#[test]
fn a_region_is_not_taken_from_a_process_that_may_have_what_nothing_else_has() {
    let situations: [Case<'_>; 3] = [
        ("it is gone", &|f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent)),
        ("x; process 100", &|f| {
            f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Unreadable("x".into()));
        }),
        ("00/000/003", &|f| faulty(f, GONE)),
    ];
    for (wanted, change) in situations {
        let mut facts = rotten();
        change(&mut facts);
        let why = may_rebuild(&config(), &facts, &first(), false).unwrap_err();
        assert!(why.code == Refusal::NotRebuilt && why.message.contains(wanted), "{wanted}: {why:?}");
        assert!(why.remedy.contains("do not stop or restart process 100"), "{wanted}: {why:?}");
        let denied = may_go(&config(), &facts, &first()).unwrap_err();
        assert_eq!(denied, Denied::Later(why), "it may be back in a moment");
        stopped(&mut facts);
        assert!(may_rebuild(&config(), &facts, &first(), false).is_ok(), "{wanted}");
    }
}

/// Its turn may be long in coming: what was wrong may be mended, and what was whole may not be any more.
#[test]
fn a_region_goes_in_its_turn_only_if_that_is_so_still() {
    assert_eq!(may_go(&config(), &rotten(), &first()), Ok(()));
    let situations: [Case<'_>; 3] = [
        ("that only a rebuild mends", &|f| scrubbed(f, 0, (0, 0), 5000)),
        ("still-fawn-2 has 1 rotten", &|f| scrubbed(f, 2, (1, 0), 5000)),
        ("still-fawn-1 does not serve", &|f| {
            f.regions.get_mut(&named(1)).unwrap().unit = Some(unit(Active::Inactive));
        }),
    ];
    for (wanted, change) in situations {
        let mut facts = rotten();
        change(&mut facts);
        let Err(Denied::Refused(why)) = may_go(&config(), &facts, &first()) else { panic!("{wanted}") };
        assert!(why.message.contains(wanted), "{wanted}: {why:?}");
    }
}

/// What a region is to be filled with is what the first had, and not an attempt that was never filled.
#[test]
fn the_regions_before_one_that_was_made_anew_are_found_back_to_the_first() {
    let uuids = |ledger: &Ledger| {
        predecessors(ledger, &first()).iter().map(|stone| stone.record.uuid.as_u128()).collect::<Vec<_>>()
    };
    let mut facts = rotten();
    let (ledger, before) = (ledger(&mut facts), Uuid::from_u128);
    let record = ledger.regions[&first()].clone();
    let mut stone = |uuid: u128, by: String, removing: bool| {
        let record = Record { uuid: before(uuid), by, ..record.clone() };
        let (region, deleted) = (first(), at(i64::try_from(uuid).unwrap()));
        ledger.tombstones.push(Tombstone { region, record, deleted, buried: None, moved: true, removing });
    };
    stone(1, "sledd 0.1.0".into(), false);
    stone(2, maker(before(1)), false);
    stone(3, "of another time".into(), false);
    stone(4, maker(before(3)), true);
    stone(5, maker(before(5)), false);
    let mut made = |by: String| {
        ledger.regions.get_mut(&first()).unwrap().by = by;
        uuids(ledger)
    };
    assert_eq!(made("sledd 0.1.0".into()), []);
    assert_eq!(made(maker(before(2))), [2, 1]);
    assert_eq!(made(maker(before(4))), [], "that is being removed");
    assert_eq!(made(maker(before(9))), [], "there is none of it");
    assert!(made(maker(before(5))).contains(&5), "a record that names itself is no endless chain");
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
    let why = may_rebuild(&config(), &facts, &first(), false).unwrap_err();
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
