//! Bridge of the network and what is wrong with it: its port, its way of looking for loops, its hardware address and the
//! length of its packets. One finding for one cause.

use super::facts::{Bridge, Facts, Manager, Nic, PortState};
use super::finding::Finding;
use super::manager::{lasting, of_netdev, of_network, status};
use crate::check::Code;
use crate::config::Configuration;

/// The findings about a bridge that is there.
pub(super) fn findings(config: &Configuration, facts: &Facts, bridge: &Bridge, nic: Option<&Nic>) -> Vec<Finding> {
    // What carries is the port; of a spare the name is known, by which it was found.
    let nic = facts.network.as_ref().and_then(|network| network.spare_in_use()).or(nic);
    let of_port = nic.and_then(|nic| port(config, facts, bridge, nic));
    let of_length = nic.and_then(|nic| mtu(config, bridge, nic));
    let of_vlan = nic.and_then(|nic| vlan(config, facts, bridge, nic));
    [of_port, of_vlan, stp(config, bridge), delay(config, bridge), mac(config, bridge), of_length]
        .into_iter()
        .flatten()
        .collect()
}

/// The finding that there is no bridge. Who has not made it nobody knows, but on the image.
pub(super) fn missing(config: &Configuration, facts: &Facts) -> Finding {
    let bridge = &config.sled.network.bridge;
    let by = facts.image.is_some().then_some(Manager::Networkd);
    Finding::new(
        Code::BridgeMissing,
        format!("bridge {bridge}"),
        format!("there is no bridge {bridge}"),
        format!(
            "have it made, and see why it is not: {}; network.bridge of sled.toml names the bridge that is looked for",
            status(by, bridge)
        ),
    )
}

/// The finding about the network interface as a port of the bridge.
fn port(config: &Configuration, facts: &Facts, whole: &Bridge, nic: &Nic) -> Option<Finding> {
    let (wanted, bridge) = (nic.port_name(&config.sled.network.nic), &config.sled.network.bridge);
    let subject = format!("bridge {bridge}");
    if nic.master.as_ref() != Some(bridge) {
        let cause = match &nic.master {
            Some(other) => format!("{wanted} is a port of {other}, not of {bridge}"),
            None => format!("{wanted} is not a port of {bridge}{}", not_put_back(facts, nic)),
        };
        let remedy = format!(
            "ip link set {wanted} master {bridge}{}",
            lasting(
                whole.manager,
                bridge,
                &of_network(&format!("Bridge={bridge}"), wanted),
                &format!("bridge-ports {wanted}")
            )
        );
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

/// The finding about the VLAN that packets are to have on the cable: the port's own, or that of an interface below it.
fn vlan(config: &Configuration, facts: &Facts, whole: &Bridge, nic: &Nic) -> Option<Finding> {
    let (id, bridge) = (config.sled.network.vlan?.id(), &config.sled.network.bridge);
    let port = nic.port_name(&config.sled.network.nic);
    if nic.master.as_ref() != Some(bridge) {
        return None;
    }
    if let Some((name, other)) = nic.through.iter().find_map(|through| Some((&through.name, through.vlan()?))) {
        let cause = format!("{name} in {bridge} has VLAN {other}, and network.vlan of sled.toml is {id}");
        let remedy = format!("write network.vlan = {other}, or put an interface with VLAN {id} into {bridge}");
        return (other != id).then(|| Finding::new(Code::BridgeVlan, format!("bridge {bridge}"), cause, remedy));
    }
    let tagging = facts.network.as_ref()?.tagging?;
    let cause = match (tagging.filtering, tagging.port, tagging.own) {
        (false, ..) => {
            format!("{bridge} does not look at VLANs, and network.vlan of sled.toml is {id}: packets go without")
        }
        (true, None, _) => format!("{port} is no member of VLAN {id} as a port of {bridge}: nothing goes through it"),
        (true, Some(member), _) if member.untagged => {
            format!("packets of VLAN {id} leave {port} without its tag: the switch takes them as of another")
        }
        (true, Some(_), Some(own)) if own.pvid && own.untagged => return None,
        (true, Some(_), _) => format!("{bridge} itself is not in VLAN {id}: what comes for the sled does not reach it"),
    };
    let remedy = format!(
        "ip link set {bridge} type bridge vlan_default_pvid 0 && ip link set {bridge} type bridge vlan_filtering 1 && \
         bridge vlan add dev {port} vid {id} && bridge vlan add dev {bridge} vid {id} pvid untagged self{}",
        lasting(
            whole.manager,
            bridge,
            &format!(
                "{}, {}, and {}",
                of_netdev("VLANFiltering=yes and DefaultPVID=none of [Bridge]", bridge),
                of_network(&format!("[BridgeVLAN] with VLAN={id}"), port),
                of_network(&format!("with VLAN={id}, PVID={id} and EgressUntagged={id}"), bridge)
            ),
            &format!("a VLAN interface as the port, bridge-ports {port}.{id}")
        )
    );
    Some(Finding::new(Code::BridgeVlan, format!("bridge {bridge}"), cause, remedy))
}

/// What has become of the attempt to put it back, if there was one in vain.
fn not_put_back(facts: &Facts, nic: &Nic) -> String {
    let ended = facts.rejoin.ended.as_ref().filter(|ended| ended.index == nic.index);
    let why = ended.and_then(|ended| ended.failure.as_ref());
    why.map_or_else(String::new, |why| format!(", and could not be put back: {why}"))
}

/// The finding about a bridge that looks for loops.
fn stp(config: &Configuration, bridge: &Bridge) -> Option<Finding> {
    let name = &config.sled.network.bridge;
    if !bridge.stp {
        return None;
    }
    let waits = f64::from(bridge.forward_delay) / 50.0;
    let cause = format!(
        "{name} looks for loops (STP): each time that the cable comes back, nothing goes through it for {waits} s"
    );
    let remedy = format!(
        "if there is no second cable to the same network: ip link set {name} type bridge stp_state 0{}",
        lasting(bridge.manager, name, &of_netdev("STP=no of [Bridge]", name), "bridge-stp off")
    );
    Some(Finding::new(Code::BridgeStp, format!("bridge {name}"), cause, remedy))
}

/// The finding about a delay that nobody waits for yet: without STP the kernel lets a port through at once.
fn delay(config: &Configuration, bridge: &Bridge) -> Option<Finding> {
    let name = &config.sled.network.bridge;
    if bridge.stp || bridge.forward_delay == 0 {
        return None;
    }
    let seconds = f64::from(bridge.forward_delay) / 100.0;
    let cause = format!(
        "the forward delay of {name} is {seconds} s: nothing waits for it now, and twice that as soon as STP is switched on"
    );
    let remedy = format!(
        "ip link set {name} type bridge forward_delay 0{}",
        lasting(bridge.manager, name, &of_netdev("ForwardDelaySec=0 of [Bridge]", name), "bridge-fd 0")
    );
    Some(Finding::new(Code::BridgeDelay, format!("bridge {name}"), cause, remedy))
}

/// The finding about a hardware address that hosts do not know yet.
fn mac(config: &Configuration, bridge: &Bridge) -> Option<Finding> {
    let (change, now) = (bridge.mac_change.as_ref()?, bridge.mac.as_ref()?);
    let (name, from, at) = (&config.sled.network.bridge, &change.from, change.at);
    let cause = format!(
        "{name} has another hardware address since {at}, {now} and not {from}: hosts that remember the old one do not reach \
         it until they ask again"
    );
    let remedy = format!(
        "fix it: ip link set {name} address {from}{}",
        lasting(
            bridge.manager,
            name,
            &of_netdev(&format!("MACAddress={from} of [NetDev]"), name),
            &format!("hwaddress ether {from}")
        )
    );
    Some(Finding::new(Code::BridgeMacChanged, format!("bridge {name}"), cause, remedy))
}

/// The finding about the longest packets that the two take.
fn mtu(config: &Configuration, bridge: &Bridge, nic: &Nic) -> Option<Finding> {
    let (wanted, name) = (nic.port_name(&config.sled.network.nic), &config.sled.network.bridge);
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
         mtu {least}{}",
        lasting(
            bridge.manager,
            &format!("{name} and {wanted}"),
            &of_network(&format!("MTUBytes={least} of [Link]"), &format!("{name} and {wanted}")),
            &format!("mtu {least}")
        )
    );
    Some(Finding::new(Code::MtuMismatch, format!("bridge {name}"), cause, remedy))
}
