//! Network of the sled: the bridge and its addresses, and the way out.

use super::Nic;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The network, as netlink and sysfs tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The configured network interface, if it is there.
    pub nic: Option<Nic>,
    /// The configured spare, if it is there.
    pub spare: Option<Nic>,
    /// The bond that the adapter, or else the spare, is a port of, if one is.
    pub bond: Option<Bond>,
    /// The configured bridge, if it is there and is one.
    pub bridge: Option<Bridge>,
    /// The bridge's dealing with the VLAN that is configured, if one is and the kernel tells.
    pub tagging: Option<Tagging>,
    /// Whether there is a default route of IPv4.
    pub default_v4: bool,
    /// Whether there is a default route of IPv6.
    pub default_v6: bool,
    /// The hosts of this sled's volumes to which no route leads.
    pub unroutable: BTreeSet<IpAddr>,
    /// The hosts of this sled's volumes that are asked on this link for their hardware address, and do not answer.
    pub unanswering: BTreeSet<IpAddr>,
    /// The release of the kernel, for example `6.12.57+deb13-amd64`.
    pub kernel: Option<String>,
}

/// Several adapters put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bond {
    /// Its name.
    pub name: String,
    /// Whether one of them carries and the others wait (`active-backup`).
    pub active_backup: bool,
    /// The one that carries, by the kernel's number, if one does.
    pub active: Option<u32>,
}

impl Network {
    /// The spare, if it is the one that carries.
    pub fn spare_in_use(&self) -> Option<&Nic> {
        let active = self.bond.as_ref()?.active?;
        self.spare.as_ref().filter(|spare| spare.carrier && spare.index == active)
    }
}

/// The dealing of a bridge with one VLAN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tagging {
    /// Whether it looks at tags at all.
    pub filtering: bool,
    /// The bridge's own membership, if it is a member.
    pub own: Option<Member>,
    /// The membership of the adapter's port, if it is a member.
    pub port: Option<Member>,
}

/// A membership in a VLAN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Member {
    /// Whether packets without a tag are taken as of it.
    pub pvid: bool,
    /// Whether packets of it leave without a tag.
    pub untagged: bool,
}

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// The kernel's number for it.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses that can be used.
    pub addresses: Vec<IpAddr>,
    /// The addresses that another machine has as well, by the kernel's look: they cannot be used.
    pub duplicates: Vec<IpAddr>,
    /// The addresses of which the kernel looks whether another machine has them.
    pub tentative: Vec<IpAddr>,
    /// The length of the network's part of each of its addresses, in bits.
    pub prefixes: BTreeMap<IpAddr, u8>,
    /// The longest packet that it takes, in bytes, if the kernel tells.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// The change of its hardware address within the last hour, if there was one.
    pub mac_change: Option<MacChange>,
    /// Whether it looks for loops (STP).
    pub stp: bool,
    /// The time for which a port waits, twice, while loops are looked for, in hundredths of a second.
    pub forward_delay: u32,
    /// The program by which it is configured, if that is known.
    pub manager: Option<Manager>,
}

/// Return of an adapter to its bridge, as far as the supervisor has to do with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejoin {
    /// The adapter that was to be put back last, by the kernel's number: once each.
    pub tried: Option<u32>,
    /// The last that has ended.
    pub ended: Option<Rejoined>,
}

/// An adapter that was put back into its bridge, or was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejoined {
    /// The adapter, by the kernel's number.
    pub index: u32,
    /// Its name.
    pub nic: String,
    /// The bridge's name.
    pub bridge: String,
    /// Why it was not put back, if it was not.
    pub failure: Option<String>,
}

/// A change of a hardware address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacChange {
    /// The address before.
    pub from: String,
    /// The time at which it was seen.
    pub at: Timestamp,
}

/// A program by which networks are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// systemd-networkd.
    Networkd,
    /// ifupdown, of either kind.
    Ifupdown,
}
