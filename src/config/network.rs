//! `[network]` of `sled.toml`: the adapter, the bridge, and where the sled's address comes from. Pure.

use super::nic::{By, Nic};
use super::values::{INTERFACE, word};
use super::vlan::{VLANS, Vlan};
use crate::source::{Faults, Origin, Section};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The interface by which a machine talks to itself.
const LOOPBACK: &str = "lo";

/// The interface that two adapters are put together as (a bond).
pub const BOND: &str = "bond0";

/// `[network]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The bridge that carries the sled's address.
    pub bridge: String,
    /// The network adapter that must be a port of the bridge.
    pub nic: Nic,
    /// The adapter that takes over when that one has no link; `None`: none does.
    pub spare: Option<Nic>,
    /// The VLAN that the sled's packets have on the cable; `None`: they have none.
    pub vlan: Option<Vlan>,
    /// The way in which the bridge gets the sled's address.
    pub address: Addressing,
    /// The least negotiated link speed that is well, in Mbit/s.
    pub min_link_mbps: u32,
    /// The least USB speed that is well, in Mbit/s; 480 is USB 2, 5000 USB 3.
    pub min_usb_mbps: u32,
    /// Whether an adapter that was away and is back is put into its bridge again, if nobody else does that.
    pub rejoin: bool,
}

impl Network {
    /// The network with this adapter, and everything else as it is when it is left out.
    #[cfg(test)]
    pub(crate) fn of(nic: &str) -> Self {
        Self {
            bridge: "br0".into(),
            nic: Nic::named(nic),
            spare: None,
            vlan: None,
            address: Addressing::Static,
            min_link_mbps: 2500,
            min_usb_mbps: 5000,
            rejoin: true,
        }
    }
}

/// The way in which the bridge gets the sled's address, which is the one that the port map has in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// It is set up with the address of the port map.
    Static,
    /// A DHCP server gives it: by a reservation, the address of the port map.
    Dhcp,
}

impl FromStr for Addressing {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "static" => Ok(Self::Static),
            "dhcp" => Ok(Self::Dhcp),
            _ => Err("is neither static nor dhcp"),
        }
    }
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "static",
            Self::Dhcp => "dhcp",
        })
    }
}

/// The part of the section that could be read, with the places that later checks point at.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) network: Option<Network>,
    /// The place that says that the address comes by DHCP, if it does.
    pub(super) dhcp: Option<Origin>,
}

impl Draft {
    /// Find that a DHCP server can give the sled's address: it is one of IPv4.
    pub(super) fn check(&self, address: IpAddr, faults: &mut Faults) {
        if let Some(origin) = self.dhcp.as_ref().filter(|_| address.is_ipv6()) {
            let problem = format!("the port map gives this sled {address}, and DHCP gives addresses of IPv4 alone");
            faults.push(
                origin,
                "network.address",
                problem,
                "write \"static\", or an address of IPv4 into the port map",
            );
        }
    }
}

/// Read `[network]`.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Draft {
    let given = section.keys().contains(&"nic");
    let bridge = bridge(&mut section, faults);
    let nic = nic(&mut section, &bridge, faults);
    let spare = spare(&mut section, &bridge, nic.as_ref(), faults);
    let vlan = section.integer("vlan", VLANS, faults).and_then(|(id, _)| Vlan::of(id));
    let address = section.parsed::<Addressing>("address", "write \"static\" or \"dhcp\"", faults);
    let mut least = |key, default| {
        let number = section.integer(key, 1..=u64::from(u32::MAX), faults);
        number.and_then(|(n, _)| u32::try_from(n).ok()).unwrap_or(default)
    };
    let min_link_mbps = least("min_link_mbps", 2500);
    let min_usb_mbps = least("min_usb_mbps", 5000);
    let rejoin = section.boolean("rejoin", faults).unwrap_or(true);
    if !given {
        section.missing("nic", "write the interface in the bridge, as `ip link` names it: \"enx00e04ca81110\"", faults);
    }
    section.finish(faults);
    let (address, origin) = address.map_or((Addressing::Static, None), |(value, origin)| (value, Some(origin)));
    let network = nic.map(|nic| Network { bridge, nic, spare, vlan, address, min_link_mbps, min_usb_mbps, rejoin });
    Draft { network, dhcp: origin.filter(|_| address == Addressing::Dhcp) }
}

fn bridge(section: &mut Section<'_>, faults: &mut Faults) -> String {
    let bridge = word(section, "bridge", INTERFACE, faults);
    if let Some((_, origin)) = bridge.as_ref().filter(|(bridge, _)| bridge == LOOPBACK) {
        let problem = format!("{LOOPBACK} is every machine's way to itself, and no bridge");
        faults.push(origin, "network.bridge", problem, "write the bridge that carries the sled's address: \"br0\"");
    }
    bridge.map_or_else(|| "br0".into(), |(bridge, _)| bridge)
}

/// Read the adapters that may be the port of the bridge.
fn nic(section: &mut Section<'_>, bridge: &str, faults: &mut Faults) -> Option<Nic> {
    const REMEDY: &str = "write the adapter that the cable is in, as `ip link` names it: \"enx00e04ca81110\"; or its \
                          hardware address; or \"usb\", whichever is there; or a list of these";
    let (texts, list) = section.text_or_texts("nic", faults)?;
    let (mut all, mut whole) = (Vec::new(), true);
    for (text, origin) in texts {
        let problem = match (text.parse::<By>(), no_nic(text, bridge)) {
            (Err(why), _) => format!("{text:?}: {why}"),
            (Ok(_), Some(why)) => why,
            (Ok(by), None) if all.iter().any(|(_, known)| *known == by) => format!("{text} is listed twice"),
            (Ok(by), None) => {
                all.push((text.to_owned(), by));
                continue;
            }
        };
        whole = false;
        faults.push(&origin, "network.nic", problem, REMEDY);
    }
    if whole && all.is_empty() {
        faults.push(&list, "network.nic", "is an empty list", REMEDY);
    }
    Nic::new(all)
}

/// Read the adapter that takes over when the other has no link.
fn spare(section: &mut Section<'_>, bridge: &str, nic: Option<&Nic>, faults: &mut Faults) -> Option<Nic> {
    const REMEDY: &str = "write another adapter than network.nic, as `ip link` names it: \"eno1\"; or its hardware address; \
                          or \"usb\"";
    let (text, origin) = section.text("spare", faults)?;
    let problem = match (text.parse::<By>(), no_nic(text, bridge)) {
        (Err(why), _) => format!("{text:?}: {why}"),
        (Ok(_), Some(why)) => why,
        (Ok(by), None) if nic.is_some_and(|nic| nic.all().contains(&by)) => {
            format!("{text} is network.nic already, and cannot take over from itself")
        }
        (Ok(_), None) if nic.is_some_and(|nic| nic.all().len() > 1) => {
            "network.nic is a list, all of which are ports of the bridge: a spare is for one adapter".to_owned()
        }
        (Ok(_), None)
            if [bridge, text].contains(&BOND) || nic.is_some_and(|nic| nic.names().any(|name| name == BOND)) =>
        {
            format!("{BOND} is what the two adapters are put together as, and neither of them, nor the bridge")
        }
        (Ok(by), None) => return Nic::new(vec![(text.to_owned(), by)]),
    };
    faults.push(&origin, "network.spare", problem, REMEDY);
    None
}

/// Find why an interface cannot be the port of the bridge, if it cannot.
fn no_nic(nic: &str, bridge: &str) -> Option<String> {
    match nic {
        LOOPBACK => Some(format!("{LOOPBACK} is every machine's way to itself, and reaches no host")),
        _ if nic == bridge => Some(format!("{nic} is the bridge itself, which cannot be its own port")),
        _ => None,
    }
}
