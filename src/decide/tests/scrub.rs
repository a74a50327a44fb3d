//! Scrubs: what their records mean, and which is due.

use super::*;
use crate::check::{Code, Severity};
use crate::config::shipped;
use crate::decide::facts::Scrubbed;
use crate::decide::scrub::{due, may_scrub, shown, to_repair};
use crate::decide::turns::may_repair;
use crate::decide::verdict::judge;
use crate::region::scrub::{BlockFault, End, Hash, Passed, Scrubs, Sibling, Wrong};
use crate::wire::{Maintenance, Refusal};

const DAY: i64 = 86_400;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn scrubs(change: impl FnOnce(&mut Scrubs)) -> Scrubs {
    let mut scrubs = Scrubs::first(Uuid::from_u128(100), at(1000));
    change(&mut scrubs);
    scrubs
}

fn put(facts: &mut Facts, record: Option<Scrubs>, hours: u64) {
    facts.disk.as_mut().unwrap().scrubs.insert(first(), Scrubbed { record, hours });
}

fn fault(block: u64, wrong: Wrong) -> BlockFault {
    let siblings = vec![Sibling { region: "still-fawn-1".parse().unwrap(), found: Some(Hash(5)), right: true }];
    BlockFault { extent: 3, block: Some(block), wrong, seen: at(1001), siblings }
}

#[test]
fn rot_is_told_apart_from_what_cannot_be_read_and_neither_blocks() {
    let config = config();
    let rotten = |block| fault(block, Wrong::Rotten { expected: Hash(5), found: Hash(6) });
    let unread = fault(9, Wrong::Unreadable { offset: Some(36864), why: "Input/output error (os error 5)".into() });
    let found = |passed: Passed, end: End| {
        let mut facts = well(&config);
        let record = scrubs(|scrubs| {
            scrubs.pass(3, passed);
            scrubs.end(end, at(1002));
        });
        put(&mut facts, Some(record), 0);
        let verdict = judge(&config, &facts);
        assert!(verdict.ready(&volume()));
        let told = verdict.findings.into_iter().map(|told| (told.code, told.subject, told.cause)).collect::<Vec<_>>();
        (told, shown(&facts, &first()).unwrap())
    };
    let faults = vec![rotten(1), rotten(2), rotten(4), rotten(7)];
    let (told, shown) = found(Passed { rotten: 1000, faults, ..Passed::default() }, End::Through);
    let [(code, subject, cause)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*code, subject.as_str()), (Code::RegionBitrot, "region still-fawn-0"));
    assert!(
        cause.starts_with("1000 block(s)") && cause.contains("extent 3 block 1: its bytes have the hash"),
        "{cause}"
    );
    assert!(cause.ends_with("; and 997 more") && !cause.contains("block 7"), "{cause}");
    assert_eq!((shown.rotten, shown.unreadable, shown.completed), (1000, 0, Some(at(1002))));
    assert!(cause.contains("a host that reads one falls over"), "{cause}");
    let bare = Passed { rotten: 1, faults: vec![fault(1, Wrong::NoContext)], ..Passed::default() };
    let (told, _) = found(bare, End::Through);
    assert!(
        told[0].2.contains("may fall over, and a downstairs that is killed does not start on them again"),
        "{told:?}"
    );
    let (told, _) = found(Passed { unreadable: 1, faults: vec![unread], ..Passed::default() }, End::Through);
    let [(Code::ScrubUnfinished, _, cause)] = &told[..] else { panic!("{told:?}") };
    assert!(cause.contains("extent 3 block 9: it cannot be read at offset 36864: Input/output error"), "{cause}");
    let (told, _) = found(Passed::default(), End::Failed("no room".into()));
    let [(Code::ScrubUnfinished, _, cause)] = &told[..] else { panic!("{told:?}") };
    assert!(cause.contains("could not go on at extent 4: no room"), "{cause}");
    assert_eq!(found(Passed::default(), End::Cancelled).0, []);
    assert_eq!(Code::RegionBitrot.severity(), Severity::Warning);
}

#[test]
fn a_region_that_was_not_scrubbed_for_too_long_is_told_unless_that_is_under_way() {
    let mut facts = well(&config());
    let told = |facts: &Facts, more: &str| {
        let mut config = config();
        config.sled.scrub = shipped(more).sled.scrub;
        let found = judge(&config, facts).findings;
        found.into_iter().map(|told| (told.code, told.cause)).collect::<Vec<_>>()
    };
    put(&mut facts, None, 35 * 24 - 1);
    assert_eq!(told(&facts, ""), []);
    put(&mut facts, None, 35 * 24);
    let never = "it was never scrubbed, and is to be within 35 d";
    assert_eq!(told(&facts, ""), [(Code::ScrubOverdue, never.to_owned())]);
    assert_eq!(told(&facts, "[scrub]\noutdated_after = \"never\"\n"), []);
    put(&mut facts, Some(scrubs(|scrubs| scrubs.end(End::Through, at(2000)))), 14 * 24);
    let old = told(&facts, "[scrub]\noutdated_after = \"14d\"\n");
    assert!(old[0].1.starts_with("it was last scrubbed at 1970-01-01T00:33:20Z"), "{old:?}");
    facts.scrubbing.insert(first(), 7);
    assert_eq!(told(&facts, "[scrub]\noutdated_after = \"14d\"\n"), []);
}

/// All is well, and no region was ever scrubbed.
fn never(config: &Configuration) -> Facts {
    let mut facts = well(config);
    for local in config.local_regions() {
        facts.disk.as_mut().unwrap().scrubs.insert(local.name, Scrubbed { record: None, hours: 1000 });
    }
    facts
}

/// The hours of a week.
fn week() -> Vec<Timestamp> {
    (0..7 * 24).map(|hour| at(50 * 7 * DAY + hour * 3600)).collect()
}

#[test]
fn each_region_has_a_moment_of_its_own_in_the_week() {
    let config = config();
    let facts = never(&config);
    let all = config.local_regions();
    let mut begins = Vec::new();
    for local in &all {
        let mut alone = facts.clone();
        alone.disk.as_mut().unwrap().scrubs.retain(|name, _| *name == local.name);
        let hours: Vec<_> = week().into_iter().filter(|now| due(&config, &alone, *now).is_some()).collect();
        assert_eq!(hours.len(), 24, "{}", local.name);
        begins.push(hours[0]);
        // Once it was scrubbed, it is due from its moment on until it is begun.
        let mut scrubs = Scrubs::first(Uuid::nil(), at(50 * 7 * DAY - 7 * DAY));
        scrubs.end(End::Through, at(50 * 7 * DAY - 7 * DAY + 60));
        alone.disk.as_mut().unwrap().scrubs.get_mut(&local.name).unwrap().record = Some(scrubs.clone());
        let late = at(53 * 7 * DAY);
        assert_eq!(due(&config, &alone, late), Some(local.name.clone()));
        (scrubs.last.begun, scrubs.last.ended) = (late, None);
        let soon = at(53 * 7 * DAY + 5);
        alone.disk.as_mut().unwrap().scrubs.get_mut(&local.name).unwrap().record = Some(scrubs.clone());
        assert_eq!(due(&config, &alone, soon), Some(local.name.clone()), "it was left in the middle");
        scrubs.end(End::Cancelled, soon);
        alone.disk.as_mut().unwrap().scrubs.get_mut(&local.name).unwrap().record = Some(scrubs);
        assert_eq!(due(&config, &alone, soon), None, "somebody has ended it");
    }
    // Those of one volume are never read at once, also where other sleds have them.
    for volume in begins.chunks(3) {
        let apart = [(0, 1), (1, 2), (2, 0)].map(|(from, to): (usize, usize)| {
            (volume[to].as_second() - volume[from].as_second()).div_euclid(3600).rem_euclid(7 * 24)
        });
        assert!(apart.iter().all(|hours| (55..=57).contains(hours)), "{apart:?}");
    }
    begins.sort();
    begins.dedup();
    assert_eq!(begins.len(), all.len(), "they begin at once");
}

/// A situation by its name, and what makes it.
type Other<'a> = (&'static str, &'a dyn Fn(&mut Facts));

#[test]
fn none_begins_while_something_goes_on() {
    let (config, all) = (config(), config().local_regions());
    let facts = never(&config);
    let now = *week().iter().find(|now| due(&config, &facts, **now).is_some()).unwrap();
    let other = |facts: &mut Facts| facts.regions.get_mut(&all[2].name).unwrap().unit = Some(unit(Active::Inactive));
    let rows: [Other<'_>; 6] = [
        ("a sibling does not serve", &other),
        ("a job is at the volume", &|facts| _ = facts.busy.insert(all[1].name.clone(), Busy::Waiting)),
        ("one is scrubbed", &|facts| _ = facts.scrubbing.insert(all[1].name.clone(), 7)),
        ("a host lacks one", &|facts| {
            _ = facts.lacks.insert((all[0].name.clone(), "192.168.4.17".parse().unwrap()), 1);
        }),
        ("an upgrade", &|facts| facts.upgrading = Some(7)),
        ("maintenance", &|facts| {
            facts.maintenance = Some(Maintenance { reason: None, since: now, until: None });
        }),
    ];
    for (what, change) in rows {
        let mut facts = facts.clone();
        change(&mut facts);
        assert_eq!(due(&config, &facts, now), None, "{what}");
    }
    let mut off = config.clone();
    off.sled.scrub = shipped("[scrub]\nschedule = \"off\"\n").sled.scrub;
    assert_eq!(due(&off, &facts, now), None);
}

#[test]
fn a_region_is_scrubbed_whatever_its_state_but_not_twice() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    assert_eq!(may_scrub(&config, &facts, &first()).unwrap().uuid, Uuid::from_u128(100));
    let refused = |facts: &Facts, name: &str| may_scrub(&config, facts, &name.parse().unwrap()).unwrap_err().code;
    assert_eq!(refused(&facts, "other-0").to_string(), Refusal::RegionUnknown.to_string());
    facts.busy.insert(first(), Busy::Restarting);
    assert!(may_scrub(&config, &facts, &first()).is_ok());
    facts.busy.insert(first(), Busy::Deleting);
    assert_eq!(refused(&facts, FIRST), Refusal::Busy);
    facts.busy.clear();
    facts.scrubbing.insert(first(), 7);
    assert_eq!(refused(&facts, FIRST), Refusal::Busy);
}

#[test]
fn what_was_found_is_repaired_without_being_asked_if_that_is_wanted_and_nothing_goes_on() {
    let (plain, mut wanted) = (config(), config());
    wanted.sled.scrub = shipped("[scrub]\nrepair = true\n").sled.scrub;
    let mut facts = well(&wanted);
    let to = |config: &Configuration, facts: &Facts| to_repair(config, facts, |_| false).map(|local| local.name);
    put(&mut facts, Some(scrubs(|scrubs| scrubs.end(End::Through, at(1002)))), 0);
    assert_eq!(to(&wanted, &facts), None, "nothing is wrong");
    let rotten = scrubs(|scrubs| scrubs.pass(3, Passed { rotten: 1, ..Passed::default() }));
    put(&mut facts, Some(rotten.clone()), 0);
    assert_eq!((to(&wanted, &facts), to(&plain, &facts)), (Some(first()), None));
    assert!(to_repair(&wanted, &facts, |name| *name == first()).is_none(), "it was tried lately");
    let mut repaired = rotten;
    repaired.repaired(3);
    let sibling = wanted.local_regions()[1].name.clone();
    let rows: [Other<'_>; 4] = [
        ("it is scrubbed", &|facts| _ = facts.scrubbing.insert(first(), 7)),
        ("a sibling does not serve", &|facts| {
            facts.regions.get_mut(&sibling).unwrap().unit = Some(unit(Active::Inactive))
        }),
        ("an upgrade", &|facts| facts.upgrading = Some(7)),
        ("it is repaired", &|facts| put(facts, Some(repaired.clone()), 0)),
    ];
    for (what, change) in rows {
        let mut facts = facts.clone();
        change(&mut facts);
        assert_eq!(to(&wanted, &facts), None, "{what}");
    }
}

/// What a scrub writes down of an extent would be of the one before.
#[test]
fn a_region_is_scrubbed_or_repaired_and_never_both_at_once() {
    let config = config();
    let mut facts = well(&config);
    assert!(may_repair(&config, &facts, &first()).is_ok());
    facts.scrubbing.insert(first(), 7);
    assert_eq!(may_repair(&config, &facts, &first()).unwrap_err().code, Refusal::Busy);
    assert_eq!(may_scrub(&config, &facts, &first()).unwrap_err().code, Refusal::Busy);
    facts.scrubbing.clear();
    facts.disk.as_mut().unwrap().read_only = true;
    assert_eq!(may_repair(&config, &facts, &first()).unwrap_err().code, Code::DataReadOnly);
}
