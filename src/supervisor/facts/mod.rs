//! Facts: what observers tell becomes them, and what is remembered of them over time.
//!
//! | module | job |
//! |---|---|
//! | [`observers`] | the observers' tasks, and what they are told |
//! | [`apply`] | a fact that was told becomes a fact that is known, and a reason to look elsewhere |
//! | [`exits`] | a region's downstairs has ended, and why |
//! | [`hung`] | what a process is doing that does not answer |
//! | [`crash_history`] | a region's recent ends |
//! | [`outside_stops`] | who stopped a region |
//! | [`running_programs`] | which program each process runs |
//! | [`staleness`] | facts whose observer says nothing any more |
//! | [`timer`] | what has not happened in time |

pub(super) mod apply;
pub(super) mod crash_history;
pub(super) mod exits;
pub(super) mod hung;
pub(super) mod observers;
pub(super) mod outside_stops;
pub(super) mod running_programs;
pub(super) mod staleness;
pub(super) mod timer;

use crate::config::Configuration;
use crate::decide::facts::{Doing, Facts, Run};
use crate::metrics::Counts;
use crate::names::RegionName;
use crate::programs::Program;
use crate::supervisor::tasks::Tasks;
use crash_history::CrashHistory;
use exits::LastWords;
use observers::Observers;
use outside_stops::Outside;
use running_programs::{Versions, hear_program, hear_unfinished};
use staleness::Freshness;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

/// Report of what was seen beside the observers.
pub(super) enum Report {
    /// The last words of a downstairs that has ended were looked up.
    Explained(LastWords),
    /// The process that does not answer is doing this; `None` if it has ended.
    Doing(RegionName, Option<Doing>),
    /// A run's process runs this program, as that states it.
    Runs(RegionName, Run, Program),
    /// An upgrade was begun and has not ended, by its record, or that is not so.
    Unfinished(bool),
}

/// Lookout: the observers, and what is remembered of what they have told.
pub(super) struct Lookout {
    pub(super) observers: Observers,
    crashes: BTreeMap<RegionName, CrashHistory>,
    staleness: Freshness,
    programs: Versions,
    outside: Outside,
    /// Regions whose process is being looked at, as it does not answer.
    looking: BTreeSet<RegionName>,
    /// Data disk that was last there.
    last_disk: Option<Uuid>,
    began: Instant,
    tried_again: Instant,
    tasks: Tasks<Report>,
    pub(super) counts: Counts,
}

impl Lookout {
    /// Begin with observers that have told nothing yet.
    pub(super) fn new(config: &Configuration, observers: Observers, tasks: Tasks<Report>) -> Self {
        let (programs, outside, looking) = Default::default();
        let (staleness, now) = (Freshness::new(config.sled.downstairs.hung_after.into()), Instant::now());
        let crashes = config.local_regions().into_iter().map(|local| (local.name, CrashHistory::default())).collect();
        let (last_disk, began, tried_again) = (None, now, now);
        let counts = Counts::default();
        counts.know(config.local_regions().into_iter().map(|local| local.name).collect());
        Self { observers, crashes, staleness, programs, outside, looking, last_disk, began, tried_again, tasks, counts }
    }

    /// Take over another configuration, of this number: of regions that are not here any more nothing is remembered.
    pub(super) fn take_over(&mut self, old: &Configuration, config: &Arc<Configuration>, number: u64) {
        self.staleness.allow(config.sled.downstairs.hung_after.into());
        self.counts.know(config.local_regions().into_iter().map(|local| local.name).collect());
        let mut before = std::mem::take(&mut self.crashes);
        let here = config.local_regions().into_iter().map(|local| local.name);
        self.crashes = here.map(|name| (name.clone(), before.remove(&name).unwrap_or_default())).collect();
        // systemd is asked to read the units anew when the new watch on it begins.
        self.observers.renew(old, config, number);
    }

    /// Take what was seen.
    pub(super) fn hear(&mut self, report: Report, config: &Configuration, facts: &mut Facts) {
        match report {
            Report::Explained(words) => self.hear_words(&words, config, facts),
            Report::Doing(name, seen) => self.hear_doing(&name, seen, facts),
            Report::Runs(name, run, program) => hear_program(&name, &run, program, facts),
            Report::Unfinished(unfinished) => hear_unfinished(unfinished, facts),
        }
    }

    /// Name the data disk that was last there.
    pub(super) fn last_disk(&self) -> Option<Uuid> {
        self.last_disk
    }
}
