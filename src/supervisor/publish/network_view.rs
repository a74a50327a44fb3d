//! What is shown of the network: in short, from the cable to the address, and by ports.

use crate::check::Code;
use crate::config::{self, Configuration, Vlan};
use crate::decide::facts::{Bridge, Facts, Holder, Network, Nic, PortState, Region, Through};
use crate::names::RegionName;
use crate::wire::{self, AddressState, Listener, State, Who};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The adapter that carries: the spare when it does so in the first one's place.
fn nic(facts: &Facts) -> Option<&Nic> {
    let network = facts.network.as_ref()?;
    network.spare_in_use().or(network.nic.as_ref())
}

fn bridge(facts: &Facts) -> Option<&Bridge> {
    facts.network.as_ref()?.bridge.as_ref()
}

/// Describe the network in short.
pub(in crate::supervisor) fn network(config: &Configuration, facts: &Facts) -> wire::Network {
    let nic = nic(facts);
    wire::Network {
        nic: nic.map_or(&*config.sled.network.nic, |nic| nic.known_as(&config.sled.network.nic)).to_owned(),
        carrier: nic.map(|nic| nic.carrier),
        link_mbps: nic.and_then(|nic| nic.link_mbps),
        usb_mbps: nic.and_then(|nic| nic.usb.as_ref()?.mbps),
        bridge: config.sled.network.bridge.clone(),
        addresses: bridge(facts).map(|bridge| bridge.addresses.clone()),
    }
}

/// Describe the way from the cable to the sled's address; of all conditions, those that concern it.
pub(in crate::supervisor) fn network_detail(
    config: &Configuration,
    facts: &Facts,
    checks: &[wire::Check],
    as_of: Timestamp,
) -> wire::NetworkDetail {
    let wanted = &config.sled.network;
    let subjects = [format!("nic {}", wanted.nic), format!("bridge {}", wanted.bridge)];
    let routes = facts.network.as_ref();
    wire::NetworkDetail {
        sled: config.sled.name.clone(),
        as_of,
        network: network(config, facts),
        adapter: nic(facts).map(adapter),
        spare: wanted.spare.as_ref().map(|name| spare(name, facts.network.as_ref())),
        bridge_detail: bridge(facts).map(|bridge| bridge_detail(bridge, tags(config, facts))),
        address: config.address,
        default_route: routes.is_some_and(|it| if config.address.is_ipv4() { it.default_v4 } else { it.default_v6 }),
        min_link_mbps: wanted.min_link_mbps,
        min_usb_mbps: wanted.min_usb_mbps,
        checks: checks.iter().filter(|check| subjects.contains(&check.subject) || of_hosts(check)).cloned().collect(),
    }
}

/// Whether a condition is one of the way to a host: it concerns volumes, and is of the network all the same.
fn of_hosts(check: &wire::Check) -> bool {
    matches!(check.code, Code::RouteMissing | Code::NeighbourMissing)
}

/// The VLAN that the bridge gives packets on the cable.
fn tags(config: &Configuration, facts: &Facts) -> Option<u16> {
    let tagging = facts.network.as_ref()?.tagging?;
    let tagged = tagging.port.is_some_and(|port| !port.untagged);
    config.sled.network.vlan.map(Vlan::id).filter(|_| tagging.filtering && tagged)
}

fn adapter(nic: &Nic) -> wire::Adapter {
    wire::Adapter {
        up: nic.up,
        driver: nic.driver.clone(),
        usb_path: nic.usb.as_ref().map(|usb| usb.path.clone()),
        mtu: nic.mtu,
        through: nic.through.iter().map(through).collect(),
        master: nic.master.clone(),
        port: nic.port.map(|state| match state {
            PortState::Disabled => wire::PortState::Disabled,
            PortState::Blocking => wire::PortState::Blocking,
            PortState::Waiting => wire::PortState::Waiting,
            PortState::Forwarding => wire::PortState::Forwarding,
        }),
    }
}

fn spare(wanted: &config::Nic, network: Option<&Network>) -> wire::Spare {
    let seen = network.and_then(|network| network.spare.as_ref());
    wire::Spare {
        name: seen.map_or(&**wanted, |seen| seen.known_as(wanted)).to_owned(),
        there: seen.is_some(),
        carrier: seen.is_some_and(|seen| seen.carrier),
        link_mbps: seen.and_then(|seen| seen.link_mbps),
        carries: network.is_some_and(|network| network.spare_in_use().is_some()),
    }
}

fn through(it: &Through) -> wire::Through {
    wire::Through { name: it.name.clone(), vlan: it.vlan() }
}

fn bridge_detail(bridge: &Bridge, vlan: Option<u16>) -> wire::BridgeDetail {
    let states = [
        (&bridge.addresses, AddressState::Usable),
        (&bridge.tentative, AddressState::Tentative),
        (&bridge.duplicates, AddressState::Duplicate),
    ];
    let addresses = states.into_iter().flat_map(|(addresses, state)| {
        addresses.iter().map(move |address| wire::BridgeAddress {
            address: *address,
            prefix: bridge.prefixes.get(address).copied(),
            state,
        })
    });
    wire::BridgeDetail { up: bridge.up, mtu: bridge.mtu, vlan, addresses: addresses.collect() }
}

/// Describe the ports of this sled's regions, whose states are these.
pub(in crate::supervisor) fn ports(
    config: &Configuration,
    facts: &Facts,
    states: &BTreeMap<RegionName, State>,
    as_of: Timestamp,
) -> wire::Ports {
    let one = |local: crate::port_map::LocalRegion| {
        let seen = facts.regions.get(&local.name);
        let sockets = seen.and_then(|region| region.sockets.as_ref());
        let own = seen.and_then(Region::alive);
        wire::RegionPorts {
            state: states.get(&local.name).copied(),
            port: local.port,
            listens: sockets.map(|sockets| listener(&sockets.data, own)),
            repair_port: local.repair_port(),
            repair_listens: sockets.map(|sockets| listener(&sockets.repair, own)),
            elsewhere: sockets.map(|sockets| sockets.elsewhere.clone()).unwrap_or_default(),
            connected: seen.map(|region| connected(config, region)).unwrap_or_default(),
            dropped: sockets.map_or(0, |sockets| sockets.dropped),
            region: local.name,
        }
    };
    let mut regions: Vec<_> = config.local_regions().into_iter().map(one).collect();
    regions.sort_by_key(|ports| ports.port);
    let (sled, http) = (config.sled.name.clone(), config.listen.clone());
    wire::Ports { sled, as_of, address: config.address, http, regions }
}

fn listener(holder: &Holder, own: Option<u32>) -> Listener {
    let of = |who, pid| Listener { who, pid, command: None, unit: None };
    match holder {
        Holder::Nobody => of(Who::Nobody, None),
        Holder::Own => of(Who::Region, own),
        Holder::Other(stranger) => Listener {
            command: Some(stranger.command.clone()),
            unit: stranger.unit.clone(),
            ..of(Who::Stranger, stranger.pid)
        },
    }
}

/// List the peers of a region, by name where the map has one.
pub(in crate::supervisor) fn connected(config: &Configuration, region: &Region) -> Vec<wire::Peer> {
    let peers = region.sockets.iter().flat_map(|sockets| &sockets.connected);
    let named = |peer: &wire::Peer| {
        let host = config.map.name_of(peer.address).map(str::to_owned);
        wire::Peer { host, ..peer.clone() }
    };
    peers.map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Stranger;

    #[test]
    fn a_listener_is_nobody_the_region_or_a_stranger_with_all_that_is_known_of_it() {
        let stranger = Stranger { pid: Some(7), command: "nc -l".into(), unit: Some("odd.service".into()) };
        let who = |holder: &Holder| listener(holder, Some(5));
        assert_eq!((who(&Holder::Nobody).who, who(&Holder::Nobody).pid), (Who::Nobody, None));
        assert_eq!((who(&Holder::Own).who, who(&Holder::Own).pid), (Who::Region, Some(5)));
        let (command, unit) = (Some("nc -l".into()), Some("odd.service".into()));
        let seen = who(&Holder::Other(stranger));
        assert_eq!(seen, Listener { who: Who::Stranger, pid: Some(7), command, unit });
    }

    #[test]
    fn an_address_that_cannot_be_used_says_why() {
        let [a, b, c] = ["10.0.0.1", "10.0.0.2", "fd00::1"].map(|address| address.parse().unwrap());
        let bridge = Bridge {
            up: true,
            addresses: vec![a],
            duplicates: vec![b],
            tentative: vec![c],
            prefixes: [(a, 24), (b, 24)].into(),
            mtu: Some(1500),
            ..Bridge::default()
        };
        let of = |address, prefix, state| wire::BridgeAddress { address, prefix, state };
        assert_eq!(
            bridge_detail(&bridge, None).addresses,
            [
                of(a, Some(24), AddressState::Usable),
                of(c, None, AddressState::Tentative),
                of(b, Some(24), AddressState::Duplicate)
            ]
        );
    }
}
