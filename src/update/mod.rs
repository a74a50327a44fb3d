//! Updates of the image: another version is put beside the one that runs, is booted, and stays only
//! if the sled is as well with it as it was before.
//!
//! systemd does the work: `systemd-sysupdate` fetches, checks the signature and writes the slot that
//! does not run ([`transfers`], [`sysupdate`]); `systemd-boot` counts the tries, and goes back to the
//! version before when three were in vain. What is decided here is whether a boot was a good one:
//! [`verdict`], which is pure, from what was so before ([`record`]), what the supervisor says now, and who is reached
//! ([`reach`]). What can be had is looked for beforehand ([`checked`]), with what the release says of itself
//! ([`manifest`], [`pull`]), and whether this machine has room for it ([`layout`]); [`back`] leads to the version before.
//! A power cut may leave a kernel's file that is not whole: [`kernel`] finds it.
//!
//! A file or a directory is offered to `systemd-sysupdate` over HTTP on the loopback ([`offer`]), so
//! that its signature is checked as any other's. Nothing here touches the data disk, `/var` but for
//! its own directory, or a region.

pub mod back;
pub mod checked;
pub mod kernel;
pub mod layout;
pub mod manifest;
pub mod offer;
pub mod pull;
pub mod reach;
pub mod record;
pub mod release;
pub mod sysupdate;
pub mod transfers;
pub mod verdict;

/// The name of the image and its files.
pub const NAME: &str = "crucible-sled";
