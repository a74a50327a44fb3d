//! Fencing: who reaches a volume, by tickets and the fence that goes with them, and who is seen at it.
//!
//! | module | job |
//! |---|---|
//! | [`ground`] | by what it is decided who gets one |
//! | [`queue`] | who waits for a ticket, one at a time for a volume |
//! | [`grant`] | what is done for one of them, aside from the loop |
//! | [`records`] | what is on record of tickets, by a look at the disk |
//! | [`refusals`] | who was refused a ticket of late |
//! | [`visitors`] | who comes to a volume's ports |
//! | [`holder_absence`] | for how long the holder of a ticket has been away |
//! | [`lacking_hosts`] | for how long a host has lacked a region |

pub(super) mod grant;
pub(super) mod ground;
pub(super) mod holder_absence;
pub(super) mod lacking_hosts;
pub(super) mod queue;
mod records;
pub(super) mod refusals;
pub(super) mod visitors;

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::names::RegionName;
use crate::supervisor::tasks::Tasks;
use grant::{Answered, Served};
use holder_absence::Absences;
use lacking_hosts::Lacks;
use queue::Queue;
use records::Records;
use refusals::Refusals;
use std::collections::BTreeSet;
use tokio::time::Instant;
use visitors::Visitors;

/// Report that somebody who waited for a ticket was served, with what each is to be answered.
pub(super) struct Report(pub(super) Served, pub(super) Vec<Answered>);

/// Knowledge of who reaches a volume.
pub(super) struct Fencing {
    queue: Queue,
    records: Records,
    pub(super) refusals: Refusals,
    pub(super) visitors: Visitors,
    absences: Absences,
    lacks: Lacks,
    tasks: Tasks<Report>,
}

impl Fencing {
    /// Begin with nobody who waits.
    pub(super) fn new(tasks: Tasks<Report>) -> Self {
        let (queue, records, refusals, visitors, absences, lacks) = Default::default();
        Self { queue, records, refusals, visitors, absences, lacks, tasks }
    }

    /// Record who is away from what serves.
    pub(super) fn note_absences(&mut self, serving: &BTreeSet<RegionName>, config: &Configuration, facts: &mut Facts) {
        self.absences.see(serving, facts);
        self.lacks.see(serving, config, facts);
    }

    /// Tell when the next holder of a ticket has been away for too long to be waited for.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.absences.alarm()
    }
}
