//! Scrub of one extent file: every written block is held to its context. Holes are skipped. The extent may be in use: what
//! looks wrong is read again, with the trailer before and after, until it stands still, and only then believed. Reads
//! only, and never takes what cannot be read for rot.
//!
//! Blocks are read past the page cache, where the file system can do that: what the disk has is to be looked at, and what
//! others have in memory stays there. Contexts are read through it, as they are a fortieth of it and lie anyhow.

use crate::region::extent::{Array, Fault, Layout, SLOT_BYTES, Slot, judge};
use crate::region::format::Trailer;
use crate::store::region_dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread::sleep;
use std::time::Duration;
use twox_hash::XxHash64;

/// Bytes of blocks that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Alignment in memory of what is read past the page cache: that of a page, which every disk can do.
const ALIGNMENT: usize = 4096;
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
    let extent = Extent::new(file, layout);
    let trailer = extent.trailer()?;
    let (mut done, mut buffer) = (Scrubbed::default(), Buffer::default());
    for blocks in extent.windows() {
        let Some(bytes) = extent.written(&blocks)? else { continue };
        pace(bytes)?;
        let suspects = match extent.suspects(&blocks, trailer, &mut buffer) {
            Ok((looked, suspects)) => {
                done.blocks += looked;
                suspects
            }
            // Somewhere in it is what cannot be read: it is found block by block.
            Err(_) => {
                done.blocks += blocks.end - blocks.start;
                blocks.collect()
            }
        };
        extent.settle(suspects, &mut pace, &mut done)?;
    }
    done.findings.sort_by_key(|finding| finding.block);
    Ok(done)
}

/// Count the bytes that a scrub of an extent reads, but for what looks wrong at first.
///
/// # Errors
/// Where data lies cannot be told.
pub fn bytes_to_read(file: &File, layout: Layout) -> io::Result<u64> {
    let extent = Extent::new(file, layout);
    extent.windows().map(|blocks| Ok(extent.written(&blocks)?.unwrap_or_default())).sum()
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

/// Memory to read into, aligned.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    /// So many bytes of it.
    fn of(&mut self, bytes: u64) -> &mut [u8] {
        let bytes = usize::try_from(bytes).unwrap_or_default();
        let room = bytes.saturating_add(ALIGNMENT);
        if self.0.len() < room {
            self.0.resize(room, 0);
        }
        let begin = self.0.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        &mut self.0[begin..begin + bytes]
    }
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
    fn windows(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let (blocks, window) = (self.layout.blocks, (WINDOW_BYTES / self.layout.block_bytes).max(8) & !7);
        (0..blocks.div_ceil(window)).map(move |at| at * window..blocks.min((at + 1) * window))
    }

    /// Read blocks as they lie on the disk.
    fn data<'b>(&self, blocks: &Range<u64>, buffer: &'b mut Buffer) -> io::Result<&'b [u8]> {
        let part = self.layout.data(blocks);
        let into = buffer.of(part.end - part.start);
        if let Some(direct) = &self.direct {
            match direct.read_exact_at(into, part.start) {
                // The file system, or its disk, does not take such a read.
                Err(why) if why.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                read => return read.map(|()| &*into),
            }
        }
        self.file.read_exact_at(into, part.start)?;
        // What was read for this alone need not stay.
        _ = fadvise(self.file, part.start, NonZero::new(part.end - part.start), Advice::DontNeed);
        Ok(into)
    }

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
    fn suspects(&self, blocks: &Range<u64>, trailer: Trailer, buffer: &mut Buffer) -> io::Result<(u64, Vec<u64>)> {
        let slots = [
            self.read(&self.layout.slots(Array::First, blocks))?,
            self.read(&self.layout.slots(Array::Second, blocks))?,
        ];
        let bits = self.read(&self.layout.bits(blocks))?;
        let data = self.data(blocks, buffer)?;
        let size = usize::try_from(self.layout.block_bytes).unwrap_or(usize::MAX);
        let (mut looked, mut suspects) = (0, Vec::new());
        for ((index, block), number) in data.chunks_exact(size).enumerate().zip(blocks.clone()) {
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
        let (bits, mut buffer) = (read(self.layout.bits(&blocks))?, Buffer::default());
        let data = self.data(&blocks, &mut buffer).map_err(|why| (self.layout.data(&blocks).start, why))?;
        let trailer = trailer()?;
        if trailer != before {
            return Ok(None);
        }
        let chosen = if trailer.dirty { None } else { Array::chosen(&bits, usize::try_from(block % 8).unwrap_or(0)) };
        let judged = judge(data, slots.each_ref().map(Slot::parse), chosen);
        Ok(Some(Sight { trailer, slots, chosen, hash: XxHash64::oneshot(0, data), judged }))
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
