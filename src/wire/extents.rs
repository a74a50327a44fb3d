//! Extents of a region, as their files stand.

use crate::names::RegionName;
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The extents of a region, as their files stand: by a look that was made for this answer, while the region goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Extents {
    /// The region.
    pub region: RegionName,
    /// Its UUID.
    pub uuid: Uuid,
    /// The time of the look.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// The bytes of a host's data that an extent has room for.
    pub extent_bytes: u64,
    /// The bytes of the disk that all of them take, with what is kept beside the data.
    pub allocated_bytes: u64,
    /// The highest generation of an upstairs that has flushed one.
    pub generation: u64,
    /// The highest flush of that generation.
    pub flush: u64,
    /// The flushes in between, as both slots of a block were taken by writes that were not flushed; of all extents since
    /// they were made (the downstairs' `bonus_sync_count`).
    pub bonus_syncs: u64,
    /// The times that the slots of one were put back into one array; of all extents since they were made (the downstairs'
    /// `defrag_count`).
    pub defragmentations: u64,
    /// Each extent, by its number from 0 on.
    pub extents: Vec<ExtentDetail>,
}

/// One extent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtentDetail {
    /// Its state.
    pub state: ExtentState,
    /// Whether its file was written within the last minute.
    pub hot: bool,
    /// The time at which its file was last written; absent if that cannot be told.
    #[serde(default, with = "OptionalRfc3339")]
    pub modified: Option<Timestamp>,
    /// The generation of the upstairs that flushed it last; 0: none has.
    pub generation: u64,
    /// The number of its flushes.
    pub flush: u64,
    /// The bytes of the disk that its file takes.
    pub allocated_bytes: u64,
    /// The blocks that are not what their checksums say, by the last scrub or verification.
    pub rotten: u64,
    /// The reason why it cannot be read, if it cannot; or that the last scrub could not read some of it.
    #[serde(default)]
    pub unreadable: Option<String>,
}

/// The state of an extent: of several that are so, the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtentState {
    /// The file cannot be read, or a part of it could not be.
    Unreadable,
    /// Blocks of it are not what their checksums say.
    Rotten,
    /// A host has written to it since it was last flushed.
    Dirty,
    /// No host has ever written to it.
    Untouched,
    /// All that was written to it was flushed.
    Clean,
}

impl ExtentState {
    /// Every state, in the order in which they count.
    pub const ALL: [Self; 5] = [Self::Unreadable, Self::Rotten, Self::Dirty, Self::Untouched, Self::Clean];
}
