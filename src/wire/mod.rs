//! Wire types: what goes over HTTP and the unix socket, as serde types that the daemon, `sledctl` and the host's tool
//! share. Fields may be added; none is renamed or removed. Pure.

mod asker;
mod day;
mod difference;
mod drain;
mod error_code;
mod event;
mod extents;
mod hardware;
mod job;
mod network;
mod notification;
mod ports;
mod refusal;
mod replica;
mod scrub;
mod storage;
mod target;
mod ticket;

pub use asker::Asker;
pub use day::{DAY_PARTS, Day};
pub use difference::{Change, Condition, Configurations, Difference, Files, Unattachable};
pub use drain::{Drain, DrainSaid, DrainState, Drained};
pub use error_code::ErrorCode;
pub use event::{Event, EventKind, Events};
pub use extents::{ExtentDetail, ExtentState, Extents};
pub use hardware::{DiskDetail, FileSystem, Hardware, HardwareWatchdog, Inventory, NetworkAdapter, TemperatureSensor};
pub use job::{Ask, Granted, Job, JobKind, JobProgress, JobState, JobUnit, Proposal, Word};
pub use network::{Adapter, AddressState, BridgeAddress, BridgeDetail, NetworkDetail, PortState, Spare, Through};
pub use notification::{Delivery, Notification, Notified, Occasion, Way};
pub use ports::{Listener, Ports, RegionPorts, Who};
pub use refusal::Refusal;
pub use replica::{Flushed, Replica};
pub use scrub::Scrub;
pub use storage::{DeletedRegion, Marked, StorageDetail, StoredRegion, WantedRegion};
pub use target::TargetGroup;
pub use ticket::{
    Attach, Attached, Holder, Hosts, LARGEST_ASKED, RefusedTicket, Release, Released, Ticket, TicketRegion,
};

use crate::check::{Code, Severity};
use crate::names::{RegionName, SledName, VolumeName};
use crate::source::Fault;
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::net::IpAddr;
use uuid::Uuid;

/// The state of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The region does not exist.
    Missing,
    /// The region is being created.
    Creating,
    /// The region exists, and nothing runs on it.
    Stopped,
    /// A downstairs runs on it, or is about to, and does not serve yet.
    Starting,
    /// The machine ended without a shutdown, and the region is held to its checksums before anything runs on it.
    Verifying,
    /// The region serves: a host may use it.
    Serving,
    /// The region's downstairs listens and does not answer.
    Hung,
    /// The supervisor keeps the region from running, for a reason that is shown.
    Held,
    /// The region cannot serve, and will not without help.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Creating,
        Self::Stopped,
        Self::Starting,
        Self::Verifying,
        Self::Serving,
        Self::Hung,
        Self::Held,
        Self::Failed,
    ];

    /// Read a state as it is written; `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Read a state that a sled of a later version may have told: one that is not known is none, and the rest of what it
    /// tells is read all the same.
    fn if_known<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.and_then(|text| Self::read(&text)))
    }

    /// The state as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Creating => "creating",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Verifying => "verifying",
            Self::Serving => "serving",
            Self::Hung => "hung",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The condition's stable code.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// The subject, for example `region still-fawn-0`.
    pub subject: String,
    /// The cause, in a sentence.
    pub cause: String,
    /// The remedy, in a sentence.
    pub remedy: String,
    /// The time since when it holds, as far as the supervisors saw, over restarts of the machine too.
    #[serde(with = "Rfc3339")]
    pub since: Timestamp,
}

/// A peer of a region's data port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The peer's address.
    pub address: IpAddr,
    /// The peer's port.
    pub port: u16,
    /// The name of the host or sled, if the port map has one for its address.
    #[serde(default)]
    pub host: Option<String>,
}

/// A region of a volume, on this sled or another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Region {
    /// `VOLUME-INDEX`.
    pub name: RegionName,
    /// 0, 1 or 2.
    pub index: u8,
    /// The sled that serves it.
    pub sled: SledName,
    /// That sled's address.
    pub address: IpAddr,
    /// The data port.
    pub port: u16,
    /// The repair port.
    pub repair_port: u16,
    /// The region's identity; absent while it does not exist, and for other sleds' regions.
    pub uuid: Option<Uuid>,
    /// The state; absent for other sleds' regions, of which this sled knows nothing.
    #[serde(default, deserialize_with = "State::if_known")]
    pub state: Option<State>,
    /// The time since when it is in that state, as far as the supervisors saw.
    #[serde(default, with = "OptionalRfc3339")]
    pub since: Option<Timestamp>,
    /// The main process of its unit.
    pub pid: Option<u32>,
    /// The time at which its unit was last stopped or restarted by somebody else than the supervisor, since the
    /// machine was booted.
    #[serde(default, with = "OptionalRfc3339")]
    pub stopped_outside: Option<Timestamp>,
    /// The version of the program that it runs, as that states it; absent while it is not known.
    #[serde(default)]
    pub version: Option<String>,
    /// The version of the messages that this program understands.
    #[serde(default)]
    pub message_version: Option<u32>,
    /// Whether a job has its turn at it: it is away, or may be so at any moment.
    #[serde(default)]
    pub turn: bool,
    /// The scrubs of it; absent if there was none.
    #[serde(default)]
    pub scrub: Option<Scrub>,
    /// The peers that are connected to the data port, the supervisor's own probe left out.
    pub connected: Vec<Peer>,
}

/// The body of `GET /v1/volumes/{volume}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// The volume's name.
    pub volume: VolumeName,
    /// Whether a host may attach it now, as far as this sled is concerned.
    pub ready: bool,
    /// A number that changes whenever anything in this body but `as_of` does.
    pub revision: u64,
    /// The time at which this was found to be so.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// The sled that answers.
    pub sled: SledName,
    /// The digest of its port map.
    pub port_map: String,
    /// The number of sleds that may die, whichever they are, without losing data.
    pub fault_tolerance: usize,
    /// The size that a host sees, in bytes.
    pub size_bytes: u64,
    /// The hosts that may attach it; empty: anyone.
    pub hosts: Vec<IpAddr>,
    /// The volume's three regions, by index.
    pub regions: Vec<Region>,
    /// Every condition that concerns it, blocking ones first.
    pub checks: Vec<Check>,
    /// The highest generation granted to a host; 0 while none was.
    pub generation: u64,
    /// The holder of the last ticket that this sled granted; absent while there is none.
    #[serde(default)]
    pub holder: Option<Holder>,
    /// Hosts that were cut off, by an operator or for another's ticket: they are let in when an operator
    /// allows them, or with a ticket of their own.
    #[serde(default)]
    pub denied: Vec<IpAddr>,
    /// The hosts that are connected to its regions on this sled.
    #[serde(default)]
    pub attached: Vec<Attached>,
    /// Whether the data ports of this sled want TLS; absent from a sled that does not say so yet.
    #[serde(default)]
    pub tls: Option<bool>,
    /// The drain: it is to be free, and who has it is asked to detach. Absent if it is not, and from a sled that does
    /// not know of such a thing.
    #[serde(default)]
    pub drain: Option<Drain>,
}

/// A volume in short: an entry of `GET /v1/volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeBrief {
    /// The volume's name.
    pub volume: VolumeName,
    /// Whether a host may attach it now.
    pub ready: bool,
    /// The revision, as in [`Volume`].
    pub revision: u64,
    /// The number of its regions that are on this sled.
    pub regions: usize,
    /// The number of those that serve.
    pub serving: usize,
    /// The size that a host sees, in bytes.
    pub size_bytes: u64,
    /// The codes of its blocking checks.
    pub blocking: Vec<Code>,
}

/// The body of `GET /v1/volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Volumes {
    /// The sled that answers.
    pub sled: SledName,
    /// The time at which this was found to be so.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// Every volume with a region on this sled.
    pub volumes: Vec<VolumeBrief>,
}

/// The network as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// The configured network interface.
    pub nic: String,
    /// Whether it has a link; absent if it is not there.
    pub carrier: Option<bool>,
    /// The negotiated speed in Mbit/s, if the driver tells.
    pub link_mbps: Option<u32>,
    /// The speed of its USB connection in Mbit/s, if it is a USB adapter.
    pub usb_mbps: Option<u32>,
    /// The configured bridge.
    pub bridge: String,
    /// The bridge's addresses; absent if it is not there.
    pub addresses: Option<Vec<IpAddr>>,
}

/// The storage as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Storage {
    /// The storage root.
    pub root: String,
    /// Whether a file system of its own is mounted there.
    pub mounted: bool,
    /// The capacity in bytes; 0 while it is not mounted.
    pub capacity_bytes: u64,
    /// The bytes of it that are free.
    pub free_bytes: u64,
    /// The bytes of it that the regions on record may take in all.
    pub promised_bytes: u64,
    /// The bytes of it that they and what was deleted take now.
    pub used_bytes: u64,
}

/// Maintenance, in which hosts are asked to wait. The body of `GET /v1/maintenance`, or `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    /// The reason, in words.
    pub reason: Option<String>,
    /// The time since when it is asked for.
    #[serde(with = "Rfc3339")]
    pub since: Timestamp,
    /// The time until when; absent: until somebody ends it.
    #[serde(default, with = "OptionalRfc3339")]
    pub until: Option<Timestamp>,
}

/// The body of `GET /v1/sled`: everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sled {
    /// The sled's name.
    pub sled: SledName,
    /// The supervisor's version.
    pub version: String,
    /// The time at which this was found to be so.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// The time at which the supervisor started.
    #[serde(with = "Rfc3339")]
    pub started: Timestamp,
    /// The time from the start until every region of the map on this sled served, in milliseconds; absent until they
    /// did.
    pub settled_ms: Option<u64>,
    /// The sled's address.
    pub address: IpAddr,
    /// The digest of its port map.
    pub port_map: String,
    /// Whether no blocking condition holds.
    pub well: bool,
    /// The maintenance in which hosts are asked to wait, and until when.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// The network as it was found.
    pub network: Network,
    /// The storage as it was found.
    pub storage: Storage,
    /// Every volume with a region on this sled.
    pub volumes: Vec<Volume>,
    /// Every condition that holds, blocking ones first.
    pub checks: Vec<Check>,
}

impl Sled {
    /// Make the body of `GET /v1/volumes`: the same in short.
    pub fn brief(&self) -> Volumes {
        let volumes = self.volumes.iter().map(Volume::brief).collect();
        Volumes { sled: self.sled.clone(), as_of: self.as_of, volumes }
    }
}

impl Volume {
    fn brief(&self) -> VolumeBrief {
        let here = self.regions.iter().filter_map(|region| region.state);
        let blocking = self.checks.iter().filter(|check| check.severity == Severity::Blocking);
        let mut blocking: Vec<_> = blocking.map(|check| check.code).collect();
        blocking.dedup();
        VolumeBrief {
            volume: self.volume.clone(),
            ready: self.ready,
            revision: self.revision,
            regions: here.clone().count(),
            serving: here.filter(|state| *state == State::Serving).count(),
            size_bytes: self.size_bytes,
            blocking,
        }
    }
}

/// The error of a request that was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The error's stable code.
    pub code: ErrorCode,
    /// The cause, in a sentence.
    pub message: String,
    /// The remedy, in a sentence.
    pub remedy: String,
}

impl Error {
    /// Make an error from its three parts.
    pub fn new(code: impl Into<ErrorCode>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), remedy: remedy.into() }
    }

    /// Make the error that everything answers while the configuration has faults.
    pub fn config_invalid(faults: &[Fault]) -> Self {
        let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Self::new(
            Code::ConfigInvalid,
            format!("the sled's configuration has {} fault(s):\n{list}", faults.len()),
            "mend them (sledctl config check lists them), then: systemctl reload sledd",
        )
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_later_version_hides_nothing_else_of_the_region() {
        let mut body = serde_json::json!({ "name": "a-0", "index": 0, "sled": "s", "address": "192.0.2.1", "port": 3810,
            "repair_port": 7810, "uuid": null, "since": null, "pid": null, "connected": [] });
        let read = |body: &serde_json::Value| serde_json::from_value::<Region>(body.clone()).unwrap().state;
        for (told, state) in [("\"serving\"", Some(State::Serving)), ("\"dreaming\"", None), ("null", None)] {
            body["state"] = serde_json::from_str(told).unwrap();
            assert_eq!(read(&body), state, "{told}");
        }
    }
}
