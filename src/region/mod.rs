//! A region as it is defined, as it lies on disk, and as it is recorded. Pure: nothing here
//! opens a file.

pub mod format;
pub mod geometry;
pub mod grant;
pub mod ledger;
pub mod mark;

pub use format::RegionJson;
pub use geometry::Geometry;
pub use grant::Grant;
pub use ledger::{Adoption, HeldBy, Hold, Ledger, OldUnit, Rebuilt, Record, Tombstone};
pub use mark::Mark;
