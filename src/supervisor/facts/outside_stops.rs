//! Stops from outside, and who stopped a region. A unit that ends by itself is started again by systemd,
//! which counts that; one that is stopped, or runs anew without having been counted, was told to by somebody:
//! by this supervisor, which knows whom it has told, or by somebody else, of which a trace is left.

use crate::decide::facts::{Active, Facts, Stopped, Unit};
use crate::names::RegionName;
use crate::supervisor::facts::Lookout;
use crate::times;
use std::collections::BTreeMap;

/// Knowledge of who stops what.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Outside {
    /// Runs that this supervisor has had ended, the last one of each region.
    own: BTreeMap<RegionName, Option<String>>,
    /// Units that have changed since that was last looked through.
    changed: Vec<(RegionName, Unit, Unit)>,
}

impl Lookout {
    /// Record that this supervisor is about to stop a region, or a job of its is.
    pub(in crate::supervisor) fn ends(&mut self, name: &RegionName, facts: &Facts) {
        let unit = facts.regions.get(name).and_then(|region| region.unit.as_ref());
        if let Some(unit) = unit {
            self.outside.own.insert(name.clone(), unit.invocation.clone());
        }
    }

    /// Record a change of a unit, until everything has been heard that led to it.
    pub(in crate::supervisor) fn note_change(&mut self, name: &RegionName, now: &Unit, facts: &Facts) {
        let before = facts.regions.get(name).and_then(|region| region.unit.clone());
        self.outside.changed.extend(before.map(|before| (name.clone(), before, now.clone())));
    }

    /// Look through the changes of units: who was not told to stop by this supervisor, was by another.
    pub(in crate::supervisor) fn see_who_stopped(&mut self, facts: &mut Facts) {
        for (name, before, now) in std::mem::take(&mut self.outside.changed) {
            let own = self.outside.own.get(&name) == Some(&before.invocation);
            let at_it =
                facts.at_work(&name).is_some() || facts.regions.get(&name).is_some_and(|region| region.changing);
            if !was_stopped(&before, &now) || own || at_it || facts.leaving {
                continue;
            }
            let what = if now.active == Active::Inactive { "stopped" } else { "restarted" };
            tracing::warn!(
                REGION = %name,
                "{name} was {what} by systemctl or another program, not by this supervisor, which starts it again; to \
                 keep it down: sledctl region hold {name}"
            );
            let stopped = Stopped { at: times::now(), run: before.invocation };
            if let Some(region) = facts.regions.get_mut(&name) {
                region.stopped = Some(stopped);
            }
        }
    }
}

/// Tell whether a unit was stopped by a job between two looks, and did not end by itself.
fn was_stopped(before: &Unit, now: &Unit) -> bool {
    let ran = matches!(before.active, Active::Active | Active::Deactivating);
    let stopped = now.active == Active::Inactive && now.result == "success";
    let anew = matches!(now.active, Active::Activating | Active::Active)
        && before.invocation.is_some()
        && now.invocation != before.invocation
        && now.restarts <= before.restarts;
    ran && (stopped || anew)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Exit;

    #[test]
    fn an_end_of_its_own_is_told_from_one_that_was_asked_for() {
        let unit = |active, run: &str, restarts| Unit {
            active,
            pid: None,
            exit: Some(Exit::Signal(15)),
            result: "success".into(),
            restarts,
            invocation: Some(run.into()),
            since: None,
            fence: None,
            masked: false,
        };
        let serving = unit(Active::Active, "a", 2);
        let failed = Unit { result: "signal".into(), ..unit(Active::Inactive, "a", 2) };
        for (before, now, stopped) in [
            (&serving, unit(Active::Inactive, "a", 2), true),
            (&unit(Active::Deactivating, "a", 2), unit(Active::Inactive, "a", 2), true),
            (&serving, unit(Active::Deactivating, "a", 2), false),
            (&serving, failed, false),
            // systemctl restart, seen when it was over.
            (&serving, unit(Active::Active, "b", 0), true),
            (&serving, unit(Active::Active, "b", 3), false),
            (&serving, unit(Active::Activating, "a", 2), false),
            (&unit(Active::Inactive, "a", 2), unit(Active::Active, "b", 0), false),
            (&unit(Active::Activating, "a", 2), unit(Active::Inactive, "a", 2), false),
        ] {
            assert_eq!(was_stopped(before, &now), stopped, "{before:?} {now:?}");
        }
    }
}
