//! Lack of a region by a host that uses a volume, for long: nothing is wrong with the region, and every write is on
//! two replicas only.

use super::facts::Facts;
use super::finding::Finding;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The time from which it is told, in seconds. An upstairs tries every ten.
const TOLD_AFTER_SECONDS: u64 = 60;
/// The times that are told, in seconds: not every second of it is news to who waits for a change.
const TOLD_STEPS: [(u64, &str); 7] = [
    (TOLD_AFTER_SECONDS, "a minute"),
    (300, "5 minutes"),
    (900, "15 minutes"),
    (3600, "an hour"),
    (4 * 3600, "4 hours"),
    (24 * 3600, "a day"),
    (7 * 24 * 3600, "a week"),
];

/// The findings about hosts that lack a region.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let long = facts.lacks.iter().filter(|(_, seconds)| **seconds >= TOLD_AFTER_SECONDS);
    let who: BTreeSet<_> = long.map(|((region, host), _)| (region.volume().clone(), *host)).collect();
    who.into_iter().filter_map(|(volume, host)| degraded(config, facts, volume, host)).collect()
}

fn degraded(config: &Configuration, facts: &Facts, volume: VolumeName, host: IpAddr) -> Option<Finding> {
    // A host that the volume does not let in is told by another check.
    facts.fence(config, &volume).filter(|fence| fence.admits(host))?;
    let has = facts.visitors(config, &volume).remove(&host)?;
    let own = facts.lacks.iter().filter(|((region, who), seconds)| {
        *region.volume() == volume && *who == host && **seconds >= TOLD_AFTER_SECONDS
    });
    let lacks: Vec<_> = own.collect();
    let least = lacks.iter().map(|(_, seconds)| **seconds).min()?;
    let (_, time) = TOLD_STEPS.iter().rev().find(|(step, _)| least >= *step)?;
    let named = |names: Vec<&RegionName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let lacked: Vec<_> = lacks.iter().map(|((region, _), _)| region).collect();
    let first = *lacked.first()?;
    let name = config.map.name_of(host).map(|name| format!(" ({name})")).unwrap_or_default();
    let cause = format!(
        "{host}{name} is connected to {} and has not been to {} for more than {time}, although that serves: what it \
         writes is on {} of {} regions here",
        named(has.iter().collect()),
        named(lacked.clone()),
        has.len(),
        has.len() + lacked.len()
    );
    let port = config.local_regions().into_iter().find(|local| local.name == *first).map(|local| local.port)?;
    let remedy = format!(
        "see on {host} why its upstairs does not come back to {first} (its log; ss -tn dst {}); a restart of what it \
         lacks cuts nobody off: sledctl region restart {first}",
        std::net::SocketAddr::new(config.address, port)
    );
    let finding = Finding::about_volume(&volume, Code::VolumeDegraded, cause, remedy);
    Some(Finding { subject: format!("volume {volume} of {host}"), ..finding })
}
