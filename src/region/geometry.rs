//! The geometry of a region: block size, extent size, extent count, and what follows from
//! them. Pure arithmetic; the limits are upstream's, checked here because upstream reduces
//! an illegal block size silently (4608 becomes 512) instead of refusing it.

use crate::size;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The smallest legal block in bytes.
pub const SMALLEST_BLOCK: u64 = 512;
/// The largest legal block in bytes.
pub const LARGEST_BLOCK: u64 = 32 * 1024;
/// The most data an extent may hold, in bytes: 512 MiB.
pub const LARGEST_EXTENT: u64 = 512 * 1024 * 1024;
/// The most extents a region may have here. Upstream's limit is the descriptor limit (four
/// a extent are allowed for, see [`Geometry::descriptors`]); this keeps that below the
/// kernel's default `fs.nr_open` of 1,048,576.
pub const MOST_EXTENTS: u32 = 200_000;

/// The division of a region. Equal in all three regions of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Bytes a block: a power of two from 512 to 32768.
    pub block_size: u64,
    /// Blocks an extent: at least 1; `block_size * extent_size` is at most 512 MiB.
    pub extent_size: u64,
    /// Extents a region: at least 1.
    pub extent_count: u32,
}

/// A fault of one of the three numbers of a geometry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeometryFault {
    /// The key at fault: `block_size`, `extent_size` or `extent_count`.
    pub key: &'static str,
    /// The fault in words.
    pub problem: String,
    /// The remedy in words.
    pub remedy: String,
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = size::spoken(self.data_bytes());
        write!(f, "{} × {} × {} ({size})", self.block_size, self.extent_size, self.extent_count)
    }
}

impl Geometry {
    /// List every way in which this geometry is illegal; empty when it is legal.
    pub fn faults(&self) -> Vec<GeometryFault> {
        [self.block_fault(), self.extent_fault(), self.count_fault()].into_iter().flatten().collect()
    }

    fn block_fault(&self) -> Option<GeometryFault> {
        let size = self.block_size;
        let legal = size.is_power_of_two() && (SMALLEST_BLOCK..=LARGEST_BLOCK).contains(&size);
        (!legal).then(|| GeometryFault {
            key: "block_size",
            problem: format!("{size} bytes is not a power of two from 512 to 32768"),
            remedy: "write 4096, which suits ext4 and NBD, or another power of two".into(),
        })
    }

    fn extent_fault(&self) -> Option<GeometryFault> {
        let fault = |problem, remedy| Some(GeometryFault { key: "extent_size", problem, remedy });
        let bytes = self.block_size.saturating_mul(self.extent_size);
        if self.extent_size == 0 {
            return fault("an extent of 0 blocks holds nothing".into(), "write 1 or more, for example 32768".into());
        }
        if bytes > LARGEST_EXTENT {
            let most = LARGEST_EXTENT / self.block_size.max(1);
            let problem = format!(
                "{} blocks of {} bytes are {bytes} bytes an extent; the most is {LARGEST_EXTENT} (512 MiB)",
                self.extent_size, self.block_size
            );
            return fault(problem, format!("write {most} or less, and more extents"));
        }
        None
    }

    fn count_fault(&self) -> Option<GeometryFault> {
        let legal = (1..=MOST_EXTENTS).contains(&self.extent_count);
        (!legal).then(|| GeometryFault {
            key: "extent_count",
            problem: format!("{} extents is not from 1 to {MOST_EXTENTS}", self.extent_count),
            remedy: "write the volume's size divided by the extent's, for example 100".into(),
        })
    }

    /// Bytes of data that the region holds: the size of the volume as a host sees it.
    pub fn data_bytes(&self) -> u64 {
        // The product saturates, as what lies on disk may say anything.
        self.block_size.saturating_mul(self.extent_size).saturating_mul(self.extent_count.into())
    }

    /// The exact length of every extent file in bytes: data, two 48-byte context slots a
    /// block, a bitmap of one bit a block, a 32-byte trailer (`137_367_584` for 4096 × 32768).
    pub fn extent_file_bytes(&self) -> u64 {
        self.block_size * self.extent_size + 96 * self.extent_size + self.extent_size.div_ceil(8) + 32
    }

    /// Bytes that the region occupies when every block of every extent file is allocated.
    pub fn disk_bytes(&self) -> u64 {
        self.extent_file_bytes() * u64::from(self.extent_count)
    }

    /// The descriptor limit (`LimitNOFILE`) that a downstairs of this geometry gets.
    ///
    /// Upstream refuses to start below `4 × extents + 13`. Sixteen more are for what the
    /// unit adds: the descriptor of the region's lock and the streams of systemd.
    pub fn descriptors(&self) -> u64 {
        4 * u64::from(self.extent_count) + 13 + 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUNBOOK: Geometry = Geometry { block_size: 4096, extent_size: 32768, extent_count: 100 };

    #[test]
    fn the_runbooks_geometry_is_legal_and_12_5_gib() {
        assert_eq!(RUNBOOK.faults(), []);
        assert_eq!(RUNBOOK.data_bytes(), 12_800 * 1024 * 1024);
        assert_eq!(RUNBOOK.extent_file_bytes(), 137_367_584);
        assert!(RUNBOOK.descriptors() >= 413);
    }

    #[test]
    fn each_illegal_number_is_named() {
        let with = |block_size, extent_size, extent_count| Geometry { block_size, extent_size, extent_count };
        for (geometry, keys) in [
            (with(4608, 100, 1), vec!["block_size"]),
            (with(0, 100, 1), vec!["block_size"]),
            (with(65536, 100, 1), vec!["block_size"]),
            (with(4096, 131_073, 1), vec!["extent_size"]),
            (with(4096, 0, 1), vec!["extent_size"]),
            (with(4096, u64::MAX, 1), vec!["extent_size"]),
            (with(4096, 1, 0), vec!["extent_count"]),
            (with(3, 0, 0), vec!["block_size", "extent_size", "extent_count"]),
        ] {
            let found: Vec<_> = geometry.faults().iter().map(|f| f.key).collect();
            assert_eq!(found, keys, "{geometry:?}");
        }
        assert_eq!(with(4096, 131_072, 1).faults(), []);
    }

    proptest! {
        #[test]
        fn no_legal_geometry_overflows(shift in 9u32..=15, extent_size in 1u64..=1_048_576, extent_count in 1u32..=MOST_EXTENTS) {
            let geometry = Geometry { block_size: 1 << shift, extent_size, extent_count };
            prop_assume!(geometry.faults().is_empty());
            prop_assert!(geometry.disk_bytes() > geometry.data_bytes());
        }
    }
}
