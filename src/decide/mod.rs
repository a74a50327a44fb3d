//! The decisions: from what is wanted and what was seen, to what is done and what is said.
//!
//! [`plan`](plan::plan) and [`judge`](verdict::judge) are functions of the configuration and
//! the [`Facts`], and of nothing else: no I/O, no clock, no state of their own.
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
pub mod network_trial;
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
mod spare;
pub mod storage;
mod strangers;
mod tls;
pub mod turns;
pub mod update;
pub mod verdict;
pub mod verification;

use crate::config::Configuration;
use facts::Facts;
use finding::Finding;

/// Findings of one subject of the sled, from the configuration and what was seen.
type Judge = fn(&Configuration, &Facts) -> Vec<Finding>;

/// Every judge of the sled as a whole, for the [`verdict`], which judges the regions and volumes itself. A file that
/// judges something new has a line here, beside its `mod`.
const JUDGES: &[Judge] = &[
    |_, facts| facts.outdated.iter().map(outdated::finding).collect(),
    pending::findings,
    |_, facts| enforcement::finding(facts).into_iter().collect(),
    |_, facts| image::findings(facts),
    storage::findings,
    |_, facts| block::findings(facts),
    |_, facts| smart::findings(facts),
    |_, facts| machine::findings(facts),
    strangers::findings,
    |_, facts| strangers::unread(facts),
    network::findings,
    tls::findings,
    lacks::findings,
    scrub::findings,
];

#[cfg(test)]
mod tests;
