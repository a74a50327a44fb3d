//! Notices: which checks somebody is told of, and when. A check is told when it has been raised for a while, and once
//! more when it has been over for a while; what comes and goes sooner is not. In an hour only so many are told: what
//! is left out is counted, and the next one says how many. Never how it is delivered. Pure: the time is given.

use crate::check::Code;
use crate::config::Notify;
use crate::wire::{Check, Occasion};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The time in which notices are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// Checks that somebody was told of, or is to be.
#[derive(Debug, Default)]
pub struct Notices {
    known: BTreeMap<(Code, String), Standing>,
    /// The times at which notices were given, within the hour.
    given: VecDeque<Instant>,
    left_out: u64,
}

/// Standing of a check.
#[derive(Debug)]
struct Standing {
    check: Check,
    /// Whether it is raised.
    raised: bool,
    /// Whether it was told last that it is.
    told: bool,
    /// The time since when it is as it is.
    since: Instant,
}

/// A notice that is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The occasion.
    pub occasion: Occasion,
    /// The check.
    pub check: Check,
    /// The number of notices before it that were left out.
    pub left_out: u64,
}

impl Notices {
    /// Begin after another supervisor, which began before `started`: what had been raised long enough was told by that
    /// one.
    pub fn after_another(checks: &[Check], wanted: &Notify, started: Timestamp, now: Instant) -> Self {
        let delay = SignedDuration::from_secs(wanted.delay.seconds.cast_signed());
        let told = |check: &&Check| concerns(check, wanted) && check.since + delay <= started;
        let standing = |check: &Check| Standing { check: check.clone(), raised: true, told: true, since: now };
        let known = checks.iter().filter(told).map(|check| (key(check), standing(check)));
        Self { known: known.collect(), ..Self::default() }
    }

    /// See the checks that are raised now: what is to be told of them.
    pub fn see(&mut self, checks: &[Check], wanted: &Notify, now: Instant) -> Vec<Notice> {
        self.note(checks, wanted, now);
        let delay = wanted.delay.into();
        let due = self.known.values_mut().filter(|standing| standing.due(delay).is_some_and(|due| due <= now));
        let due: Vec<_> = due.map(Standing::tell).collect();
        self.known.retain(|_, standing| standing.raised || standing.told);
        due.into_iter().filter_map(|(occasion, check)| self.give(occasion, check, wanted, now)).collect()
    }

    /// Tell when something is to be told though nothing changes.
    pub fn due(&self, wanted: &Notify) -> Option<Instant> {
        self.known.values().filter_map(|standing| standing.due(wanted.delay.into())).min()
    }

    /// Count some that were given and not delivered.
    pub fn lost(&mut self, count: u64) {
        self.left_out += count;
    }

    fn note(&mut self, checks: &[Check], wanted: &Notify, now: Instant) {
        let there: BTreeMap<_, _> =
            checks.iter().filter(|check| concerns(check, wanted)).map(|check| (key(check), check)).collect();
        // What is told no more, by another configuration, is not over by that.
        self.known.retain(|_, standing| concerns(&standing.check, wanted));
        for (key, standing) in &mut self.known {
            standing.turn(there.contains_key(key), now);
        }
        for (key, check) in there {
            let new = || Standing { check: check.clone(), raised: true, told: false, since: now };
            self.known.entry(key).or_insert_with(new).check = check.clone();
        }
    }

    /// Give a notice, unless there were too many.
    fn give(&mut self, occasion: Occasion, check: Check, wanted: &Notify, now: Instant) -> Option<Notice> {
        while self.given.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
            self.given.pop_front();
        }
        if self.given.len() >= wanted.at_most as usize {
            self.left_out += 1;
            return None;
        }
        self.given.push_back(now);
        Some(Notice { occasion, check, left_out: std::mem::take(&mut self.left_out) })
    }
}

impl Standing {
    fn turn(&mut self, raised: bool, now: Instant) {
        if self.raised != raised {
            (self.raised, self.since) = (raised, now);
        }
    }

    /// Tell when that is to be told, if it is.
    fn due(&self, delay: Duration) -> Option<Instant> {
        (self.raised != self.told).then(|| self.since.checked_add(delay)).flatten()
    }

    fn tell(&mut self) -> (Occasion, Check) {
        self.told = self.raised;
        (if self.raised { Occasion::Raised } else { Occasion::Over }, self.check.clone())
    }
}

fn key(check: &Check) -> (Code, String) {
    (check.code, check.subject.clone())
}

/// Tell whether anybody is to hear of a check: not of one that is a step on the way to being well, and not by the
/// very way of which one says that it fails.
fn concerns(check: &Check, wanted: &Notify) -> bool {
    wanted.wants(check.severity) && !check.code.passes() && check.code != Code::NotifyFailed
}
