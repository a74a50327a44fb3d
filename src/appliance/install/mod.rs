//! Installation of the image from the disk that a machine was started from, a stick, onto another of its disks. What may
//! be installed on, and what is written where, is decided here, of what was seen: [`disk`] and [`table`] are its nouns. [`mod@write`] carries it out, and [`firmware`] has the machine's firmware start the disk first.
//!
//! The regions of a disk are kept or given up as somebody says, and never by themselves.

pub mod disk;
pub mod firmware;
pub mod plan;
pub mod table;
pub mod write;
