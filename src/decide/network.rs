//! Facts of the network behind the adapter and what they mean: one finding for one cause, the nearest to the root of it.

use super::adapter;
use super::facts::{Bridge, Facts, Network, Nic, PortState};
use super::finding::Finding;
use crate::check::Code;
use crate::config::{Configuration, usual_prefix};

/// The findings about the network interface and the bridge. Nothing before the first look.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let Some(network) = &facts.network else {
        return Vec::new();
    };
    let mut found = adapter::findings(config, facts, network);
    let nic = network.nic.as_ref();
    match &network.bridge {
        Some(bridge) => {
            found.extend(nic.and_then(|nic| port(config, bridge, nic)));
            found.extend(address(config, bridge));
            found.extend(nic.and_then(|nic| mtu(config, bridge, nic)));
            found.extend(prefix(config, facts, bridge));
            found.extend(default_route(config, facts, network));
        }
        None => found.push(missing_bridge(config)),
    }
    found
}

/// Whether the sled's address can be listened at.
pub(super) fn has_address(config: &Configuration, facts: &Facts) -> bool {
    let bridge = facts.network.as_ref().and_then(|network| network.bridge.as_ref());
    bridge.is_some_and(|bridge| bridge.up && bridge.addresses.contains(&config.address))
}

/// Whether the kernel does not use the sled's address, as another machine has it.
pub(super) fn is_duplicate(config: &Configuration, facts: &Facts) -> bool {
    let bridge = facts.network.as_ref().and_then(|network| network.bridge.as_ref());
    bridge.is_some_and(|bridge| bridge.duplicates.contains(&config.address))
}

fn missing_bridge(config: &Configuration) -> Finding {
    let bridge = &config.sled.network.bridge;
    Finding::new(
        Code::BridgeMissing,
        format!("bridge {bridge}"),
        format!("there is no bridge {bridge}"),
        format!("see `networkctl status {bridge}`; network.bridge of sled.toml names the bridge that is looked for"),
    )
}

/// The finding about the network interface as a port of the bridge.
fn port(config: &Configuration, whole: &Bridge, nic: &Nic) -> Option<Finding> {
    let (wanted, bridge) = (&config.sled.network.nic, &config.sled.network.bridge);
    let subject = format!("bridge {bridge}");
    if nic.master.as_ref() != Some(bridge) {
        let cause = match &nic.master {
            Some(other) => format!("{wanted} is a port of {other}, not of {bridge}"),
            None => format!("{wanted} is not a port of {bridge}"),
        };
        let remedy = format!("ip link set {wanted} master {bridge}");
        return Some(Finding::new(Code::BridgePortMissing, subject, cause, remedy));
    }
    // The port of a bridge that is down, or without a link, is disabled, too.
    let state = nic.port.filter(|_| whole.up && nic.up && nic.carrier)?;
    let (state, remedy) = match state {
        PortState::Forwarding => return None,
        PortState::Disabled => ("is disabled", format!("bridge link set dev {wanted} state 3")),
        PortState::Blocking => (
            "is blocked, to break a loop",
            format!("find the second cable that leads to the same network (bridge link show master {bridge})"),
        ),
        PortState::Waiting => (
            "waits, while the bridge looks for loops",
            "wait: that takes twice its forward delay, half a minute".into(),
        ),
    };
    let cause = format!("{wanted} {state} as a port of {bridge}: nothing goes through it");
    Some(Finding::new(Code::BridgePortBlocked, subject, cause, remedy))
}

/// The finding about the sled's address on the bridge.
fn address(config: &Configuration, bridge: &Bridge) -> Option<Finding> {
    let (name, address) = (&config.sled.network.bridge, config.address);
    let subject = format!("bridge {name}");
    if bridge.up && bridge.duplicates.contains(&address) {
        let cause =
            format!("another machine has the sled's address {address} as well: the kernel does not use it here");
        let prefix = bridge.prefixes.get(&address).copied().unwrap_or(64);
        let remedy = format!(
            "find that machine (ip neighbour show {address}, asked on a third one, tells its MAC) and take the address \
             from it; then have it looked at anew: ip address del {address}/{prefix} dev {name} && ip address add \
             {address}/{prefix} dev {name}"
        );
        return Some(Finding::new(Code::AddressDuplicate, subject, cause, remedy));
    }
    let cause = match (bridge.up, bridge.addresses.contains(&address)) {
        (true, true) => return None,
        (false, _) => format!("{name} is down"),
        (true, false) if bridge.tentative.contains(&address) => {
            let cause = format!(
                "{name} does not have the sled's address {address} yet: whether another machine has it is looked at"
            );
            return Some(Finding::new(Code::BridgeAddress, subject, cause, "wait: that takes a second or two"));
        }
        (true, false) => format!("{name} does not have the sled's address {address}"),
    };
    let remedy =
        format!("see `networkctl status {name}`; the address comes from [sleds.{}] of port-map.toml", config.sled.name);
    Some(Finding::new(Code::BridgeAddress, subject, cause, remedy))
}

/// The finding about the longest packets that the two take.
fn mtu(config: &Configuration, bridge: &Bridge, nic: &Nic) -> Option<Finding> {
    let (wanted, name) = (&config.sled.network.nic, &config.sled.network.bridge);
    let (whole, part) = (bridge.mtu?, nic.mtu?);
    if whole == part || nic.master.as_ref() != Some(name) {
        return None;
    }
    let what = if whole > part {
        "what is longer is lost on the way out, and a connection hangs as soon as it has much to say"
    } else {
        "longer ones that arrive are lost"
    };
    let cause = format!("{name} takes packets of {whole} bytes and its port {wanted} of {part}: {what}");
    let least = whole.min(part);
    let remedy = format!(
        "give both the same, as the switch and the hosts have it: ip link set {name} mtu {least} && ip link set {wanted} \
         mtu {least}"
    );
    Some(Finding::new(Code::MtuMismatch, format!("bridge {name}"), cause, remedy))
}

/// The finding about the size of the network that the sled's address lies in. The size that it is to have is
/// configured for the image alone; a network of one address is odd everywhere.
fn prefix(config: &Configuration, facts: &Facts, bridge: &Bridge) -> Option<Finding> {
    let (name, address) = (&config.sled.network.bridge, config.address);
    let has = *bridge.prefixes.get(&address)?;
    let alone = has == if address.is_ipv4() { 32 } else { 128 };
    let wanted = config.sled.appliance.prefix.unwrap_or_else(|| usual_prefix(address));
    let other = facts.image.is_some() && has != wanted;
    if !alone && !other {
        return None;
    }
    let why = if alone {
        "a network of one address, in which there is no host".to_owned()
    } else {
        format!("and appliance.prefix of sled.toml is {wanted}")
    };
    let cause = format!("{name} has {address}/{has}, {why}");
    let right = if alone && !other { usual_prefix(address) } else { wanted };
    let remedy = format!(
        "ip address add {address}/{right} dev {name} && ip address del {address}/{has} dev {name}, and the same where \
         the address is configured"
    );
    Some(Finding::new(Code::AddressPrefix, format!("bridge {name}"), cause, remedy))
}

/// The finding about the way out. A gateway is configured for the image alone.
fn default_route(config: &Configuration, facts: &Facts, network: &Network) -> Option<Finding> {
    let gateway = config.sled.appliance.gateway.filter(|_| facts.image.is_some())?;
    let there = if gateway.is_ipv4() { network.default_v4 } else { network.default_v6 };
    let name = &config.sled.network.bridge;
    (!there).then(|| {
        let cause = format!(
            "there is no default route, and appliance.gateway of sled.toml is {gateway}: hosts in other networks, time \
             and updates are not reached"
        );
        let remedy = format!("networkctl reconfigure {name}, or: ip route add default via {gateway} dev {name}");
        Finding::new(Code::NoDefaultRoute, format!("bridge {name}"), cause, remedy)
    })
}
