//! The whole sled on a real systemd: a machine of its own for every test, with a bridge, a
//! cable and a data disk, driven as an operator and a host would.
//!
//! The module `faces` wants tools of others, and is a suite by itself: `tests/run faces`.
//!
//! Needs root. With `CRUCIBLE_BIN=DIR` the machines run the real programs found there; the
//! tests in the module `faults` need the stand-in's faults and are then left out.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod absence;
mod addressing;
mod adoption;
mod alone;
mod attachments;
mod broker;
mod calm;
mod care;
mod catalog;
mod clock;
mod deletion;
mod device;
mod disk;
mod drain;
mod drives;
mod enforcement;
mod events;
mod face;
mod faces;
mod failures;
mod faults;
mod fleet;
mod grants;
mod held_disk;
mod host;
mod hostile;
mod intruders;
mod jobs;
mod kills;
mod lifecycle;
mod lines;
mod machine;
mod neighbours;
mod net_test;
mod network;
mod notify;
mod polls;
mod port_map;
mod ports;
mod rebuild;
mod reload;
mod repair;
mod rotting;
mod scarcity;
mod scrub;
mod sleds;
mod storage;
mod supervision;
mod takeover;
mod tickets;
mod tls;
mod updates;
mod upgrade_faults;
mod verification;
