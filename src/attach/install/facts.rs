//! Facts that an installation is planned from: what is wanted of a host, and what was found on it. Pure.

use super::super::mounts::Mount;
use super::super::units::Service;
use crate::names::VolumeName;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The extent of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::attach) enum Extent {
    /// The device, and nothing on it.
    Device,
    /// And a file system on it, that somebody else mounts.
    FileSystem,
    /// And its mount, and a storage of Proxmox on that.
    Mount,
}

/// An installation that is wanted.
#[derive(Debug, Clone)]
pub(in crate::attach) struct Wanted {
    pub(in crate::attach) volume: VolumeName,
    /// Its sleds, as they are written; `None`: those that are on record.
    pub(in crate::attach) sleds: Option<Vec<String>>,
    /// The files for sleds that want TLS, as options of `serve`; `None`: those that are on record.
    pub(in crate::attach) tls: Option<Vec<String>>,
    /// A program that is to be this host's server.
    pub(in crate::attach) server: Option<PathBuf>,
    /// The extent of the installation.
    pub(in crate::attach) extent: Extent,
    /// The path at which it is mounted; `None`: where it is or was, or else in the usual place.
    pub(in crate::attach) mount: Option<PathBuf>,
    /// The name of the storage; `None`: the one that it has, or else the usual one.
    pub(in crate::attach) storage: Option<String>,
    /// The content that the storage is for, as Proxmox lists it; `None`: what it is for, or else the usual.
    pub(in crate::attach) content: Option<String>,
}

/// Network block devices of the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::attach) struct Kernel {
    /// The kernel has them now.
    pub(in crate::attach) loaded: bool,
    /// The kernel could have them.
    pub(in crate::attach) loadable: bool,
    /// The kernel is going to have them at each boot.
    pub(in crate::attach) at_boot: bool,
}

/// The kind of a file that is or is to be the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::attach) enum Program {
    /// There is none.
    Missing,
    /// The file is no server that could be used, and why.
    Unfit(String),
    /// The file is one; what it is, in a number.
    Fit(String),
}

/// A unit that somebody has made by hand for the same purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::attach) struct OldUnit {
    pub(in crate::attach) name: String,
    pub(in crate::attach) file: PathBuf,
    /// The path at which it mounts, if it is a mount.
    pub(in crate::attach) mounts: Option<PathBuf>,
    /// The unit runs, or is mounted.
    pub(in crate::attach) active: bool,
}

/// Units and settings that were made by hand.
#[derive(Debug, Clone, Default)]
pub(in crate::attach) struct Old {
    /// The units, in the order in which they are stopped.
    pub(in crate::attach) units: Vec<OldUnit>,
    /// The unit of a mount that an earlier installation has put aside.
    pub(in crate::attach) aside: Option<OldUnit>,
    /// The targets that the server is told to attach, as far as that can be read.
    pub(in crate::attach) targets: BTreeSet<SocketAddr>,
    /// A line of /etc/fstab that mounts a network block device.
    pub(in crate::attach) fstab: Option<String>,
    /// The users of what is mounted.
    pub(in crate::attach) users: Vec<String>,
}

/// The content of a device, as far as blkid can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::attach) enum Content {
    /// Nothing at all.
    Nothing,
    Ext4,
    /// Something else, in its words.
    Else(String),
}

/// The volume as a device of this host.
#[derive(Debug, Clone)]
pub(in crate::attach) struct Device {
    /// The device's number: it is `/dev/nbdN`.
    pub(in crate::attach) index: u32,
    /// The size in bytes.
    pub(in crate::attach) size: u64,
    /// The content of the device.
    pub(in crate::attach) content: Content,
    /// The users of the device, but for the mount.
    pub(in crate::attach) users: Vec<String>,
}

/// Whether nothing can be written into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::attach) enum Flag {
    /// Nothing can.
    Set,
    /// Anything can be written into it.
    Unset,
    /// The file system knows no such thing.
    Unknown,
}

/// The thing at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::attach) enum Place {
    Nothing,
    /// Something that is no directory.
    NoDirectory,
    /// A directory with something in it.
    Full,
    /// An empty one.
    Empty(Flag),
    Volume,
    /// Something else is mounted there: what.
    Else(String),
}

/// A storage, as Proxmox has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::attach) struct Storage {
    pub(in crate::attach) name: String,
    /// The kind of storage.
    pub(in crate::attach) kind: String,
    /// The path, if it is a directory.
    pub(in crate::attach) path: Option<PathBuf>,
    /// The content that it is for.
    pub(in crate::attach) content: BTreeSet<String>,
    /// The nodes that have it; `None`: all.
    pub(in crate::attach) nodes: Option<BTreeSet<String>>,
    /// The storage is used only where something is mounted.
    pub(in crate::attach) is_mountpoint: bool,
}

/// Proxmox' own view.
#[derive(Debug, Clone, Default)]
pub(in crate::attach) struct Proxmox {
    /// This node, as the others call it.
    pub(in crate::attach) node: String,
    /// All nodes.
    pub(in crate::attach) nodes: BTreeSet<String>,
    /// All storages.
    pub(in crate::attach) storages: Vec<Storage>,
}

/// Facts that were found on a host.
#[derive(Debug, Clone)]
pub(in crate::attach) struct Facts {
    pub(in crate::attach) kernel: Kernel,
    /// udev knows the names of devices.
    pub(in crate::attach) rule: bool,
    /// The server, and what was given to become it.
    pub(in crate::attach) server: Program,
    /// See above; `None` if nothing was given.
    pub(in crate::attach) given: Option<Program>,
    /// The units and settings that were made by hand.
    pub(in crate::attach) old: Old,
    /// The addresses of the volume's regions, as its sleds say; empty if none says anything.
    pub(in crate::attach) targets: BTreeSet<SocketAddr>,
    pub(in crate::attach) conf: Option<String>,
    pub(in crate::attach) service: Service,
    pub(in crate::attach) device: Option<Device>,
    /// The size of the volume, as its last ticket said.
    pub(in crate::attach) size: Option<u64>,
    /// The units that mount it.
    pub(in crate::attach) mounts: Vec<Mount>,
    /// The path at which it is to be mounted, what is there, and what unit of somebody else's has the name.
    pub(in crate::attach) path: PathBuf,
    /// See above.
    pub(in crate::attach) place: Place,
    /// See above.
    pub(in crate::attach) stranger: bool,
    /// The users of what is mounted there.
    pub(in crate::attach) users: Vec<String>,
    /// `None`: this is no Proxmox host.
    pub(in crate::attach) proxmox: Option<Proxmox>,
}

impl Facts {
    /// The unit that mounts the volume, if one does.
    pub(in crate::attach) fn mount(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.path == self.path)
    }

    /// A unit made by hand that has mounted, or does.
    pub(in crate::attach) fn old_mount(&self) -> Option<&OldUnit> {
        self.old.units.iter().find(|unit| unit.mounts.is_some()).or(self.old.aside.as_ref())
    }
}

/// The path at which a volume is mounted: as it is said, or as it was, or in the usual place.
pub(in crate::attach) fn mountpoint(wanted: &Wanted, own: &[Mount], old: &Old) -> PathBuf {
    let was = || own.first().map(|mount| mount.path.clone());
    let by_hand = || old.units.iter().find_map(|unit| unit.mounts.clone());
    let aside = || old.aside.as_ref().and_then(|unit| unit.mounts.clone());
    wanted.mount.clone().or_else(was).or_else(by_hand).or_else(aside).unwrap_or_else(|| usual(&wanted.volume))
}

/// The usual place.
pub(in crate::attach) fn usual(volume: &VolumeName) -> PathBuf {
    Path::new("/mnt").join(format!("crucible-{volume}"))
}
