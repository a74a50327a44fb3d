//! Region as it is defined, as it lies on disk, and as it is recorded. Pure: nothing here opens a file.

mod doubt;
pub mod extent;
pub mod format;
pub mod geometry;
pub mod grant;
pub mod ledger;
pub mod mark;
pub mod reconciliation;
pub mod scrub;
pub mod standing;
pub mod verification;

pub use doubt::{Doubt, Rebuilt};
pub use format::RegionJson;
pub use geometry::Geometry;
pub use grant::Grant;
pub use ledger::{Adoption, HeldBy, Hold, Ledger, OldUnit, Record, Tombstone};
pub use mark::Mark;
