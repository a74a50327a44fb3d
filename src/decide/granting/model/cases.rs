//! Cases of the search: the rules that the sled goes by, within bounds, and rules that are broken on purpose.

use super::{AWAY, REAL, Rules, search};
use crate::decide::attach::RETURN_LIMIT;
use crate::decide::granting::{Kind, Next, Step};
use std::time::Duration;

fn holds(rules: &Rules, at_least: usize) {
    match search(rules) {
        Ok(states) => assert!(states >= at_least, "only {states} states"),
        Err(why) => panic!("{why}"),
    }
}

/// The search finds this fault.
fn finds(rules: &Rules, fault: &str) {
    let found = search(rules).expect_err("nothing was found");
    assert!(found.starts_with(fault), "{found}");
}

#[test]
fn whatever_fails_and_whoever_comes_nobody_is_let_in_without_a_grant() {
    holds(&REAL, 1_000);
    holds(&Rules { failures: 2, ..REAL }, 2_000);
    holds(&Rules { words: 1, ..REAL }, 3_000);
}

#[test]
fn who_is_away_for_less_than_it_may_be_loses_nothing() {
    assert!(Duration::from_secs(20) * u32::from(AWAY) > RETURN_LIMIT);
    assert!(Duration::from_secs(20) * u32::from(AWAY - 1) <= RETURN_LIMIT);
    holds(&Rules { takeovers: false, ticks: 4, ends: 2, ..REAL }, 500);
    // The rules as they were before who holds it was in the way: after a restart it is not connected for a while.
    let rules = Rules { takeovers: false, failures: 0, regards_holder: false, ..REAL };
    finds(&rules, "robbed");
}

/// The order as it was: first the fence for the next host, and then the look whether it is still there, and the
/// record.
#[test]
fn a_fence_before_the_record_is_found() {
    let rules = Rules { narrow: false, ends: 0, ..REAL };
    finds(&rules, "without a grant");
    fn no_way_back(kind: Kind, step: Step, well: bool) -> Next {
        match kind.after(step, well) {
            Next::Do(Step::PutBack) => kind.after(Step::PutBack, false),
            other => other,
        }
    }
    // A fence that is not put back at once is so by the plan: nobody is let in by it meanwhile.
    holds(&Rules { after: no_way_back, ..REAL }, 1_000);
    fn open_at_once(kind: Kind, step: Step, well: bool) -> Next {
        match (step, well) {
            (Step::StillThere, true) => Next::Do(Step::Open),
            _ => kind.after(step, well),
        }
    }
    let rules = Rules { after: open_at_once, failures: 0, narrow: false, ..REAL };
    finds(&rules, "without a grant");
}

/// A record that cannot be read says nothing, and not that nothing was granted.
#[test]
fn what_is_not_on_record_is_not_believed() {
    let bad = Rules { damages: 1, words: 2, asks: 1, ..REAL };
    holds(&bad, 2_000);
    finds(&Rules { believes_record: false, ..bad.clone() }, "two");
    finds(&Rules { denies_unread: true, asks: 0, failures: 0, ..bad }, "without a grant");
}
