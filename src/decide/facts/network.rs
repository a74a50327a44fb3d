//! What is known of the network: the interface, the bridge and its addresses, and the way out.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The network, as netlink and sysfs tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The configured network interface, if it is there.
    pub nic: Option<Nic>,
    /// The configured bridge, if it is there and is one.
    pub bridge: Option<Bridge>,
    /// There is a default route of IPv4.
    pub default_v4: bool,
    /// There is a default route of IPv6.
    pub default_v6: bool,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// It is switched on.
    pub up: bool,
    /// It has a link.
    pub carrier: bool,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// The negotiated speed in Mbit/s, if the driver tells.
    pub link_mbps: Option<u32>,
    /// The speed of its USB connection in Mbit/s, if it has one.
    pub usb_mbps: Option<u32>,
    /// The longest packet that it takes, in bytes, if the kernel tells.
    pub mtu: Option<u32>,
    /// What the bridge that it is a port of has it do, if it is one.
    pub port: Option<PortState>,
}

/// What a bridge has one of its ports do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// Nothing: somebody, or its link, has it so.
    Disabled,
    /// Nothing, as that would be a loop.
    Blocking,
    /// Nothing yet: the bridge looks for loops first.
    Waiting,
    /// It takes and gives packets.
    Forwarding,
}

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// It is up.
    pub up: bool,
    /// Its addresses that can be used.
    pub addresses: Vec<IpAddr>,
    /// Those that another machine has as well, by the kernel's look: they cannot be used.
    pub duplicates: Vec<IpAddr>,
    /// Those of which the kernel looks whether another machine has them.
    pub tentative: Vec<IpAddr>,
    /// How long the network's part is of each of its addresses, in bits.
    pub prefixes: BTreeMap<IpAddr, u8>,
    /// The longest packet that it takes, in bytes, if the kernel tells.
    pub mtu: Option<u32>,
}
