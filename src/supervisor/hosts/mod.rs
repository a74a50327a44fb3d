//! Hosts, and what they are asked: to wait for a while, or to detach a volume. Both are in force once they are
//! written down, by one hand each.
//!
//! | module | job |
//! |---|---|
//! | [`maintenance`] | hosts are asked to wait |
//! | [`drains`] | the host that has a volume is asked to detach it |

pub(super) mod drains;
pub(super) mod maintenance;

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::wire;
use drains::Drains;
use maintenance::Maintenance;

/// Report of something that was to be written of what hosts are asked, and of what became of it.
pub(super) enum Report {
    /// What was to be written of maintenance was, or was not.
    Maintenance(maintenance::Written),
    /// What was to be written of drains was, or was not.
    Drains(drains::Written),
}

/// Wishes that hosts are told of.
pub(super) struct Hosts {
    pub(super) maintenance: Maintenance,
    pub(super) drains: Drains,
}

impl Hosts {
    /// Take up again what an earlier supervisor knew of them.
    pub(super) fn resume(&mut self, facts: &mut Facts) {
        self.maintenance.resume(&mut facts.maintenance);
        self.drains.resume(facts);
    }

    /// Take what became of something that was to be written. Whoever waits for it is to be answered this, when it
    /// is shown.
    pub(super) fn hear(
        &mut self,
        report: Report,
        config: &Configuration,
        facts: &mut Facts,
    ) -> Option<(Reply, Result<Answer, wire::Error>)> {
        match report {
            Report::Maintenance(written) => self.maintenance.hear(written, &mut facts.maintenance),
            Report::Drains(written) => self.drains.hear(written, config, facts),
        }
    }
}
