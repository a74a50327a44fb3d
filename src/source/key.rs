//! Keys of a configuration's files, as their manual describes them: what may stand there, and what holds where nothing
//! does. The readers do not read by these; that both agree is tested. Pure.

use std::ops::RangeInclusive;

/// Key of a file.
#[derive(Debug)]
pub struct Key {
    /// The dotted path; what an operator names himself is `NAME` in it.
    pub path: &'static str,
    /// What may stand there, in words.
    pub values: &'static str,
    /// The numbers that may, if it is a number.
    pub range: Option<RangeInclusive<u64>>,
    /// What holds without it.
    pub absent: Absent,
    /// A value, as TOML has it, that is not what holds without the key.
    pub example: &'static str,
    /// Meaning of the key, in whole sentences.
    pub meaning: &'static str,
}

/// What holds where a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nothing does: the file has a fault.
    Fault,
    /// The same as with this value, as TOML has it.
    Value(&'static str),
    /// Something that no value says, in words.
    Means(&'static str),
}
