//! Storage in detail: what takes the data disk, and whose it is.

use super::Storage;
use crate::names::{RegionName, SledName};
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The body of `GET /v1/storage`: what takes the data disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageDetail {
    /// The storage in short.
    #[serde(flatten)]
    pub storage: Storage,
    /// The identity of the disk, if it is marked as a sled's.
    pub disk: Option<Uuid>,
    /// The sled that it belongs to.
    pub belongs_to: Option<SledName>,
    /// The bytes that are to be kept free.
    pub reserve_bytes: u64,
    /// The bytes that must be free so that a region can be repaired.
    #[serde(default)]
    pub repair_bytes: u64,
    /// The files that can be made on it yet; absent where there is no limit.
    #[serde(default)]
    pub inodes_free: Option<u64>,
    /// The regions that the port map puts on this sled and that are not on record.
    #[serde(default)]
    pub wanted: Vec<WantedRegion>,
    /// Whether new regions reserve their blocks: `thick` or `thin`.
    pub provisioning: String,
    /// The bytes that the regions may still take and that are not reserved.
    pub unreserved_bytes: u64,
    /// Every region on record.
    pub regions: Vec<StoredRegion>,
    /// The deleted regions that can be had back or are being removed, oldest first.
    pub trash: Vec<DeletedRegion>,
}

/// A region that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WantedRegion {
    /// The region's name.
    pub region: RegionName,
    /// The bytes that it may take.
    pub bytes: u64,
    /// The bytes that must be free so that it can be repaired.
    pub repair_bytes: u64,
}

/// A region on record, by what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredRegion {
    /// The region's name.
    pub region: RegionName,
    /// The region's identity.
    pub uuid: Uuid,
    /// The bytes that it may take.
    pub promised_bytes: u64,
    /// The bytes that it takes; absent if its directory is not there.
    pub used_bytes: Option<u64>,
    /// The time at which it was made or adopted.
    #[serde(with = "Rfc3339")]
    pub created: Timestamp,
    /// The maker of it.
    pub by: String,
}

/// A region in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletedRegion {
    /// The name that it had.
    pub region: RegionName,
    /// The region's identity.
    pub uuid: Uuid,
    /// The time at which it was deleted.
    #[serde(with = "Rfc3339")]
    pub deleted: Timestamp,
    /// The time until when it is kept, if the sled stays switched on: what counts is the time that it lives.
    #[serde(with = "Rfc3339")]
    pub kept_until: Timestamp,
    /// The seconds of its life for which the sled keeps it yet.
    #[serde(default)]
    pub kept_for_seconds: u64,
    /// Whether its removal has begun: it cannot be had back.
    pub removing: bool,
    /// The bytes that it takes.
    pub used_bytes: u64,
}

/// The answer to `POST /v1/storage/init`: whose the data disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Marked {
    /// The disk's own identity.
    pub disk: Uuid,
    /// The sled that it belongs to.
    pub sled: SledName,
    /// The time at which it was marked.
    #[serde(with = "Rfc3339")]
    pub marked: Timestamp,
}
