//! Health of a disk, as it tells of itself (SMART): read by smartctl, where that is installed.

/// What is known of a disk's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The disk told this of itself, not long ago.
    Known(Box<Smart>),
    /// Nothing is known, and why: it was not read, or too long ago.
    Unknown(String),
}

/// The health that a disk tells of itself. What it does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smart {
    /// The model.
    pub model: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<String>,
    /// The reasons for which it is failing, in words; empty if it is not.
    pub failing: Vec<String>,
    /// What it has on record that should not be, in words.
    pub recorded: Vec<String>,
    /// The percentage of its life that is used; above 100 if it lives longer than was promised.
    pub used_percent: Option<u16>,
    /// The temperature in degrees Celsius.
    pub degrees: Option<i64>,
    /// The temperature in degrees Celsius up to which it is made to work, as it says.
    pub limit_degrees: Option<i64>,
    /// Whether it says itself that it is too hot.
    pub too_hot: bool,
    /// The hours that it has been switched on.
    pub hours: Option<u64>,
}
