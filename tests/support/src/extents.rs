//! Extents with a block in them, as a host's flush leaves them, and one that rots.

use crate::machine::Machine;
use crucible_sled::region::extent::{Array, Layout, SLOT_BYTES};
use crucible_sled::region::format::extent_path;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use twox_hash::XxHash64;

/// The layout of the small volume's extents.
const LAYOUT: Layout = Layout { block_bytes: 512, blocks: 64 };
/// The block that is written, and rots.
const BLOCK: std::ops::Range<u64> = 1..2;

/// The path out here of the first extent of a region.
pub fn extent(machine: &Machine, region: &str) -> PathBuf {
    nth(machine, region, 0)
}

/// The path out here of an extent of a region.
pub fn nth(machine: &Machine, region: &str, number: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root/crucible/{region}/{}", machine.leader(), extent_path(number)))
}

fn open(machine: &Machine, region: &str, number: u32) -> File {
    File::options().read(true).write(true).open(nth(machine, region, number)).unwrap()
}

/// Writes a block of the first extent and its context, clean, at generation 7 and flush 3.
pub fn write(machine: &Machine, region: &str) {
    write_nth(machine, region, 0);
}

/// Writes a block of an extent and its context, in the same way.
pub fn write_nth(machine: &Machine, region: &str, number: u32) {
    let (file, data) = (open(machine, region, number), [7; 512]);
    let hash = XxHash64::oneshot(0, &data).to_le_bytes();
    let mut slot = [0; SLOT_BYTES];
    slot[0] = 1;
    slot[1..9].copy_from_slice(&hash);
    slot[10..18].copy_from_slice(&hash);
    file.write_all_at(&slot, LAYOUT.slots(Array::First, &BLOCK).start).unwrap();
    file.write_all_at(&data, LAYOUT.data(&BLOCK).start).unwrap();
    let mut ends = [0; 16];
    (ends[0], ends[8]) = (7, 3);
    file.write_all_at(&ends, LAYOUT.trailer() + 1).unwrap();
}

/// Lets the block rot, of which [`write`] has written the context.
pub fn rot(machine: &Machine, region: &str) {
    rot_nth(machine, region, 0);
}

/// The same in an extent that [`write_nth`] has written to.
pub fn rot_nth(machine: &Machine, region: &str, number: u32) {
    open(machine, region, number).write_all_at(&[6], LAYOUT.data(&BLOCK).start + 100).unwrap();
}
