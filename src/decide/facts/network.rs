//! Network of the sled: the bridge and its addresses, and the way out.

use super::Nic;
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
    /// The release of the kernel, for example `6.12.57+deb13-amd64`.
    pub kernel: Option<String>,
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
