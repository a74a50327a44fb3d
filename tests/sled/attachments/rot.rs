//! Bits that flip under a volume that a host has attached: found by a scrub, repaired one region after the other, and
//! read back by the host, whose server ends by the first block that is not what its context says.

use super::ACTIVE;
use crate::device::{Blocks, Device, program};
use crate::port_map::{STILL_FAWN, boot};
use crate::tickets::granted;
use crucible_sled::region::extent::{Array, Layout};
use crucible_sled::region::format::{TRAILER_BYTES, Trailer};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use support::extents::nth;
use support::machine::{Machine, has};

/// The layout of the volume's extents, and how many there are.
const LAYOUT: Layout = Layout { block_bytes: 512, blocks: 64 };
const EXTENTS: u32 = 4;
/// The bytes of an extent's blocks.
const BYTES: u64 = LAYOUT.block_bytes * LAYOUT.blocks;
/// The places where a bit flips: the region, the extent, the block, and what of it. Of each extent a region is left
/// whole.
const PLACES: [(usize, u32, u64, Part); 10] = [
    (0, 0, 0, Part::Data(0)),
    (0, 0, 63, Part::Data(511)),
    (1, 0, 7, Part::Data(100)),
    (0, 1, 8, Part::Context(1)),
    (2, 1, 8, Part::Data(8)),
    (2, 1, 9, Part::Data(9)),
    (1, 2, 31, Part::Context(10)),
    (1, 3, 32, Part::Data(256)),
    (2, 3, 1, Part::Context(17)),
    (2, 3, 2, Part::Data(77)),
];

/// What of a block changes: a byte of its data, or of the context that the bitmap chooses.
#[derive(Clone, Copy)]
enum Part {
    Data(u64),
    Context(u64),
}

fn name(region: usize) -> String {
    format!("still-fawn-{region}")
}

fn open(machine: &Machine, region: usize, extent: u32) -> File {
    File::options().read(true).write(true).open(nth(machine, &name(region), extent)).unwrap()
}

/// The contents of an extent's blocks, of the round in which they were written.
fn contents(extent: u32, round: u8) -> Vec<u8> {
    (0..BYTES).map(|at| (at / LAYOUT.block_bytes * 5 + at + u64::from(extent)) as u8 ^ round).collect()
}

/// Waits until all regions have all that was written: one may be behind when the host is told that it was flushed, and
/// nobody tells when it no longer is.
fn wait_until_flushed(machine: &Machine) {
    let trailer = |region, extent| {
        let mut bytes = [0; TRAILER_BYTES];
        open(machine, region, extent).read_exact_at(&mut bytes, LAYOUT.trailer()).unwrap();
        Trailer::parse(&bytes).unwrap()
    };
    let even = |extent| {
        let [first, others @ ..] = [0, 1, 2].map(|region| trailer(region, extent));
        !first.dirty && first.flush > 0 && others.iter().all(|other| *other == first)
    };
    while !(0..EXTENTS).all(even) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Flips a bit of what a region has there.
fn flip(machine: &Machine, region: usize, extent: u32, block: u64, part: Part) {
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

fn reads_everything(blocks: &mut Blocks) {
    for extent in 0..EXTENTS {
        let read = blocks.read(u64::from(extent) * BYTES, BYTES as usize).unwrap();
        assert!(read == contents(extent, 2), "extent {extent} is not what was written");
    }
}

#[test]
#[ignore = "it needs crucible-nbd-server in CRUCIBLE_BIN"]
fn what_flips_under_a_host_is_repaired_before_it_is_read() {
    assert!(program().is_some(), "it needs crucible-nbd-server in CRUCIBLE_BIN");
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    let mut device = Device::start(&host, &granted(&host, ""));
    let mut blocks = device.open_within(ACTIVE);
    // Twice, so that there are contexts in both arrays.
    for (extent, round) in (0..EXTENTS).flat_map(|extent| [(extent, 1), (extent, 2)]) {
        blocks.write(u64::from(extent) * BYTES, &contents(extent, round)).unwrap();
    }
    wait_until_flushed(&machine);
    PLACES.iter().for_each(|(region, extent, block, part)| flip(&machine, *region, *extent, *block, *part));

    let scrubbed = machine.run(&["sledctl", "region", "scrub", "--volume", "still-fawn"]);
    assert_eq!(scrubbed.status.code(), Some(1), "{scrubbed:?}");
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_BITROT"));
    for (region, found) in volume.regions.iter().enumerate() {
        let found = found.scrub.clone().unwrap();
        let mut places: Vec<_> = PLACES.iter().filter(|place| place.0 == region).collect();
        places.sort_by_key(|place| (place.1, place.2));
        let wanted: Vec<_> = places.iter().map(|place| (place.1, Some(place.2))).collect();
        let told: Vec<_> = found.faults.iter().map(|fault| (fault.extent, fault.block)).collect();
        assert_eq!((told, found.rotten), (wanted, places.len() as u64), "{found:#?}");
    }
    for (region, extents) in [(0, "2 extents were"), (1, "3 extents were"), (2, "2 extents were")] {
        let said = machine.ok(&["sledctl", "region", "repair", &name(region)]);
        assert!(said.contains(extents), "{said}");
    }
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "REGION_BITROT"));
    reads_everything(&mut blocks);
    assert!(device.runs(), "it has ended");
    machine.ok(&["sledctl", "region", "scrub", "--volume", "still-fawn"]);

    // What nobody repairs it does not survive: a read is held to every region's context, if not before its answer.
    flip(&machine, 1, 2, 5, Part::Data(40));
    let ends = |_| {
        _ = blocks.read(2 * BYTES, BYTES as usize);
        std::thread::sleep(Duration::from_millis(20));
        !device.runs()
    };
    assert!((0..500).any(ends), "it reads what has rotted, and goes on");
}
