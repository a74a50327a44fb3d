//! Block devices that carry the data disk, as the kernel tells of them.

use jiff::Timestamp;

/// The devices below the file system at the storage root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// The kind of the file system, for example `ext4`.
    pub kind: String,
    /// The device that it lies on, for example `sda1`; `None` if it lies on none, as tmpfs does.
    pub device: Option<String>,
    /// Whether what is freed is told to the disks at once (`mount -o discard`).
    pub discard: bool,
    /// Whether what is freed is told to the disks now and then (`fstrim.timer` is enabled).
    pub trimmed: bool,
    /// The errors that the file system has on record; `None` if it keeps no such record.
    pub errors: Option<FsErrors>,
    /// The disks at the bottom.
    pub disks: Vec<Drive>,
}

/// The errors that ext4 has on record of a file system, which last until e2fsck has mended it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsErrors {
    /// The number of errors.
    pub count: u64,
    /// The time of the first one.
    pub first: Option<Timestamp>,
    /// The time of the last one.
    pub last: Option<Timestamp>,
    /// The function of the kernel that has met the last one.
    pub function: Option<String>,
    /// The block that it was about; `None` if it was about none.
    pub block: Option<u64>,
}

/// A whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drive {
    /// The name, for example `sda`.
    pub name: String,
    /// What tells it from another disk of that name, if anything does.
    pub identity: Option<String>,
    /// The names by which the kernel's log knows where it hangs: the port of SATA (`ata1`), the controller of NVMe
    /// (`nvme0`).
    pub hangs_on: Vec<String>,
    /// The bytes that it holds.
    pub bytes: u64,
    /// The model, as it calls itself.
    pub model: Option<String>,
    /// Whether it turns, and is no flash.
    pub rotational: bool,
    /// Whether it can be told what is freed.
    pub discards: bool,
    /// The requests that it has failed within the last hour; `None` if the kernel does not count them.
    pub failed: Option<u64>,
    /// The latency, if it is far above what it was.
    pub slow: Option<Slow>,
}

/// The latency of a disk that has become slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// The milliseconds that a request takes.
    pub now_ms: u64,
    /// The milliseconds that one mostly took; `None` if that is not known yet.
    pub usual_ms: Option<u64>,
}
