//! Signs of trouble in the kernel's log, by the device that they are about.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The signs of the last day, by the name that the kernel gives the device: `2-1` on the USB, `0000:00:14.0` of PCI,
/// `8:0` or `sda` of a block device, `ata1` or `nvme0` of where one hangs, `enx00e04ca81110` of a network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelLog(pub BTreeMap<String, Vec<Incident>>);

impl KernelLog {
    /// The incidents with this sign of anything, the oldest first.
    pub fn with(&self, sign: Sign) -> Vec<&Incident> {
        let mut all: Vec<_> = self.0.values().flatten().filter(|incident| incident.signs.contains(&sign)).collect();
        all.sort_by_key(|incident| incident.began);
        all
    }

    /// The devices that have incidents with this sign, and how many.
    pub fn counted(&self, sign: Sign) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter_map(move |(name, incidents)| {
            let count = incidents.iter().filter(|incident| incident.signs.contains(&sign)).count() as u64;
            (count > 0).then_some((name.as_str(), count))
        })
    }

    /// The incidents of a device that has these names, the oldest first.
    pub fn of<'a>(&'a self, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a Incident> {
        let mut all: Vec<_> = names.into_iter().filter_map(|name| self.0.get(name)).flatten().collect();
        all.sort_by_key(|incident| incident.began);
        all
    }
}

/// An incident: signs of one device that came within seconds of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The time of the first sign.
    pub began: Timestamp,
    /// The signs.
    pub signs: BTreeSet<Sign>,
    /// The kernel's words for the last of them.
    pub words: String,
}

/// A sign of trouble, as the kernel's log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A USB device was found, as it is when it is plugged in: what follows within seconds belongs to that.
    UsbFound,
    /// A USB device was reset.
    UsbReset,
    /// A USB device went away.
    UsbLost,
    /// A USB device did not say what it is.
    UsbMute,
    /// A USB device could not be reset.
    UsbResetFailed,
    /// The controller of a USB has lost its place among what it was to do.
    UsbControllerLost,
    /// A network adapter took a packet and did not send it in time.
    TransmitTimeout,
    /// A network adapter did not take a packet.
    TransmitFailed,
    /// A network adapter does not tell of its link any more.
    LinkUntold,
    /// A block device has failed a request.
    IoError,
    /// A disk took a request and did not answer in time.
    DiskTimeout,
    /// The link to a disk, or its controller, was reset.
    DiskReset,
    /// A disk did not come back from a reset.
    DiskMute,
    /// A process was killed, as there was no memory left; by its control group.
    OutOfMemory,
}

impl Sign {
    /// The sign in words, for a network adapter; `None`: it is none of one.
    pub const fn of_adapter(self) -> Option<&'static str> {
        Some(match self {
            Self::UsbFound
            | Self::IoError
            | Self::DiskTimeout
            | Self::DiskReset
            | Self::DiskMute
            | Self::OutOfMemory => return None,
            Self::UsbReset => "it was reset",
            Self::UsbLost => "it was away",
            Self::UsbMute => "it did not say what it is",
            Self::UsbResetFailed => "a reset failed",
            Self::UsbControllerLost => "the USB controller lost its place",
            Self::TransmitTimeout => "packets were not sent in time",
            Self::TransmitFailed => "packets were refused",
            Self::LinkUntold => "it did not tell of its link",
        })
    }

    /// The sign in words, for a disk; `None`: it is none of one.
    pub const fn of_disk(self) -> Option<&'static str> {
        match self {
            Self::IoError => Some("requests failed"),
            Self::DiskTimeout => Some("requests were not answered in time"),
            Self::DiskReset => Some("its link or its controller was reset"),
            Self::DiskMute => Some("it did not come back from a reset"),
            _ => None,
        }
    }
}
