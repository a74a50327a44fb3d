//! What is done to the world. Each module does one kind of thing, whole or not at all, and
//! decides nothing: whether it may be done was decided before.

pub mod adopt;
pub mod canary;
pub mod connections;
pub mod create;
pub mod drains;
pub mod fence;
pub mod follower;
pub mod in_force;
pub mod inspect;
pub mod jobs;
pub mod layout;
pub mod ledger;
pub mod legacy;
pub mod lived;
pub mod maintenance;
pub mod mark;
mod memo;
pub mod owner;
pub mod peers;
pub mod places;
pub mod ports;
pub mod programs;
pub mod progress;
pub mod reserve;
pub mod reserved;
pub mod settle;
pub mod since;
mod sock_diag;
pub mod storage;
pub mod tickets;
pub mod trash;
pub mod units;
pub mod written;
