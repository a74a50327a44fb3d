//! Image of the machine, as it describes itself, where one runs.

use jiff::Timestamp;

/// The image, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The version of the image.
    pub version: String,
    /// Whether a stand-in serves the regions, and keeps no data.
    pub demonstration: bool,
    /// Whether it was built where no firmware was to be had.
    pub no_firmware: bool,
    /// The newer version that was tried and given up, and why.
    pub given_up: Option<(String, String)>,
    /// The time at which the network that the configuration asks for was taken back, if it was.
    pub network_taken_back: Option<Timestamp>,
    /// Whether the record of a network on trial was lost, so that the one in force may be that.
    pub network_unproven: bool,
    /// The reasons why the configuration that was brought last was not taken over; empty if it was.
    pub refused: Vec<String>,
    /// The files whose place at boot others have taken that were brought, though they had been changed on the sled.
    pub replaced: Vec<String>,
    /// The end of what the machine remembered, if that could not be read when it booted: when, and what was done.
    pub renewed: Option<String>,
    /// The reset that is asked for and not done, or was not done whole, in a sentence.
    pub reset: Option<String>,
    /// The stick that the machine was started from, if it was.
    pub stick: Option<String>,
    /// The disks of the machine on which the image is as well, and the sticks with one.
    pub others: (Vec<String>, Vec<String>),
    /// The room for what the machine remembers; absent if that is not known.
    pub var: Option<Var>,
    /// The version that could be had when it was last looked for one, as far as that holds; `None`: there was none, or
    /// it is not known.
    pub newer: Option<Newer>,
}

/// The room on the file system of `/var`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Var {
    /// The capacity in bytes.
    pub capacity: u64,
    /// The bytes of it that are free.
    pub free: u64,
    /// The files that it can hold; 0 if there is no such limit.
    pub inodes: u64,
    /// The files that can still be made on it.
    pub inodes_free: u64,
}

/// Version of the image that can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newer {
    /// The version.
    pub version: String,
    /// The changes, as far as its release tells.
    pub changes: Vec<String>,
    /// The layout that this machine lacks for it, in a sentence each; empty: it can be taken.
    pub lacks: Vec<String>,
    /// The reason why it is not applied by itself yet, if it is to be.
    pub waits: Option<String>,
}
