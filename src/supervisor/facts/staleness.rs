//! How old the facts are. An observer whose look does not come back says nothing, and what it
//! said last would stand; here it is noticed.

use crate::decide::facts::Watched;
use crate::names::RegionName;
use crate::observe::{self, Observation};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How many slow looks may be missed.
const MISSED: u32 = 3;

/// When each fact was last seen.
pub(in crate::supervisor) struct Freshness {
    began: Instant,
    /// How long a question to a downstairs may be left unanswered.
    allowance: Duration,
    seen: BTreeMap<Watched, Instant>,
    answered: BTreeMap<RegionName, Instant>,
}

/// How often a watched thing is looked at when nothing happens.
fn slow_look(what: Watched) -> Duration {
    match what {
        Watched::Network => observe::network::SLOW_LOOK,
        Watched::Disk => observe::disk::SLOW_LOOK,
        Watched::Sockets => observe::sockets::SLOW_LOOK,
        Watched::Units => observe::units::SLOW_LOOK,
        Watched::Processes => observe::intruders::SLOW_LOOK,
    }
}

impl Freshness {
    pub(in crate::supervisor) fn new(allowance: Duration) -> Self {
        Self { began: Instant::now(), allowance, seen: BTreeMap::new(), answered: BTreeMap::new() }
    }

    /// Gives a downstairs another time to answer.
    pub(in crate::supervisor) fn allow(&mut self, allowance: Duration) {
        self.allowance = allowance;
    }

    /// Notes that a fact has come in.
    pub(in crate::supervisor) fn note(&mut self, observation: &Observation) {
        let now = Instant::now();
        let what = match observation {
            Observation::Network(_) => Watched::Network,
            Observation::Disk(_) => Watched::Disk,
            Observation::Sockets(_) => Watched::Sockets,
            // Systemd that does not answer is a condition of its own.
            Observation::Unit(..) | Observation::Bus(_) => Watched::Units,
            // Looked at so rarely that it is not missed; and before the first look nothing starts.
            Observation::Ended(..)
            | Observation::Enforcement(_)
            | Observation::Files(_)
            | Observation::Image(_)
            | Observation::Tls(_) => return,
            Observation::Intruders(_) => Watched::Processes,
            Observation::Pulse(name, _) => {
                self.answered.insert(name.clone(), now);
                return;
            }
        };
        self.seen.insert(what, now);
    }

    /// What was not looked at for too long, and for how many seconds; what was never looked at
    /// counts as soon as anything is shown of the sled at all (`patience` is over).
    pub(in crate::supervisor) fn unseen(&self, patience: Duration) -> BTreeMap<Watched, u64> {
        let all = [Watched::Network, Watched::Disk, Watched::Sockets, Watched::Units, Watched::Processes];
        let old = all.into_iter().filter_map(|what| {
            let (since, limit) = match self.seen.get(&what) {
                Some(seen) => (*seen, slow_look(what) * MISSED),
                None => (self.began, patience),
            };
            let age = since.elapsed();
            (age > limit).then_some((what, age.as_secs()))
        });
        old.collect()
    }

    /// Whether a region's pulse has told nothing for longer than it takes to ask twice.
    pub(in crate::supervisor) fn silent(&self, name: &RegionName) -> bool {
        self.answered.get(name).is_some_and(|at| at.elapsed() > 2 * observe::pulse::ASK_EVERY + self.allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Network;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_seen_is_told_after_three_slow_looks() {
        let patience = Duration::from_secs(5);
        let mut freshness = Freshness::new(Duration::from_secs(5));
        assert_eq!(freshness.unseen(patience), BTreeMap::new());
        freshness.note(&Observation::Network(Network::default()));
        tokio::time::advance(Duration::from_secs(170)).await;
        let unseen = freshness.unseen(patience);
        assert_eq!(
            unseen.keys().copied().collect::<Vec<_>>(),
            [Watched::Disk, Watched::Sockets, Watched::Units, Watched::Processes]
        );
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(freshness.unseen(patience)[&Watched::Network], 181);
        freshness.note(&Observation::Network(Network::default()));
        assert!(!freshness.unseen(patience).contains_key(&Watched::Network));
    }
}
