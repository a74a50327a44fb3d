//! A region's definition, `region.json`: how it is written, read and refused.
//!
//! The file is rewritten by rename, as the real program's appears, and never fsynced, as the real program's is not.

use serde::{Deserialize, Serialize};
use stand_ins::failure::{Failure, Outcome};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const DATABASE_VERSION: u64 = 1;
const MINIMUM_BLOCK_SIZE: u64 = 512;
const MAXIMUM_BLOCK_SIZE: u64 = 32768;
const MAXIMUM_EXTENT_BYTES: u64 = 512 << 20;

/// The content of `region.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Region {
    /// Bytes a block.
    pub block_size: u64,
    /// Blocks an extent.
    pub extent_size: ExtentSize,
    /// Extents in the region.
    pub extent_count: u32,
    /// The region's identity.
    pub uuid: Uuid,
    /// Whether the upstairs encrypts.
    pub encrypted: bool,
    /// Version of the format needed to read it.
    pub database_read_version: u64,
    /// Version of the format needed to write it.
    pub database_write_version: u64,
}

/// The size of an extent, in blocks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExtentSize {
    /// Blocks.
    pub value: u64,
    /// Base-two logarithm of the bytes a block.
    pub shift: u32,
}

impl Region {
    /// A region without extents yet; refuses a geometry that cannot be.
    pub fn new(uuid: Uuid, block_size: u64, blocks: u64, encrypted: bool) -> Outcome<Self> {
        let block_size = lowest_set_bit(block_size);
        check_geometry(block_size, blocks)?;
        Ok(Self {
            block_size,
            extent_size: ExtentSize { value: blocks, shift: block_size.trailing_zeros() },
            extent_count: 0,
            uuid,
            encrypted,
            database_read_version: DATABASE_VERSION,
            database_write_version: DATABASE_VERSION,
        })
    }

    /// Reads a region's definition.
    pub fn read(directory: &Path) -> Outcome<Self> {
        let path = file(directory);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Failure::new(format!("Error open {path:?}: file not found opening region config {path:?}"))
            }
            _ => {
                Failure::caused_by(&format!("Error open {path:?}"), &format!("{error} opening region config {path:?}"))
            }
        })?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::caused_by(&format!("Error parse {path:?}"), &format!("{error} opening region config {path:?}"))
        })
    }

    /// Refuses a format that this program does not know.
    pub fn check_version(&self) -> Outcome {
        let mismatch = |what, got| {
            Failure::new(format!("Database {what} version mismatch, expected {DATABASE_VERSION}, got {got}"))
        };
        if self.database_read_version != DATABASE_VERSION {
            return Err(mismatch("read", self.database_read_version));
        }
        if self.database_write_version != DATABASE_VERSION {
            return Err(mismatch("write", self.database_write_version));
        }
        Ok(())
    }

    /// Writes the definition, over one that may be there.
    pub fn write(&self, directory: &Path) -> Outcome {
        let aside = directory.join(format!(".region.json.{}", std::process::id()));
        let mut text = serde_json::to_string_pretty(self).expect("a region is plain JSON");
        text.push('\n');
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?
            .write_all(text.as_bytes())?;
        Ok(fs::rename(&aside, file(directory))?)
    }
}

/// The path of a region's definition.
pub fn file(directory: &Path) -> PathBuf {
    directory.join("region.json")
}

/// The real program makes a power of two of any block size in this way, and
/// says nothing.
fn lowest_set_bit(block_size: u64) -> u64 {
    block_size & block_size.wrapping_neg()
}

fn check_geometry(block_size: u64, blocks: u64) -> Outcome {
    if block_size < MINIMUM_BLOCK_SIZE {
        return Err(Failure::new(format!("minimum block size is {MINIMUM_BLOCK_SIZE} bytes, not {block_size}")));
    }
    if block_size > MAXIMUM_BLOCK_SIZE {
        return Err(Failure::new(format!("maximum block size is {MAXIMUM_BLOCK_SIZE} bytes, not {block_size}")));
    }
    let bytes = block_size.saturating_mul(blocks);
    if bytes > MAXIMUM_EXTENT_BYTES {
        return Err(Failure::new(format!(
            "extent size {blocks} x {block_size} bytes = {bytes}, bigger than {MAXIMUM_EXTENT_BYTES}"
        )));
    }
    Ok(())
}
