//! Region's facts and what they mean: the state it is in, and why it does not serve.

use super::facts::{Busy, Facts, OnDisk, Region, Stranger};
use super::finding::Finding;
use super::identity::{Identity, identity};
use super::process::{Judged, judge_unit};
use super::storage::belongs;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::{HeldBy, Hold};
use crate::systemd::names;
use crate::wire::State;
use std::collections::BTreeSet;

/// Judge one region. `queued`: it is to be started, and waits for those before it ([`plan`](super::plan) knows).
pub(super) fn judge(
    config: &Configuration,
    local: &LocalRegion,
    facts: &Facts,
    region: &Region,
    queued: bool,
) -> Judged {
    match facts.at_work(&local.name) {
        Some(busy) => at_work(local, busy),
        None => judge_idle(config, local, facts, region, queued),
    }
}

/// The regions that serve, those that a job is at included: who adopts a region waits for it to serve.
pub fn serving(config: &Configuration, facts: &Facts) -> BTreeSet<RegionName> {
    let serves = |local: &LocalRegion| {
        // A region that serves is not queued.
        let judged = |seen: &Region| judge_idle(config, local, facts, seen, false).0;
        facts.regions.get(&local.name).map_or_else(|| judged(&Region::default()), judged) == State::Serving
    };
    config.local_regions().into_iter().filter(serves).map(|local| local.name).collect()
}

/// Judge one region whatever a job may be doing to it.
fn judge_idle(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region, queued: bool) -> Judged {
    match identity(config, local, facts) {
        Identity::Unavailable if region.alive().is_some() => (State::Failed, Vec::new()),
        Identity::Unavailable if absent(config, local, facts) => (State::Missing, Vec::new()),
        Identity::Unavailable => (State::Stopped, Vec::new()),
        Identity::NeverCreated => (State::Missing, vec![missing(local, facts)]),
        Identity::Wrong(state, finding) => match facts.held(&local.name) {
            Some(hold) => (State::Held, vec![*finding, held(local, hold)]),
            None => (state, vec![*finding]),
        },
        Identity::Known(record) => {
            let (state, mut found) = match facts.held(&local.name) {
                Some(hold) => (State::Held, vec![held(local, hold)]),
                None => judge_unit(config, local, facts, region, (record, queued)),
            };
            let strangers = facts.intruders.iter().filter_map(|seen| seen.get(&local.name)).flatten();
            let before = found.len();
            found.extend(strangers.map(|stranger| intruder(local, stranger)));
            let alone = found.len() == before;
            (if alone || state != State::Serving { state } else { State::Failed }, found)
        }
    }
}

/// Whether there is nothing on this sled's disk that could be the region.
fn absent(config: &Configuration, local: &LocalRegion, facts: &Facts) -> bool {
    let disk = facts.disk.as_ref().filter(|disk| disk.mounted && belongs(config, disk).is_ok());
    disk.is_some_and(|disk| {
        disk.regions.get(&local.name) == Some(&OnDisk::Absent) && !disk.unadopted.contains(&local.name)
    })
}

fn at_work(local: &LocalRegion, busy: Busy) -> Judged {
    let (state, code, cause) = match busy {
        Busy::Creating => (State::Creating, Code::RegionCreating, "it is being created"),
        Busy::Adopting => (State::Held, Code::RegionAdopting, "it is being adopted"),
        Busy::Deleting => (State::Held, Code::RegionDeleting, "it is being deleted or restored"),
        Busy::Holding => (State::Held, Code::RegionHeld, "it is being stopped, to be held"),
        Busy::Restarting | Busy::Waiting | Busy::Watching => {
            (State::Starting, Code::RegionStarting, "it is being restarted")
        }
    };
    let remedy = "wait until it is done: sledctl jobs".to_owned();
    (state, vec![Finding::about_region(local, code, cause.into(), remedy)])
}

/// A region that is kept from running.
fn held(local: &LocalRegion, hold: &Hold) -> Finding {
    let release = format!("sledctl region release {}", local.name);
    let (code, cause) = match hold.by {
        HeldBy::Operator if hold.why.is_empty() => (Code::RegionHeld, "it is held, as was asked for".to_owned()),
        HeldBy::Operator => (Code::RegionHeld, format!("it is held, as was asked for: {}", hold.why)),
        HeldBy::CrashLoop => (Code::RegionCrashLoop, format!("it is held: {}", hold.why)),
        HeldBy::Failure => (Code::RegionBroken, format!("it is held: {}", hold.why)),
    };
    let remedy = match &hold.remedy {
        Some(remedy) => format!("{remedy}; then: {release}"),
        None if hold.by == HeldBy::Operator => release,
        None => format!("find out why (journalctl -u crucible-downstairs@{} -n 50); then: {release}", local.name),
    };
    Finding::about_region(local, code, cause, remedy)
}

/// Another process has its files open for writing: two writers corrupt a region.
fn intruder(local: &LocalRegion, stranger: &Stranger) -> Finding {
    let (name, pid) = (&local.name, stranger.pid.unwrap_or_default());
    let of = stranger.unit.as_ref().map(|unit| format!(" of {unit}")).unwrap_or_default();
    let cause = format!(
        "process {pid} ({}){of} has files of {name} open for writing; two writers corrupt a region",
        stranger.command
    );
    let region = |unit: &str| {
        Some(unit.strip_prefix(names::DOWNSTAIRS)?.strip_prefix('@')?.strip_suffix(".service")?.to_owned())
    };
    let remedy = match &stranger.unit {
        Some(unit) if let Some(other) = region(unit) => format!(
            "a drop-in has it do so (systemctl cat {unit} shows which): take that away, then: systemctl daemon-reload && \
             systemctl restart {unit}; until then: sledctl region hold {other}, or systemctl stop {unit} if there is no \
             such region"
        ),
        Some(unit) if unit.ends_with(".service") => format!("if it is no repair of yours: systemctl stop {unit}"),
        _ => format!("if it is no repair of yours: kill {pid}"),
    };
    Finding::about_region(local, Code::RegionForeignProcess, cause, remedy)
}

fn missing(local: &LocalRegion, facts: &Facts) -> Finding {
    let name = &local.name;
    let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
    let stones = ledger.map(|ledger| ledger.restorable(name)).unwrap_or_default();
    let anew = format!(
        "a new one: sledctl region create {name}, or sledctl region rebuild {name}, which looks first whether the others \
         are whole, and watches until its host has filled it"
    );
    let (cause, remedy) = match stones.last() {
        None => ("it has not been created".to_owned(), format!("sledctl region create {name}")),
        Some(stone) => (
            format!("it was deleted at {}, and is kept for a while", stone.deleted),
            match stones.len() {
                1 => format!("to have it back: sledctl region restore {name}; {anew}"),
                more => format!("{more} of it are kept (sledctl storage): sledctl region restore {name}.TIME; {anew}"),
            },
        ),
    };
    Finding::about_region(local, Code::RegionMissing, cause, remedy)
}
