//! Network in detail: the way from the cable to the sled's address.

use super::{Check, Network};
use crate::names::SledName;
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The body of `GET /v1/network`: everything that lies between the cable and the sled's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkDetail {
    /// The sled that answers.
    pub sled: SledName,
    /// The time at which this was found to be so.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// The network in short.
    #[serde(flatten)]
    pub network: Network,
    /// The adapter in detail; absent if it is not there.
    pub adapter: Option<Adapter>,
    /// The adapter that takes over when the first has no link, if one is configured.
    pub spare: Option<Spare>,
    /// The bridge in detail; absent if it is not there.
    pub bridge_detail: Option<BridgeDetail>,
    /// The sled's address, as the port map has it.
    pub address: IpAddr,
    /// Whether there is a default route, of the address's kind.
    pub default_route: bool,
    /// The least speed of the link that is expected, in Mbit/s.
    pub min_link_mbps: u32,
    /// The least speed of the USB connection that is expected, in Mbit/s.
    pub min_usb_mbps: u32,
    /// Every condition that concerns the adapter or the bridge.
    pub checks: Vec<Check>,
}

/// The adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adapter {
    /// Whether it is switched on.
    pub up: bool,
    /// The kernel's driver of it.
    pub driver: Option<String>,
    /// The place of it on the USB, as the kernel writes it: the bus, and the port of each hub.
    pub usb_path: Option<String>,
    /// The longest packet that it takes, in bytes.
    pub mtu: Option<u32>,
    /// The interfaces that lie between it and the bridge, from the cable on, if there are any.
    #[serde(default)]
    pub through: Vec<Through>,
    /// The bridge that it, or the last of these, is a port of.
    pub master: Option<String>,
    /// The state in which that bridge has it.
    pub port: Option<PortState>,
}

/// The adapter that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spare {
    /// Its name, or what is configured, if it is not there.
    pub name: String,
    /// Whether it is there.
    pub there: bool,
    /// Whether it has a link.
    pub carrier: bool,
    /// The negotiated speed in Mbit/s, if the driver tells.
    pub link_mbps: Option<u32>,
    /// Whether it is the one that carries.
    pub carries: bool,
}

/// An interface between the adapter and the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Through {
    /// Its name.
    pub name: String,
    /// The VLAN that packets have on the other side of it, if it is a VLAN interface.
    pub vlan: Option<u16>,
}

/// The state in which a bridge has one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
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

impl PortState {
    /// The state as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Blocking => "blocking",
            Self::Waiting => "waiting",
            Self::Forwarding => "forwarding",
        }
    }
}

/// The bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BridgeDetail {
    /// Whether it is up.
    pub up: bool,
    /// The longest packet that it takes, in bytes.
    pub mtu: Option<u32>,
    /// The VLAN that packets leave its port with, if it looks at VLANs and one is configured.
    pub vlan: Option<u16>,
    /// Its addresses, each with the length of its network's part, and whether it can be used.
    pub addresses: Vec<BridgeAddress>,
}

/// An address of the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BridgeAddress {
    /// The address.
    pub address: IpAddr,
    /// The length of the network's part of it, in bits.
    pub prefix: Option<u8>,
    /// Whether it can be used, and if not, why.
    pub state: AddressState,
}

/// The state of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressState {
    /// The address can be used.
    Usable,
    /// The kernel looks whether another machine has it.
    Tentative,
    /// Another machine has it as well: it cannot be used.
    Duplicate,
}
