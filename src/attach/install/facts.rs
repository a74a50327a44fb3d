//! What is wanted of a host, and what was found on it: what the plan is made of. Pure.

use crate::names::VolumeName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How far an installation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// The device, and nothing on it.
    Device,
    /// And a file system on it, that somebody else mounts.
    FileSystem,
    /// And its mount, and a storage of Proxmox on that.
    Mount,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The volume.
    pub(super) volume: VolumeName,
    /// Its sleds, as they are written; `None`: those that are on record.
    pub(super) sleds: Option<Vec<String>>,
    /// The files for sleds that want TLS, as options of `serve`; `None`: those that are on record.
    pub(super) tls: Option<Vec<String>>,
    /// A program that is to be this host's server.
    pub(super) server: Option<PathBuf>,
    /// How far it goes.
    pub(super) extent: Extent,
    /// Where it is mounted; `None`: where it is or was, or else in the usual place.
    pub(super) mount: Option<PathBuf>,
    /// The name of the storage; `None`: the one that it has, or else the usual one.
    pub(super) storage: Option<String>,
    /// What the storage is for, as Proxmox lists it; `None`: what it is for, or else the usual.
    pub(super) content: Option<String>,
}

/// Whether the kernel has network block devices.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kernel {
    /// It has them now.
    pub(super) loaded: bool,
    /// It could.
    pub(super) loadable: bool,
    /// It is going to at each boot.
    pub(super) at_boot: bool,
}

/// What a file is, that is or is to be the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// There is none.
    Missing,
    /// It is no server that could be used, and why.
    Unfit(String),
    /// It is one; what it is, in a number.
    Fit(String),
}

/// A unit that somebody has made by hand for the same purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldUnit {
    /// Its name.
    pub(super) name: String,
    /// Its file.
    pub(super) file: PathBuf,
    /// Where it mounts, if it is a mount.
    pub(super) mounts: Option<PathBuf>,
    /// It runs, or is mounted.
    pub(super) active: bool,
}

/// What was set up by hand.
#[derive(Debug, Clone, Default)]
pub(super) struct Old {
    /// The units, in the order in which they are stopped.
    pub(super) units: Vec<OldUnit>,
    /// Where an earlier installation has put a mount's unit aside.
    pub(super) aside: Option<OldUnit>,
    /// What the server is told to attach, as far as that can be read.
    pub(super) targets: BTreeSet<SocketAddr>,
    /// A line of /etc/fstab that mounts a network block device.
    pub(super) fstab: Option<String>,
    /// Who uses what is mounted.
    pub(super) users: Vec<String>,
}

/// The volume's own service.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    /// systemd knows it: there is a template.
    pub(super) known: bool,
    /// It is started at each boot.
    pub(super) enabled: bool,
    /// Its state, as systemd has it.
    pub(super) state: String,
    /// What it says of itself.
    pub(super) says: String,
    /// The environment that it runs in, if it runs.
    pub(super) environment: Option<BTreeMap<String, String>>,
    /// It was stopped, and could not flush: what was acknowledged is kept by systemd.
    pub(super) unflushed: bool,
    /// Its process.
    pub(super) pid: Option<u32>,
}

impl Service {
    /// The device answers.
    pub(super) fn is_active(&self) -> bool {
        self.state == "active"
    }

    /// Nothing of it runs, or is about to.
    pub(super) fn is_stopped(&self) -> bool {
        ["inactive", "failed", ""].contains(&self.state.as_str())
    }
}

/// What is on a device, as far as blkid can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing at all.
    Nothing,
    /// An ext4.
    Ext4,
    /// Something else, in its words.
    Else(String),
}

/// The volume as a device of this host.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// Its number: it is `/dev/nbdN`.
    pub(super) index: u32,
    /// In bytes.
    pub(super) size: u64,
    /// What is on it.
    pub(super) content: Content,
    /// Who uses it, but for the mount.
    pub(super) users: Vec<String>,
}

/// Whether nothing can be written into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// Nothing can.
    Set,
    /// It can.
    Unset,
    /// Its file system knows no such thing.
    Unknown,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Nothing,
    /// Something that is no directory.
    NoDirectory,
    /// A directory with something in it.
    Full,
    /// An empty one.
    Empty(Flag),
    /// The volume.
    Volume,
    /// Something else is mounted there: what.
    Else(String),
}

/// A mount's unit that an installation has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its name.
    pub(super) name: String,
    /// Where it mounts.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
    /// It follows its service.
    pub(super) enabled: bool,
}

/// A storage, as Proxmox has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Its name.
    pub(super) name: String,
    /// Of which kind.
    pub(super) kind: String,
    /// Where it is, if it is a directory.
    pub(super) path: Option<PathBuf>,
    /// What for.
    pub(super) content: BTreeSet<String>,
    /// The nodes that have it; `None`: all.
    pub(super) nodes: Option<BTreeSet<String>>,
    /// It is used only where something is mounted.
    pub(super) is_mountpoint: bool,
}

/// What Proxmox says.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxmox {
    /// This node, as the others call it.
    pub(super) node: String,
    /// All nodes.
    pub(super) nodes: BTreeSet<String>,
    /// All storages.
    pub(super) storages: Vec<Storage>,
}

/// What was found on a host.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Of the kernel.
    pub(super) kernel: Kernel,
    /// udev knows the names of devices.
    pub(super) rule: bool,
    /// The server, and what was given to become it.
    pub(super) server: Program,
    /// See above; `None` if nothing was given.
    pub(super) given: Option<Program>,
    /// What was set up by hand.
    pub(super) old: Old,
    /// Where the volume's regions are, as its sleds say; empty if none says anything.
    pub(super) targets: BTreeSet<SocketAddr>,
    /// The configuration.
    pub(super) conf: Option<String>,
    /// The service.
    pub(super) service: Service,
    /// The device.
    pub(super) device: Option<Device>,
    /// How large the volume is, as its last ticket said.
    pub(super) size: Option<u64>,
    /// The units that mount it.
    pub(super) mounts: Vec<Mount>,
    /// Where it is to be mounted, what is there, and what unit of somebody else's has the name.
    pub(super) path: PathBuf,
    /// See above.
    pub(super) place: Place,
    /// See above.
    pub(super) stranger: bool,
    /// Who uses what is mounted there.
    pub(super) users: Vec<String>,
    /// `None`: this is no Proxmox host.
    pub(super) proxmox: Option<Proxmox>,
}

impl Facts {
    /// The unit that mounts the volume, if one does.
    pub(super) fn mount(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.path == self.path)
    }

    /// A unit made by hand that has mounted, or does.
    pub(super) fn old_mount(&self) -> Option<&OldUnit> {
        self.old.units.iter().find(|unit| unit.mounts.is_some()).or(self.old.aside.as_ref())
    }
}

/// Where a volume is mounted: as it is said, or as it was, or in the usual place.
pub(super) fn mountpoint(wanted: &Wanted, own: &[Mount], old: &Old) -> PathBuf {
    let was = || own.first().map(|mount| mount.path.clone());
    let by_hand = || old.units.iter().find_map(|unit| unit.mounts.clone());
    let aside = || old.aside.as_ref().and_then(|unit| unit.mounts.clone());
    wanted.mount.clone().or_else(was).or_else(by_hand).or_else(aside).unwrap_or_else(|| usual(&wanted.volume))
}

/// The usual place.
pub(super) fn usual(volume: &VolumeName) -> PathBuf {
    Path::new("/mnt").join(format!("crucible-{volume}"))
}
