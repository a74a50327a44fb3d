//! Bits that flip under a volume that a host has attached: found by a scrub, repaired one region after the other, and
//! read back by the host, whose server ends by the first block that is not what its context says.

use super::ACTIVE;
use super::data::{BYTES, EXTENTS, Part, flip, name, reads, writes};
use crate::device::{Device, program};
use crate::port_map::{STILL_FAWN, boot};
use crate::tickets::granted;
use std::time::Duration;
use support::machine::has;

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

#[test]
#[ignore = "it needs crucible-nbd-server in CRUCIBLE_BIN"]
fn what_flips_under_a_host_is_repaired_before_it_is_read() {
    assert!(program().is_some(), "it needs crucible-nbd-server in CRUCIBLE_BIN");
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    let mut device = Device::start(&host, &granted(&host, ""));
    let mut blocks = device.open_within(ACTIVE);
    // Twice, so that there are contexts in both arrays.
    [1, 2].iter().for_each(|round| writes(&machine, &mut blocks, 0..EXTENTS, *round));
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
    reads(&mut blocks, 0..EXTENTS, 2);
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
