//! What is done to the world. Each module does one kind of thing, whole or not at all, and
//! decides nothing: whether it may be done was decided before.

pub mod ledger;
pub mod regions;
pub mod units;
