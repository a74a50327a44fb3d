//! Data disk, and what lies on it.

use crate::names::{RegionName, VolumeName};
use crate::region::scrub::Scrubs;
use crate::region::{Grant, Ledger, Mark, RegionJson};
use std::collections::{BTreeMap, BTreeSet};

/// The data disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Counts the looks: of two pictures the one with the higher number is newer.
    pub serial: u64,
    /// The number of the configuration whose regions were looked for.
    pub config: u64,
    /// Whether a file system of its own is mounted at the root.
    pub mounted: bool,
    /// The capacity in bytes.
    pub capacity: u64,
    /// The bytes of it that are free.
    pub free: u64,
    /// The files that it can hold; 0 if there is no such limit.
    pub inodes: u64,
    /// The files that can still be made on it.
    pub inodes_free: u64,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Whether it cannot because the kernel has made it so after an error.
    pub frozen: bool,
    /// The sled that it belongs to, if it was marked; or why that cannot be read.
    pub mark: Result<Option<Mark>, String>,
    /// The disk that this machine remembers as its own.
    pub remembered: Option<Mark>,
    /// The ledger, or why it cannot be read.
    pub ledger: Result<Ledger, String>,
    /// Whether a ledger that cannot be read is garbage or gone, not only another supervisor's.
    pub ledger_lost: bool,
    /// The fault of one of the ledger's copies, while the other is good.
    pub damage: Option<String>,
    /// The content of each region's directory.
    pub regions: BTreeMap<RegionName, OnDisk>,
    /// The regions that lie where the runbook puts them, and not in their place.
    pub unadopted: BTreeSet<RegionName>,
    /// The files of each region on record whose directory is there.
    pub surveys: BTreeMap<RegionName, Survey>,
    /// The scrubs of each region on record.
    pub scrubs: BTreeMap<RegionName, Scrubbed>,
    /// The bytes that each directory in the trash takes, by its name.
    pub trash: BTreeMap<String, u64>,
    /// The grant of each volume that has a record of it, or why that cannot be read, for example because it is gone;
    /// or why no record can be.
    pub grants: Result<BTreeMap<VolumeName, Result<Grant, String>>, String>,
}

/// The files of a region, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The bytes of the disk that they take.
    pub allocated: u64,
    /// The first of them that a downstairs could not use, and why.
    pub fault: Option<String>,
    /// The extents that were left dirty: a downstairs hashes these before it listens.
    pub dirty: u32,
}

/// The scrubs of a region, and how long ago the last whole one was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// The record of them; `None` if it was never scrubbed since it is on record.
    pub record: Option<Scrubs>,
    /// The hours since the last one that was whole; without one, since the region is on record.
    pub hours: u64,
}

impl Default for Disk {
    /// A disk that is not there.
    fn default() -> Self {
        Self {
            serial: 0,
            config: 0,
            mounted: false,
            capacity: 0,
            free: 0,
            inodes: 0,
            inodes_free: 0,
            read_only: false,
            frozen: false,
            mark: Ok(None),
            remembered: None,
            ledger: Ok(Ledger::default()),
            ledger_lost: false,
            damage: None,
            regions: BTreeMap::new(),
            unadopted: BTreeSet::new(),
            surveys: BTreeMap::new(),
            scrubs: BTreeMap::new(),
            trash: BTreeMap::new(),
            grants: Ok(BTreeMap::new()),
        }
    }
}

/// The content of a region's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDisk {
    /// No such directory is there.
    Absent,
    /// A region, which says this of itself.
    Present(RegionJson),
    /// Something that cannot be read as a region, and why.
    Unreadable(String),
}
