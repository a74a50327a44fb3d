//! Region as a replica of its volume: what it has, for whoever would have another one filled from it.

use crate::names::{RegionName, SledName};
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a region has flushed, by a look that was made for this answer, and how far its scrubs are to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replica {
    /// The region.
    pub region: RegionName,
    /// The sled that answers.
    pub sled: SledName,
    /// Its UUID.
    pub uuid: Uuid,
    /// The time of the look.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// The time before which a scrub says nothing of it, as its machine has ended without a shutdown since and it was not
    /// verified; absent if any does.
    #[serde(default, with = "OptionalRfc3339")]
    pub counts_from: Option<Timestamp>,
    /// What was flushed last of each extent, by its number from 0 on. A region that was made anew, and is not filled, has
    /// zeros where its siblings have not.
    pub extents: Vec<Flushed>,
}

/// The last flush of an extent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Flushed {
    /// The generation of the upstairs that flushed it; 0 if none ever did.
    pub generation: u64,
    /// The number of the flush.
    pub flush: u64,
}
