//! Scrub of one extent file: every written block is held to its context. Holes are skipped. The extent may be in use: what
//! looks wrong is read again, with the trailer before and after, until it stands still, and only then believed. Reads
//! only, and never takes what cannot be read for rot.
//!
//! A scrub that is to be as fast as the disk holds what it has read to its contexts in a thread of its own, while the next is
//! read. One that keeps to a rate has time to do one after the other, and wakes nobody for it.
//!
//! Blocks are read past the page cache, where the file system can do that: what the disk has is to be looked at, and what
//! others have in memory stays there. Contexts are read through it, as they are a fortieth of it and lie anyhow.

mod judge;
mod window;

use crate::region::extent::{Array, Fault, Layout, SLOT_BYTES, Slot, judge};
use crate::region::format::Trailer;
use crate::store::region_dir;
use judge::Judge;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use std::fs::File;
use std::io;
use std::mem;
use std::num::NonZero;
use std::ops::{Range, RangeInclusive};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread::{self, sleep};
use std::time::Duration;
use twox_hash::XxHash64;
use window::{Buffer, Judged, Window, index, slot};

/// The fewest bytes of blocks that are read at once, and the most: with less, asking takes longer than reading does, and
/// more is no faster.
const WINDOW_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 20;
/// Pieces after which the kernel is told whose contexts to read next: one by one they are too small for a disk.
const CONTEXTS_AHEAD: usize = 16;
/// The most parts of a window that are read one by one: more are read with the holes between them.
const PARTS_LIMIT: usize = 8;
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

/// Scrub an extent file, as much at once as is fastest. `pace` hears of the bytes that are about to be read, may wait, and
/// ends the scrub by an error.
///
/// # Errors
/// The file is not one of this layout or has no trailer, or `pace` has ended it.
pub fn scrub(file: &File, layout: Layout, pace: impl FnMut(u64) -> io::Result<()>) -> io::Result<Scrubbed> {
    scrub_by(file, layout, *WINDOW_BYTES.end(), pace)
}

/// Scrub an extent file as [`scrub`] does, about `piece` bytes at once (from 64 KiB to 1 MiB): for so many whoever wants the
/// disk next may have to wait.
///
/// # Errors
/// As [`scrub`]'s.
pub fn scrub_by(
    file: &File,
    layout: Layout,
    piece: u64,
    mut pace: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Scrubbed> {
    let extent = Extent::new(file, layout);
    let trailer = extent.trailer()?;
    let mut done = Scrubbed::default();
    thread::scope(|scope| {
        let judge = Judge::new(layout, trailer);
        let judge = if piece < *WINDOW_BYTES.end() { judge } else { judge.beside(scope) };
        extent.pass(judge, piece, &mut pace, &mut done)
    })?;
    done.findings.sort_by_key(|finding| finding.block);
    Ok(done)
}

/// Count the bytes that a scrub of an extent reads, about `piece` of them at once, but for what looks wrong at first.
///
/// # Errors
/// Where data lies cannot be told.
pub fn bytes_to_read(file: &File, layout: Layout, piece: u64) -> io::Result<u64> {
    let extent = Extent::new(file, layout);
    extent.windows(piece).map(|blocks| Ok(extent.written(&blocks)?.map_or(0, |written| written.bytes))).sum()
}

/// Look at one block: the hash of its bytes (XxHash64), and whether they are what its context says. One that looks wrong
/// is looked at again for a moment, as it may just be written.
///
/// # Errors
/// The block, or what is said of it, cannot be read; or it is never still.
pub fn look(file: &File, layout: Layout, block: u64) -> io::Result<(u64, Result<(), Fault>)> {
    let extent = Extent::new(file, layout);
    let mut last = None;
    for look in 0..STANDS_STILL {
        if look > 0 {
            sleep(LOOK_PAUSE);
        }
        last = extent.look(block).map_err(|(_, why)| why)?.map(|sight| (sight.hash, sight.judged)).or(last);
        if matches!(last, Some((_, Ok(())))) {
            break;
        }
    }
    last.ok_or_else(|| io::Error::other("it is being written"))
}

/// What lies at a block, as one look has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    trailer: Trailer,
    slots: [[u8; SLOT_BYTES]; 2],
    chosen: Option<Array>,
    hash: u64,
    judged: Result<(), Fault>,
}

/// A block that looked wrong, and how often it has done so in the same way.
struct Suspect {
    block: u64,
    before: Option<Sight>,
    same: u32,
}

/// What becomes of a suspect by another look.
enum Verdict {
    Right,
    Again(Suspect),
    Found(Finding),
}

impl Suspect {
    fn new(block: u64) -> Self {
        Self { block, before: None, same: 0 }
    }

    /// Judge it by one more look.
    fn seen(mut self, look: Result<Option<Sight>, (u64, io::Error)>) -> Verdict {
        let sight = match look {
            Err((at, why)) => {
                let wrong = Wrong::Unreadable(at, why.to_string());
                return Verdict::Found(Finding { block: self.block, wrong });
            }
            Ok(None) => return Verdict::Again(self),
            Ok(Some(sight)) => sight,
        };
        let Err(fault) = sight.judged else { return Verdict::Right };
        self.same = if self.before.as_ref() == Some(&sight) { self.same + 1 } else { 1 };
        self.before = Some(sight);
        if self.same < STANDS_STILL {
            return Verdict::Again(self);
        }
        Verdict::Found(Finding { block: self.block, wrong: Wrong::Fault(fault) })
    }
}

/// What was written of some blocks: where it lies in the file.
struct Written {
    /// The slots of each array; nothing of one that is a hole.
    contexts: [Range<u64>; 2],
    /// The blocks, in their order.
    data: Vec<Range<u64>>,
    /// How much that is.
    bytes: u64,
}

struct Extent<'a> {
    file: &'a File,
    /// The same file, to be read past the page cache, if that can be done.
    direct: Option<File>,
    layout: Layout,
}

impl<'a> Extent<'a> {
    fn new(file: &'a File, layout: Layout) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let direct = File::options().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path).ok();
        Self { file, direct, layout }
    }

    /// The blocks in pieces that are read at once; each begins with a byte of the bitmap.
    fn windows(&self, piece: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let bytes = piece.clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end());
        let (blocks, window) = (self.layout.blocks, (bytes / self.layout.block_bytes).max(8) & !7);
        (0..blocks.div_ceil(window)).map(move |at| at * window..blocks.min((at + 1) * window))
    }

    /// Read bytes of blocks as they lie on the disk.
    fn data(&self, part: &Range<u64>, into: &mut [u8]) -> io::Result<()> {
        if let Some(direct) = &self.direct {
            match direct.read_exact_at(into, part.start) {
                // The file system, or its disk, does not take such a read.
                Err(why) if why.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                read => return read,
            }
        }
        self.file.read_exact_at(into, part.start)?;
        // What was read for this alone need not stay.
        _ = fadvise(self.file, part.start, NonZero::new(part.end - part.start), Advice::DontNeed);
        Ok(())
    }

    fn trailer(&self) -> io::Result<Trailer> {
        region_dir::trailer(self.file, self.layout.file_bytes())
    }

    /// Find what has to be read of some blocks; `None` if nothing was ever written there.
    fn written(&self, blocks: &Range<u64>) -> io::Result<Option<Written>> {
        let mut contexts = [0..0, 0..0];
        for (array, into) in Array::BOTH.into_iter().zip(&mut contexts) {
            let part = self.layout.slots(array, blocks);
            if self.next_data(part.start)?.is_some_and(|at| at < part.end) {
                *into = part;
            }
        }
        let data = self.parts(&self.layout.data(blocks))?;
        let bytes = contexts.iter().chain(&data).map(|part| part.end - part.start).sum();
        Ok((bytes > 0).then_some(Written { contexts, data, bytes }))
    }

    /// The parts of some blocks' bytes that are more than a hole, in whole blocks. What lies scattered is one from the
    /// [`PARTS_LIMIT`]th on.
    fn parts(&self, whole: &Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let (mut parts, mut at) = (Vec::new(), whole.start);
        let size = self.layout.block_bytes;
        while let Some(begin) = self.next_data(at)?.filter(|begin| *begin < whole.end) {
            let last = parts.len() + 1 == PARTS_LIMIT;
            let end = if last { whole.end } else { seek(self.file, SeekFrom::Hole(begin))? };
            let end = end.next_multiple_of(size).min(whole.end);
            parts.push(begin - begin % size..end);
            at = end;
        }
        Ok(parts)
    }

    /// Find where data lies next in the file; `None` if up to its end there is nothing but a hole.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        match seek(self.file, SeekFrom::Data(at)) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Read all that was written, let it be judged, and settle what comes of that.
    fn pass(
        &self,
        mut judge: Judge,
        piece: u64,
        pace: &mut impl FnMut(u64) -> io::Result<()>,
        done: &mut Scrubbed,
    ) -> io::Result<()> {
        let mut free = Buffer::default();
        for (at, blocks) in self.windows(piece).enumerate() {
            if at.is_multiple_of(CONTEXTS_AHEAD) {
                self.expect_contexts(&blocks);
            }
            let Some(written) = self.written(&blocks)? else { continue };
            pace(written.bytes)?;
            if let Some(judged) = judge.oldest() {
                free = self.take(judged, pace, done)?;
            }
            match self.read_window(&blocks, written, mem::take(&mut free)) {
                Ok(window) => {
                    if let Some(judged) = judge.hold(window) {
                        free = self.take(judged, pace, done)?;
                    }
                }
                // Somewhere in it is what cannot be read: it is found block by block.
                Err(_) => {
                    done.blocks += blocks.end - blocks.start;
                    self.settle(blocks.collect(), pace, done)?;
                }
            }
        }
        judge.rest().try_for_each(|judged| self.take(judged, pace, done).map(drop))
    }

    /// Let the kernel read the contexts of these blocks and of pieces after them: of twice as many as pass until it is told
    /// anew, so that nobody waits for it.
    fn expect_contexts(&self, blocks: &Range<u64>) {
        let ahead = (blocks.end - blocks.start) * 2 * CONTEXTS_AHEAD as u64;
        let blocks = blocks.start..self.layout.blocks.min(blocks.start + ahead);
        for array in Array::BOTH {
            let part = self.layout.slots(array, &blocks);
            let Ok(Some(begin)) = self.next_data(part.start) else { continue };
            // Up to a hole: of that the kernel would fill memory with zeroes, which takes as long as to read.
            let end = seek(self.file, SeekFrom::Hole(begin)).unwrap_or(begin).min(part.end);
            if begin < end {
                _ = fadvise(self.file, begin, NonZero::new(end - begin), Advice::WillNeed);
            }
        }
    }

    /// Read what was written of some blocks.
    fn read_window(&self, blocks: &Range<u64>, written: Written, mut buffer: Buffer) -> io::Result<Window> {
        let [first, second] = &written.contexts;
        let slots = [self.read(first)?, self.read(second)?];
        let bits = self.read(&self.layout.bits(blocks))?;
        let whole = self.layout.data(blocks);
        let data = buffer.of(whole.end - whole.start);
        for part in &written.data {
            self.data(part, &mut data[index(part.start - whole.start)..index(part.end - whole.start)])?;
        }
        Ok(Window { blocks: blocks.clone(), parts: written.data, slots, bits, buffer })
    }

    /// Take what was found at first sight, and settle it; the memory of it is free then.
    fn take(
        &self,
        judged: Judged,
        pace: &mut impl FnMut(u64) -> io::Result<()>,
        done: &mut Scrubbed,
    ) -> io::Result<Buffer> {
        done.blocks += judged.looked;
        self.settle(judged.suspects, pace, done)?;
        Ok(judged.buffer)
    }

    fn read(&self, part: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.end - part.start).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, part.start)?;
        Ok(bytes)
    }

    /// Look at blocks until what is wrong with each stands still, or nothing is.
    fn settle(
        &self,
        suspects: Vec<u64>,
        pace: &mut impl FnMut(u64) -> io::Result<()>,
        done: &mut Scrubbed,
    ) -> io::Result<()> {
        let mut left: Vec<Suspect> = suspects.into_iter().map(Suspect::new).collect();
        for look in 0..LOOKS_LIMIT {
            if look > 0 && !left.is_empty() {
                sleep(LOOK_PAUSE);
            }
            let mut again = Vec::new();
            for suspect in left {
                pace(self.layout.block_bytes)?;
                let look = self.look(suspect.block);
                match suspect.seen(look) {
                    Verdict::Right => {}
                    Verdict::Again(suspect) => again.push(suspect),
                    Verdict::Found(finding) => done.findings.push(finding),
                }
            }
            left = again;
        }
        done.restless += left.len() as u64;
        Ok(())
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
        let (bits, part, mut buffer) = (read(self.layout.bits(&blocks))?, self.layout.data(&blocks), Buffer::default());
        let data = buffer.of(part.end - part.start);
        self.data(&part, data).map_err(|why| (part.start, why))?;
        let trailer = trailer()?;
        if trailer != before {
            return Ok(None);
        }
        let chosen = if trailer.dirty { None } else { Array::chosen(&bits, usize::try_from(block % 8).unwrap_or(0)) };
        let judged = judge(data, slots.each_ref().map(Slot::parse), chosen);
        Ok(Some(Sight { trailer, slots, chosen, hash: XxHash64::oneshot(0, data), judged }))
    }
}

#[cfg(test)]
mod tests;
