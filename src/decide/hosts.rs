//! Hosts of the map as they are reached from here: to which no route leads, and which of those that are attached does not
//! answer. Each concerns the volumes that it is a host of.

use super::facts::{Facts, Manager, Network};
use super::finding::Finding;
use super::manager::{lasting, of_network};
use crate::check::Code;
use crate::config::Configuration;
use crate::names::VolumeName;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The findings about hosts, where the sled has its address.
pub(super) fn findings(config: &Configuration, facts: &Facts, network: &Network) -> Vec<Finding> {
    let here: BTreeSet<_> = config.local_regions().into_iter().map(|local| local.name.volume().clone()).collect();
    let by = network.bridge.as_ref().and_then(|bridge| bridge.manager);
    let of_volume = |volume: &VolumeName| {
        let allowed = config.map.volumes.get(volume).map(|volume| volume.hosts.as_slice()).unwrap_or_default();
        let unroutable = allowed.iter().filter(|host| network.unroutable.contains(host));
        let unroutable = unroutable.map(|host| no_route(config, by, volume, *host));
        let attached = facts.visitors(config, volume).into_keys();
        let silent = attached.filter(|host| network.unanswering.contains(host));
        let silent = silent.map(|host| no_answer(config, volume, host));
        unroutable.chain(silent).collect::<Vec<_>>()
    };
    here.iter().flat_map(of_volume).collect()
}

/// A host by its name, if the map has one, and its address.
fn named(config: &Configuration, host: IpAddr) -> String {
    config.map.name_of(host).map_or_else(|| host.to_string(), |name| format!("{name} ({host})"))
}

fn no_route(config: &Configuration, by: Option<Manager>, volume: &VolumeName, host: IpAddr) -> Finding {
    let bridge = &config.sled.network.bridge;
    let cause = format!("no route leads to {}, which may attach it", named(config, host));
    let route = |gateway: &str| format!("ip route add {host} via {gateway} dev {bridge}");
    let networkd = of_network(&format!("[Route] with Destination={host} and Gateway=GATEWAY"), bridge);
    let remedy = format!(
        "ip route get {host} says why; {}{}",
        route("GATEWAY"),
        lasting(by, bridge, &networkd, &format!("up {}", route("GATEWAY")))
    );
    Finding::about_volume(volume, Code::RouteMissing, cause, remedy)
}

fn no_answer(config: &Configuration, volume: &VolumeName, host: IpAddr) -> Finding {
    let bridge = &config.sled.network.bridge;
    let cause = format!(
        "{} is attached, and does not answer when it is asked for its hardware address on {bridge}",
        named(config, host)
    );
    let remedy = format!(
        "see there whether the host runs, has its address and its cable; ip neighbour show {host} dev {bridge} shows what \
         is known here"
    );
    Finding::about_volume(volume, Code::NeighbourMissing, cause, remedy)
}
