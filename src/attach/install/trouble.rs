//! Troubles of an installation: why a step cannot be done, and what to do first. No remedy of these has data
//! destroyed. Pure.

use super::super::users::named;
use super::facts::{OldUnit, Wanted};
use super::places;
use crate::size;
use crate::wire::{Error, Refusal};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

pub(super) fn no_module() -> Error {
    crate::device::failure::Failure::NoModule.error()
}

pub(super) fn not_root() -> Error {
    Error::new(Refusal::NotRoot, "only root can set up a host", "run it as root (sudo)")
}

pub(super) fn not_installed(what: &str) -> Error {
    Error::new(
        Refusal::NotInstalled,
        format!("{what} is not there"),
        "install the host's files first: image/install / --host, systemctl daemon-reload, udevadm control --reload",
    )
}

pub(super) fn server_missing() -> Error {
    Error::new(
        Refusal::ServerMissing,
        format!("there is no {}", places::SERVER),
        "give it with --server FILE: crucible-nbd-server comes from a build of Crucible (cargo build --release --package \
         crucible-nbd-server), or from a host that has it already",
    )
}

pub(super) fn no_server(path: &Path, why: &str) -> Error {
    let message = format!("{} cannot be the server: {why}", path.display());
    Error::new(Refusal::NoServer, message, "give a crucible-nbd-server for this kind of machine with --server FILE")
}

pub(super) fn no_sleds(wanted: &Wanted) -> Error {
    let message = format!("no sled of {} is named, and none is on record", wanted.volume);
    Error::new(Refusal::Usage, message, "--sled 192.168.4.189, for example; any one of the volume's is enough")
}

pub(super) fn in_fstab(line: &str) -> Error {
    let message = format!("/etc/fstab mounts a network block device: {line}");
    Error::new(Refusal::OldInFstab, message, "unmount it, remove the line, systemctl daemon-reload, and try again")
}

pub(super) fn old_is_another(wanted: &Wanted, old: &BTreeSet<SocketAddr>, now: &BTreeSet<SocketAddr>) -> Error {
    let list = |all: &BTreeSet<SocketAddr>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = format!(
        "what was set up by hand attaches {}, and {} is at {}: it is another volume, and nothing was changed",
        list(old),
        wanted.volume,
        list(now)
    );
    Error::new(
        Refusal::OldIsAnother,
        message,
        "install the volume that has these regions (sledctl volume list, on the sled)",
    )
}

pub(super) fn busy(what: &str, users: &[String]) -> Error {
    let message = format!("{what} is in use by {}", named(users));
    Error::new(Refusal::InUse, message, "stop what uses it first: it would lose what it has open")
}

pub(super) fn no_device(name: &Path, says: &str) -> Error {
    let said = if says.is_empty() { String::new() } else { format!(" (it says: {says})") };
    let message = format!("the service runs{said}, and there is no {}", name.display());
    Error::new(
        Refusal::NoDevice,
        message,
        "see whether udev knows the device (udevadm info /dev/nbd*), and CRUCIBLE_OPTIONS has --device in the configuration",
    )
}

pub(super) fn other_size(wanted: &Wanted, device: u64, ticket: Option<u64>) -> Error {
    let message = match ticket {
        Some(ticket) => format!(
            "the device of {} has {device} bytes, and the volume {ticket} ({})",
            wanted.volume,
            size::spoken(ticket)
        ),
        None => format!("how large {} is was never put on record on this host", wanted.volume),
    };
    Error::new(Refusal::OtherSize, message, format!("see journalctl -u crucible-attach@{}", wanted.volume))
}

pub(super) fn content(wanted: &Wanted, what: &str) -> Error {
    let message = format!("there is something on {} already: {what}", wanted.volume);
    Error::new(
        Refusal::ContentForeign,
        message,
        "it is left as it is. To use it so: --raw, and mount it by a unit of your own; if it was to be empty: see whether it \
         is the right volume",
    )
}

pub(super) fn nothing_there(wanted: &Wanted, unit: &OldUnit) -> Error {
    let message = format!(
        "{} has mounted a file system by hand, and there is nothing at all on {}: it may be another volume",
        unit.name, wanted.volume
    );
    let remedy = format!(
        "see whether {} is the right volume; if a new one is meant: mv {} to another directory, and try again",
        wanted.volume,
        unit.file.display()
    );
    Error::new(Refusal::NothingThere, message, remedy)
}

pub(super) fn has_mount(wanted: &Wanted, path: &Path) -> Error {
    let message = format!("{} was installed with a mount at {}", wanted.volume, path.display());
    Error::new(Refusal::HasMount, message, format!("crucible-attach uninstall {}, and install it anew", wanted.volume))
}

pub(super) fn mounted_elsewhere(wanted: &Wanted, path: &Path) -> Error {
    let message = format!("{} was installed with its mount at {}", wanted.volume, path.display());
    let remedy = format!("leave --mount away, or crucible-attach uninstall {} first", wanted.volume);
    Error::new(Refusal::HasMount, message, remedy)
}

pub(super) fn place_taken(path: &Path, what: &str) -> Error {
    let message = format!("{} is mounted at {}", what, path.display());
    Error::new(Refusal::MountpointTaken, message, "unmount it, or name another place with --mount")
}

pub(super) fn no_directory(path: &Path) -> Error {
    let message = format!("{} is no directory", path.display());
    Error::new(Refusal::MountpointTaken, message, "name another place with --mount")
}

pub(super) fn place_full(path: &Path) -> Error {
    let message = format!("{} is not empty, and would be hidden by what is mounted there", path.display());
    Error::new(Refusal::MountpointNotEmpty, message, "move what is in it elsewhere, or name another place with --mount")
}

pub(super) fn unit_taken(name: &str) -> Error {
    let message = format!("there is a unit {name} already, and nobody here has made it");
    Error::new(Refusal::UnitTaken, message, format!("see systemctl cat '{name}'; name another place with --mount"))
}

pub(super) fn no_proxmox() -> Error {
    Error::new(Refusal::NoProxmox, "this is no host of Proxmox: it has no pvesh", "leave --storage away")
}

pub(super) fn storage_taken(name: &str, what: &str) -> Error {
    let message = format!("there is a storage {name} already, and it is another one: {what}");
    Error::new(Refusal::StorageTaken, message, "name another one with --storage; this one is left as it is")
}

pub(super) fn storage_named(name: &str, path: &Path) -> Error {
    let message = format!("{} is the storage {name} already", path.display());
    Error::new(Refusal::StorageTaken, message, format!("leave --storage away, or say --storage {name}"))
}

pub(super) fn kept(wanted: &str) -> Error {
    let message = format!(
        "writes to {wanted} that were acknowledged do not last yet: no server took them before the service ended"
    );
    let remedy = format!("start it when its sleds are there: systemctl start crucible-attach@{wanted}; then try again");
    Error::new(Refusal::NotFlushed, message, remedy)
}

pub(super) fn still_there(volume: &str, index: u32) -> Error {
    let message = format!("the service of {volume} has ended, and /dev/nbd{index} is connected still");
    let remedy =
        format!("see who uses it (fuser -v /dev/nbd{index}), start crucible-attach@{volume} again, and try again");
    Error::new(Refusal::InUse, message, remedy)
}
