//! Prospect of another configuration: the difference, and the verdict on it by what was looked at for it a moment
//! ago. A region that is to be started is taken to serve, unless something that was seen keeps it from that.

use super::difference::{difference, started_anew};
use super::facts::{Active, Beat, Facts, Fresh, Holder, Pulse, Region, Sockets, Unit};
use super::finding::Finding;
use super::verdict::{Verdict, judge};
use crate::check::{Code, Severity};
use crate::config::Configuration;
use crate::names::VolumeName;
use crate::wire::{Change, Condition, Difference, Unattachable};
use std::collections::BTreeSet;

/// The process of a region that does not run yet.
const SOMEBODY: u32 = u32::MAX;

/// Find what a configuration would change, and what would come of it.
pub fn prospect(old: &Configuration, new: &Configuration, facts: &Facts, fresh: &Fresh) -> Difference {
    let now = quiet(seen_now(facts, fresh));
    let mut found = difference(old, new, &now);
    found.changes.extend(fresh.unusable.iter().map(|(key, why)| Change {
        subject: "sled.toml".into(),
        what: format!("{key} cannot be used"),
        effect: format!("{why}: no region starts with it, after an upgrade, a crash or the next boot"),
        interrupts: false,
        needs_restart: false,
        needs_yes: true,
    }));
    let (before, after) = (judge(old, &now), judge(new, &then(old, new, &now, fresh)));
    found.come = lacking(&after, &before);
    found.go = lacking(&before, &after);
    found.unattachable = unattachable(old, new, &before, &after);
    found
}

/// The facts that are known, with what was just seen of connections.
pub fn seen_now(facts: &Facts, fresh: &Fresh) -> Facts {
    let mut now = facts.clone();
    for (name, region) in &mut now.regions {
        region.speaks_tls = fresh.speaks_tls.get(name).copied();
        if let (Some(sockets), Some(peers)) = (&mut region.sockets, fresh.connected.get(name)) {
            sockets.connected.clone_from(peers);
        }
    }
    for (name, peers) in &fresh.connected {
        let region = now.regions.entry(name.clone()).or_default();
        if region.sockets.is_none() {
            region.sockets = Some(sockets(region.alive(), peers.clone()));
        }
    }
    now
}

/// The facts without what passes by itself, and without the operator's own word that hosts are to wait: it must hide
/// nothing.
fn quiet(facts: Facts) -> Facts {
    Facts { maintenance: None, leaving: false, busy: Default::default(), files: None, in_force: None, ..facts }
}

/// The facts as they would be then.
fn then(old: &Configuration, new: &Configuration, now: &Facts, fresh: &Fresh) -> Facts {
    let mut then = now.clone();
    let same_network = old.sled.network == new.sled.network;
    then.network = fresh.network.clone().or_else(|| then.network.filter(|_| same_network));
    then.tls.clone_from(&fresh.tls);
    then.disk = fresh.disk.clone().or(then.disk);
    then.stale_units = false;
    let anew: BTreeSet<_> = started_anew(old, new, now).into_iter().map(|local| local.name).collect();
    then.regions.clear();
    for local in new.local_regions() {
        let mut region = match now.regions.get(&local.name) {
            Some(region) if !anew.contains(&local.name) => region.clone(),
            _ => serving(&then, &local.name),
        };
        if let Some(stranger) = fresh.taken.get(&local.name)
            && let Some(sockets) = &mut region.sockets
        {
            sockets.data = Holder::Other(stranger.clone());
        }
        if let Some(unit) = &mut region.unit {
            // The fence follows at once.
            unit.fence = then.fence(new, local.name.volume());
        }
        then.regions.insert(local.name, region);
    }
    then
}

/// A region that serves.
fn serving(facts: &Facts, name: &crate::names::RegionName) -> Region {
    let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
    let record = ledger.and_then(|ledger| ledger.regions.get(name));
    let unit = Unit {
        active: Active::Active,
        pid: Some(SOMEBODY),
        exit: None,
        result: "success".into(),
        restarts: 0,
        invocation: None,
        since: None,
        masked: false,
        fence: None,
    };
    let pulse =
        Pulse { pid: SOMEBODY, beat: Beat::Answering, identity: record.map(|record| Ok(record.uuid)), presents: None };
    let sockets = Some(sockets(Some(SOMEBODY), Vec::new()));
    Region { unit: Some(unit), sockets, pulse: Some(pulse), ..Region::default() }
}

fn sockets(pid: Option<u32>, connected: Vec<crate::wire::Peer>) -> Sockets {
    Sockets { pid, data: Holder::Own, repair: Holder::Own, elsewhere: Vec::new(), connected, dropped: 0 }
}

/// The conditions of one verdict that the other does not have.
fn lacking(one: &Verdict, other: &Verdict) -> Vec<Condition> {
    let known = |finding: &Finding| {
        other.findings.iter().any(|known| known.code == finding.code && known.subject == finding.subject)
    };
    let news = one.findings.iter().filter(|finding| !finding.code.passes() && !known(finding));
    let condition = |finding: &Finding| Condition {
        code: finding.code,
        severity: finding.code.severity(),
        subject: finding.subject.clone(),
        cause: finding.cause.clone(),
        remedy: finding.remedy.clone(),
    };
    news.map(condition).collect()
}

/// The volumes that both have here, and that may be attached with the one and not with the other.
fn unattachable(old: &Configuration, new: &Configuration, before: &Verdict, after: &Verdict) -> Vec<Unattachable> {
    let here = |config: &Configuration| {
        config.local_regions().into_iter().map(|local| local.name.volume().clone()).collect::<BTreeSet<VolumeName>>()
    };
    let both: Vec<_> = here(old).intersection(&here(new)).cloned().collect();
    let lost = both.into_iter().filter(|volume| before.ready(volume) && !after.ready(volume));
    let blocks = |finding: &&Finding, volume: &VolumeName| {
        finding.code.severity() == Severity::Blocking && finding.concerns(volume)
    };
    lost.map(|volume| {
        let first = after.findings.iter().find(|finding| blocks(finding, &volume));
        let code = |code: Code| code.as_str();
        let why = first.map_or_else(
            || "not every region of it would serve".to_owned(),
            |finding| format!("{}: {}: {}", code(finding.code), finding.subject, finding.cause),
        );
        Unattachable { volume, why }
    })
    .collect()
}
