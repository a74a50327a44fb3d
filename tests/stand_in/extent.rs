//! Extent file: its place, its size and its trailer.
//!
//! The trailer of an empty extent is written and that of any is read; blocks, context slots and the bitmap never are.

use crate::region::Region;
use stand_ins::failure::{Failure, Outcome};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const CONTEXT_SLOTS_BYTES: u64 = 2 * 48;
const TRAILER_BYTES: usize = 32;
const VERSION: u32 = 2;

/// The trailer at the end of an extent file.
#[derive(Clone, Copy, Debug)]
pub struct Trailer {
    /// The number of the last flush.
    pub flush: u64,
}

/// The path of an extent's file: `XX/YYY/ZZZ`, hexadecimal, of 8, 12 and 12 bits.
pub fn file(directory: &Path, number: u32) -> PathBuf {
    directory
        .join(format!("{:02X}", number >> 24))
        .join(format!("{:03X}", (number >> 12) & 0xFFF))
        .join(format!("{:03X}", number & 0xFFF))
}

/// How long an extent's file is: data, context slots, bitmap and trailer.
pub fn file_size(region: &Region) -> u64 {
    let blocks = region.extent_size.value;
    (region.block_size + CONTEXT_SLOTS_BYTES) * blocks + blocks.div_ceil(8) + TRAILER_BYTES as u64
}

/// Creates an empty extent. Its file is sparse, so no space is reserved.
/// Where the disk is to seem full, its trailer is missing.
pub fn create(directory: &Path, region: &Region, number: u32, disk_full: bool) -> Outcome {
    let path = file(directory, number);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let extent = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&path)
        .map_err(|error| cannot_open(number, &path, &error))?;
    let size = file_size(region);
    let written = if disk_full {
        extent.set_len(size).and(Err(io::ErrorKind::StorageFull.into()))
    } else {
        extent.set_len(size).and_then(|()| extent.write_all_at(&empty_trailer(), size - TRAILER_BYTES as u64))
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Failure::new("writing metadata failed: ENOSPC"),
        _ => Failure::new(format!("writing metadata failed: {error}")),
    })
}

/// Opens an extent, and refuses one with a trailer that cannot be. As with
/// the real program the file's size does not matter here: a trailer is what
/// the last bytes are.
pub fn open(directory: &Path, number: u32, writable: bool) -> Outcome<(File, Trailer)> {
    let path = file(directory, number);
    let extent = OpenOptions::new()
        .read(true)
        .write(writable)
        .open(&path)
        .map_err(|error| cannot_open(number, &path, &error))?;
    let size = extent.metadata()?.len();
    let mut bytes = [0; TRAILER_BYTES];
    let start = size.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| Failure::new("IO Error: InvalidInput"))?;
    extent.read_exact_at(&mut bytes, start)?;
    Ok((extent, parse_trailer(number, &bytes)?))
}

fn cannot_open(number: u32, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("IO Error: extent {number}: open of {path:?} failed: {error}"))
}

/// Not dirty, generation 0, flush 0.
fn empty_trailer() -> [u8; TRAILER_BYTES] {
    let mut bytes = [0; TRAILER_BYTES];
    bytes[17..21].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

fn parse_trailer(number: u32, bytes: &[u8; TRAILER_BYTES]) -> Outcome<Trailer> {
    let dirty = bytes[0];
    if dirty > 1 {
        return Err(Failure::new(format!(
            "metadata deserialization failed: \
             invalid u8 while decoding bool, expected 0 or 1, found {dirty}"
        )));
    }
    let version = u32::from_le_bytes([bytes[17], bytes[18], bytes[19], bytes[20]]);
    if version != VERSION {
        let name = format!("{:03X}", number & 0xFFF);
        return Err(Failure::new(format!("IO Error: raw extent {number} (file {name}) has unknown tag {version}")));
    }
    let mut flush = [0; 8];
    flush.copy_from_slice(&bytes[9..17]);
    Ok(Trailer { flush: u64::from_le_bytes(flush) })
}
