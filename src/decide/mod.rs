//! The decisions: from what is wanted and what was seen, to what is done and what is said.
//!
//! [`plan`](plan::plan) and [`judge`](verdict::judge) are functions of the configuration and
//! the [`Facts`](facts::Facts), and of nothing else: no I/O, no clock, no state of their own.
//! The same facts always give the same answer.

mod adapter;
pub mod attach;
mod block;
mod bridge;
pub mod difference;
mod enforcement;
pub mod extents;
pub mod facts;
pub mod failure;
pub mod finding;
pub mod generation;
pub mod granting;
mod hosts;
mod identity;
mod image;
mod lacks;
pub mod machine;
mod manager;
mod network;
pub mod notices;
mod outdated;
mod pending;
pub mod permits;
pub mod plan;
mod process;
pub mod prospect;
pub mod rebuild;
pub mod region;
pub mod remedy;
pub mod repair;
pub mod scrub;
pub mod settle;
mod single;
mod smart;
pub mod storage;
mod strangers;
mod tls;
pub mod turns;
pub mod update;
pub mod verdict;
pub mod verification;

#[cfg(test)]
mod tests;
