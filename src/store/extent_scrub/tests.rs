//! Tests of a scrub, on extents that are written here as a downstairs writes them, beside a reader that knows nothing of
//! windows, holes or second looks, and on regions that the real programs wrote.

use super::*;
use crate::region::format::extent_path;
use crate::store::region_dir::region_json;
use proptest::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use twox_hash::XxHash64;

const LAYOUT: Layout = Layout { block_bytes: 4096, blocks: 600 };

/// An extent as a downstairs keeps it.
struct Written {
    file: File,
    active: Vec<Array>,
    flush: u64,
}

impl Written {
    fn fresh() -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LAYOUT.file_bytes()).unwrap();
        let written = Self { file, active: vec![Array::First; LAYOUT.blocks as usize], flush: 0 };
        written.end(false);
        written
    }

    /// With every third block written, and flushed.
    fn usual() -> Self {
        let mut written = Self::fresh();
        for block in (0..LAYOUT.blocks).step_by(3) {
            written.write(block, block as u8 | 1);
        }
        written.flush();
        written
    }

    fn end(&self, dirty: bool) {
        let mut trailer = [0; 32];
        trailer[0] = u8::from(dirty);
        trailer[1..9].copy_from_slice(&7u64.to_le_bytes());
        trailer[9..17].copy_from_slice(&self.flush.to_le_bytes());
        trailer[17] = 2;
        self.file.write_all_at(&trailer, LAYOUT.trailer()).unwrap();
    }

    /// Dirty first, then the context in the slot that is free, then the data: as upstream has it.
    fn write(&mut self, block: u64, byte: u8) {
        self.end(true);
        let data = vec![byte; LAYOUT.block_bytes as usize];
        let hash = XxHash64::oneshot(0, &data).to_le_bytes();
        let mut slot = [0; SLOT_BYTES];
        slot[0] = 1;
        slot[1..9].copy_from_slice(&hash);
        slot[10..18].copy_from_slice(&hash);
        let active = &mut self.active[block as usize];
        *active = if *active == Array::First { Array::Second } else { Array::First };
        let at = LAYOUT.slots(*active, &(block..block + 1)).start;
        self.file.write_all_at(&slot, at).unwrap();
        self.file.write_all_at(&data, LAYOUT.data(&(block..block + 1)).start).unwrap();
    }

    fn flush(&mut self) {
        self.flush += 1;
        let mut bits = vec![0u8; LAYOUT.blocks.div_ceil(8) as usize];
        for (block, active) in self.active.iter().enumerate() {
            bits[block / 8] |= u8::from(*active == Array::Second) << (block % 8);
        }
        self.file.write_all_at(&bits, LAYOUT.bits(&(0..LAYOUT.blocks)).start).unwrap();
        self.end(false);
    }

    fn flip(&self, at: u64, bit: u8) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at).unwrap();
        self.file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
    }

    fn scrubbed(&self) -> Scrubbed {
        scrub(&self.file, LAYOUT, |_| Ok(())).unwrap()
    }
}

/// The blocks that are wrong, by a reader of the whole file: from the description of the format alone.
fn wrong(file: &File, block_bytes: usize, blocks: usize) -> Vec<u64> {
    let mut all = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut all, 0).unwrap();
    let slots = block_bytes * blocks;
    let bits = slots + 96 * blocks;
    let dirty = all[all.len() - 32] == 1;
    let slot = |block: usize, which: usize| &all[slots + which * 48 * blocks + block * 48..][..48];
    let fits = |block: usize, which: usize| {
        let data = &all[block * block_bytes..(block + 1) * block_bytes];
        let slot = slot(block, which);
        let number = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().unwrap());
        match (slot[0], slot[9]) {
            (0, _) => data.iter().all(|byte| *byte == 0),
            (1, 0) => number(10) == XxHash64::oneshot(0, data) && number(1) == number(10),
            (1, 1) => {
                let sealed = [&slot[10..38], data].concat();
                number(38) == XxHash64::oneshot(0, data) && number(1) == XxHash64::oneshot(0, &sealed)
            }
            _ => false,
        }
    };
    let is_one = |slot: &[u8]| slot[0] == 0 || slot[0] == 1 && slot[9] < 2;
    let right = |block: &usize| {
        if !(0..2).all(|which| is_one(slot(*block, which))) {
            false
        } else if dirty {
            fits(*block, 0) || fits(*block, 1)
        } else {
            fits(*block, usize::from(all[bits + block / 8] >> (block % 8) & 1))
        }
    };
    (0..blocks).filter(|block| !right(block)).map(|block| block as u64).collect()
}

fn found(scrubbed: &Scrubbed) -> Vec<u64> {
    scrubbed.findings.iter().map(|finding| finding.block).collect()
}

#[test]
fn nothing_is_wrong_with_what_was_written_clean_or_dirty_and_holes_are_not_read() {
    let mut read = 0;
    let fresh = Written::fresh();
    let scrubbed = scrub(&fresh.file, LAYOUT, |bytes| {
        read += bytes;
        Ok(())
    });
    // The last of it shares its page with the trailer.
    assert_eq!(scrubbed.unwrap(), Scrubbed::default());
    assert!(read < LAYOUT.file_bytes() / 4, "{read} bytes were read of nothing");
    let mut written = Written::usual();
    assert_eq!(written.scrubbed(), Scrubbed { blocks: 200, ..Scrubbed::default() });
    written.write(3, 99);
    written.write(4, 99);
    assert_eq!(written.scrubbed(), Scrubbed { blocks: 201, ..Scrubbed::default() });
}

#[test]
fn a_file_that_is_none_is_no_finding_but_an_error_and_whoever_paces_may_end_it() {
    let written = Written::usual();
    let stopped = scrub(&written.file, LAYOUT, |_| Err(io::ErrorKind::Interrupted.into())).unwrap_err();
    assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
    written.flip(LAYOUT.trailer() + 17, 0);
    assert!(scrub(&written.file, LAYOUT, |_| Ok(())).is_err());
    written.file.set_len(LAYOUT.file_bytes() - 1).unwrap();
    assert!(scrub(&written.file, LAYOUT, |_| Ok(())).is_err());
}

#[test]
fn what_is_found_is_named_by_block_and_by_what_is_there() {
    let written = Written::usual();
    written.flip(LAYOUT.data(&(3..4)).start + 77, 5);
    // A hole where data was, and something where nothing was.
    let hole = LAYOUT.data(&(300..301));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&written.file, punch, hole.start, hole.end - hole.start).unwrap();
    written.flip(LAYOUT.data(&(400..401)).start, 0);
    let scrubbed = written.scrubbed();
    assert_eq!(found(&scrubbed), [3, 300, 400], "{scrubbed:?}");
    let zeroes = XxHash64::oneshot(0, &[0; 4096]);
    let Wrong::Fault(Fault::Rotten { found, .. }) = scrubbed.findings[1].wrong else { panic!("{scrubbed:?}") };
    assert_eq!(found, zeroes);
    assert!(matches!(scrubbed.findings[2].wrong, Wrong::Fault(Fault::Unwritten { .. })), "{scrubbed:?}");
}

/// By each length of a piece the same is found, and whoever paces hears of no more at once.
#[test]
fn no_more_is_read_at_once_than_a_piece_and_the_same_is_found() {
    let written = Written::usual();
    let rotten = [3, 300, 597];
    rotten.iter().for_each(|block| written.flip(LAYOUT.data(&(*block..block + 1)).start + 77, 5));
    for (piece, blocks) in [(1, 16), (100 << 10, 24), (u64::MAX, 256)] {
        let (mut most, mut pieces) = (0, 0);
        let paced = |bytes| {
            (most, pieces) = (most.max(bytes), pieces + 1);
            Ok(())
        };
        let scrubbed = scrub_by(&written.file, LAYOUT, piece, paced).unwrap();
        assert_eq!((scrubbed.blocks, found(&scrubbed)), (200, rotten.to_vec()), "{piece}");
        let with_contexts = LAYOUT.block_bytes + 2 * SLOT_BYTES as u64;
        assert!(most <= blocks * with_contexts, "{piece}: {most} bytes at once");
        assert!(pieces >= LAYOUT.blocks.div_ceil(blocks), "{piece}: {pieces}");
    }
}

/// End of a writer, when it is dropped: also when what is asserted beside it does not hold, as a scope waits for it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whether there is another pass beside a writer: there are ten, or, with `SCRUB_MINUTES`, as many as that time has.
fn goes_on(passes: u64, began: Instant) -> bool {
    match std::env::var("SCRUB_MINUTES").ok() {
        None => passes < 10,
        Some(minutes) => began.elapsed() < Duration::from_secs(60 * minutes.parse::<u64>().unwrap()),
    }
}

#[test]
fn a_scrub_beside_a_writer_raises_no_alarm_and_still_finds_what_is_rotten() {
    let mut written = Written::usual();
    // Nobody writes to it.
    written.flip(LAYOUT.data(&(597..598)).start, 3);
    let file = written.file.try_clone().unwrap();
    let (over, flushes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let mut turn = 0u64;
            while !over.load(Ordering::SeqCst) {
                turn += 1;
                written.write(turn * 7 % 590, turn as u8);
                if turn.is_multiple_of(13) {
                    written.flush();
                    flushes.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let (began, mut passes) = (Instant::now(), 0u64);
        while goes_on(passes, began) {
            passes += 1;
            let scrubbed = scrub(&file, LAYOUT, |_| Ok(())).unwrap();
            // One that is never still is none that is rotten.
            let so = found(&scrubbed) == [597] || scrubbed.restless > 0 && found(&scrubbed).is_empty();
            assert!(so, "pass {passes}: {scrubbed:?}");
        }
        println!("{passes} passes in {:?}, beside {} flushes", began.elapsed(), flushes.load(Ordering::SeqCst));
    });
    written.flush();
    assert_eq!(found(&written.scrubbed()), [597]);
}

/// Regions of the real programs, if a directory of them is named.
#[test]
fn nothing_is_wrong_with_what_the_real_programs_wrote() {
    let Some(fixtures) = std::env::var_os("CRUCIBLE_FIXTURES") else { return };
    for (name, blocks) in [("fresh", 0), ("written-0", 230), ("written-1", 230), ("encrypted-0", 68)] {
        let dir = std::path::Path::new(&fixtures).join(name);
        let geometry = region_json(&dir).unwrap().geometry();
        let scrubs = (0..geometry.extent_count).map(|number| {
            let file = File::open(dir.join(extent_path(number))).unwrap();
            scrub(&file, Layout::of(geometry), |_| Ok(())).unwrap()
        });
        let all: Vec<_> = scrubs.collect();
        assert!(all.iter().all(|scrubbed| scrubbed.findings.is_empty()), "{name}: {all:?}");
        assert_eq!(all.iter().map(|scrubbed| scrubbed.blocks).sum::<u64>(), blocks, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Sixteen corruptions a case, a thousand in all: of the data, the slots or the bitmap, of an extent that is clean or dirty.
    #[test]
    fn whatever_is_changed_is_found_as_a_plain_reader_finds_it(
        seeds in proptest::collection::vec((any::<u64>(), 0..8u8, 0..4u8), 16), dirty: bool, rewritten in 0..600u64
    ) {
        let mut written = Written::usual();
        if dirty {
            written.write(rewritten, 0xa5);
        }
        for (seed, bit, part) in seeds {
            let range = match part {
                0 => LAYOUT.data(&(0..LAYOUT.blocks)),
                1 => LAYOUT.slots(Array::First, &(0..LAYOUT.blocks)),
                2 => LAYOUT.slots(Array::Second, &(0..LAYOUT.blocks)),
                _ => LAYOUT.bits(&(0..LAYOUT.blocks)),
            };
            written.flip(range.start + seed % (range.end - range.start), bit);
        }
        let plain = wrong(&written.file, LAYOUT.block_bytes as usize, LAYOUT.blocks as usize);
        prop_assert_eq!(found(&written.scrubbed()), plain);
    }
}
