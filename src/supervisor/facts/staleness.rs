//! Age of the facts. An observer whose look does not come back says nothing, and what it said last
//! would stand; here it is noticed.

use crate::names::RegionName;
use crate::observe;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Number of slow looks that may be missed.
const MISSED_LOOKS_LIMIT: u32 = 3;

/// Times at which each fact was last seen.
pub(in crate::supervisor) struct Freshness {
    began: Instant,
    /// Time for which a question to a downstairs may be left unanswered.
    allowance: Duration,
    /// Time at which each observer last told something, by its name.
    seen: BTreeMap<&'static str, Instant>,
    answered: BTreeMap<RegionName, Instant>,
}

impl Freshness {
    pub(in crate::supervisor) fn new(allowance: Duration) -> Self {
        Self { began: Instant::now(), allowance, seen: BTreeMap::new(), answered: BTreeMap::new() }
    }

    /// Give a downstairs another time to answer.
    pub(in crate::supervisor) fn allow(&mut self, allowance: Duration) {
        self.allowance = allowance;
    }

    /// Record that this observer has told something.
    pub(in crate::supervisor) fn note(&mut self, by: &'static str) {
        self.seen.insert(by, Instant::now());
    }

    /// Record that a region's pulse was looked for.
    pub(in crate::supervisor) fn note_pulse(&mut self, name: &RegionName) {
        self.answered.insert(name.clone(), Instant::now());
    }

    /// Tell what was not looked at for too long, and for how many seconds; what was never looked at
    /// counts as soon as anything is shown of the sled at all (`patience` is over).
    pub(in crate::supervisor) fn unseen(&self, patience: Duration) -> BTreeMap<&'static str, u64> {
        let old = observe::ALL.iter().filter_map(|observer| {
            let (what, slow_look) = (observer.missed?, observer.slow_look?);
            let (since, limit) = match self.seen.get(observer.name) {
                Some(seen) => (*seen, slow_look * MISSED_LOOKS_LIMIT),
                None => (self.began, patience),
            };
            let age = since.elapsed();
            (age > limit).then_some((what, age.as_secs()))
        });
        old.collect()
    }

    /// Tell whether a region's pulse has told nothing for longer than it takes to ask twice.
    pub(in crate::supervisor) fn silent(&self, name: &RegionName) -> bool {
        self.answered.get(name).is_some_and(|at| at.elapsed() > 2 * observe::pulse::ASK_EVERY + self.allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_seen_is_told_after_three_slow_looks() {
        let patience = Duration::from_secs(5);
        let mut freshness = Freshness::new(Duration::from_secs(5));
        assert_eq!(freshness.unseen(patience), BTreeMap::new());
        freshness.note("network");
        tokio::time::advance(Duration::from_secs(170)).await;
        let unseen = freshness.unseen(patience);
        assert_eq!(unseen.keys().copied().collect::<Vec<_>>(), ["data disk", "open files", "sockets", "units"]);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(freshness.unseen(patience)["network"], 181);
        freshness.note("network");
        assert!(!freshness.unseen(patience).contains_key("network"));
    }
}
