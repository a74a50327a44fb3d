//! What is done to the world. Each module does one kind of thing, whole or not at all, and
//! decides nothing: whether it may be done was decided before.

pub mod adopt;
pub mod create;
pub mod inspect;
pub mod ledger;
pub mod legacy;
pub mod maintenance;
pub mod mark;
pub mod peers;
pub mod places;
pub mod programs;
pub mod progress;
pub mod reserve;
pub mod settle;
pub mod storage;
pub mod trash;
pub mod units;
