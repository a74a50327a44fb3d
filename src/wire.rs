//! What goes over HTTP and the unix socket, as serde types that the daemon, `sledctl` and the
//! host's tool share. Fields may be added; none is renamed or removed. Pure.

use crate::check::{Code, Severity};
use crate::names::{RegionName, SledName, VolumeName};
use crate::source::Fault;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use uuid::Uuid;

/// What a region is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does not exist.
    Missing,
    /// It is being created.
    Creating,
    /// It exists, and nothing runs on it.
    Stopped,
    /// A downstairs runs on it, or is about to, and does not serve yet.
    Starting,
    /// It serves: a host may use it.
    Serving,
    /// Its downstairs listens and does not answer.
    Hung,
    /// The supervisor keeps it from running, for a reason that is shown.
    Held,
    /// It cannot serve, and will not without help.
    Failed,
}

impl State {
    /// The state as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Creating => "creating",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its stable code.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about, for example `region still-fawn-0`.
    pub subject: String,
    /// What is wrong, in a sentence.
    pub cause: String,
    /// What to do, in a sentence.
    pub remedy: String,
    /// Since when it holds, as far as this supervisor saw.
    pub since: Timestamp,
}

/// A peer of a region's data port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// A region of a volume, on this sled or another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What it is doing; absent for other sleds' regions, of which this sled knows nothing.
    pub state: Option<State>,
    /// Since when it is in that state, as far as this supervisor saw.
    pub since: Option<Timestamp>,
    /// The main process of its unit.
    pub pid: Option<u32>,
    /// Who is connected to the data port, the supervisor's own probe left out.
    pub connected: Vec<Peer>,
}

/// The body of `GET /v1/volumes/{volume}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub volume: VolumeName,
    /// Whether a host may attach it now, as far as this sled is concerned.
    pub ready: bool,
    /// Changes whenever anything in this body but `as_of` does.
    pub revision: u64,
    /// When this was found to be so.
    pub as_of: Timestamp,
    /// The sled that answers.
    pub sled: SledName,
    /// The digest of its port map.
    pub port_map: String,
    /// How many sleds may die, whichever they are, without losing data.
    pub fault_tolerance: usize,
    /// The size that a host sees, in bytes.
    pub size_bytes: u64,
    /// The hosts that may attach it; empty: anyone.
    pub hosts: Vec<IpAddr>,
    /// Its three regions, by index.
    pub regions: Vec<Region>,
    /// Every condition that concerns it, blocking ones first.
    pub checks: Vec<Check>,
    /// The highest generation granted to a host; 0 while none was.
    pub generation: u64,
}

/// A volume in short: an entry of `GET /v1/volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeBrief {
    /// Its name.
    pub volume: VolumeName,
    /// Whether a host may attach it now.
    pub ready: bool,
    /// As in [`Volume`].
    pub revision: u64,
    /// How many of its regions are on this sled.
    pub regions: usize,
    /// How many of those serve.
    pub serving: usize,
    /// The size that a host sees, in bytes.
    pub size_bytes: u64,
    /// The codes of its blocking checks.
    pub blocking: Vec<Code>,
}

/// The body of `GET /v1/volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// The sled that answers.
    pub sled: SledName,
    /// When this was found to be so.
    pub as_of: Timestamp,
    /// Every volume with a region on this sled.
    pub volumes: Vec<VolumeBrief>,
}

/// The network as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The configured network interface.
    pub nic: String,
    /// Whether it has a link; absent if it is not there.
    pub carrier: Option<bool>,
    /// Its negotiated speed in Mbit/s, if the driver tells.
    pub link_mbps: Option<u32>,
    /// The speed of its USB connection in Mbit/s, if it is a USB adapter.
    pub usb_mbps: Option<u32>,
    /// The configured bridge.
    pub bridge: String,
    /// The bridge's addresses; absent if it is not there.
    pub addresses: Option<Vec<IpAddr>>,
}

/// The storage as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The storage root.
    pub root: String,
    /// Whether a file system of its own is mounted there.
    pub mounted: bool,
    /// Its capacity in bytes; 0 while it is not mounted.
    pub capacity_bytes: u64,
    /// How many bytes of it are free.
    pub free_bytes: u64,
    /// How many bytes of it the regions on record may take in all.
    pub promised_bytes: u64,
    /// How many bytes of it they and what was deleted take now.
    pub used_bytes: u64,
}

/// The body of `GET /v1/storage`: what takes the data disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageDetail {
    /// In short.
    #[serde(flatten)]
    pub storage: Storage,
    /// The identity of the disk, if it is marked as a sled's.
    pub disk: Option<Uuid>,
    /// The sled that it belongs to.
    pub belongs_to: Option<SledName>,
    /// How many bytes are to be kept free.
    pub reserve_bytes: u64,
    /// Whether new regions reserve their blocks: `thick` or `thin`.
    pub provisioning: String,
    /// How many bytes the regions may still take that are not reserved.
    pub unreserved_bytes: u64,
    /// Every region on record.
    pub regions: Vec<StoredRegion>,
    /// What was deleted and can be had back or is being removed, oldest first.
    pub trash: Vec<DeletedRegion>,
}

/// A region on record, by what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRegion {
    /// Its name.
    pub region: RegionName,
    /// Its identity.
    pub uuid: Uuid,
    /// How many bytes it may take.
    pub promised_bytes: u64,
    /// How many bytes it takes; absent if its directory is not there.
    pub used_bytes: Option<u64>,
    /// When it was made or adopted.
    pub created: Timestamp,
    /// By what.
    pub by: String,
}

/// A region in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRegion {
    /// The name that it had.
    pub region: RegionName,
    /// Its identity.
    pub uuid: Uuid,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// Until when it is kept.
    pub kept_until: Timestamp,
    /// Its removal has begun: it cannot be had back.
    pub removing: bool,
    /// How many bytes it takes.
    pub used_bytes: u64,
}

/// The body of `GET /v1/sled`: everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sled {
    /// Its name.
    pub sled: SledName,
    /// The supervisor's version.
    pub version: String,
    /// When this was found to be so.
    pub as_of: Timestamp,
    /// When the supervisor started.
    pub started: Timestamp,
    /// How long it took from the start until every region of the map on this sled served, in
    /// milliseconds; absent until they did.
    pub settled_ms: Option<u64>,
    /// The sled's address.
    pub address: IpAddr,
    /// The digest of its port map.
    pub port_map: String,
    /// No blocking condition holds.
    pub well: bool,
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
    /// The body of `GET /v1/volumes`: the same in short.
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

/// How far a job has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waiting for its turn, or at work.
    Running,
    /// Done.
    Done,
    /// Ended without doing what was asked; the error says why.
    Failed,
    /// Ended because it was cancelled; nothing of it is left.
    Cancelled,
}

impl JobState {
    /// The state as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Creates a region.
    Create,
    /// Adopts a region from what served it before.
    Adopt,
    /// Deletes a region.
    Delete,
    /// Gives a deleted region its place again.
    Restore,
    /// Removes a deleted region for good.
    Purge,
}

impl JobKind {
    /// The kind as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Purge => "purge",
        }
    }
}

/// Long work that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number, unique until the supervisor restarts.
    pub id: u64,
    /// What it does.
    pub kind: JobKind,
    /// The region that it does it to.
    pub region: RegionName,
    /// How far it has got.
    pub state: JobState,
    /// What it is doing, or did last, in a few words.
    pub step: String,
    /// How much of that step is done, of how much; absent if it cannot be told.
    pub progress: Option<JobProgress>,
    /// It can still be cancelled, without a trace.
    pub cancellable: bool,
    /// Why it failed.
    pub error: Option<Error>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// How long it took in milliseconds, the wait for its turn included.
    pub took_ms: Option<u64>,
}

/// How much of a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// So much of it, in whatever the step counts.
    pub done: u64,
    /// Of so much.
    pub total: u64,
}

/// The answer to a request for something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granted {
    /// The region exists already, as it was asked for; with its identity.
    AlreadyThere(Uuid),
    /// A job does it.
    Job(Job),
}

/// The answer to `GET /v1/regions/{region}/adopt`: what adopting it would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The region.
    pub region: RegionName,
    /// The directory that would be taken over, if there is one.
    pub from: Option<String>,
    /// The identity of what lies there.
    pub uuid: Option<Uuid>,
    /// The unit that serves it now, if there is one.
    pub unit: Option<String>,
    /// Who is connected to it.
    pub connected: Vec<IpAddr>,
    /// Why it would be refused; absent if it would be done.
    pub problem: Option<String>,
}

/// The answer to `POST /v1/storage/init`: whose the data disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// The disk's own identity.
    pub disk: Uuid,
    /// The sled that it belongs to.
    pub sled: SledName,
    /// When it was marked.
    pub marked: Timestamp,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// A stable code.
    pub code: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do, in a sentence.
    pub remedy: String,
}

impl Error {
    /// An error from its three parts.
    pub fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), remedy: remedy.into() }
    }

    /// What everything answers while the configuration has faults.
    pub fn config_invalid(faults: &[Fault]) -> Self {
        let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Self::new(
            Code::ConfigInvalid.as_str(),
            format!("the sled's configuration has {} fault(s):\n{list}", faults.len()),
            "mend them (sledctl config check lists them), then: systemctl restart sledd",
        )
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: Error,
}
