//! The appliance image, in QEMU: flashed, booted, configured, attachable, updated, rolled back.
//!
//! Needs root, and the images of `tests/image/images` in the directory that `SLED_IMAGES` names.
//! Without KVM a boot takes about a minute.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod apply;
mod apply_cuts;
mod cuts;
mod data;
mod dead_ends;
mod eyes;
mod failing;
mod first;
mod flash;
mod guest;
mod install;
mod parts;
mod reboot;
mod reset;
mod speed;
mod var;
