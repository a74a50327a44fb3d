//! Actions on the world. Each module does one kind of thing, whole or not at all, and decides nothing: whether it may
//! be done was decided before.
//!
//! | module | does |
//! |---|---|
//! | [`create`], [`thick`] | makes a region, and takes its blocks |
//! | [`extent_repair`] | puts a sibling's extent in the place of a rotten one |
//! | [`adopt`], [`legacy`], [`owner`] | takes a region over from what served it before |
//! | [`units`], [`programs`] | has systemd start units with their present values, by the program that each is to run |
//! | [`rejoin`] | puts a network adapter back into its bridge |
//! | [`fence`] | changes whom a unit lets in, and ends the connections of the others |
//! | [`storage`], [`settle`] | takes a data disk into use, and does what an earlier supervisor left undone |
//! | [`notify`] | has somebody told of a check |
//! | [`scrub`] | holds every block of a region to its context |
//! | [`trash`] | removes for good what was deleted |
//! | [`follower`] | has somebody follow a job that nobody follows |

pub mod adopt;
pub mod create;
pub mod extent_repair;
pub mod fence;
pub mod follower;
pub mod legacy;
pub mod network_trial;
pub mod notify;
pub mod owner;
pub mod programs;
pub mod rejoin;
pub mod scrub;
pub mod settle;
pub mod storage;
pub mod thick;
pub mod trash;
pub mod units;
