//! When an update is applied by itself, and what it waits for.

use crate::config::{Apply, Update};
use crate::decide::update::{Candidate, Decision, Other, Seen, Turn, decide, is_mark, mark, turn};
use crate::span::Span;
use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What is different from a sled that may go.
type Change<'a> = Box<dyn Fn(&mut Update, &mut Seen<'a>) + 'a>;

fn other(sled: &str, updates: bool, unwell: Option<&str>) -> Other {
    Other { sled: sled.parse().unwrap(), updates, unwell: unwell.map(str::to_owned) }
}

/// The 29th of November 2026 is a Sunday.
fn sunday(hour: i8, minute: i8) -> DateTime {
    date(2026, 11, 29).at(hour, minute, 0, 0)
}

fn decided<'a>(change: &Change<'a>) -> Decision {
    let mut update = Update {
        check: Some(Span::seconds(7200)),
        window: "Sun 04:00-06:00".parse().ok(),
        delay: Span::seconds(7 * 86_400),
        apply: Apply::Window,
    };
    let now = Timestamp::UNIX_EPOCH;
    let newer = Ok(Some(Candidate { version: "2", ripe: Some(now) }));
    let mut seen = Seen { now, local: sunday(4, 30), newer, failed: None, on_trial: false, busy: None, others: &[] };
    change(&mut update, &mut seen);
    decide(&update, &seen)
}

#[test]
fn an_update_goes_when_nothing_speaks_against_it() {
    let well = [other("a", false, None), other("c", false, None)];
    for change in [
        Box::new(|_: &mut Update, _: &mut Seen<'_>| {}) as Change<'_>,
        Box::new(|_, seen| seen.others = &well),
        Box::new(|_, seen| seen.failed = Some(("1.9", "it did not serve"))),
        Box::new(|_, seen| seen.local = sunday(4, 0)),
        Box::new(|_, seen| seen.local = sunday(5, 59)),
    ] {
        assert_eq!(decided(&change), Decision::Go("2".into()));
    }
}

#[test]
fn there_may_be_nothing_to_apply() {
    for change in [
        Box::new(|update: &mut Update, _: &mut Seen<'_>| update.apply = Apply::Manual) as Change<'_>,
        Box::new(|update, _| update.window = None),
        Box::new(|_, seen| seen.newer = Ok(None)),
    ] {
        assert_eq!(decided(&change), Decision::Nothing);
    }
}

#[test]
fn what_an_update_waits_for_is_said() {
    let hour = SignedDuration::from_hours(1);
    let (unwell, updates) = ([other("c", false, Some("x")), other("a", false, Some("y"))], [other("c", true, None)]);
    let rows: [(Change<'_>, &str); 11] = [
        (
            Box::new(|_, seen| seen.newer = Err("the last look failed")),
            "not known whether there is another version: the",
        ),
        (Box::new(|_, seen| seen.failed = Some(("2", "it did not serve"))), "2 has failed (it did not serve)"),
        (Box::new(|_, seen| seen.on_trial = true), "yet to show"),
        (
            Box::new(|_, seen| seen.newer = Ok(Some(Candidate { version: "2", ripe: None }))),
            "nobody knows since when there is a 2",
        ),
        (
            Box::new(move |_, seen| {
                seen.newer = Ok(Some(Candidate { version: "2", ripe: Some(Timestamp::UNIX_EPOCH + hour) }));
            }),
            "2 is applied from 1970-01-01T01:00:00Z on, 7 d after",
        ),
        (Box::new(|_, seen| seen.local = sunday(3, 59)), "its window is Sun 04:00-06:00, next Sun 29 Nov 04:00"),
        (Box::new(|_, seen| seen.local = sunday(6, 0)), "its window is Sun 04:00-06:00, next Sun 6 Dec 04:00"),
        (Box::new(|_, seen| seen.busy = Some("somebody is at work on it")), "somebody is at work on it"),
        (Box::new(|_, seen| seen.others = &unwell), "a is not well: y"),
        (Box::new(|_, seen| seen.others = &updates), "c is being updated"),
        // The window comes first: until it begins, nobody need be asked.
        (
            Box::new(|_, seen| {
                seen.others = &unwell;
                seen.local = sunday(7, 0);
            }),
            "its window",
        ),
    ];
    for (change, why) in &rows {
        let Decision::Wait(waits) = decided(change) else { panic!("{why}: it does not wait") };
        assert!(waits.starts_with(why) || waits.contains(why), "{waits:?} does not say {why:?}");
    }
}

#[test]
fn two_sleds_that_see_each_other_never_both_go() {
    let name = |name: &str| name.parse().unwrap();
    assert_eq!(turn(&name("b"), &[other("a", false, None), other("c", false, None)]), Turn::Go);
    assert!(matches!(turn(&name("b"), &[other("a", true, None)]), Turn::Yield(why) if why == "a is being updated"));
    assert!(matches!(turn(&name("b"), &[other("c", true, None)]), Turn::Look(why) if why == "c is being updated"));
    // Who must give way to one does not wait for another.
    let both = [other("c", true, None), other("a", true, None)];
    assert!(matches!(turn(&name("b"), &both), Turn::Yield(_)));
    assert!(matches!(turn(&name("b"), &[other("c", false, Some("x"))]), Turn::Yield(why) if why.contains("x")));
    for (one, two) in [("a", "b"), ("b", "a")] {
        let seen = [turn(&name(one), &[other(two, true, None)]), turn(&name(two), &[other(one, true, None)])];
        assert!(!seen.contains(&Turn::Go) && seen.iter().any(|turn| matches!(turn, Turn::Yield(_))), "{seen:?}");
    }
}

/// A sled on its way to an update, as `sledctl update tend` goes it, step by step: each look asks one other sled, and
/// between any two steps the others may do any number of theirs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// It asks the others before it shows that it updates: those that it has seen, and whether they showed it.
    Weighs(Vec<bool>),
    /// It has decided to go, and does not show it yet.
    Decided,
    /// It shows that it updates, and looks at the others anew.
    Looks(Vec<bool>),
    /// It has found that it is its turn: it updates.
    Goes,
    /// It is over; whether it has updated.
    Over(bool),
}

impl Way {
    fn shows(&self) -> bool {
        matches!(self, Self::Looks(_) | Self::Goes)
    }

    /// The way after its next step, among these; `None`: it is over.
    fn step(all: &[Self], own: usize) -> Option<Self> {
        let name = |number: usize| ["a", "b", "c"][number];
        let elsewhere: Vec<usize> = (0..all.len()).filter(|number| *number != own).collect();
        let others = |seen: &[bool]| -> Vec<Other> {
            elsewhere.iter().zip(seen).map(|(number, shows)| other(name(*number), *shows, None)).collect()
        };
        let more = |seen: &[bool]| [seen, &[all[elsewhere[seen.len()]].shows()]].concat();
        Some(match &all[own] {
            Self::Weighs(seen) if seen.len() < elsewhere.len() => Self::Weighs(more(seen)),
            Self::Weighs(seen) => {
                let others = others(seen);
                let change: Change<'_> = Box::new(|_, seen| seen.others = &others);
                if matches!(decided(&change), Decision::Go(_)) { Self::Decided } else { Self::Over(false) }
            }
            Self::Decided => Self::Looks(Vec::new()),
            Self::Looks(seen) if seen.len() < elsewhere.len() => Self::Looks(more(seen)),
            Self::Looks(seen) => match turn(&name(own).parse().unwrap(), &others(seen)) {
                Turn::Go => Self::Goes,
                Turn::Look(_) => Self::Looks(Vec::new()),
                Turn::Yield(_) => Self::Over(false),
            },
            Self::Goes => Self::Over(true),
            Self::Over(_) => return None,
        })
    }
}

/// Windows that open together: in no order of what two or three sleds do are two of them away at once, and whatever has
/// happened by then, one of them still comes to its turn.
#[test]
fn sleds_whose_windows_open_together_go_one_after_the_other_in_every_order() {
    for sleds in [2, 3] {
        let begin = vec![Way::Weighs(Vec::new()); sleds];
        let mut next: BTreeMap<Vec<Way>, Vec<Vec<Way>>> = BTreeMap::new();
        let mut open = vec![begin.clone()];
        while let Some(all) = open.pop() {
            if next.contains_key(&all) {
                continue;
            }
            let away = all.iter().filter(|way| **way == Way::Goes).count();
            assert!(away <= 1, "two go at once: {all:?}");
            let after = (0..sleds).filter_map(|own| {
                let way = Way::step(&all, own)?;
                let mut after = all.clone();
                after[own] = way;
                Some(after)
            });
            let after: Vec<_> = after.collect();
            open.extend(after.iter().cloned());
            next.insert(all, after);
        }
        // From wherever it has come to, an end can be reached; and at each end one of them has updated.
        let mut ends: BTreeSet<&Vec<Way>> =
            next.iter().filter(|(_, after)| after.is_empty()).map(|(all, _)| all).collect();
        assert!(ends.iter().all(|all| all.contains(&Way::Over(true))), "{ends:?}");
        loop {
            let more: Vec<_> = next
                .iter()
                .filter(|(all, after)| !ends.contains(all) && after.iter().any(|all| ends.contains(all)))
                .collect();
            if more.is_empty() {
                break;
            }
            ends.extend(more.into_iter().map(|(all, _)| all));
        }
        assert_eq!(ends.len(), next.len(), "there is no way out of some");
        println!("{sleds} sleds: {} states", next.len());
    }
}

#[test]
fn what_an_operator_says_is_not_taken_for_the_mark_of_a_sled() {
    assert!(is_mark(&mark("0.1.0.113")));
    for said in ["the image is updated", "the image is updated by hand", "the image is updated to 2 by me", "a new fan"]
    {
        assert!(!is_mark(said), "{said}");
    }
}
