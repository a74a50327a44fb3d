//! The names of the units that belong to a region. Pure.

use crate::names::RegionName;

/// The template that serves a region.
pub const DOWNSTAIRS: &str = "crucible-downstairs";

/// The unit that serves a region.
pub fn unit(region: &RegionName) -> String {
    format!("{DOWNSTAIRS}@{region}.service")
}

/// The transient unit that creates a region.
pub fn create_unit(region: &RegionName) -> String {
    format!("crucible-create-{region}.service")
}
