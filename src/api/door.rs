//! Doors of a sled: where an operation may be asked for. Pure.

/// A door at which operations are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// At every door.
    Anyone,
    /// Over TCP alone: it is about the address that asks.
    Host,
    /// Over the unix socket alone: from root and the group `sled`.
    Admin,
}
