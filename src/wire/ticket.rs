//! Tickets: what a host asks for before it attaches a volume, and what it is answered. Pure.

use super::Error;
use crate::names::{RegionName, SledName, VolumeName};
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// The largest body of a host's that a sled reads, in bytes; a ticket's has some 40.
pub const LARGEST_ASKED: usize = 4096;

/// The body of `POST /v1/volumes/{volume}/attach`. An empty body is all of its defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The least generation.
    #[serde(default)]
    pub at_least: u64,
    /// Whether any other host that is connected is to be cut off first.
    #[serde(default)]
    pub takeover: bool,
}

/// The right to attach a volume, as far as the sled that grants it is concerned. Until the next one is
/// granted, its holder is the only host that the volume's regions on that sled let in, but for those
/// that an operator allows beside it; where the port map names no hosts, all are let in but those
/// that were cut off. Where nothing is enforced (`PORT_MAP_NOT_ENFORCED`), nobody is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// The volume.
    pub volume: VolumeName,
    /// The generation to attach it with: higher than any that this sled granted before.
    pub generation: u64,
    /// The highest generation that the sled ever granted to another host than this; 0 if it granted none, or does not
    /// know. What this host has kept of a time before it must not be written.
    #[serde(default)]
    pub others: u64,
    /// The sled that grants it.
    pub sled: SledName,
    /// The address of the host that asked.
    pub host: IpAddr,
    /// The time at which it was granted.
    #[serde(with = "Rfc3339")]
    pub granted: Timestamp,
    /// The addresses of the data ports of regions 0, 1 and 2.
    pub targets: Vec<SocketAddr>,
    /// The regions, by index.
    pub regions: Vec<TicketRegion>,
    /// The size that a host sees, in bytes.
    pub size_bytes: u64,
    /// The size of a block of the regions, in bytes. A sled of before does not tell it; then it is 4,096, as in
    /// every port map that was ever shipped.
    #[serde(default = "usual_block")]
    pub block_size: u64,
    /// The digest of the sled's port map.
    pub port_map: String,
    /// The number of sleds that may die, whichever they are, without losing data.
    pub fault_tolerance: usize,
    /// Whether the data ports want TLS.
    #[serde(default)]
    pub tls: bool,
}

fn usual_block() -> u64 {
    4096
}

/// A region in a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketRegion {
    /// `VOLUME-INDEX`.
    pub name: RegionName,
    /// The sled that serves it.
    pub sled: SledName,
    /// The region's identity; absent for regions of other sleds.
    pub uuid: Option<Uuid>,
}

/// The body of an answer that is no ticket: an [`ErrorBody`](super::ErrorBody) with what helps to
/// ask better. Its error's code is `GENERATION_TOO_HIGH` (400: so high an `at_least` is never granted),
/// `ASKER_GONE` (400: the connection was closed before it was answered), `ASKER_UNSEEN` (503: whether somebody
/// listens on it could not be seen), `HOST_NOT_ALLOWED` (403),
/// `VOLUME_ATTACHED_ELSEWHERE` (409), `VOLUME_HELD_ELSEWHERE` (409: who holds the last ticket is not
/// connected, and may come back), `NOT_READY`, `NOT_FENCED` (the units do not keep others out) or
/// `NOT_RECORDED` (all 503), or one of those that every path has; to a host that would let go,
/// `NOT_HELD` or `STILL_ATTACHED` (409).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedTicket {
    /// The reason.
    pub error: Error,
    /// The highest generation that the sled ever granted, for the next `at_least`.
    #[serde(default)]
    pub generation: u64,
    /// The hosts that are connected.
    #[serde(default)]
    pub attached: Vec<Attached>,
}

/// The body of `POST /v1/volumes/{volume}/release`. An empty body is all of its defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The ticket of this generation; without it, whichever the host holds.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// The release of a ticket by a host: it is let in no more, and the next one need not wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// The volume.
    pub volume: VolumeName,
    /// The address of the host.
    pub host: IpAddr,
    /// The generation of its ticket.
    pub generation: u64,
}

/// A host that is connected to regions of a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Attached {
    /// The host's address.
    pub address: IpAddr,
    /// The host's name, if the port map has one for it.
    #[serde(default)]
    pub host: Option<String>,
    /// The time since when, as far as this supervisor saw.
    #[serde(with = "Rfc3339")]
    pub since: Timestamp,
    /// The regions on this sled that it is connected to.
    pub regions: Vec<RegionName>,
}

/// The body of `GET /v1/volumes/{volume}/hosts`: who is connected, by a look that was made for this answer.
/// Connections in other bodies may be some seconds old, as nothing tells when one ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hosts {
    /// The volume.
    pub volume: VolumeName,
    /// The sled that answers.
    pub sled: SledName,
    /// The hosts that are connected to its regions on this sled.
    pub attached: Vec<Attached>,
}

/// The holder of a volume's last ticket: whom its regions on a sled let in since it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The address of the host that holds the last ticket.
    pub address: IpAddr,
    /// The host's name, if the port map has one for it.
    #[serde(default)]
    pub host: Option<String>,
    /// The ticket's generation.
    pub generation: u64,
    /// The time at which it was granted.
    #[serde(with = "Rfc3339")]
    pub since: Timestamp,
    /// Hosts that were cut off by it, or by an operator, and stay so until an operator allows
    /// them again or they hold a ticket of their own.
    #[serde(default)]
    pub denied: Vec<IpAddr>,
    /// Whether it has let go of its ticket: it is let in no more.
    #[serde(default)]
    pub released: bool,
    /// Whether it keeps its ticket although it is away: until it lets go, is cut off, or has been away for longer
    /// than an upstairs would be, another host gets none without a takeover. Absent from a sled that does not say so
    /// yet.
    #[serde(default)]
    pub keeps: Option<bool>,
}
