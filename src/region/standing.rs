//! Standing of an extent: what its file says of it, without a look at its blocks.

use super::format::{Counters, Trailer};
use jiff::Timestamp;

/// What the file of an extent says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What its downstairs knew of it when it last wrote.
    pub trailer: Trailer,
    /// What is counted of it.
    pub counters: Counters,
    /// Time at which the file was last written.
    pub modified: Timestamp,
    /// Bytes of the disk that the file takes.
    pub allocated: u64,
}

impl Standing {
    /// Whether no host has ever written to it: it was never flushed, and is not dirty.
    pub fn is_untouched(&self) -> bool {
        !self.trailer.dirty && self.trailer.generation == 0 && self.trailer.flush == 0
    }
}
