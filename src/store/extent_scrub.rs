//! Scrub of one extent file: every written block is held to its context. Holes are skipped. The extent may be in use: what
//! looks wrong is read again, with the trailer before and after, until it stands still, and only then believed. Reads
//! only, and never takes what cannot be read for rot.

use crate::region::extent::{Array, Fault, Layout, SLOT_BYTES, Slot, judge};
use crate::region::format::Trailer;
use crate::store::region_dir;
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::Duration;

/// Bytes of blocks that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Times that a block has to look wrong in the same way, one after the other, until that is believed.
const STANDS_STILL: u32 = 3;
/// Most looks at a block that does not stand still.
const LOOKS_LIMIT: u32 = 60;
/// Time between two looks: a write of a block takes less.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Finding in an extent: which block, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the block in its extent.
    pub block: u64,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The block is not what its context says.
    Fault(Fault),
    /// The block, or what is said of it, cannot be read from the disk, at this offset of the file.
    Unreadable(u64, String),
}

/// Outcome of the scrub of an extent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Blocks that were written and were looked at.
    pub blocks: u64,
    /// Blocks that were being written all the time: nothing is known of them.
    pub restless: u64,
    /// What is wrong, by block.
    pub findings: Vec<Finding>,
}

/// Scrub an extent file. `pace` hears of the bytes that are about to be read, may wait, and ends the scrub by an error.
///
/// # Errors
/// The file is not one of this layout or has no trailer, or `pace` has ended it.
pub fn scrub(file: &File, layout: Layout, mut pace: impl FnMut(u64) -> io::Result<()>) -> io::Result<Scrubbed> {
    let extent = Extent { file, layout };
    let trailer = extent.trailer()?;
    let mut done = Scrubbed::default();
    let window = (WINDOW_BYTES / layout.block_bytes).max(8) & !7;
    let (mut buffer, mut from) = (Vec::new(), 0);
    while from < layout.blocks {
        let blocks = from..layout.blocks.min(from + window);
        from = blocks.end;
        let Some(bytes) = extent.written(&blocks)? else { continue };
        pace(bytes)?;
        match extent.suspects(&blocks, trailer, &mut buffer) {
            Ok((looked, suspects)) => {
                done.blocks += looked;
                suspects.into_iter().for_each(|block| extent.settle(block, &mut done));
            }
            // Somewhere in it is what cannot be read: it is found block by block.
            Err(_) => {
                for block in blocks {
                    pace(layout.block_bytes)?;
                    done.blocks += 1;
                    extent.settle(block, &mut done);
                }
            }
        }
    }
    done.findings.sort_by_key(|finding| finding.block);
    Ok(done)
}

/// What lies at a block, as one look has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    trailer: Trailer,
    slots: [[u8; SLOT_BYTES]; 2],
    chosen: Option<Array>,
    judged: Result<(), Fault>,
}

struct Extent<'a> {
    file: &'a File,
    layout: Layout,
}

impl Extent<'_> {
    fn trailer(&self) -> io::Result<Trailer> {
        region_dir::trailer(self.file, self.layout.file_bytes())
    }

    /// Count the bytes that have to be read of some blocks; `None` if nothing was ever written there.
    fn written(&self, blocks: &Range<u64>) -> io::Result<Option<u64>> {
        let data = self.layout.data(blocks);
        let slots = Array::BOTH.map(|array| self.layout.slots(array, blocks));
        let mut bytes = 0;
        for part in slots.into_iter().chain([data]) {
            bytes += if self.has_data(&part)? { part.end - part.start } else { 0 };
        }
        Ok((bytes > 0).then_some(bytes))
    }

    /// Tell whether a part of the file is more than a hole.
    fn has_data(&self, part: &Range<u64>) -> io::Result<bool> {
        match seek(self.file, SeekFrom::Data(part.start)) {
            Ok(at) => Ok(at < part.end),
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => Ok(false),
            Err(why) => Err(why.into()),
        }
    }

    /// Find the blocks that look wrong at first sight, and how many were written.
    fn suspects(&self, blocks: &Range<u64>, trailer: Trailer, buffer: &mut Vec<u8>) -> io::Result<(u64, Vec<u64>)> {
        let slots = [
            self.read(&self.layout.slots(Array::First, blocks))?,
            self.read(&self.layout.slots(Array::Second, blocks))?,
        ];
        let bits = self.read(&self.layout.bits(blocks))?;
        let data = self.layout.data(blocks);
        buffer.resize(usize::try_from(data.end - data.start).unwrap_or_default(), 0);
        self.file.read_exact_at(buffer, data.start)?;
        let size = usize::try_from(self.layout.block_bytes).unwrap_or(usize::MAX);
        let (mut looked, mut suspects) = (0, Vec::new());
        for ((index, block), number) in buffer.chunks_exact(size).enumerate().zip(blocks.clone()) {
            let slots = slots.each_ref().map(|array| slot(array, index));
            let slots = [Slot::parse(&slots[0]), Slot::parse(&slots[1])];
            looked += u64::from(slots != [Slot::Empty; 2]);
            let chosen = if trailer.dirty { None } else { Array::chosen(&bits, index) };
            if judge(block, slots, chosen).is_err() {
                suspects.push(number);
            }
        }
        Ok((looked, suspects))
    }

    fn read(&self, part: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.end - part.start).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, part.start)?;
        Ok(bytes)
    }

    /// Look at a block until what is wrong with it stands still, or nothing is.
    fn settle(&self, block: u64, done: &mut Scrubbed) {
        let (mut before, mut same) = (None, 0);
        for look in 0..LOOKS_LIMIT {
            if look > 0 {
                sleep(LOOK_PAUSE);
            }
            let sight = match self.look(block) {
                Ok(sight) => sight,
                Err((at, why)) => {
                    let wrong = Wrong::Unreadable(at, why.to_string());
                    return done.findings.push(Finding { block, wrong });
                }
            };
            let Some(sight) = sight else { continue };
            let Err(fault) = sight.judged else { return };
            same = if before.as_ref() == Some(&sight) { same + 1 } else { 1 };
            before = Some(sight);
            if same >= STANDS_STILL {
                return done.findings.push(Finding { block, wrong: Wrong::Fault(fault) });
            }
        }
        done.restless += 1;
    }

    /// Look at a block once; `None` if its extent was flushed or written to for the first time meanwhile.
    fn look(&self, block: u64) -> Result<Option<Sight>, (u64, io::Error)> {
        let blocks = block..block + 1;
        let read = |part: Range<u64>| self.read(&part).map_err(|why| (part.start, why));
        let trailer = || self.trailer().map_err(|why| (self.layout.trailer(), why));
        let before = trailer()?;
        let slots = [
            slot(&read(self.layout.slots(Array::First, &blocks))?, 0),
            slot(&read(self.layout.slots(Array::Second, &blocks))?, 0),
        ];
        let (bits, data) = (read(self.layout.bits(&blocks))?, read(self.layout.data(&blocks))?);
        let trailer = trailer()?;
        if trailer != before {
            return Ok(None);
        }
        let chosen = if trailer.dirty { None } else { Array::chosen(&bits, usize::try_from(block % 8).unwrap_or(0)) };
        let judged = judge(&data, slots.each_ref().map(Slot::parse), chosen);
        Ok(Some(Sight { trailer, slots, chosen, judged }))
    }
}

/// The slot of a block, of those that were read.
fn slot(slots: &[u8], index: usize) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let from = slots.get(index * SLOT_BYTES..(index + 1) * SLOT_BYTES);
    from.into_iter().for_each(|bytes| slot.copy_from_slice(bytes));
    slot
}

#[cfg(test)]
mod tests;
