//! A region as it is defined and as it lies on disk. Pure: nothing here opens a file.

pub mod format;
pub mod geometry;

pub use format::RegionJson;
pub use geometry::Geometry;
