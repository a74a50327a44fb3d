//! State of a relay, as it answers on its control socket and `status` reads it. Fields may be added; none is renamed
//! or removed. Lengths of time are in seconds, and were measured as such: never the difference of two times of day.
//! Pure.

use super::activity::{Activity, Info};
use crate::names::{SledName, VolumeName};
use crate::wire::Error;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The whole answer of a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) volume: VolumeName,
    /// The version of the program, and its process.
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) running_seconds: f64,
    /// The ticket that was won; absent until one is.
    #[serde(default)]
    pub(super) ticket: Option<TicketState>,
    /// Upstream's server; absent while there is none.
    #[serde(default)]
    pub(super) server: Option<ServerState>,
    /// The reason why there was no server when one was last tried to be had.
    #[serde(default)]
    pub(super) trouble: Option<Error>,
    /// The clients' side; absent until the relay has won the volume once.
    #[serde(default)]
    pub(super) relay: Option<RelayState>,
    /// The kernel's device; `null` if it was not looked for.
    #[serde(default)]
    pub(super) device: Option<Found<DeviceState>>,
    /// The mount of the device; `null` if it was not looked for.
    #[serde(default)]
    pub(super) mount: Option<Found<MountState>>,
}

/// A thing that was looked for, and is there or not. That it was not looked for is another matter: `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Found<T> {
    /// Nothing is there.
    None,
    /// The thing that is there.
    There(T),
}

impl<T> Found<T> {
    /// The thing, if it is there.
    pub(super) fn there(&self) -> Option<&T> {
        match self {
            Self::None => None,
            Self::There(there) => Some(there),
        }
    }
}

impl<T> From<Option<T>> for Found<T> {
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::None, Self::There)
    }
}

/// The ticket that the server began with, or is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TicketState {
    pub(super) generation: u64,
    /// The moment at which a sled granted it, by its clock; and how long ago it was won.
    pub(super) since: Timestamp,
    pub(super) since_seconds: f64,
    /// This host, as that sled sees it.
    pub(super) holder: IpAddr,
    pub(super) granted_by: Vec<SledName>,
    pub(super) size_bytes: u64,
    pub(super) block_size: u64,
    /// The identity of the volume, which tells it from another that had its name; absent while that is not known.
    #[serde(default)]
    pub(super) identity: Option<String>,
}

/// Upstream's server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerState {
    pub(super) pid: u32,
    pub(super) program: String,
    pub(super) listens: SocketAddr,
    /// The address at which the server says how it is, unless whoever began it has said where.
    pub(super) control: Option<SocketAddr>,
    pub(super) since_seconds: f64,
    /// The server takes connections, which it does once it is active.
    pub(super) serves: bool,
    /// The server's own word on its activity; absent if it says nothing.
    #[serde(default)]
    pub(super) activity: Option<Activity>,
    #[serde(default)]
    pub(super) info: Option<Info>,
    /// The reason why it says nothing.
    #[serde(default)]
    pub(super) silent: Option<String>,
}

/// The clients' side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RelayState {
    pub(super) serves: bool,
    /// Requests that are not answered, and how long the first of them has waited.
    pub(super) requests: usize,
    pub(super) oldest_request_seconds: Option<f64>,
    /// Pieces of them that the server has.
    pub(super) on_the_way: usize,
    /// Writes that were acknowledged and do not last yet, and how many there may be.
    pub(super) kept_writes: usize,
    pub(super) kept_bytes: u64,
    pub(super) most_kept_writes: u64,
    pub(super) most_kept_bytes: u64,
    /// The hold of requests: for how long, and why; absent while they go on.
    #[serde(default)]
    pub(super) held: Option<PauseState>,
    /// The last hold of requests, and how long that is over.
    #[serde(default)]
    pub(super) last_pause: Option<PauseState>,
    /// The number of holds, and how long they lasted together.
    pub(super) pauses: u64,
    pub(super) paused_seconds: f64,
    /// Servers so far; how many of them were given kept writes again, and how many writes those were.
    pub(super) servers: u64,
    pub(super) replays: u64,
    pub(super) replayed_writes: u64,
    pub(super) answered: u64,
    pub(super) latency: LatencyState,
}

/// A time in which no request went on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PauseState {
    pub(super) seconds: f64,
    pub(super) why: String,
    /// The time since it is over; absent while it lasts.
    #[serde(default)]
    pub(super) ago_seconds: Option<f64>,
}

/// The latency of requests that were answered in the last while; of a kind that was not asked for, nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LatencyState {
    pub(super) over_seconds: f64,
    pub(super) read: Option<Took>,
    pub(super) write: Option<Took>,
    pub(super) flush: Option<Took>,
}

/// The latency of requests of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Took {
    pub(super) requests: usize,
    pub(super) median_seconds: f64,
    pub(super) worst_seconds: f64,
}

/// A device of the kernel that is connected to the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceState {
    /// `/dev/nbdN`.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// The backend that the kernel was told that it is connected to.
    pub(super) backend: String,
    pub(super) max_sectors_kb: u32,
}

/// The mount of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MountState {
    pub(super) path: String,
    pub(super) file_system: String,
    /// Nothing can be written to it: by its own option, or as the file system has met an error.
    pub(super) read_only: bool,
    /// The other places.
    #[serde(default)]
    pub(super) also: Vec<String>,
}

/// The service of a volume, as systemd has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServiceState {
    pub(super) name: String,
    /// `active`, `failed` and others, in systemd's words.
    pub(super) state: String,
    /// The service begins with the machine.
    pub(super) enabled: bool,
    /// The exit status of its last process.
    pub(super) exit_status: i32,
    /// The service's own word on how it is.
    pub(super) says: String,
}

/// A storage of Proxmox that lies on the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StorageState {
    pub(super) name: String,
    pub(super) kind: String,
    /// Whether Proxmox finds it usable on this host; absent if it does not say.
    pub(super) active: Option<bool>,
    /// The storage is used only while something is mounted there (`is_mountpoint`).
    pub(super) guarded: bool,
    /// The nodes that it is declared for; absent: all of the cluster.
    pub(super) nodes: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_for_is_told_from_what_is_not_there() {
        let mount = MountState { path: "/a".into(), file_system: "ext4".into(), read_only: false, also: Vec::new() };
        for (found, text) in [
            (None, "null"),
            (Some(Found::None), "{\"state\":\"none\"}"),
            (
                Some(Found::There(mount)),
                "{\"state\":\"there\",\"path\":\"/a\",\"file_system\":\"ext4\",\"read_only\":false,\"also\":[]}",
            ),
        ] {
            assert_eq!(serde_json::to_string(&found).unwrap(), text);
            assert_eq!(serde_json::from_str::<Option<Found<MountState>>>(text).unwrap(), found);
        }
    }
}
