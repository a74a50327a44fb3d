//! Collisions of ports on a sled: every region claims its data port and its repair port, the supervisor its HTTP
//! ports, the kernel its ephemeral range.

use super::{DATA_PORTS, HTTP_PORT, Limits, Placement, REPAIR_OFFSET};
use crate::names::SledName;
use crate::source::{Faults, Origin};
use std::collections::BTreeMap;

/// A region's claim on two ports of a sled.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The volume as it is written, whether or not it can be called so.
    pub(super) volume: String,
    pub(super) index: usize,
    pub(super) placement: Placement,
    pub(super) origin: Origin,
}

/// The taker of each port of a sled, as a sentence says it.
type Taken = BTreeMap<(SledName, u16), String>;

impl Claim {
    fn ports(&self) -> [(u16, &'static str); 2] {
        let port = self.placement.port;
        [(port, "data port"), (port + REPAIR_OFFSET, "repair port")]
    }

    fn key(&self) -> String {
        format!("volumes.{}.regions", self.volume)
    }

    fn region(&self) -> String {
        format!("{}-{}", self.volume, self.index)
    }
}

/// Report every claim that collides with an earlier one, an HTTP port or the ephemeral range.
pub(super) fn check(claims: &[Claim], limits: &Limits, faults: &mut Faults) {
    let mut taken = Taken::new();
    for claim in claims {
        let sled = &claim.placement.sled;
        for port in http_ports(sled, limits) {
            taken.entry((sled.clone(), port)).or_insert_with(|| "the HTTP port of the sled".into());
        }
    }
    for claim in claims {
        check_claim(claim, claims, &mut taken, limits, faults);
    }
}

fn check_claim(claim: &Claim, claims: &[Claim], taken: &mut Taken, limits: &Limits, faults: &mut Faults) {
    let sled = &claim.placement.sled;
    for (port, what) in claim.ports() {
        let named = format!("{what} {port} of {} on {sled}", claim.region());
        if let Some(other) = taken.get(&(sled.clone(), port)) {
            let problem = format!("the {named} is {other} too");
            faults.push(&claim.origin, claim.key(), problem, remedy(claim, claims, limits));
            return; // Equal data ports have equal repair ports: once is enough.
        }
        taken.insert((sled.clone(), port), format!("the {what} of {}", claim.region()));
        if limits.ephemeral.contains(&port) {
            let (low, high) = (limits.ephemeral.start(), limits.ephemeral.end());
            let problem = format!(
                "the {named} lies in the ephemeral range {low}-{high}, which the kernel gives to outgoing connections"
            );
            faults.push(&claim.origin, claim.key(), problem, remedy(claim, claims, limits));
        }
    }
}

fn http_ports(sled: &SledName, limits: &Limits) -> Vec<u16> {
    match &limits.this_sled {
        Some(this) if this != sled => vec![HTTP_PORT],
        _ => limits.http_ports.clone(),
    }
}

/// Name a port that is free, so that nobody has to search.
fn remedy(claim: &Claim, claims: &[Claim], limits: &Limits) -> String {
    let sled = &claim.placement.sled;
    let http = http_ports(sled, limits);
    let neighbours = claims.iter().filter(|other| other.placement.sled == *sled);
    let used: Vec<u16> = neighbours.flat_map(|c| c.ports().map(|(port, _)| port)).chain(http).collect();
    let free =
        |port: &u16| [*port, *port + REPAIR_OFFSET].iter().all(|p| !used.contains(p) && !limits.ephemeral.contains(p));
    let from_here = (claim.placement.port..=*DATA_PORTS.end()).find(free);
    match from_here.or_else(|| DATA_PORTS.clone().find(free)) {
        Some(port) => format!("write another port; {port} is free, and so is {}", port + REPAIR_OFFSET),
        None => format!("no port is free on {sled}; put the region on another sled"),
    }
}
