//! What was seen of the world, as the observers publish it. Plain data.

use crate::names::RegionName;
use crate::region::{Ledger, Mark, RegionJson};
use crate::wire::Peer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// Everything that is known. What was not looked at yet is `None` or `Unknown`, never a
/// guess.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether systemd answers.
    pub bus: Option<Bus>,
    /// The network.
    pub network: Option<Network>,
    /// The data disk, and what lies on it.
    pub disk: Option<Disk>,
    /// Whether what an earlier supervisor left undone on this disk was finished.
    pub settled: Settled,
    /// What lies in the trash and has been kept long enough, by its directory's name.
    pub expired: BTreeSet<String>,
    /// Something is being removed from the trash.
    pub removing: bool,
    /// What has not been looked at for too long, or never, and for how many seconds. What is
    /// known of it may not be so any more.
    pub unseen: BTreeMap<Watched, u64>,
    /// The regions that a job is at, those included that the map does not have any more.
    pub busy: BTreeMap<RegionName, Busy>,
    /// Regions that were just created while others still are: these come first.
    pub just_created: BTreeSet<RegionName>,
    /// The adoptions that could not be undone, and why. It is tried again after a while.
    pub stuck_adoptions: BTreeMap<RegionName, String>,
    /// What could not be removed from the trash. It is tried again after a while.
    pub stuck_removals: BTreeSet<String>,
    /// The regions that the map puts on this sled; every one has an entry.
    pub regions: BTreeMap<RegionName, Region>,
}

/// Whether what an earlier supervisor left undone on the data disk was finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Settled {
    /// It was not looked for yet.
    #[default]
    No,
    /// It is being finished.
    Running,
    /// Nothing is left undone on the disk with this identity.
    Done(Uuid),
    /// It could not be finished, and why.
    Failed(String),
}

/// What is watched all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// The network interface and the bridge.
    Network,
    /// The data disk.
    Disk,
    /// Who listens and who is connected.
    Sockets,
    /// The regions' units.
    Units,
}

impl Watched {
    /// The word for it in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Disk => "data disk",
            Self::Sockets => "sockets",
            Self::Units => "units",
        }
    }
}

/// Whether systemd answers on D-Bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// It does, and its signals arrive.
    Connected,
    /// It does not, and this is why.
    Unreachable(String),
}

/// The network, as netlink and sysfs tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The configured network interface, if it is there.
    pub nic: Option<Nic>,
    /// The configured bridge, if it is there and is one.
    pub bridge: Option<Bridge>,
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
}

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// It is up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The data disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Counts the looks: of two pictures the one with the higher number is newer.
    pub serial: u64,
    /// A file system of its own is mounted at the root.
    pub mounted: bool,
    /// Its capacity in bytes.
    pub capacity: u64,
    /// How many bytes of it are free.
    pub free: u64,
    /// It cannot be written to.
    pub read_only: bool,
    /// Which sled it belongs to, if it was marked; or why that cannot be read.
    pub mark: Result<Option<Mark>, String>,
    /// The disk that this machine remembers as its own.
    pub remembered: Option<Mark>,
    /// The ledger, or why it cannot be read.
    pub ledger: Result<Ledger, String>,
    /// A ledger that cannot be read is garbage or gone, not only another supervisor's.
    pub ledger_lost: bool,
    /// What is wrong with one of the ledger's copies, while the other is good.
    pub damage: Option<String>,
    /// What lies in each region's directory.
    pub regions: BTreeMap<RegionName, OnDisk>,
    /// The regions that lie where the runbook puts them, and not in their place.
    pub unadopted: BTreeSet<RegionName>,
    /// The files of each region on record whose directory is there.
    pub surveys: BTreeMap<RegionName, Survey>,
    /// What lies in the trash, by the directory's name: how many bytes are taken.
    pub trash: BTreeMap<String, u64>,
}

/// The files of a region, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many bytes of the disk they take.
    pub allocated: u64,
    /// The first of them that a downstairs could not use, and why.
    pub fault: Option<String>,
}

impl Default for Disk {
    /// A disk that is not there.
    fn default() -> Self {
        Self {
            serial: 0,
            mounted: false,
            capacity: 0,
            free: 0,
            read_only: false,
            mark: Ok(None),
            remembered: None,
            ledger: Ok(Ledger::default()),
            ledger_lost: false,
            damage: None,
            regions: BTreeMap::new(),
            unadopted: BTreeSet::new(),
            surveys: BTreeMap::new(),
            trash: BTreeMap::new(),
        }
    }
}

/// What lies in a region's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDisk {
    /// There is no such directory.
    Absent,
    /// A region, which says this of itself.
    Present(RegionJson),
    /// Something that cannot be read as a region, and why.
    Unreadable(String),
}

/// What is known of a region beside what lies on disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Region {
    /// Its unit.
    pub unit: Option<Unit>,
    /// Who holds its ports.
    pub sockets: Option<Sockets>,
    /// Whether it answers.
    pub pulse: Option<Pulse>,
    /// What became of the last wish to start it.
    pub start: Start,
    /// It has served for a minute without a break.
    pub steady: bool,
    /// What lies on disk was last looked at before its downstairs ended: only a look with at
    /// least this serial tells what it would start on.
    pub needs_look: u64,
}

/// What a job does to a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Creates it.
    Creating,
    /// Adopts it.
    Adopting,
    /// Deletes or restores it.
    Deleting,
}

/// What became of the last wish to start a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// There is none, or it was granted.
    #[default]
    Idle,
    /// systemd has been asked and has not answered.
    Asked,
    /// systemd has done so; the unit is awaited in another state.
    Granted,
    /// systemd refused, with this reason. It is asked again after a while.
    Refused(String),
}

/// A unit, as systemd tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Whether it runs.
    pub active: Active,
    /// The main process.
    pub pid: Option<u32>,
    /// How the main process last ended.
    pub exit: Option<Exit>,
    /// systemd's word for how the unit ended, for example `exit-code` or `start-limit-hit`.
    pub result: String,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
}

/// A unit's state, as systemd has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// Not running.
    Inactive,
    /// Being started, or waiting to be started again.
    Activating,
    /// Running.
    Active,
    /// Being stopped.
    Deactivating,
    /// Not running, and systemd has given up.
    Failed,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// Who holds a region's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// The main process for which this was found; `None` if the unit had none.
    pub pid: Option<u32>,
    /// The data port.
    pub data: Holder,
    /// The repair port.
    pub repair: Holder,
    /// Other places that the main process listens at: it was started with other values.
    pub elsewhere: Vec<SocketAddr>,
    /// Who is connected to the data port, the supervisor's own probe left out.
    pub connected: Vec<Peer>,
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The region's own main process, or one in its unit's control group.
    Own,
    /// Another process.
    Other(Stranger),
}

/// A process that listens where only a region may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Its id; `None` if its descriptors could not be read or it has just gone.
    pub pid: Option<u32>,
    /// Its command line.
    pub command: String,
    /// Its unit, if it has one.
    pub unit: Option<String>,
}

/// Whether a region's downstairs answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// The main process that was asked.
    pub pid: u32,
    /// What came of it.
    pub beat: Beat,
    /// What `/region-info` on the repair port says of its identity.
    pub identity: Option<Result<Uuid, String>>,
}

/// What came of asking `Ruok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// Nobody listens yet.
    Refused,
    /// It listens; the answer is awaited.
    Asked,
    /// It answered within the allowance, last time and now.
    Answering,
    /// It has not answered within the allowance.
    Silent,
    /// The connection broke.
    Lost(String),
}
