//! What the image says of itself, on a machine that runs one.

/// What the image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Its version.
    pub version: String,
    /// A stand-in serves the regions, and keeps no data.
    pub demonstration: bool,
    /// A newer version was tried and given up: which, and why.
    pub given_up: Option<(String, String)>,
    /// Why the configuration that was brought last was not taken over; empty if it was.
    pub refused: Vec<String>,
}
