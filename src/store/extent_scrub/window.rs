//! Piece of an extent, as it was read: blocks with what is said of them, and which of them look wrong at first sight. Pure.

use crate::region::extent::{Array, Layout, SLOT_BYTES, Slot, judge};
use crate::region::format::Trailer;
use std::ops::Range;

/// Alignment in memory of what is read past the page cache: that of a page, which every disk can do.
const ALIGNMENT: usize = 4096;

/// Memory to read into, aligned.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// So many bytes of it.
    pub(super) fn of(&mut self, bytes: u64) -> &mut [u8] {
        let bytes = usize::try_from(bytes).unwrap_or_default();
        let room = bytes.saturating_add(ALIGNMENT);
        if self.0.len() < room {
            self.0.resize(room, 0);
        }
        let begin = self.0.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        &mut self.0[begin..begin + bytes]
    }
}

/// Blocks that were read, with what is said of them.
pub(super) struct Window {
    pub(super) blocks: Range<u64>,
    /// Where more lies than a hole.
    pub(super) parts: Vec<Range<u64>>,
    /// The slots of each array; none of one that is a hole.
    pub(super) slots: [Vec<u8>; 2],
    pub(super) bits: Vec<u8>,
    /// The bytes of all the blocks; of a hole anything.
    pub(super) buffer: Buffer,
}

/// What is found of blocks at first sight.
pub(super) struct Judged {
    /// How many were written.
    pub(super) looked: u64,
    /// Those that look wrong.
    pub(super) suspects: Vec<u64>,
    /// Memory that is free again.
    pub(super) buffer: Buffer,
}

impl Window {
    /// Hold every block that was written to its context.
    pub(super) fn judged(mut self, layout: Layout, trailer: Trailer) -> Judged {
        let whole = layout.data(&self.blocks);
        let window = &*self.buffer.of(whole.end - whole.start);
        let (hole, mut parts) = (vec![0; index(layout.block_bytes)], self.parts.iter().peekable());
        let (mut looked, mut suspects) = (0, Vec::new());
        for (at, number) in self.blocks.clone().enumerate() {
            let own = layout.data(&(number..number + 1));
            while parts.next_if(|part| part.end <= own.start).is_some() {}
            let lies = parts.peek().is_some_and(|part| part.contains(&own.start));
            let empty = self.slots.iter().all(|array| array.get(at * SLOT_BYTES).is_none_or(|first| *first == 0));
            // Of most blocks of a hole there is nothing more to say.
            if empty && !lies {
                continue;
            }
            let slots = self.slots.each_ref().map(|array| Slot::parse(&slot(array, at)));
            looked += u64::from(slots != [Slot::Empty; 2]);
            let chosen = if trailer.dirty { None } else { Array::chosen(&self.bits, at) };
            let own = index(own.start - whole.start)..index(own.end - whole.start);
            if judge(if lies { &window[own] } else { &hole }, slots, chosen).is_err() {
                suspects.push(number);
            }
        }
        Judged { looked, suspects, buffer: self.buffer }
    }
}

/// A number of bytes in memory.
pub(super) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The slot of a block, of those that were read.
pub(super) fn slot(slots: &[u8], index: usize) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let from = slots.get(index * SLOT_BYTES..(index + 1) * SLOT_BYTES);
    from.into_iter().for_each(|bytes| slot.copy_from_slice(bytes));
    slot
}
