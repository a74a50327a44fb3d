//! Facts of the network behind the adapter and what they mean: one finding for one cause, the nearest to the root of it.

use super::facts::{Bridge, Facts, Network};
use super::finding::Finding;
use super::manager::{lasting, of_network, status};
use super::{adapter, bridge, hosts};
use crate::check::Code;
use crate::config::{Addressing, Configuration, usual_prefix};

/// The findings about the network interface and the bridge. Nothing before the first look.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let Some(network) = &facts.network else {
        return Vec::new();
    };
    let mut found = adapter::findings(config, facts, network);
    let nic = network.nic.as_ref();
    match &network.bridge {
        Some(bridge) => {
            found.extend(bridge::findings(config, facts, bridge, nic));
            found.extend(address(config, facts, bridge));
            let prefix = prefix(config, facts, bridge);
            let alone = prefix.is_some();
            found.extend(prefix);
            found.extend(default_route(config, facts, network, bridge));
            // Without an address, or in a network of one, that is why.
            if has_address(config, facts) && !alone {
                found.extend(hosts::findings(config, facts, network));
            }
        }
        None => found.push(bridge::missing(config, facts)),
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

/// The finding about the sled's address on the bridge.
fn address(config: &Configuration, facts: &Facts, bridge: &Bridge) -> Option<Finding> {
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
        (true, true) => return claimed(config, facts),
        (false, _) => format!("{name} is down"),
        (true, false) if bridge.tentative.contains(&address) => {
            let cause = format!(
                "{name} does not have the sled's address {address} yet: whether another machine has it is looked at"
            );
            return Some(Finding::new(Code::BridgeAddress, subject, cause, "wait: that takes a second or two"));
        }
        (true, false) if config.sled.network.address == Addressing::Dhcp => return Some(not_leased(config, bridge)),
        (true, false) => format!("{name} does not have the sled's address {address}"),
    };
    let now = if bridge.up {
        let size = config.sled.appliance.prefix.unwrap_or_else(|| usual_prefix(address));
        let whole = format!("{address}/{size}");
        let setting = of_network(&format!("Address={whole}"), name);
        let last = lasting(bridge.manager, name, &setting, &format!("address {whole}"));
        format!("ip address add {whole} dev {name}{last}")
    } else {
        format!("ip link set {name} up, and see why it is not: {}", status(bridge.manager, name))
    };
    let remedy = format!("{now}; the address comes from [sleds.{}] of port-map.toml", config.sled.name);
    Some(Finding::new(Code::BridgeAddress, subject, cause, remedy))
}

/// The finding that the DHCP server has given another address, or none. Hosts know the one of the map alone.
fn not_leased(config: &Configuration, bridge: &Bridge) -> Finding {
    let (name, address, sled) = (&config.sled.network.bridge, config.address, &config.sled.name);
    let mac = bridge.mac.as_deref().map_or_else(|| format!("of {name}"), ToOwned::to_owned);
    let reserve =
        format!("give the sled {address} in the DHCP server, by a reservation for the hardware address {mac}");
    let (cause, remedy) = match bridge.addresses.iter().find(|given| given.is_ipv4()) {
        Some(given) => (
            format!("{name} has {given} by DHCP, and the port map gives this sled {address}: hosts look for it there"),
            format!(
                "{reserve}, then: networkctl reconfigure {name}; or write {given} below [sleds.{sled}] of port-map.toml, on \
                 every sled and host"
            ),
        ),
        None => (
            format!("{name} has no address: no DHCP server has given it one"),
            format!("{reserve}, and see that the server answers in this network: networkctl status {name}"),
        ),
    };
    Finding::new(Code::BridgeAddress, format!("bridge {name}"), cause, remedy)
}

/// The finding that another machine has the sled's address, of which the kernel knows nothing.
fn claimed(config: &Configuration, facts: &Facts) -> Option<Finding> {
    let (other, address) = (facts.claimed_by.as_ref()?, config.address);
    let name = &config.sled.network.bridge;
    let cause = format!(
        "another machine, with the hardware address {other}, has the sled's address {address} as well: hosts reach the \
         one or the other"
    );
    let remedy = format!(
        "find that machine (the switch knows at which port {other} is) and take the address from it; it is looked at again \
         by itself"
    );
    Some(Finding::new(Code::AddressDuplicate, format!("bridge {name}"), cause, remedy))
}

/// The finding about the size of the network that the sled's address lies in. The size that it is to have is
/// configured for the image alone; a network of one address is odd everywhere.
fn prefix(config: &Configuration, facts: &Facts, bridge: &Bridge) -> Option<Finding> {
    let (name, address) = (&config.sled.network.bridge, config.address);
    let has = *bridge.prefixes.get(&address)?;
    let alone = has == if address.is_ipv4() { 32 } else { 128 };
    let wanted = config.sled.appliance.prefix.unwrap_or_else(|| usual_prefix(address));
    let dhcp = config.sled.network.address == Addressing::Dhcp;
    let other = facts.image.is_some() && !dhcp && has != wanted;
    if !alone && !other {
        return None;
    }
    let why = if alone {
        "a network of one address, in which there is no host".to_owned()
    } else {
        format!("and appliance.prefix of sled.toml is {wanted}")
    };
    let cause = format!("{name} has {address}/{has}, {why}");
    if dhcp {
        let remedy =
            format!("give the network its size in the DHCP server (subnet mask), then: networkctl reconfigure {name}");
        return Some(Finding::new(Code::AddressPrefix, format!("bridge {name}"), cause, remedy));
    }
    let right = if alone && !other { usual_prefix(address) } else { wanted };
    let remedy = format!(
        "ip address add {address}/{right} dev {name} && ip address del {address}/{has} dev {name}{}",
        lasting(
            bridge.manager,
            name,
            &of_network(&format!("Address={address}/{right}"), name),
            &format!("address {address}/{right}")
        )
    );
    Some(Finding::new(Code::AddressPrefix, format!("bridge {name}"), cause, remedy))
}

/// The finding about the way out. A gateway is configured for the image alone.
fn default_route(config: &Configuration, facts: &Facts, network: &Network, bridge: &Bridge) -> Option<Finding> {
    let gateway = config.sled.appliance.gateway.filter(|_| facts.image.is_some())?;
    let there = if gateway.is_ipv4() { network.default_v4 } else { network.default_v6 };
    let name = &config.sled.network.bridge;
    (!there).then(|| {
        let cause = format!(
            "there is no default route, and appliance.gateway of sled.toml is {gateway}: hosts in other networks, time \
             and updates are not reached"
        );
        let remedy = format!(
            "ip route add default via {gateway} dev {name}{}",
            lasting(
                bridge.manager,
                name,
                &of_network(&format!("Gateway={gateway}"), name),
                &format!("gateway {gateway}")
            )
        );
        Finding::new(Code::NoDefaultRoute, format!("bridge {name}"), cause, remedy)
    })
}
