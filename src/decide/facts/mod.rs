//! Facts that were seen of the world, as the observers publish them. Plain data.

mod adapter;
mod block;
mod disk;
mod enforcement;
mod files;
mod image;
mod kernel_log;
mod machine;
mod network;
mod region;
mod smart;
mod tls;

pub use adapter::{Between, Faults, Hub, Nic, PortState, Through, Usb};
pub use block::{Block, Drive, FsErrors, Slow};
pub use disk::{Disk, OnDisk, Scrubbed, Survey};
pub use enforcement::{Enforcement, Gap};
pub use files::{Files, Fresh, InForce};
pub use image::{Image, Newer, Var};
pub use kernel_log::{Incident, KernelLog, Sign};
pub use machine::{Clock, Crash, Machine, Sensor, Step, Unclean, Watchdog};
pub use network::{Bond, Bridge, MacChange, Manager, Member, Network, Rejoin, Rejoined, Tagging};
pub use region::{
    Active, Beat, Doing, Exit, Fencing, Holder, Pulse, Region, Run, Sockets, Start, Stopped, Stranger, Unit,
};
pub use smart::{Health, Smart};
pub use tls::{Certificate, Flaw, KeyForm, Refusal, Tls};

use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use crate::port_map::Fence;
use crate::region::verification::Verification;
use crate::region::{Grant, Hold};
use crate::wire::{self, Drain, ErrorCode, Maintenance};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use uuid::Uuid;

/// All facts that are known. A fact that was not looked at yet is `None` or `Unknown`, never a guess.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether systemd answers.
    pub bus: Option<Bus>,
    /// Whether systemd enforces what the regions' units ask for.
    pub enforcement: Option<Enforcement>,
    /// The image, as it describes itself; never seen on a machine that was set up by hand.
    pub image: Option<Image>,
    /// The configuration's files, as they lie there; `None` before the first look.
    pub files: Option<Files>,
    /// The configuration in force of them.
    pub in_force: Option<InForce>,
    /// The network.
    pub network: Option<Network>,
    /// The hardware address of another machine that says it has the sled's IPv4 address, if one does.
    pub claimed_by: Option<String>,
    /// The return of the adapter to its bridge.
    pub rejoin: Rejoin,
    /// The signs of trouble in the kernel's log.
    pub kernel_log: KernelLog,
    /// The files of `[tls]`; never seen without TLS.
    pub tls: Option<Tls>,
    /// The data disk, and what lies on it.
    pub disk: Option<Disk>,
    /// The block devices below it; `None` as long as they were not looked at.
    pub block: Option<Block>,
    /// The health of the disks below it, by their names, as they tell of themselves.
    pub health: BTreeMap<String, Health>,
    /// The machine, as its kernel tells of it; never seen in a container.
    pub machine: Option<Machine>,
    /// The hardware that the machine is made of.
    pub inventory: Option<wire::Inventory>,
    /// The end of the boot before this one, if that was no shutdown.
    pub unclean: Option<Unclean>,
    /// The latest time on record of the regions that the clock has not reached, and what was done then.
    pub ahead: Option<(Timestamp, String)>,
    /// Whether what an earlier supervisor left undone on this disk was finished.
    pub settled: Settled,
    /// The seconds for which each directory in the trash is kept yet, by its name; 0: it has been kept long enough.
    pub kept_for: BTreeMap<String, u64>,
    /// Whether something is being removed from the trash.
    pub removing: bool,
    /// The things that have not been looked at for too long, or never, by the word for each, and for how many
    /// seconds. A fact that is known of one may not be so any more.
    pub unseen: BTreeMap<&'static str, u64>,
    /// The regions that a job is at, those included that the map does not have any more.
    pub busy: BTreeMap<RegionName, Busy>,
    /// Regions that were just created while others still are: these come first.
    pub just_created: BTreeSet<RegionName>,
    /// The regions that were just put on hold, before the ledger says so or although it cannot.
    pub holding: BTreeMap<RegionName, Hold>,
    /// The grants to hosts; `None` until the record of them was read.
    pub grants: Option<BTreeMap<VolumeName, Grant>>,
    /// The volumes whose record of grants cannot be read, and why.
    pub unread_grants: BTreeMap<VolumeName, String>,
    /// The volumes whose record of grants is not as it is known to be, and why: it is written anew.
    pub damaged_grants: BTreeMap<VolumeName, String>,
    /// The reason why some units stay as they were last configured; what runs by them goes on.
    pub outdated: Option<Outdated>,
    /// Whether systemd has not told yet that it knows the units as they are configured now: until then nothing is
    /// started.
    pub stale_units: bool,
    /// The time since when each host that is connected to a volume has been seen.
    pub seen_since: BTreeMap<(VolumeName, IpAddr), Timestamp>,
    /// The seconds for which a host that is connected to others of a volume's regions has not been to this one,
    /// although it serves; counted by a clock that nobody sets.
    pub lacks: BTreeMap<(RegionName, IpAddr), u64>,
    /// The time for which the holder of a volume's last ticket has been away, if it is, although it could be there;
    /// counted by a clock that nobody sets.
    pub away: BTreeMap<VolumeName, Duration>,
    /// The hosts that the map does not let in, and that tried of late.
    pub turned_away: BTreeMap<VolumeName, TurnedAway>,
    /// The hosts that were refused a ticket of late: when first, and what each was told.
    pub refused: BTreeMap<RefusedHost, (Timestamp, String)>,
    /// The volumes at whose fence somebody is at work.
    pub granting: BTreeSet<VolumeName>,
    /// Processes of others that have a region's files open for writing.
    pub intruders: Option<BTreeMap<RegionName, Vec<Stranger>>>,
    /// The maintenance in which hosts are asked to wait, and until when.
    pub maintenance: Option<Maintenance>,
    /// The volumes that are being drained.
    pub drains: BTreeMap<VolumeName, Drain>,
    /// Whether a roll of another downstairs program was cut short, and no job goes on with it.
    pub unfinished_upgrade: bool,
    /// The regions that a job is to take away for a moment, which nobody waits for, and which waits
    /// itself until the volume's other sleds are well.
    pub awaiting: BTreeMap<RegionName, Awaited>,
    /// The job that rolls another downstairs program over the regions.
    pub upgrading: Option<u64>,
    /// The reason why notifications are not delivered, as long as none is.
    pub unnotified: Option<String>,
    /// The regions that are being scrubbed, verified or repaired, or are to be, by the job that does it.
    pub scrubbing: BTreeMap<RegionName, u64>,
    /// The verification that the end of the boot before has left to this one, and how far it is.
    pub verification: Option<Verification>,
    /// Whether the machine is being switched off.
    pub leaving: bool,
    /// The adoptions that could not be undone, and why. It is tried again after a while.
    pub stuck_adoptions: BTreeMap<RegionName, String>,
    /// The directories that could not be removed from the trash, until it is time to try it again: after ever longer.
    pub stuck_removals: BTreeSet<String>,
    /// The regions that the map puts on this sled; every one has an entry.
    pub regions: BTreeMap<RegionName, Region>,
}

/// The settlement of what an earlier supervisor left undone on the data disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Settled {
    /// The disk was not looked at for it yet.
    #[default]
    No,
    /// The work is being finished.
    Running,
    /// Nothing is left undone on the disk with this identity.
    Done(Uuid),
    /// The work could not be finished, and why.
    Failed(String),
}

/// The bus: whether systemd answers on D-Bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// systemd does, and its signals arrive.
    Connected,
    /// systemd does not, and this is why.
    Unreachable(String),
}

/// The units that stay as they were last configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The obstacle that keeps them so.
    pub by: Obstacle,
    /// The regions whose units these are: they are not started by them. All others are.
    pub regions: BTreeSet<RegionName>,
}

/// The obstacle that keeps units as they were last configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The record of which program each region runs cannot be read, and why.
    Programs(String),
    /// systemd has read its units again, or refuses to, and why they are not as they are configured.
    Systemd(String),
}

impl Facts {
    /// The hold that keeps a region from running, if one does.
    pub fn held(&self, name: &RegionName) -> Option<&Hold> {
        let ledger = self.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
        ledger.and_then(|ledger| ledger.holds.get(name)).or_else(|| self.holding.get(name))
    }

    /// The reason why a region's unit is not as it is configured, if it is not.
    pub fn outdated(&self, name: &RegionName) -> Option<&Outdated> {
        self.outdated.as_ref().filter(|outdated| outdated.regions.contains(name))
    }

    /// Whether a process of others writes to a region's files, as far as is known.
    pub fn intruded(&self, name: &RegionName) -> bool {
        self.intruders.as_ref().is_some_and(|seen| seen.contains_key(name))
    }

    /// The fence that a volume is to have; `None` as long as it is not known what was granted: then
    /// the one that there is stays, and nothing is started.
    pub fn fence(&self, config: &Configuration, volume: &VolumeName) -> Option<Fence> {
        let grants = self.grants.as_ref().filter(|_| !self.unread_grants.contains_key(volume))?;
        Some(Fence::around(&config.map, volume, grants.get(volume)))
    }

    /// Whether a region's unit lets in whom it is to, and nobody else.
    pub fn is_fenced(&self, config: &Configuration, name: &RegionName) -> bool {
        let unit = self.regions.get(name).and_then(|region| region.unit.as_ref());
        let wanted = self.fence(config, name.volume());
        wanted.is_some() && unit.is_some_and(|unit| unit.fence == wanted)
    }

    /// The work of a job on a region right now; one that waits or only watches does nothing.
    pub fn at_work(&self, name: &RegionName) -> Option<Busy> {
        self.busy.get(name).copied().filter(|busy| !busy.passive())
    }
}

/// The wait of a job for a volume's other sleds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The job.
    pub job: u64,
    /// The reason: what the others were last found to lack.
    pub why: wire::Error,
}

/// Attempts of those that the map does not let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// The addresses that asked for a ticket.
    pub asked: BTreeSet<IpAddr>,
    /// Whether packets to the regions' ports were dropped.
    pub dropped: bool,
}

/// Host that was refused a ticket, and by which code: the same host for the same reason is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedHost {
    /// The volume.
    pub volume: VolumeName,
    /// The host.
    pub host: IpAddr,
    /// The code of the reason.
    pub code: ErrorCode,
}

/// The work of a job on a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// The job waits for its turn: the region goes on as if there were no job.
    Waiting,
    /// The job has its turn, and watches the region: it goes on, and the volume's others stay.
    Watching,
    /// The job restarts it.
    Restarting,
    /// The job stops it, to be held.
    Holding,
    /// The job creates it.
    Creating,
    /// The job adopts it.
    Adopting,
    /// The job deletes or restores it.
    Deleting,
}

impl Busy {
    /// Whether the region goes on meanwhile.
    pub fn passive(self) -> bool {
        matches!(self, Self::Waiting | Self::Watching)
    }
}
