//! A disk that cannot read a block any more, in the middle of an extent on ext4: what a scrub makes of it.

use crate::SIZE;
use crate::mounts::{Mounted, in_private};
use crate::recorder::Recorder;
use crate::replay::BLOCK;
use crucible_sled::region::extent::{Array, Fault, Layout, SLOT_BYTES};
use crucible_sled::store::extent_scrub::{Finding, Scrubbed, Wrong, scrub};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use twox_hash::XxHash64;

const LAYOUT: Layout = Layout { block_bytes: BLOCK as u64, blocks: 600 };
/// The block that cannot be read, and that which rots, in the same window of what is read at once.
const UNREADABLE: u64 = 137;
const ROTTEN: u64 = 140;

/// The bytes of a block, which no other has.
fn bytes(block: u64) -> [u8; BLOCK] {
    std::array::from_fn(|at| (block.wrapping_mul(0x9e37_79b9) >> (at % 4 * 8)) as u8 | 1)
}

/// Writes an extent as a flush leaves it, with each of its blocks.
fn write(path: &Path) {
    let file = File::create_new(path).unwrap();
    file.set_len(LAYOUT.file_bytes()).unwrap();
    for block in 0..LAYOUT.blocks {
        let (own, data) = (block..block + 1, bytes(block));
        let hash = XxHash64::oneshot(0, &data).to_le_bytes();
        let mut slot = [0; SLOT_BYTES];
        slot[0] = 1;
        slot[1..9].copy_from_slice(&hash);
        slot[10..18].copy_from_slice(&hash);
        file.write_all_at(&slot, LAYOUT.slots(Array::First, &own).start).unwrap();
        file.write_all_at(&data, LAYOUT.data(&own).start).unwrap();
    }
    let mut trailer = [0; 32];
    (trailer[1], trailer[9], trailer[17]) = (7, 3, 2);
    file.write_all_at(&trailer, LAYOUT.trailer()).unwrap();
    file.sync_all().unwrap();
}

/// Scrubs the extent after nothing of it is in memory any more.
fn scrubbed(recorder: &Recorder, dir: &Path) -> Scrubbed {
    let disk = Mounted::new(recorder.device_file(), dir).unwrap();
    let file = File::open(disk.dir().join("extent")).unwrap();
    scrub(&file, LAYOUT, |_| Ok(())).unwrap()
}

#[test]
fn a_block_that_the_disk_cannot_read_is_named_by_its_offset_and_is_no_rot() {
    in_private(|place| {
        let (recorder, dir) = (Recorder::start(place, SIZE), place.join("disk"));
        write(&recorder.mount(&dir).dir().join("extent"));
        let whole = Scrubbed { blocks: LAYOUT.blocks, ..Scrubbed::default() };
        assert_eq!(scrubbed(&recorder, &dir), whole);
        recorder.spoil(&bytes(UNREADABLE));
        let at = UNREADABLE * BLOCK as u64;
        let lost =
            Finding { block: UNREADABLE, wrong: Wrong::Unreadable(at, "Input/output error (os error 5)".into()) };
        assert_eq!(scrubbed(&recorder, &dir).findings, std::slice::from_ref(&lost));
        // What rots beside it is told as that, and of no other block anything.
        let disk = Mounted::new(recorder.device_file(), &dir).unwrap();
        let file = File::options().write(true).open(disk.dir().join("extent")).unwrap();
        file.write_all_at(&bytes(0), LAYOUT.data(&(ROTTEN..ROTTEN + 1)).start).unwrap();
        file.sync_all().unwrap();
        drop((file, disk));
        let found = scrubbed(&recorder, &dir).findings;
        assert_eq!((found.len(), &found[0], found[1].block), (2, &lost, ROTTEN));
        assert!(matches!(found[1].wrong, Wrong::Fault(Fault::Rotten { .. })), "{found:?}");
    });
}
