//! Network of the sled: the interface, the bridge and its addresses, and the way out.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The network, as netlink and sysfs tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The configured network interface, if it is there.
    pub nic: Option<Nic>,
    /// The configured bridge, if it is there and is one.
    pub bridge: Option<Bridge>,
    /// Whether there is a default route of IPv4.
    pub default_v4: bool,
    /// Whether there is a default route of IPv6.
    pub default_v6: bool,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it has a link.
    pub carrier: bool,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// The negotiated speed in Mbit/s, if the driver tells.
    pub link_mbps: Option<u32>,
    /// The speed of its USB connection in Mbit/s, if it has one.
    pub usb_mbps: Option<u32>,
    /// The kernel's driver of it, if it has one.
    pub driver: Option<String>,
    /// The place of it on the USB, if it has one.
    pub usb_path: Option<String>,
    /// The longest packet that it takes, in bytes, if the kernel tells.
    pub mtu: Option<u32>,
    /// The state in which the bridge that it is a port of has it, if it is one.
    pub port: Option<PortState>,
}

/// The state in which a bridge has one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// The port does nothing: somebody, or its link, has it so.
    Disabled,
    /// The port does nothing, as that would be a loop.
    Blocking,
    /// The port does nothing yet: the bridge looks for loops first.
    Waiting,
    /// The port takes and gives packets.
    Forwarding,
}

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
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
}
