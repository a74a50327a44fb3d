//! Support that several of the test programs share. Each asserts what it needs, and ends with its test what it has
//! started. Nothing here is a test, and nothing is a part of the product.
//!
//! | module | job |
//! |---|---|
//! | [`places`] | where the repository and the programs lie |
//! | [`scratch`] | directories for disks, gone even when their test was killed |
//! | [`certificates`] | a root, and what it has issued |
//! | [`loopback`] | a network of a test's own |
//! | [`hosts`] | hosts as far as a sled sees them, and the switch that joins them with machines |
//! | [`layer`], [`machine`] | the product, laid out; and a sled's machine that has booted with it |
//! | [`fuse_disk`] | a disk that a test answers for |
//! | [`extents`] | extents that were written, and rot |
//! | [`fleet`] | sleds that are none, for whoever attaches |
//! | [`browser`] | a browser without a window |
//! | [`figures`] | what benchmarks show, and how often they measure |
//! | [`client`], [`relay`] | a client of a volume; and a relay with all that it needs |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::new_without_default, reason = "what is new here is made, and may fail to be")]

pub mod browser;
pub mod certificates;
pub mod client;
pub mod extents;
pub mod figures;
pub mod fleet;
pub mod fuse_disk;
pub mod hosts;
pub mod layer;
pub mod loopback;
pub mod machine;
pub mod places;
pub mod relay;
pub mod scratch;
