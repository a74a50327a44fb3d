//! Image of the machine, as it describes itself, where one runs.

/// The image, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The version of the image.
    pub version: String,
    /// Whether a stand-in serves the regions, and keeps no data.
    pub demonstration: bool,
    /// The newer version that was tried and given up, and why.
    pub given_up: Option<(String, String)>,
    /// The reasons why the configuration that was brought last was not taken over; empty if it was.
    pub refused: Vec<String>,
}
