//! What takes the data disk, and whose it is.

use super::Storage;
use crate::names::{RegionName, SledName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// How many bytes must be free so that a region can be repaired.
    #[serde(default)]
    pub repair_bytes: u64,
    /// How many files can be made on it yet; absent where there is no limit.
    #[serde(default)]
    pub inodes_free: Option<u64>,
    /// The regions that the port map puts on this sled and that are not on record.
    #[serde(default)]
    pub wanted: Vec<WantedRegion>,
    /// Whether new regions reserve their blocks: `thick` or `thin`.
    pub provisioning: String,
    /// How many bytes the regions may still take that are not reserved.
    pub unreserved_bytes: u64,
    /// Every region on record.
    pub regions: Vec<StoredRegion>,
    /// What was deleted and can be had back or is being removed, oldest first.
    pub trash: Vec<DeletedRegion>,
}

/// A region that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedRegion {
    /// Its name.
    pub region: RegionName,
    /// How many bytes it may take.
    pub bytes: u64,
    /// How many bytes must be free so that it can be repaired.
    pub repair_bytes: u64,
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
    /// Until when it is kept, if the sled stays switched on: what counts is the time that it lives.
    pub kept_until: Timestamp,
    /// For how many seconds of its life the sled keeps it yet.
    #[serde(default)]
    pub kept_for_seconds: u64,
    /// Its removal has begun: it cannot be had back.
    pub removing: bool,
    /// How many bytes it takes.
    pub used_bytes: u64,
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
