//! Log of the writes that were acknowledged and do not last yet: memory that outlives this process, as long as
//! somebody else has its descriptor (a memfd in systemd's descriptor store). Never on a disk: what it is for is the
//! disk.
//!
//! All of that memory is taken at the beginning, and none is given back: what is written through this host's own device is
//! what has to be written before there is memory again. So it is a ring. A record that was begun and not ended, because
//! its writer was killed, is beyond the end that the first page tells.
//!
//! ```text
//! 0      "SLEDKEPT", version u32, length of what follows u32, whose it is
//! 2048   where it begins, where it ends, the generation of the last server, how large the ring is (u64 each)
//! 4096   the ring, of records: offset u64, length u64, data. Places in it are counted on, from 4096, and never anew
//! ```
//!
//! In version 1 there was no ring, and a record lay where its place says. One that was left by such a relay is read,
//! and becomes a ring as soon as nothing in it is needed.

use super::pieces::Kept;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

const MAGIC: [u8; 12] = *b"SLEDKEPT\x02\0\0\0";
const WITHOUT_RING: [u8; 12] = *b"SLEDKEPT\x01\0\0\0";
const BEGINS: u64 = 2048;
const ENDS: u64 = BEGINS + 8;
const GENERATION: u64 = ENDS + 8;
const RING: u64 = GENERATION + 8;
/// The place at which the ring begins.
const FIRST: u64 = 4096;
/// The length of a record without its data.
const RECORD_HEADER_BYTES: u64 = 16;
/// The size of the ring in bytes: half of what may wait for a flush, at which one is sent; what a client may ask for
/// meanwhile, 8 MiB; and the records' headers. A record that is larger than the ring has a larger one for itself.
const RING_BYTES: u64 = 25 << 20;
/// The farthest place: nobody writes so much.
const FARTHEST: u64 = 1 << 62;
/// The bytes up to which a record is sooner copied than written by a call of its own.
const COPY_LIMIT_BYTES: usize = 16 << 10;
/// The longest name of an owner, in bytes.
const OWNER_LIMIT_BYTES: usize = 1024;

/// The log of one relay.
#[derive(Debug)]
pub struct Log {
    file: File,
    begins: u64,
    ends: u64,
    /// The size of the ring, in bytes.
    room: u64,
}

/// A handle of what is kept, for whoever begins servers.
#[derive(Debug)]
pub struct Shared(File);

impl Shared {
    /// Put the generation on record with which a server begins.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_generation(&self, generation: u64) -> io::Result<()> {
        self.0.write_all_at(&generation.to_le_bytes(), GENERATION)
    }

    /// The generation that the last server began with; 0 if there was none.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn generation(&self) -> io::Result<u64> {
        generation(&self.0)
    }
}

fn generation(file: &File) -> io::Result<u64> {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, GENERATION).map(|()| u64::from_le_bytes(word))
}

/// The records that the relay before has kept: where each lies, its offset and its length.
pub type Records = Vec<(Kept, u64, u32)>;

impl Log {
    /// Create an empty log. `whose` tells it from that of another volume.
    ///
    /// # Errors
    /// The kernel's error: there is no memory.
    pub fn create(whose: &str) -> io::Result<Self> {
        let file = File::from(memfd_create("crucible-kept", MFdFlags::MFD_CLOEXEC)?);
        let named = whose.as_bytes().get(..OWNER_LIMIT_BYTES.min(whose.len())).unwrap_or_default();
        file.write_all_at(&[&MAGIC[..], &(named.len() as u32).to_le_bytes(), named].concat(), 0)?;
        file.write_all_at([FIRST.to_le_bytes(), FIRST.to_le_bytes()].as_flattened(), BEGINS)?;
        let mut log = Self { file, begins: FIRST, ends: FIRST, room: 0 };
        log.resize(RING_BYTES)?;
        Ok(log)
    }

    /// Open the log of an earlier relay, with what is kept in it. `None` if it is another's.
    ///
    /// # Errors
    /// If it cannot be read, or makes no sense.
    pub fn open(file: OwnedFd, whose: &str) -> io::Result<Option<(Self, Records)>> {
        let file = File::from(file);
        let mut head = [0; 16];
        file.read_exact_at(&mut head, 0)?;
        let length = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
        let ring = head[..12] == MAGIC;
        if !(ring || head[..12] == WITHOUT_RING) || length > OWNER_LIMIT_BYTES {
            return Err(damaged("it begins as none does"));
        }
        let mut named = vec![0; length];
        file.read_exact_at(&mut named, 16)?;
        if named != whose.as_bytes() {
            return Ok(None);
        }
        let word = |at| {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, at).map(|()| u64::from_le_bytes(word))
        };
        // A log without a ring is never gone round.
        let room = if ring { word(RING)? } else { FARTHEST };
        let log = Self { begins: word(BEGINS)?, ends: word(ENDS)?, room, file };
        if log.begins < FIRST || log.ends < log.begins || log.ends > FARTHEST || log.ends - log.begins > room {
            return Err(damaged("it ends before it begins"));
        }
        let records = log.records()?;
        Ok(Some((log, records)))
    }

    fn records(&self) -> io::Result<Records> {
        let (mut at, mut records) = (self.begins, Records::new());
        while at < self.ends {
            let mut header = [[0; 8]; 2];
            self.read_at(header.as_flattened_mut(), at)?;
            let [offset, length] = header.map(u64::from_le_bytes);
            let left = self.ends - at;
            let short = u32::try_from(length)
                .ok()
                .filter(|_| left >= RECORD_HEADER_BYTES && length <= left - RECORD_HEADER_BYTES);
            let length = short.ok_or_else(|| damaged("a record goes beyond its end"))?;
            records.push((Kept(at), offset, length));
            at += RECORD_HEADER_BYTES + u64::from(length);
        }
        Ok(records)
    }

    /// The generation that the last server began with; 0 if there was none. Whoever finds a higher one that is
    /// another host's must not write again what is kept here.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn generation(&self) -> io::Result<u64> {
        generation(&self.file)
    }

    /// Make another handle of the same.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn share(&self) -> io::Result<Shared> {
        self.file.try_clone().map(Shared)
    }

    /// Whether a write of so many bytes can be kept now. If it cannot, it can as soon as nothing else is kept.
    pub fn has_room(&self, length: usize) -> bool {
        self.begins == self.ends
            || self.room == RING_BYTES && self.ends - self.begins + RECORD_HEADER_BYTES + length as u64 <= RING_BYTES
    }

    /// Keep a write that there is room for.
    ///
    /// # Errors
    /// The kernel's error: there is no memory, or there is no room.
    pub fn append(&mut self, offset: u64, data: &[u8]) -> io::Result<Kept> {
        let (at, whole) = (self.ends, RECORD_HEADER_BYTES + data.len() as u64);
        if !self.has_room(data.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if at == self.begins && self.room != whole.max(RING_BYTES) {
            self.resize(whole.max(RING_BYTES))?;
        }
        let header = [offset.to_le_bytes(), (data.len() as u64).to_le_bytes()];
        if data.len() > COPY_LIMIT_BYTES {
            self.write_at(header.as_flattened(), at)?;
            self.write_at(data, at + RECORD_HEADER_BYTES)?;
        } else {
            self.write_at(&[header.as_flattened(), data].concat(), at)?;
        }
        // Only now it is there for whoever comes after this process.
        self.file.write_all_at(&(at + whole).to_le_bytes(), ENDS)?;
        self.ends = at + whole;
        Ok(Kept(at))
    }

    /// Read a part of what is kept.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn read(&self, kept: Kept, behind: u32, length: u32) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length as usize];
        self.read_at(&mut data, kept.0 + RECORD_HEADER_BYTES + u64::from(behind))?;
        Ok(data)
    }

    /// Forget what came before; all of it if nothing is needed.
    ///
    /// # Errors
    /// The kernel's error. Then more is kept than is needed.
    pub fn forget(&mut self, needed: Option<Kept>) -> io::Result<()> {
        let begins = needed.map_or(self.ends, |kept| kept.0);
        if begins != self.begins {
            self.file.write_all_at(&begins.to_le_bytes(), BEGINS)?;
            self.begins = begins;
        }
        Ok(())
    }

    /// Make an empty log a ring of so many bytes, all of which it has from then on. A relay that is killed meanwhile
    /// leaves an empty one.
    fn resize(&mut self, room: u64) -> io::Result<()> {
        let signed = |number: u64| i64::try_from(number).map_err(io::Error::other);
        // The ring is of no size until it has that.
        self.room = 0;
        self.file.write_all_at(&MAGIC, 0)?;
        self.file.write_all_at(&0_u64.to_le_bytes(), RING)?;
        self.file.set_len(self.file.metadata()?.len().min(FIRST + room))?;
        fallocate(&self.file, FallocateFlags::empty(), signed(FIRST)?, signed(room)?)?;
        self.file.write_all_at(&room.to_le_bytes(), RING)?;
        self.room = room;
        Ok(())
    }

    /// How much of so many bytes at a place lies in one piece, and where.
    fn piece(&self, at: u64, length: usize) -> (usize, u64) {
        let into = (at - FIRST) % self.room;
        let piece = usize::try_from(self.room - into).unwrap_or(usize::MAX).min(length);
        (piece, FIRST + into)
    }

    fn read_at(&self, data: &mut [u8], at: u64) -> io::Result<()> {
        let (piece, place) = self.piece(at, data.len());
        let (first, rest) = data.split_at_mut(piece);
        self.file.read_exact_at(first, place)?;
        self.file.read_exact_at(rest, FIRST)
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        let (piece, place) = self.piece(at, data.len());
        let (first, rest) = data.split_at(piece);
        self.file.write_all_at(first, place)?;
        self.file.write_all_at(rest, FIRST)
    }

    /// The log's descriptor, for whoever is to keep it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what was kept cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::os::unix::fs::MetadataExt;

    fn again(log: &Log, whose: &str) -> io::Result<Option<(Log, Records)>> {
        Log::open(log.descriptor().try_clone_to_owned().unwrap(), whose)
    }

    #[test]
    fn what_is_kept_outlives_its_keeper_and_is_one_volumes() {
        let mut log = Log::create("still-fawn").unwrap();
        let first = log.append(4096, b"first").unwrap();
        let second = log.append(0, &[7; 10_000]).unwrap();
        log.forget(Some(second)).unwrap();
        // A record that was begun and not ended.
        log.file.write_all_at(&[9; 64], log.ends).unwrap();
        let (mut other, records) = again(&log, "still-fawn").unwrap().unwrap();
        assert_eq!(records, [(second, 0, 10_000)]);
        assert_eq!(other.read(second, 9_990, 10).unwrap(), [7; 10]);
        assert!(first < second && again(&log, "pve").unwrap().is_none());
        log.share().unwrap().set_generation(7).unwrap();
        assert_eq!((other.generation().unwrap(), log.share().unwrap().generation().unwrap()), (7, 7));
        other.forget(None).unwrap();
        assert_eq!(again(&log, "still-fawn").unwrap().unwrap().1, []);
    }

    #[test]
    fn its_memory_is_its_own_from_the_beginning_and_no_more_of_it() {
        let mut log = Log::create("v").unwrap();
        let taken = |log: &Log| log.file.metadata().unwrap().blocks() * 512;
        assert_eq!(taken(&log), RING_BYTES + FIRST);
        let mut needed = VecDeque::new();
        for round in 0..200_u64 {
            let data = vec![round as u8; (1 << 20) - 7];
            if !log.has_room(data.len()) {
                assert!(log.append(round, &data).is_err() && needed.len() == 24);
                needed.drain(..20);
                log.forget(Some(needed[0])).unwrap();
            }
            needed.push_back(log.append(round, &data).unwrap());
        }
        // Records that lie across its end as well.
        let records = again(&log, "v").unwrap().unwrap().1;
        assert_eq!(records.iter().map(|(kept, ..)| *kept).collect::<VecDeque<_>>(), needed);
        for (kept, round, length) in records {
            assert!(log.read(kept, 1, length - 1).unwrap().iter().all(|byte| u64::from(*byte) == round));
        }
        assert_eq!(taken(&log), RING_BYTES + FIRST);
    }

    #[test]
    fn what_is_larger_has_a_ring_for_itself() {
        let mut log = Log::create("v").unwrap();
        let large = vec![7; RING_BYTES as usize];
        log.append(0, &[1]).unwrap();
        assert!(!log.has_room(large.len()));
        log.forget(None).unwrap();
        let kept = log.append(0, &large).unwrap();
        assert!(!log.has_room(1) && log.read(kept, RING_BYTES as u32 - 1, 1).unwrap() == [7]);
        assert_eq!(again(&log, "v").unwrap().unwrap().1, [(kept, 0, RING_BYTES as u32)]);
        log.forget(None).unwrap();
        log.append(0, &[1]).unwrap();
        assert!(log.has_room(1));
        assert_eq!(log.file.metadata().unwrap().len(), RING_BYTES + FIRST);
    }

    #[test]
    fn what_was_left_without_a_ring_is_read_and_becomes_one() {
        let file = File::from(memfd_create("v", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all_at(&[&WITHOUT_RING[..], &1_u32.to_le_bytes(), b"v"].concat(), 0).unwrap();
        let begins = FIRST + 3 * RING_BYTES;
        file.write_all_at([begins, begins + RECORD_HEADER_BYTES + 5, 7].map(u64::to_le_bytes).as_flattened(), BEGINS)
            .unwrap();
        file.write_all_at([512, 5].map(u64::to_le_bytes).as_flattened(), begins).unwrap();
        file.write_all_at(b"first", begins + RECORD_HEADER_BYTES).unwrap();
        let (mut log, records) = Log::open(file.into(), "v").unwrap().unwrap();
        assert_eq!(records, [(Kept(begins), 512, 5)]);
        assert_eq!(log.read(Kept(begins), 1, 4).unwrap(), b"irst");
        assert!(!log.has_room(1));
        log.forget(None).unwrap();
        let kept = log.append(1024, b"second").unwrap();
        let (log, records) = again(&log, "v").unwrap().unwrap();
        assert_eq!(records, [(kept, 1024, 6)]);
        assert!(log.has_room(1) && log.read(kept, 0, 6).unwrap() == b"second" && log.generation().unwrap() == 7);
    }

    proptest! {
        #[test]
        fn a_damaged_one_is_no_panic(bytes: Vec<u8>, begins: u64, ends: u64, room: u64, ring: bool) {
            let log = Log::create("v").unwrap();
            log.file.write_all_at(if ring { &MAGIC } else { &WITHOUT_RING }, 0).unwrap();
            log.file.write_all_at(&bytes, FIRST).unwrap();
            log.file.write_all_at([begins, ends, 0, room].map(u64::to_le_bytes).as_flattened(), BEGINS).unwrap();
            _ = again(&log, "v");
        }
    }
}
