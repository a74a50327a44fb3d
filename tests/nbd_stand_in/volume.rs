//! The volume as its one active server has it: what is kept, and what is merely acknowledged.
//!
//! A write is acknowledged once it is in the memory of this process. Until a flush nothing else has it,
//! and whatever ends the process ends all of that. A server of a higher generation takes the volume
//! over by activation alone: from then on this one fails whatever it is asked, and if it holds anything
//! unflushed it ends as the real one does, which cannot get rid of it.

use crate::faults::Faults;
use crate::replicas::Replicas;
use crate::store::{Active, Store};
use stand_ins::failure::{Failure, Outcome};
use std::collections::BTreeMap;
use std::io::{self, Error};
use std::sync::Arc;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Becomes the one server of a volume, once all targets have answered.
pub fn activate(mut store: Store, generation: u64, replicas: &Replicas, faults: &Faults) -> Outcome<Active> {
    loop {
        replicas.wait_for_all();
        if let Some(text) = faults.refusal() {
            return Err(Failure::new(text));
        }
        if !faults.is_stuck() {
            // A server that is active keeps out those of lower generations for as long as it lives.
            match store.activate(generation)? {
                Ok(active) => return Ok(active),
                Err(busy) => store = busy,
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The part of what is unflushed that a flush keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    All,
    /// The first half of its blocks, so that it is not acknowledged.
    Half,
}

/// An active volume.
pub struct Volume {
    active: Active,
    replicas: Arc<Replicas>,
    /// Whole blocks that were acknowledged since the last flush.
    unflushed: BTreeMap<u64, Vec<u8>>,
}

impl Volume {
    /// With nothing in its memory.
    pub fn new(active: Active, replicas: Arc<Replicas>) -> Self {
        Self { active, replicas, unflushed: BTreeMap::new() }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.active.size
    }

    /// The bytes of a block.
    pub fn block_size(&self) -> u64 {
        self.active.block_size
    }

    /// Whether an offset is one that it does not even look at.
    pub fn is_out_of_reach(&self, offset: u64) -> bool {
        i64::try_from(offset).is_err()
    }

    /// Reads `buffer` from `done` bytes after `offset`. Of a block that was never written, a whole one
    /// leaves the buffer as it is, and a part of one reads as zeros.
    pub fn read(&mut self, offset: u64, done: usize, buffer: &mut [u8]) -> io::Result<()> {
        let start = self.reach(offset, done, buffer.len())?;
        self.require_active()?;
        self.replicas.wait_for_one()?;
        let pieces: Vec<Piece> = self.pieces(start, buffer.len()).collect();
        let kept = self.active.blocks(start / self.active.block_size, pieces.len())?;
        for (piece, kept) in pieces.iter().zip(kept) {
            let whole = piece.length == self.active.block_size as usize;
            let into = &mut buffer[piece.at..][..piece.length];
            match self.unflushed.get(&piece.block).cloned().or(kept) {
                Some(block) => into.copy_from_slice(&block[piece.skip..][..piece.length]),
                None if whole => {}
                None => into.fill(0),
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `done` bytes after `offset`. Parts of blocks are read first, and written whole.
    pub fn write(&mut self, offset: u64, done: usize, bytes: &[u8]) -> io::Result<()> {
        let start = self.reach(offset, done, bytes.len())?;
        self.require_active()?;
        let size = self.active.block_size as usize;
        let pieces: Vec<Piece> = self.pieces(start, bytes.len()).collect();
        if pieces.iter().any(|piece| piece.length != size) {
            self.replicas.wait_for_one()?;
        }
        if self.replicas.count_write(bytes.len())? {
            // Everybody has been given up, and with them what they were to get.
            self.unflushed.clear();
            return Ok(());
        }
        for piece in pieces {
            let from = &bytes[piece.at..][..piece.length];
            let mut block = if piece.length == size {
                vec![0; size]
            } else {
                self.block(piece.block)?.unwrap_or_else(|| vec![0; size])
            };
            block[piece.skip..][..piece.length].copy_from_slice(from);
            self.unflushed.insert(piece.block, block);
        }
        Ok(())
    }

    /// Keeps what was acknowledged, once two targets have answered.
    pub fn flush(&mut self, part: Part) -> io::Result<()> {
        self.require_active()?;
        self.replicas.wait_for_flush()?;
        let count = if part == Part::Half { self.unflushed.len() / 2 } else { self.unflushed.len() };
        if !self.active.keep(self.unflushed.iter().take(count))? {
            return Err(self.deposed());
        }
        self.unflushed.clear();
        self.replicas.count_flush();
        Ok(())
    }

    /// A block, if it was ever written.
    fn block(&self, number: u64) -> io::Result<Option<Vec<u8>>> {
        match self.unflushed.get(&number) {
            Some(block) => Ok(Some(block.clone())),
            None => Ok(self.active.blocks(number, 1)?.remove(0)),
        }
    }

    /// The place at which a piece of a request starts, if it is within the volume.
    fn reach(&self, offset: u64, done: usize, length: usize) -> io::Result<u64> {
        let start = offset.checked_add(done as u64).filter(|_| !self.is_out_of_reach(offset));
        let within = |start: &u64| start.checked_add(length as u64).is_some_and(|end| end <= self.active.size);
        start.filter(within).ok_or_else(|| Error::other("Offset is invalid"))
    }

    fn require_active(&self) -> io::Result<()> {
        if self.active.is_deposed()? { Err(self.deposed()) } else { Ok(()) }
    }

    /// The error of a server over which another one was set. The real one tries to flush within half a second, and
    /// falls over what it cannot hand on.
    fn deposed(&self) -> Error {
        if !self.unflushed.is_empty() {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                panic!("enqueue should not be called from state Connecting");
            });
        }
        Error::other("Upstairs is not active")
    }

    fn pieces(&self, start: u64, length: usize) -> impl Iterator<Item = Piece> + use<> {
        let size = self.active.block_size;
        let mut at = 0;
        std::iter::from_fn(move || {
            let (block, skip) = ((start + at as u64) / size, ((start + at as u64) % size) as usize);
            let piece = Piece { block, skip, at, length: (length - at).min(size as usize - skip) };
            at += piece.length;
            (piece.length > 0).then_some(piece)
        })
    }
}

/// The part of a request in one block.
struct Piece {
    block: u64,
    /// The place in the block at which it starts.
    skip: usize,
    /// The place in the request at which it starts.
    at: usize,
    length: usize,
}
