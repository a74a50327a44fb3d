//! Turns at a region: one job at a time is at it.

use crate::config::Configuration;
use crate::decide::facts::{Busy, Facts};
use crate::decide::rebuild::may_go;
use crate::decide::turns::{Asks, Denied, Manner, claim};
use crate::names::RegionName;
use crate::supervisor::jobs::Jobs;
use crate::wire::{self, Refusal};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// A job's question whether a region's turn has come.
pub(in crate::supervisor) struct Claim {
    pub(in crate::supervisor) job: u64,
    pub(in crate::supervisor) region: RegionName,
    pub(in crate::supervisor) manner: Manner,
    pub(in crate::supervisor) reply: oneshot::Sender<Result<(), Denied>>,
}

/// Jobs that are at a region, by the region.
#[derive(Default)]
pub(super) struct Turns(BTreeMap<RegionName, u64>);

impl Turns {
    /// Name the job that is at a region.
    pub(super) fn at(&self, region: &RegionName) -> Option<u64> {
        self.0.get(region).copied()
    }

    /// Record that a job is at a region now.
    pub(super) fn begin(&mut self, region: RegionName, job: u64) {
        self.0.insert(region, job);
    }

    /// Record that nobody is at a region any more.
    pub(super) fn end(&mut self, region: &RegionName) {
        self.0.remove(region);
    }

    /// Let a job leave every region that it was at, and tell which these are.
    pub(super) fn leave(&mut self, job: u64) -> Vec<RegionName> {
        let own: Vec<_> = self.0.iter().filter(|(_, at)| **at == job).map(|(region, _)| region.clone()).collect();
        own.iter().for_each(|region| _ = self.0.remove(region));
        own
    }

    /// Give a job its turn at a region, if it has come.
    fn grant(
        &mut self,
        (job, region, manner): (u64, RegionName, Manner),
        config: &Configuration,
        facts: &mut Facts,
    ) -> Result<(), Denied> {
        if self.at(&region).is_some_and(|at| at != job) {
            let busy = wire::Error::new(Refusal::Busy, format!("another job is at {region}"), "see sledctl jobs");
            return Err(Denied::Later(busy));
        }
        // What the job is at already does not keep it from more.
        let own = |name: &RegionName| self.at(name) == Some(job);
        let (own, others) = std::mem::take(&mut facts.busy).into_iter().partition(|(name, _)| own(name));
        facts.busy = others;
        let granted = claim(config, facts, &region, manner).and_then(|()| match manner.asks {
            // What was known when that was asked for may be hours old.
            Asks::Whole { .. } => may_go(config, facts, &region),
            _ => Ok(()),
        });
        facts.busy.extend::<BTreeMap<_, _>>(own);
        granted?;
        facts.busy.insert(region.clone(), Busy::Watching);
        self.begin(region, job);
        Ok(())
    }
}

impl Jobs {
    /// Give a job its turn at a region, if it has come.
    pub(in crate::supervisor) fn grant_turn(&mut self, asked: Claim, config: &Configuration, facts: &mut Facts) {
        let Claim { job, region, manner, reply } = asked;
        _ = reply.send(self.turns.grant((job, region, manner), config, facts));
    }

    /// Tell whether this job has the region's turn.
    pub(in crate::supervisor) fn is_at(&self, region: &RegionName, job: u64) -> bool {
        self.turns.at(region) == Some(job)
    }

    /// Free a region that a job does not need any more.
    pub(in crate::supervisor) fn free(&mut self, region: &RegionName, job: u64, facts: &mut Facts) {
        if self.is_at(region, job) {
            self.turns.end(region);
            facts.busy.remove(region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Knowledge of who is at what is the same after a turn that has not come, too.
    #[test]
    fn a_claim_changes_nothing_but_whose_turn_it_is() {
        let (config, mut facts, mut turns) = (config::shipped(""), Facts::default(), Turns::default());
        let names: Vec<_> = config.local_regions().into_iter().map(|local| local.name).take(3).collect();
        turns.begin(names[0].clone(), 7);
        turns.begin(names[1].clone(), 8);
        facts.busy = [(names[0].clone(), Busy::Restarting), (names[1].clone(), Busy::Holding)].into();
        let before = facts.clone();
        let manner = Manner { force: false, unrepaired: false, asks: Asks::Nobody, rolling: false, starts: true };
        for region in [&names[1], &names[2]] {
            // Another is at it, and nothing is known of it.
            assert!(turns.grant((7, region.clone(), manner), &config, &mut facts).is_err());
            assert_eq!((&facts, turns.at(&names[2])), (&before, None));
        }
        assert_eq!(turns.leave(7), [names[0].clone()]);
        assert_eq!((turns.at(&names[0]), turns.at(&names[1])), (None, Some(8)));
    }
}
