//! Ports of a sled: what the port map puts at each, who listens there, and who is connected.

use super::{Peer, State};
use crate::names::{RegionName, SledName};
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The body of `GET /v1/ports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    /// The sled that answers.
    pub sled: SledName,
    /// The time at which this was found to be so.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// The address at which its regions listen.
    pub address: IpAddr,
    /// The addresses and ports at which the supervisor is asked.
    pub http: Vec<SocketAddr>,
    /// The ports of each region that the port map puts on this sled, the lowest first.
    pub regions: Vec<RegionPorts>,
}

/// The two ports of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionPorts {
    /// The region.
    pub region: RegionName,
    /// The state of it.
    pub state: Option<State>,
    /// The data port.
    pub port: u16,
    /// Whoever listens at the data port; absent before the first look.
    pub listens: Option<Listener>,
    /// The repair port.
    pub repair_port: u16,
    /// Whoever listens at the repair port.
    pub repair_listens: Option<Listener>,
    /// Other places at which the region's process listens: it was started with other values.
    pub elsewhere: Vec<SocketAddr>,
    /// The peers that are connected to the data port, the supervisor's own probe left out.
    pub connected: Vec<Peer>,
    /// The packets that were dropped at both, since these listeners are there: those of peers that are not let in are
    /// among them.
    pub dropped: u32,
}

/// The process that listens at a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// Whose it is.
    pub who: Who,
    /// The process's id, if it is known.
    pub pid: Option<u32>,
    /// The command line of a stranger.
    pub command: Option<String>,
    /// The unit of a stranger.
    pub unit: Option<String>,
}

/// The owner of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// Nobody listens.
    Nobody,
    /// The region's own downstairs does.
    Region,
    /// Another process does, which is left alone.
    Stranger,
}
