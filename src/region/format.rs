//! Format of a region's files: `region.json` and the trailer of an extent file. Readers only, over bytes that others
//! fetched; nothing here writes what the downstairs owns.

use super::Geometry;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The length of an extent file's trailer in bytes.
pub const TRAILER_BYTES: usize = 32;
/// The only region format that is understood (`database_read_version`).
pub const FORMAT_VERSION: u64 = 1;
/// The only extent format that is understood.
pub const EXTENT_VERSION: u32 = 2;

/// `region.json`, and the answer of the repair port's `/region-info`.
///
/// Unknown fields are read over: a newer program may add some, and what matters here is
/// identity and geometry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionJson {
    /// Bytes a block.
    pub block_size: u64,
    /// Blocks an extent, with the block size's binary logarithm.
    pub extent_size: ExtentSize,
    /// Extents in the region; 0 while `create` has not got to them.
    pub extent_count: u32,
    /// The region's own identity.
    pub uuid: Uuid,
    /// Whether the blocks' contexts carry a nonce and tag.
    pub encrypted: bool,
    /// The format that a reader must know; [`FORMAT_VERSION`].
    pub database_read_version: u64,
    /// The format that a writer must know.
    pub database_write_version: u64,
}

/// The `extent_size` object of [`RegionJson`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentSize {
    /// Blocks an extent.
    pub value: u64,
    /// Binary logarithm of the block size.
    pub shift: u32,
}

/// Bytes that are no region, and why.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not the JSON object that upstream writes.
    #[error("region.json cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A format that neither the supervisor nor the programs it runs understand.
    #[error("region.json has format {0}, and only {FORMAT_VERSION} is understood")]
    Version(u64),
    /// A trailer whose dirty byte or version is impossible.
    #[error("the extent's trailer is not one: {0}")]
    Trailer(String),
}

impl RegionJson {
    /// Read the contents of a `region.json`.
    ///
    /// # Errors
    /// [`FormatError::Json`] for what is no such object, [`FormatError::Version`] for
    /// another format than [`FORMAT_VERSION`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let region: Self = serde_json::from_slice(bytes)?;
        match region.database_read_version {
            FORMAT_VERSION => Ok(region),
            other => Err(FormatError::Version(other)),
        }
    }

    /// The geometry that the file states.
    pub fn geometry(&self) -> Geometry {
        Geometry { block_size: self.block_size, extent_size: self.extent_size.value, extent_count: self.extent_count }
    }
}

/// The last 32 bytes of an extent file: what the downstairs knew of it when it last wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Written since the last flush: the extent is hashed anew at the next start.
    pub dirty: bool,
    /// The generation of the upstairs that last flushed it.
    pub generation: u64,
    /// The number of times that it was flushed.
    pub flush: u64,
}

impl Trailer {
    /// Read a trailer: dirty u8 at 0, generation u64 at 1, flush u64 at 9, version u32 at 17, all little endian.
    ///
    /// # Errors
    /// [`FormatError::Trailer`] for an impossible dirty byte or version.
    pub fn parse(bytes: &[u8; TRAILER_BYTES]) -> Result<Self, FormatError> {
        let u64_at = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let version = u32::from_le_bytes([bytes[17], bytes[18], bytes[19], bytes[20]]);
        if version != EXTENT_VERSION {
            return Err(FormatError::Trailer(format!("version {version}, expected {EXTENT_VERSION}")));
        }
        let dirty = match bytes[0] {
            0 => false,
            1 => true,
            other => return Err(FormatError::Trailer(format!("dirty byte {other}"))),
        };
        Ok(Self { dirty, generation: u64_at(1), flush: u64_at(9) })
    }
}

/// What an extent's downstairs has counted of it since it was made, in its trailer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Flushes in between, as both slots of a block were taken by writes that were not flushed.
    pub bonus_syncs: u32,
    /// Times that the slots were put back into one array.
    pub defragmentations: u32,
}

impl Counters {
    /// Read them from a trailer: u32 at 21 and u32 at 25, little endian.
    pub fn parse(bytes: &[u8; TRAILER_BYTES]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { bonus_syncs: u32_at(21), defragmentations: u32_at(25) }
    }
}

/// The path of extent `number` below its region: `XX/YYY/ZZZ` in upper-case hexadecimal, 8,
/// 12 and 12 bits of the number.
pub fn extent_path(number: u32) -> String {
    format!("{:02X}/{:03X}/{:03X}", number >> 24, (number >> 12) & 0xfff, number & 0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRESH: &str = r#"{"block_size":512,"extent_size":{"value":100,"shift":9},"extent_count":2,
        "uuid":"11111111-1111-4111-8111-111111111111","encrypted":false,
        "database_read_version":1,"database_write_version":1,"later":true}"#;

    #[test]
    fn region_json_is_read_and_unknown_fields_are_read_over() {
        let region = RegionJson::parse(FRESH.as_bytes()).unwrap();
        assert_eq!(region.geometry().extent_file_bytes(), 60_845);
        assert_eq!(region.uuid.to_string(), "11111111-1111-4111-8111-111111111111");
    }

    #[test]
    fn another_format_or_half_a_file_is_an_error() {
        let newer = FRESH.replace("\"database_read_version\":1", "\"database_read_version\":2");
        assert!(matches!(RegionJson::parse(newer.as_bytes()), Err(FormatError::Version(2))));
        assert!(matches!(RegionJson::parse(b""), Err(FormatError::Json(_))));
        assert!(matches!(RegionJson::parse(&FRESH.as_bytes()[..40]), Err(FormatError::Json(_))));
    }

    #[test]
    fn a_fresh_trailer_is_clean_and_at_generation_0() {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[17] = 2;
        let expected = Trailer { dirty: false, generation: 0, flush: 0 };
        assert_eq!(Trailer::parse(&bytes).unwrap(), expected);
        assert!(Trailer::parse(&[0; TRAILER_BYTES]).is_err());
    }

    #[test]
    fn what_is_counted_stands_behind_the_version() {
        let mut bytes = [0; TRAILER_BYTES];
        (bytes[21], bytes[24], bytes[25], bytes[29]) = (7, 1, 9, 5);
        let expected = Counters { bonus_syncs: 7 + (1 << 24), defragmentations: 9 };
        assert_eq!(Counters::parse(&bytes), expected);
    }

    #[test]
    fn extents_lie_where_upstream_puts_them() {
        assert_eq!(extent_path(99), "00/000/063");
        assert_eq!(extent_path(0x0102_3ABC), "01/023/ABC");
    }

    proptest! {
        #[test]
        fn any_trailer_is_read_or_refused_without_panic(bytes in proptest::array::uniform32(any::<u8>())) {
            if let Ok(trailer) = Trailer::parse(&bytes) {
                prop_assert_eq!(&trailer.generation.to_le_bytes()[..], &bytes[1..9]);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = RegionJson::parse(&bytes);
        }
    }
}
