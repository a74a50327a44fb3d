//! Scrubs of a region: when its blocks were last held to their checksums, and what was found.

use crate::region::scrub::BlockFault;
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scrubs of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scrub {
    /// The time at which a scrub came to its end that could read everything; absent if none has.
    #[serde(default, with = "OptionalRfc3339")]
    pub completed: Option<Timestamp>,
    /// The time at which the last one was begun.
    #[serde(with = "Rfc3339")]
    pub begun: Timestamp,
    /// The end of that one; absent while it is under way.
    #[serde(default, with = "OptionalRfc3339")]
    pub ended: Option<Timestamp>,
    /// The reason why that one could not go on, if it could not.
    #[serde(default)]
    pub failed: Option<String>,
    /// The last time at which what is wrong was found, or found to be over, by the verification after the machine ended
    /// without a shutdown. A region that was never scrubbed was begun and ended with that.
    #[serde(default, with = "OptionalRfc3339")]
    pub verified: Option<Timestamp>,
    /// The number of blocks that are not what their checksums say.
    pub rotten: u64,
    /// The number of places that could not be read.
    pub unreadable: u64,
    /// The first of both, by extent and block.
    #[serde(default)]
    pub faults: Vec<BlockFault>,
}
