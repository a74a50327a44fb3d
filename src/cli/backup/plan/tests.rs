//! Restorations by a table: what is here, what the backup has, and what comes of it.

use super::*;
use jiff::Timestamp;
use std::net::IpAddr;
use uuid::Uuid;

const TICKET: &str = "disk/tickets/still-fawn";

fn host(last: u8) -> IpAddr {
    IpAddr::from([192, 168, 4, last])
}

fn granted(generation: u64, holder: u8) -> Grant {
    let none = Grant { serial: generation, ..Grant::default() };
    none.to(host(holder), generation, Timestamp::UNIX_EPOCH, &BTreeSet::new())
}

fn record(grant: &Grant) -> Vec<u8> {
    let mut text = grant.to_text().unwrap();
    text.resize(2 * SLOT_BYTES, 0);
    text
}

fn ledger_text(serial: u64) -> Vec<u8> {
    Ledger { serial, ..Ledger::default() }.to_text().unwrap()
}

fn marked(disk: u128) -> Vec<u8> {
    let mark = format!(
        r#"{{"version":1,"disk":"{}","sled":"proper-raptor","marked":"2026-01-01T00:00:00Z"}}"#,
        Uuid::from_u128(disk)
    );
    assert!(Mark::parse(mark.as_bytes()).is_ok());
    mark.into()
}

/// A backup of generation 7 and a ledger of number 5, and a machine on which everything is as it was then.
fn equal() -> (Manifest, Files, Here) {
    let files: Files = [
        (TICKET, record(&granted(7, 17))),
        (LEDGER, ledger_text(5)),
        (MARK, marked(1)),
        (REMEMBERED, marked(1)),
        ("configuration/sled.toml", b"a".to_vec()),
        ("tls/key", b"k".to_vec()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into();
    let sled: SledName = "proper-raptor".parse().unwrap();
    let manifest = Manifest::of(sled.clone(), Some(Uuid::from_u128(1)), &files, Timestamp::UNIX_EPOCH);
    let here = Here { sled: Some(sled), files: files.clone(), mounted: true, supervised: false };
    (manifest, files, here)
}

fn planned(change: impl FnOnce(&mut Here), wish: Wish) -> Result<Steps, Vec<Objection>> {
    let (manifest, files, mut here) = equal();
    change(&mut here);
    plan(&manifest, &files, &here, wish)
}

fn put(name: &'static str, text: Vec<u8>) -> impl FnOnce(&mut Here) {
    move |here| _ = here.files.insert(name.into(), text)
}

fn lose(name: &'static str) -> impl FnOnce(&mut Here) {
    move |here| _ = here.files.remove(name)
}

fn of(steps: &Steps, name: &str) -> Step {
    steps.iter().find(|(step, _)| step == name).unwrap().1.clone()
}

#[test]
fn where_everything_is_as_it_was_nothing_is_done() {
    let steps = planned(|_| {}, Wish::default()).unwrap();
    assert!(steps.iter().all(|(_, step)| *step == Step::Same) && steps.len() == 6, "{steps:?}");
}

/// What is otherwise on the machine.
type Change = Box<dyn FnOnce(&mut Here)>;

#[test]
fn what_may_not_be_restored_is_refused_with_every_reason() {
    let table: [(Change, Refusal, &str); 9] = [
        (Box::new(|here: &mut Here| here.supervised = true), Refusal::SupervisorRuns, "supervisor runs"),
        (Box::new(|here: &mut Here| here.sled = "other".parse().ok()), Refusal::BackupForeign, "this machine is other"),
        (Box::new(|here: &mut Here| here.mounted = false), Refusal::BackupForeign, "not mounted"),
        (Box::new(put(MARK, marked(2))), Refusal::BackupForeign, "the backup is of"),
        (
            Box::new(|here: &mut Here| here.files.retain(|name, _| name != MARK && name != REMEMBERED)),
            Refusal::BackupForeign,
            "has no mark",
        ),
        (
            Box::new(put(TICKET, record(&granted(8, 17)))),
            Refusal::BackupOlder,
            "generation 8 is the highest here, and 7",
        ),
        // The generation is the same, and an operator has said something since.
        (
            Box::new(put(TICKET, record(&granted(7, 17).with(host(17), false)))),
            Refusal::BackupOlder,
            "were granted since",
        ),
        (Box::new(put(LEDGER, ledger_text(6))), Refusal::BackupOlder, "number 6 here, and 5"),
        (Box::new(put(LEDGER, br#"{"version":99}"#.to_vec())), Refusal::BackupUnusable, "version 99"),
    ];
    for (change, code, part) in table {
        let why = planned(change, Wish::default()).unwrap_err();
        assert!(why.len() == 1 && why[0].code == code && why[0].message.contains(part), "{part}: {why:?}");
    }
    let everything = |here: &mut Here| {
        here.supervised = true;
        here.sled = "other".parse().ok();
        put(TICKET, record(&granted(8, 17)))(here);
        put(LEDGER, ledger_text(6))(here);
    };
    assert_eq!(planned(everything, Wish::default()).unwrap_err().len(), 4);
}

#[test]
fn the_configuration_alone_asks_for_nothing_of_the_disk() {
    let alone = Wish { configuration_only: true, ..Wish::default() };
    let change = |here: &mut Here| {
        here.mounted = false;
        put(TICKET, record(&granted(8, 17)))(here);
        put("configuration/sled.toml", b"b".to_vec())(here);
        lose("tls/key")(here);
    };
    let steps = planned(change, alone).unwrap();
    let wanted = [("tls/key", Step::New(b"k".to_vec())), ("configuration/sled.toml", Step::Replace(b"a".to_vec()))];
    assert_eq!(steps, wanted.map(|(name, step)| (name.to_owned(), step)));
    let other = |here: &mut Here| here.sled = "other".parse().ok();
    assert!(planned(other, alone).is_err());
    assert!(planned(other, Wish { other_sled: true, ..alone }).is_ok());
}

/// Whoever the old record let in may not be who has the volume by now.
#[test]
fn a_lost_record_comes_back_as_high_and_lets_in_nobody() {
    let all: BTreeSet<_> = [17, 18, 19].map(host).into();
    for (now, replaced) in [(None, false), (Some(b"garbage".to_vec()), true), (Some(record(&granted(6, 18))), true)] {
        let change = |here: &mut Here| match now {
            None => lose(TICKET)(here),
            Some(text) => put(TICKET, text)(here),
        };
        let text = match of(&planned(change, Wish::default()).unwrap(), TICKET) {
            Step::New(text) if !replaced => text,
            Step::Replace(text) if replaced => text,
            other => panic!("{other:?}"),
        };
        let back = grant(&text).unwrap();
        assert_eq!((back.generation, back.others), (7, 7));
        assert!(back.serial > granted(7, 17).serial && back.in_hand().is_none());
        assert_eq!(back.admits(&all), BTreeSet::new());
        // A second time nothing is left to be done.
        assert_eq!(of(&planned(put(TICKET, text), Wish::default()).unwrap(), TICKET), Step::Same);
    }
}

#[test]
fn a_record_that_would_let_in_every_host_stays_away() {
    let (mut manifest, mut files, mut here) = equal();
    let open = Grant::default().with(host(17), true);
    files.insert(TICKET.into(), record(&open));
    manifest = Manifest::of(manifest.sled.clone(), manifest.disk, &files, Timestamp::UNIX_EPOCH);
    here.files.remove(TICKET);
    assert!(matches!(of(&plan(&manifest, &files, &here, Wish::default()).unwrap(), TICKET), Step::Keep(_)));
}

/// A volume whose tickets may have been granted since is one of which they are lost.
#[test]
fn a_lost_ledger_comes_back_with_every_volume_in_doubt() {
    for (now, replaced) in [(None, false), (Some(b"{".to_vec()), true), (Some(ledger_text(4)), true)] {
        let change = |here: &mut Here| match now {
            None => lose(LEDGER)(here),
            Some(text) => put(LEDGER, text)(here),
        };
        let text = match of(&planned(change, Wish::default()).unwrap(), LEDGER) {
            Step::New(text) if !replaced => text,
            Step::Replace(text) if replaced => text,
            other => panic!("{other:?}"),
        };
        let back = Ledger::parse(&text).unwrap();
        assert_eq!((back.serial, back.tickets), (6, ["still-fawn".parse().unwrap()].into()));
        assert_eq!(of(&planned(put(LEDGER, text), Wish::default()).unwrap(), LEDGER), Step::Same);
    }
}

#[test]
fn what_the_machine_remembers_stays() {
    let (mut manifest, mut files, mut here) = equal();
    files.insert("memory/jobs.json".into(), b"old".to_vec());
    files.insert("memory/drains.json".into(), b"old".to_vec());
    manifest = Manifest::of(manifest.sled.clone(), manifest.disk, &files, Timestamp::UNIX_EPOCH);
    here.files.insert("memory/jobs.json".into(), b"new".to_vec());
    let steps = plan(&manifest, &files, &here, Wish::default()).unwrap();
    assert!(matches!(of(&steps, "memory/jobs.json"), Step::Keep(_)));
    assert_eq!(of(&steps, "memory/drains.json"), Step::New(b"old".to_vec()));
}
