//! The host's half on a real host: a Debian 13 with its full kernel, in QEMU (`tests/run host`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod boots;
mod device;
mod hub;
mod install;
mod machine;
mod mounted;
mod network;
mod outages;
mod pair;
mod pressure;
mod steps;
mod takeover;
mod two;
