//! Data of a volume that a host has attached: what it writes, where that lies in the regions, and bits of it that flip.

use crate::device::Blocks;
use crucible_sled::region::extent::{Array, Layout};
use crucible_sled::region::format::{TRAILER_BYTES, Trailer};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use support::extents::nth;
use support::machine::Machine;

/// The layout of the volume's extents, and how many there are.
pub const LAYOUT: Layout = Layout { block_bytes: 512, blocks: 64 };
pub const EXTENTS: u32 = 4;
/// The bytes of an extent's blocks.
pub const BYTES: u64 = LAYOUT.block_bytes * LAYOUT.blocks;

/// What of a block changes: a byte of its data, or of the context that the bitmap chooses.
#[derive(Clone, Copy)]
pub enum Part {
    Data(u64),
    Context(u64),
}

/// The name of one of the volume's regions.
pub fn name(region: usize) -> String {
    format!("still-fawn-{region}")
}

fn open(machine: &Machine, region: usize, extent: u32) -> File {
    File::options().read(true).write(true).open(nth(machine, &name(region), extent)).unwrap()
}

/// The contents of an extent's blocks, of the round in which they were written.
fn contents(extent: u32, round: u8) -> Vec<u8> {
    (0..BYTES).map(|at| (at / LAYOUT.block_bytes * 5 + at + u64::from(extent)) as u8 ^ round).collect()
}

/// Writes what these extents have in a round, and waits until all regions have it: one may be behind when the host is
/// told that it was flushed, and nobody tells when it no longer is.
pub fn writes(machine: &Machine, blocks: &mut Blocks, extents: Range<u32>, round: u8) {
    let trailer = |region, extent| {
        let mut bytes = [0; TRAILER_BYTES];
        open(machine, region, extent).read_exact_at(&mut bytes, LAYOUT.trailer()).unwrap();
        Trailer::parse(&bytes).unwrap()
    };
    // A write is acknowledged before any replica has it: what is even may be so from the round before.
    let flushed = |extent| [0, 1, 2].map(|region| trailer(region, extent)).map(|one| (one.generation, one.flush));
    let before: Vec<_> = extents.clone().map(|extent| flushed(extent).into_iter().max()).collect();
    for extent in extents.clone() {
        blocks.write(u64::from(extent) * BYTES, &contents(extent, round)).unwrap();
    }
    let even = |(extent, before): (u32, &Option<(u64, u64)>)| {
        let [first, others @ ..] = [0, 1, 2].map(|region| trailer(region, extent));
        let later = Some((first.generation, first.flush)) > *before;
        !first.dirty && first.flush > 0 && later && others.iter().all(|other| *other == first)
    };
    while !extents.clone().zip(&before).all(even) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads what these extents have since a round.
pub fn reads(blocks: &mut Blocks, extents: Range<u32>, round: u8) {
    for extent in extents {
        let read = blocks.read(u64::from(extent) * BYTES, BYTES as usize).unwrap();
        assert!(read == contents(extent, round), "extent {extent} is not what was written");
    }
}

/// Flips a bit of what a region has there.
pub fn flip(machine: &Machine, region: usize, extent: u32, block: u64, part: Part) {
    let (file, blocks, mut byte) = (open(machine, region, extent), block..block + 1, [0]);
    let at = match part {
        Part::Data(byte) => LAYOUT.data(&blocks).start + byte,
        Part::Context(byte) => {
            let mut bits = [0];
            file.read_exact_at(&mut bits, LAYOUT.bits(&blocks).start).unwrap();
            LAYOUT.slots(Array::chosen(&bits, (block % 8) as usize).unwrap(), &blocks).start + byte
        }
    };
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}
