//! The kernel's network block device, `/dev/nbdN`: connected to an NBD server, given another server when its own
//! has gone, and disconnected, all by generic netlink and without a process that has to stay.
//!
//! ```text
//! dial (a server, up to its requests) ──► kernel (takes the socket) ──► /dev/nbdN, /dev/crucible/V
//!        └── nbd::handshake                     ├── message
//!                                               ├── link dead ──► dial again ──► reconfigure
//!                                               └── sysfs (what it is connected to)
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`backend`] | what a device is connected to, as the kernel keeps it. Pure |
//! | [`message`] | the messages of the kernel's family `nbd`. Pure |
//! | [`kernel`] | asks the kernel, and listens to it |
//! | [`dial`] | connects to a server |
//! | [`sysfs`] | what is shown of a device |
//! | [`failure`] | why something did not work, and what to do |
//!
//! The crate `nbd-netlink` knows neither time-outs nor the identifier of what is served, neither RECONFIGURE
//! nor dead links; and one family's messages take less than another netlink stack.

pub mod backend;
pub mod dial;
pub mod failure;
pub mod kernel;
pub mod message;
pub mod sysfs;

use std::time::Duration;

/// The size of a device's blocks in bytes: a volume's.
pub const BLOCK_SIZE: u64 = 4096;
/// The time that requests wait for another server when theirs has gone: longer than a sled takes to boot, its regions
/// to be looked through, and somebody to plug it in again. Then they fail, and a file system is read-only.
pub const DEAD_TIMEOUT: Duration = Duration::from_secs(600);
