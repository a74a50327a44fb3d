//! Verification after an end without a shutdown: which region waits for it, which is passed over, and what is told.

use super::*;
use crate::check::Code;
use crate::config::VerifyAfterCrash;
use crate::decide::facts::{Start, Unclean};
use crate::decide::plan::{Action, plan};
use crate::decide::scrub::may_scrub;
use crate::decide::turns::{Asks, Denied, Manner, claim, may_release, may_restart};
use crate::decide::verdict::judge;
use crate::decide::verification::{Passed, ends, is_open, listed, passed_over};
use crate::region::verification::{Outcome, Verification, Verified};
use crate::region::{HeldBy, Hold, Tombstone};
use crate::wire::{Refusal, State};
use std::collections::BTreeMap;

fn verification(regions: Option<BTreeMap<RegionName, Verified>>) -> Option<Verification> {
    Some(Verification { boot: "b".into(), since: None, regions, listed: None, lost: None, unverified: BTreeMap::new() })
}

/// The first region is stopped, and this is known of its verification.
fn known(config: &Configuration, uuid: u128, outcome: Option<Outcome>) -> Facts {
    let mut facts = well(config);
    stopped(&mut facts);
    let verified = Verified { outcome, ..Verified::due(Uuid::from_u128(uuid)) };
    facts.verification = verification(Some(BTreeMap::from([(first(), verified)])));
    facts
}

fn held(facts: &mut Facts) {
    let hold = Hold { by: HeldBy::Operator, why: String::new(), remedy: None, since: Timestamp::UNIX_EPOCH };
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().holds.insert(first(), hold);
}

fn ledger(facts: &mut Facts) -> &mut Ledger {
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap()
}

/// Put the first region into the trash.
fn bury(facts: &mut Facts) -> Record {
    let record = ledger(facts).regions.remove(&first()).unwrap();
    let (region, deleted) = (first(), Timestamp::UNIX_EPOCH);
    let stone = Tombstone { region, record: record.clone(), deleted, buried: None, moved: true, removing: false };
    ledger(facts).tombstones.push(stone);
    record
}

#[test]
fn a_region_that_is_to_be_verified_is_not_started_before() {
    let config = config();
    let (start, verify) = (Action::Start(first()), Action::Verify(first()));
    let due = || known(&config, 100, None);
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = due();
        change(&mut facts);
        facts
    };
    let served = |facts: &mut Facts| *region(facts) = serving(100, Uuid::from_u128(100), fence().unwrap());
    for (name, facts, action, state) in [
        ("nothing is to be", with(&|facts| facts.verification = None), Some(&start), State::Stopped),
        ("it is to be", due(), Some(&verify), State::Verifying),
        ("it is", with(&|facts| _ = facts.scrubbing.insert(first(), 7)), None, State::Verifying),
        ("it was", known(&config, 100, Some(Outcome::Through)), Some(&start), State::Stopped),
        ("it could not be", known(&config, 100, Some(Outcome::Failed("EIO".into()))), Some(&start), State::Stopped),
        ("nobody wants it", known(&config, 100, Some(Outcome::Cancelled)), Some(&start), State::Stopped),
        ("it is another region", known(&config, 5, None), Some(&start), State::Stopped),
        ("it serves already", with(&served), None, State::Serving),
        ("it is held", with(&held), Some(&verify), State::Held),
        ("the machine is switched off", with(&|facts| facts.leaving = true), None, State::Stopped),
        ("nothing can be done", with(&|facts| facts.bus = None), None, State::Verifying),
        ("its unit is not known yet", with(&|facts| region(facts).unit = None), None, State::Stopped),
        ("it is started by a job", with(&|facts| region(facts).start = Start::Asked), None, State::Verifying),
        ("what is on the disk is not known", with(&|facts| facts.settled = Settled::Running), None, State::Verifying),
    ] {
        assert_eq!(plan(&config, &facts).first(), action, "{name}");
        let verdict = judge(&config, &facts);
        assert_eq!(verdict.states[&first()], state, "{name}");
        let told = verdict.findings.iter().find(|finding| finding.code == Code::RegionVerifying);
        assert_eq!(told.is_some(), state == State::Verifying, "{name}");
        assert!(state == State::Serving || !verdict.ready(&volume()), "{name}");
    }
}

#[test]
fn who_waits_is_told_of_the_job_and_nothing_else_is_done_to_the_region() {
    let config = config();
    let mut facts = known(&config, 100, None);
    facts.scrubbing.insert(first(), 7);
    let verdict = judge(&config, &facts);
    let told = verdict.findings.iter().find(|finding| finding.code == Code::RegionVerifying).unwrap();
    assert_eq!(told.cause, Code::RegionVerifying.about().cause);
    assert!(told.remedy.contains("sledctl jobs follow 7") && told.remedy.contains("jobs cancel 7"), "{told:?}");
    let refused =
        [may_scrub(&config, &facts, &first()).map(drop), may_restart(&config, &facts, &first(), true).map(drop)];
    assert!(refused.iter().all(|refused| refused.as_ref().is_err_and(|why| why.code == Refusal::Busy)), "{refused:?}");
    held(&mut facts);
    assert!(may_release(&config, &facts, &first()).is_err_and(|why| why.code == Refusal::Busy));
    facts.verification = None;
    assert!(may_release(&config, &facts, &first()).is_ok());
}

/// Nobody's force starts one first, as that of an upgrade which goes on after a power cut.
#[test]
fn a_region_that_is_to_be_verified_has_no_turn_to_start_whatever_is_forced() {
    let config = config();
    let manner = Manner { force: true, unrepaired: true, asks: Asks::Nobody, rolling: true, starts: true };
    let mut facts = known(&config, 100, None);
    let refused = claim(&config, &facts, &first(), manner).unwrap_err();
    assert!(matches!(&refused, Denied::Later(why) if why.code == Refusal::Busy), "{refused:?}");
    assert!(is_open(&config, &facts));
    facts = known(&config, 100, Some(Outcome::Through));
    assert!(!is_open(&config, &facts));
    let denied = claim(&config, &facts, &first(), manner).err();
    assert!(denied.is_none_or(|why| why.error().code != Refusal::Busy));
}

#[test]
fn those_are_listed_that_lie_on_the_disk_when_it_is_first_looked_at() {
    let config = config();
    let mut facts = well(&config);
    assert_eq!(listed(&config, &facts), None, "nothing is to be verified");
    facts.verification = verification(None);
    let found = listed(&config, &facts).unwrap();
    assert_eq!((found.len(), &found[&first()]), (3, &Verified::due(Uuid::from_u128(100))));
    // What lies in the trash is listed as well: it may come back, and was written to until then.
    let mut buried = facts.clone();
    bury(&mut buried);
    assert_eq!(listed(&config, &buried).as_ref(), Some(&found));
    let mut unmapped = facts.clone();
    let regions = &mut unmapped.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions;
    let record = regions[&first()].clone();
    regions.insert("gone-0".parse().unwrap(), record);
    assert_eq!(listed(&config, &unmapped), Some(found), "nobody ran what the map does not have");
    let mut unknown = facts.clone();
    unknown.disk = None;
    assert_eq!(listed(&config, &unknown), None);
    facts.verification = verification(Some(BTreeMap::new()));
    assert_eq!(listed(&config, &facts), None, "that is known");
}

#[test]
fn a_region_is_passed_over_that_serves_or_is_another_or_that_nobody_wants_verified() {
    let (wanted, mut unwanted) = (config(), config());
    unwanted.sled.storage.verify_after_crash = VerifyAfterCrash::Off;
    let passed = |config: &Configuration, facts: &Facts| passed_over(config, facts).remove(&first());
    let (due, served) = (known(&wanted, 100, None), Some(Passed::As(Outcome::Served)));
    assert_eq!(passed(&wanted, &due), None);
    assert_eq!(passed(&unwanted, &due), Some(Passed::As(Outcome::Off)));
    assert_eq!(passed(&unwanted, &known(&wanted, 100, Some(Outcome::Through))), None);
    let mut runs = due.clone();
    *region(&mut runs) = serving(100, Uuid::from_u128(100), fence().unwrap());
    assert_eq!(passed(&wanted, &runs), served);
    // It is left to the job that is at it.
    runs.scrubbing.insert(first(), 7);
    assert_eq!(passed(&wanted, &runs), None);
    assert_eq!(passed(&wanted, &known(&wanted, 5, Some(Outcome::Through))), Some(Passed::Gone));
    // In the trash it may come back, and is as doubtful then as it was; another one that has its name meanwhile is not.
    let mut buried = known(&wanted, 100, None);
    let record = bury(&mut buried);
    assert_eq!(passed(&wanted, &buried), None);
    let mut again = buried.clone();
    ledger(&mut again).tombstones.clear();
    assert_eq!(passed(&wanted, &again), Some(Passed::Gone), "it was removed for good");
    let mut other = buried.clone();
    ledger(&mut other).regions.insert(first(), Record { uuid: Uuid::from_u128(5), ..record.clone() });
    assert_eq!(passed(&wanted, &other), None);
    assert!(!is_open(&wanted, &other));
    ledger(&mut buried).tombstones.clear();
    ledger(&mut buried).regions.insert(first(), record);
    assert_eq!(passed(&wanted, &buried), None);
    assert_eq!(plan(&wanted, &buried).first(), Some(&Action::Verify(first())), "it was restored");
    let mut away = known(&wanted, 5, None);
    away.disk = None;
    assert_eq!(passed(&wanted, &away), None, "it may come back");
}

/// The end of a scrub or a rebuild of the one that has its name meanwhile says nothing of the one in the trash.
#[test]
fn the_end_of_a_job_at_a_region_is_not_that_of_the_verification_of_another_that_had_its_name() {
    let config = config();
    let mut facts = known(&config, 100, None);
    assert!(ends(&config, &facts, &first()));
    let record = bury(&mut facts);
    assert!(!ends(&config, &facts, &first()), "it lies in the trash");
    ledger(&mut facts).regions.insert(first(), Record { uuid: Uuid::from_u128(5), ..record });
    assert!(!ends(&config, &facts, &first()), "another one is in its place");
    assert!(!ends(&config, &known(&config, 100, Some(Outcome::Through)), &first()));
    let mut away = known(&config, 100, None);
    away.disk = None;
    assert!(!ends(&config, &away, &first()), "it is begun again when that is back");
}

/// What was verified since the end is said with it.
#[test]
fn an_end_without_a_shutdown_says_what_was_verified_since() {
    let config = config();
    let told = |regions: Vec<(&str, Verified)>| {
        let mut facts = well(&config);
        facts.unclean = Some(Unclean::Cut);
        let regions = regions.into_iter().map(|(name, known)| (name.parse().unwrap(), known)).collect();
        facts.verification = verification(Some(regions));
        let verdict = judge(&config, &facts);
        verdict.findings.into_iter().find(|finding| finding.code == Code::SledUnclean).unwrap().cause
    };
    let came = |extents, rotten, outcome| Verified { extents, rotten, outcome, ..Verified::due(Uuid::nil()) };
    let through = Some(Outcome::Through);
    let well = told(vec![("a-0", came(2, 0, through.clone())), ("a-1", came(3, 0, through.clone()))]);
    assert!(
        well.ends_with(
            "5 extent(s) of 2 region(s) that may be so were held to their checksums since: nothing is wrong"
        ),
        "{well}"
    );
    let mixed = told(vec![
        ("a-0", came(2, 4, through)),
        ("a-1", came(0, 0, None)),
        ("a-2", came(1, 0, Some(Outcome::Failed("it was cut short".into())))),
        ("b-0", came(1, 0, Some(Outcome::Cancelled))),
        ("b-1", came(0, 0, Some(Outcome::Off))),
        ("b-2", came(0, 0, Some(Outcome::Served))),
    ]);
    for part in [
        "2 extent(s) of 1 region(s) that may be so were held to their checksums since: 4 block(s) are not what their \
         checksums say in a-0; not verified yet: a-1",
        "not verified to the end, as that was cancelled: b-0; not verified, by storage.verify_after_crash: b-1",
        "not verified, as it served already: b-2; a-2 was not verified to the end: it was cut short",
    ] {
        assert!(mixed.contains(part), "{part:?} is not in {mixed}");
    }
}
