//! Where writes are kept that were acknowledged and do not last yet: in memory that outlives this process, as
//! long as somebody else has its descriptor (a memfd in systemd's descriptor store). Never on a disk: what it is
//! for is the disk.
//!
//! It only grows: what is not needed any more is punched out of it, so nothing in it ever moves. A record that was
//! begun and not ended, because its writer was killed, is beyond the end that the first page tells.
//!
//! ```text
//! 0      "SLEDKEPT", version u32, length of what follows u32, whose it is
//! 2048   where it begins, where it ends, the generation of the last server (u64 each)
//! 4096   records: offset u64, length u64, data
//! ```

use super::pieces::Kept;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

const MAGIC: [u8; 12] = *b"SLEDKEPT\x01\0\0\0";
const BEGINS: u64 = 2048;
const ENDS: u64 = BEGINS + 8;
const GENERATION: u64 = ENDS + 8;
/// Where records begin; nothing before it is ever punched out.
const FIRST: u64 = 4096;
/// The length of a record without its data.
const HEADER: u64 = 16;
/// How much must be of no use any more before it is given back.
const WORTH: u64 = 1 << 20;
/// Up to so many bytes are sooner copied than written by a call of their own.
const TOGETHER: usize = 16 << 10;
/// The longest name of whose it is.
const LONGEST: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Log {
    file: File,
    begins: u64,
    ends: u64,
    /// Up to where it has been given back.
    punched: u64,
}

/// A handle of what is kept, for whoever begins servers.
#[derive(Debug)]
pub struct Shared(File);

impl Shared {
    /// A server begins with this generation.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_generation(&self, generation: u64) -> io::Result<()> {
        self.0.write_all_at(&generation.to_le_bytes(), GENERATION)
    }

    /// With which generation the last server began; 0 if there was none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn generation(&self) -> io::Result<u64> {
        generation(&self.0)
    }
}

fn generation(file: &File) -> io::Result<u64> {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, GENERATION).map(|()| u64::from_le_bytes(word))
}

/// What was kept by the relay before: where it lies, its offset and its length.
pub type Records = Vec<(Kept, u64, u32)>;

impl Log {
    /// An empty one. `whose` tells it from that of another volume.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create(whose: &str) -> io::Result<Self> {
        let file = File::from(memfd_create("crucible-kept", MFdFlags::MFD_CLOEXEC)?);
        let named = whose.as_bytes().get(..LONGEST.min(whose.len())).unwrap_or_default();
        file.write_all_at(&[&MAGIC[..], &(named.len() as u32).to_le_bytes(), named].concat(), 0)?;
        let log = Self { file, begins: FIRST, ends: FIRST, punched: FIRST };
        log.file.write_all_at(&FIRST.to_le_bytes(), BEGINS)?;
        log.file.write_all_at(&FIRST.to_le_bytes(), ENDS)?;
        Ok(log)
    }

    /// That of an earlier relay, and what is kept in it. `None` if it is another's.
    ///
    /// # Errors
    /// If it cannot be read, or makes no sense.
    pub fn open(file: OwnedFd, whose: &str) -> io::Result<Option<(Self, Records)>> {
        let file = File::from(file);
        let mut head = [0; 16];
        file.read_exact_at(&mut head, 0)?;
        let length = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
        if head[..12] != MAGIC || length > LONGEST {
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
        let (begins, ends) = (word(BEGINS)?, word(ENDS)?);
        if begins < FIRST || ends < begins {
            return Err(damaged("it ends before it begins"));
        }
        let (mut at, mut records) = (begins, Records::new());
        while at < ends {
            let (offset, length) = (word(at)?, word(at + 8)?);
            let short = u32::try_from(length).ok().filter(|_| ends - at >= HEADER && length <= ends - at - HEADER);
            let length = short.ok_or_else(|| damaged("a record goes beyond its end"))?;
            records.push((Kept(at), offset, length));
            at += HEADER + u64::from(length);
        }
        Ok(Some((Self { file, begins, ends, punched: FIRST }, records)))
    }

    /// With which generation the last server began; 0 if there was none. Whoever finds a higher one that is another
    /// host's must not write again what is kept here.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn generation(&self) -> io::Result<u64> {
        generation(&self.file)
    }

    /// Another handle of the same.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn share(&self) -> io::Result<Shared> {
        self.file.try_clone().map(Shared)
    }

    /// Keeps a write.
    ///
    /// # Errors
    /// What the kernel says: there is no memory.
    pub fn append(&mut self, offset: u64, data: &[u8]) -> io::Result<Kept> {
        let at = self.ends;
        let header = [offset.to_le_bytes(), (data.len() as u64).to_le_bytes()];
        if data.len() > TOGETHER {
            self.file.write_all_at(header.as_flattened(), at)?;
            self.file.write_all_at(data, at + HEADER)?;
        } else {
            self.file.write_all_at(&[header.as_flattened(), data].concat(), at)?;
        }
        let ends = at + HEADER + data.len() as u64;
        // Only now it is there for whoever comes after this process.
        self.file.write_all_at(&ends.to_le_bytes(), ENDS)?;
        self.ends = ends;
        Ok(Kept(at))
    }

    /// A part of what is kept.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, kept: Kept, behind: u32, length: u32) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length as usize];
        self.file.read_exact_at(&mut data, kept.0 + HEADER + u64::from(behind))?;
        Ok(data)
    }

    /// Forgets what came before; all of it if nothing is needed.
    ///
    /// # Errors
    /// What the kernel says. Then more is kept than is needed.
    pub fn forget(&mut self, needed: Option<Kept>) -> io::Result<()> {
        let begins = needed.map_or(self.ends, |kept| kept.0);
        if begins == self.begins {
            return Ok(());
        }
        self.file.write_all_at(&begins.to_le_bytes(), BEGINS)?;
        self.begins = begins;
        let useless = begins / FIRST * FIRST;
        if useless - self.punched >= WORTH {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let at = |at: u64| i64::try_from(at).map_err(io::Error::other);
            fallocate(&self.file, flags, at(self.punched)?, at(useless - self.punched)?)?;
            self.punched = useless;
        }
        Ok(())
    }

    /// Its descriptor, for whoever is to keep it.
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
        // One that was begun and not ended.
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
    fn what_is_not_needed_takes_no_memory() {
        let mut log = Log::create("v").unwrap();
        for round in 0..64 {
            let kept = log.append(round, &vec![1; 1 << 20]).unwrap();
            log.forget(Some(kept)).unwrap();
        }
        let taken = log.file.metadata().unwrap().blocks() * 512;
        assert!(taken <= 4 << 20, "{taken}");
    }

    proptest! {
        #[test]
        fn a_damaged_one_is_no_panic(bytes: Vec<u8>, begins: u64, ends: u64) {
            let log = Log::create("v").unwrap();
            log.file.write_all_at(&bytes, FIRST).unwrap();
            log.file.write_all_at(&begins.to_le_bytes(), BEGINS).unwrap();
            log.file.write_all_at(&ends.to_le_bytes(), ENDS).unwrap();
            _ = again(&log, "v");
        }
    }
}
