//! What the network's facts mean: one finding for one cause, the nearest to the root of it.

use super::facts::{Bridge, Facts, Nic};
use super::finding::{Finding, Scope};
use crate::check::Code;
use crate::config::Configuration;

/// The findings about the network interface and the bridge. Nothing before the first look.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let Some(network) = &facts.network else {
        return Vec::new();
    };
    let mut found = match &network.nic {
        Some(nic) => nic_findings(config, nic),
        None => vec![missing_nic(config)],
    };
    let ports_known = network.nic.as_ref();
    found.extend(match &network.bridge {
        Some(bridge) => bridge_findings(config, bridge, ports_known),
        None => vec![missing_bridge(config)],
    });
    found
}

fn finding(code: Code, subject: String, cause: String, remedy: String) -> Finding {
    Finding { code, subject, scope: Scope::Sled, cause, remedy }
}

fn missing_nic(config: &Configuration) -> Finding {
    let nic = &config.sled.network.nic;
    finding(
        Code::NicMissing,
        format!("nic {nic}"),
        format!("there is no network interface {nic}"),
        "plug the USB adapter in again; if it is another adapter, write its name into network.nic of sled.toml".into(),
    )
}

fn nic_findings(config: &Configuration, nic: &Nic) -> Vec<Finding> {
    let wanted = &config.sled.network;
    let subject = format!("nic {}", wanted.nic);
    let mut found = Vec::new();
    if !nic.up {
        found.push(finding(
            Code::NicNoCarrier,
            subject.clone(),
            format!("{} is switched off", wanted.nic),
            format!("ip link set {} up", wanted.nic),
        ));
    } else if !nic.carrier {
        found.push(finding(
            Code::NicNoCarrier,
            subject.clone(),
            format!("{} has no link", wanted.nic),
            "check the cable, and whether the switch port is on".into(),
        ));
    }
    if let Some(speed) = nic.link_mbps.filter(|speed| nic.carrier && *speed < wanted.min_link_mbps) {
        found.push(finding(
            Code::NicSlow,
            subject.clone(),
            format!("{} runs at {speed} Mbit/s, and {} are expected", wanted.nic, wanted.min_link_mbps),
            "check the cable (Cat 5e or better) and the switch port's speed".into(),
        ));
    }
    if let Some(speed) = nic.usb_mbps.filter(|speed| *speed < wanted.min_usb_mbps) {
        found.push(finding(
            Code::NicUsb2,
            subject,
            format!("{} hangs on a USB port at {speed} Mbit/s, and {} are expected", wanted.nic, wanted.min_usb_mbps),
            "plug the adapter into a USB 3 port (blue), without a hub or extension".into(),
        ));
    }
    found
}

fn missing_bridge(config: &Configuration) -> Finding {
    let bridge = &config.sled.network.bridge;
    finding(
        Code::BridgeMissing,
        format!("bridge {bridge}"),
        format!("there is no bridge {bridge}"),
        format!("see `networkctl status {bridge}`; network.bridge of sled.toml names the bridge that is looked for"),
    )
}

fn bridge_findings(config: &Configuration, bridge: &Bridge, nic: Option<&Nic>) -> Vec<Finding> {
    let wanted = &config.sled.network;
    let subject = format!("bridge {}", wanted.bridge);
    let mut found = Vec::new();
    if let Some(nic) = nic.filter(|nic| nic.master.as_ref() != Some(&wanted.bridge)) {
        let cause = match &nic.master {
            Some(other) => format!("{} is a port of {other}, not of {}", wanted.nic, wanted.bridge),
            None => format!("{} is not a port of {}", wanted.nic, wanted.bridge),
        };
        let remedy = format!("ip link set {} master {}", wanted.nic, wanted.bridge);
        found.push(finding(Code::BridgePortMissing, subject.clone(), cause, remedy));
    }
    let cause = match (bridge.up, bridge.addresses.contains(&config.address)) {
        (true, true) => return found,
        (false, _) => format!("{} is down", wanted.bridge),
        (true, false) => format!("{} does not have the sled's address {}", wanted.bridge, config.address),
    };
    let remedy = format!(
        "see `networkctl status {}`; the address comes from [sleds.{}] of port-map.toml",
        wanted.bridge, config.sled.name
    );
    found.push(finding(Code::BridgeAddress, subject, cause, remedy));
    found
}
