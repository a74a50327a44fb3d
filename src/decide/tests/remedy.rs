//! Remedies for everything that can be found: the mild before the last resort.

use super::*;
use crate::check::Code;
use crate::decide::facts::{Doing, Exit};
use crate::decide::failure::{ROWS, classify};
use crate::decide::finding::Finding;
use crate::decide::plan::{Action, plan};
use crate::decide::remedy::{LAST, Remedy};
use crate::decide::turns::{may_hold, may_restart};
use crate::decide::verdict::judge;

/// Words by which data goes away.
const DESTROYING: [&str; 11] = [
    "delete",
    "purge",
    "destroy",
    "mkfs",
    "wipefs",
    "rm -",
    "dd if",
    "create it anew",
    "create them anew",
    "format it",
    "blkdiscard",
];
/// Causes under which a replica may be lost. Under every other cause nothing is.
const LOSSES: [&str; 12] = [
    "is missing",
    "is gone",
    "are lost",
    "garbage",
    "cut off",
    "wrong length",
    "has 100 bytes",
    "os error 2)",
    "cannot be read",
    "not a regular file",
    "it is none",
    "does not put",
];

/// No remedy destroys where a milder cause fits: the words of the last resort come after others, and
/// only for what may be lost.
fn is_mild_first(cause: &str, remedy: &str) {
    // Files of which the name is gone already are "deleted".
    let remedy = remedy.replace("deleted", "gone");
    let Some(at) = DESTROYING.iter().filter_map(|word| remedy.find(word)).min() else { return };
    assert!(LOSSES.iter().any(|loss| cause.contains(loss)), "{cause:?} loses nothing, and its remedy is {remedy:?}");
    let said =
        [LAST, "or, to delete it"].iter().any(|last| remedy.find(last).is_some_and(|last| (10..=at).contains(&last)));
    assert!(said, "nothing milder comes before it: {remedy:?}");
}

fn survey(fault: &str) -> Survey {
    Survey { fault: Some(fault.into()), ..Survey::default() }
}

/// The words of a failed downstairs, row by row.
#[test]
fn every_row_of_the_failures_is_mild_first() {
    for row in ROWS {
        let remedy = row.remedy.of(&first(), "/crucible/still-fawn-0", "crucible");
        is_mild_first(row.meaning, &remedy);
        assert!(!remedy.contains('{') && !remedy.is_empty(), "{remedy}");
        assert_eq!(matches!(row.remedy, Remedy::Lost(_)), remedy.contains(LAST), "{remedy}");
    }
}

/// What is said of a condition before it is met.
#[test]
fn every_remedy_of_the_table_is_mild_first() {
    for about in Code::ALL.iter().map(|code| code.about()) {
        is_mild_first(about.cause, about.remedy);
    }
}

/// Whatever else the text of a failure has in it: a wrong owner, an immutable file and a failing disk
/// are told as such.
#[test]
fn a_milder_cause_comes_before_a_lost_replica() {
    let open = "Error open \"a/region.json\": {} opening region config \"a/region.json\"";
    let extent = "IO Error: extent 1: open of \"00/000/001\" failed: {}";
    for shape in [open, extent] {
        for (why, words) in [
            ("Permission denied (os error 13)", "chown -R crucible: /crucible/still-fawn-0"),
            ("Input/output error (os error 5)", "dmesg"),
            ("Too many open files (os error 24)", "LimitNOFILE="),
        ] {
            let text = format!("Error: {}", shape.replace("{}", why));
            let mut facts = well(&config());
            region(&mut facts).unit = Some(Unit { exit: Some(Exit::Status(1)), ..unit(Active::Activating) });
            region(&mut facts).failure = Some(classify(Exit::Status(1), std::slice::from_ref(&text)));
            let actions = plan(&config(), &facts);
            let [Action::Hold(_, _, cause, Some(remedy))] = actions.as_slice() else { panic!("{text}: {actions:?}") };
            assert!(remedy.contains(words) && !remedy.contains("delete"), "{cause}: {remedy}");
        }
    }
    let immutable = extent.replace("{}", "Operation not permitted (os error 1)");
    let found = classify(Exit::Status(1), &[immutable]).row.unwrap();
    assert!(found.remedy.of(&first(), "/d", "u").contains("chattr"));
}

/// What is said of a region's files, each as it is found alone.
const FAULTS: [&str; 7] = [
    "region.json: it belongs to the user with id 0, and 998 is right",
    "it cannot be written to: something is mounted read-only there",
    "00/000/001: No such file or directory (os error 2)",
    "00/000/001: Input/output error (os error 5)",
    "00/000/001: Permission denied (os error 13)",
    "00/000/001: it has 100 bytes, and 137367584 are right",
    "00/000/001: it is not a regular file",
];

/// What else can be otherwise with what lies on the disk.
const LOST: &[Situation] = &[
    ("the directory of a region that runs is gone", |facts| lies(facts, OnDisk::Absent)),
    ("the directory of a stopped region is gone", |facts| {
        stopped(facts);
        lies(facts, OnDisk::Absent);
    }),
    ("the file of a region that runs cannot be read", |facts| lies(facts, odd())),
    ("the file of a stopped region cannot be read", |facts| {
        stopped(facts);
        lies(facts, odd());
    }),
    ("all regions are on record as one", |facts| {
        let ledger = ledger(facts);
        let one = ledger.regions[&first()].clone();
        ledger.regions.values_mut().for_each(|record| *record = one.clone());
    }),
    ("no region is on record", |facts| ledger(facts).regions.clear()),
    ("the ledger cannot be read", |facts| disk(facts).ledger = Err("torn".into())),
    ("the disk has no mark", |facts| disk(facts).mark = Ok(None)),
    ("no disk is mounted", |facts| *disk(facts) = Disk::default()),
    ("the disk is read-only", |facts| disk(facts).read_only = true),
    ("the disk is full", |facts| disk(facts).free = 0),
    ("a region is on record that the map has not", |facts| {
        let record = ledger(facts).regions[&first()].clone();
        ledger(facts).regions.insert("old-1".parse().unwrap(), record);
    }),
];

fn disk(facts: &mut Facts) -> &mut Disk {
    facts.disk.as_mut().unwrap()
}

fn ledger(facts: &mut Facts) -> &mut Ledger {
    disk(facts).ledger.as_mut().unwrap()
}

fn lies(facts: &mut Facts, what: OnDisk) {
    disk(facts).regions.insert(first(), what);
}

fn odd() -> OnDisk {
    OnDisk::Unreadable("region.json: odd".into())
}

/// Whatever is said of these facts, and something is.
fn all_are_mild_first(situation: &str, facts: &Facts) {
    let findings = judge(&config(), facts).findings;
    assert!(!findings.is_empty(), "{situation}: it is not noticed");
    for finding in findings {
        is_mild_first(&finding.cause, &finding.remedy);
    }
}

/// One thing at a time is otherwise with a region's files, its process, its unit.
#[test]
fn every_finding_is_mild_first() {
    for fault in FAULTS {
        let mut facts = well(&config());
        stopped(&mut facts);
        disk(&mut facts).surveys.insert(first(), survey(fault));
        all_are_mild_first(fault, &facts);
    }
    for (situation, change) in LOST {
        let mut facts = well(&config());
        change(&mut facts);
        all_are_mild_first(situation, &facts);
    }
}

fn found(facts: &Facts, code: Code) -> (String, String) {
    let found = judge(&config(), facts).findings.into_iter().find(|finding| finding.code == code);
    let found = found.unwrap_or_else(|| panic!("no {code}"));
    (found.cause, found.remedy)
}

/// Two directories were swapped: where each lies is told.
#[test]
fn directories_that_were_swapped_are_told_with_where_each_lies() {
    let mut facts = well(&config());
    let second: RegionName = "still-fawn-1".parse().unwrap();
    let regions = &mut facts.disk.as_mut().unwrap().regions;
    let (one, other) = (regions[&first()].clone(), regions[&second].clone());
    regions.insert(first(), other);
    regions.insert(second, one);
    let findings = judge(&config(), &facts).findings;
    let told = |region: &str| {
        let about = |finding: &&Finding| finding.code == Code::RegionIdentity && finding.subject.contains(region);
        let found = findings.iter().find(about).unwrap();
        (found.cause.clone(), found.remedy.clone())
    };
    assert!(told("still-fawn-1").0.contains("still-fawn-1 lies in /crucible/still-fawn-0"), "{findings:#?}");
    let (cause, remedy) = told("still-fawn-0");
    assert!(cause.contains("it is the region of still-fawn-1"), "{cause}");
    assert!(cause.contains("still-fawn-0 lies in /crucible/still-fawn-1"), "{cause}");
    assert!(remedy.contains("swapped") && remedy.contains("/crucible/still-fawn-0"), "{remedy}");
}

/// The directory of a running region was removed: the process still has the data.
#[test]
fn what_a_process_still_holds_is_told_and_how_to_get_it_out() {
    let mut facts = well(&config());
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    let (cause, remedy) = found(&facts, Code::RegionMissing);
    assert!(cause.contains("process 100 serves it still"), "{cause}");
    assert!(remedy.contains("do not stop or restart process 100") && remedy.contains("/proc/100/fd"), "{remedy}");
    assert!(!remedy.contains("sledctl region delete"), "{remedy}");
    // Neither is it stopped, unless somebody insists.
    for refused in [may_hold(&config(), &facts, &first(), false), may_restart(&config(), &facts, &first(), true)] {
        assert_eq!(refused.unwrap_err().code, Code::RegionMissing);
    }
    assert!(may_hold(&config(), &facts, &first(), true).is_ok());
}

#[test]
fn what_was_stopped_is_continued_and_what_is_masked_is_unmasked() {
    let mut facts = well(&config());
    let doing = Doing {
        pid: 100,
        state: 'T',
        cpu_percent: 0,
        wanted_percent: 0,
        backlog: 0,
        unread: 8,
        journal_stopped: false,
    };
    region(&mut facts).pulse.as_mut().unwrap().beat = Beat::Silent;
    region(&mut facts).doing = Some(doing);
    assert!(found(&facts, Code::RegionHung).1.starts_with("kill -CONT 100"));

    let mut facts = well(&config());
    stopped(&mut facts);
    region(&mut facts).unit.as_mut().unwrap().masked = true;
    let (cause, remedy) = found(&facts, Code::RegionDown);
    assert!(cause.contains("is masked"), "{cause}");
    assert!(remedy.contains("systemctl unmask crucible-downstairs@still-fawn-0.service"), "{remedy}");
}
