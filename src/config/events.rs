//! `[events]`: how much of what happened is kept, and for how long.

use super::values::{Days, Positive, Reserve};
use crate::source::{Faults, Section};
use crate::span::Span;
use std::str::FromStr;

/// The least that a record of events has room for, in bytes: less would be full within an hour.
const LEAST_BYTES: u64 = 64 << 10;
const DEFAULT_BYTES: u64 = 16 << 20;
const DEFAULT_AGE: Span = Span::seconds(90 * 86_400);

/// `[events]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events {
    /// The bytes that the record of events may take.
    pub size: u64,
    /// The time that an event is kept, as long as there is room.
    pub age: Span,
}

/// A size in bytes.
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(Reserve::Bytes(bytes)) if bytes >= LEAST_BYTES => Ok(Self(bytes)),
            Ok(Reserve::Bytes(_)) => Err("is less than 64KiB".into()),
            Ok(Reserve::Percent(_)) => Err("is a share, and no size".into()),
            Err(why) => Err(why),
        }
    }
}

/// An age in days or hours that is not nothing.
struct Age(Span);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Days(span) = text.parse()?;
        text.parse::<Positive>().map(|_| Self(span)).map_err(str::to_owned)
    }
}

pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Events {
    let size = section.parsed("size", "write a size such as \"16MiB\", at least \"64KiB\"", faults);
    let age = section.parsed("age", "write a time in days or hours, such as \"90d\" or \"12h\"", faults);
    section.finish(faults);
    Events {
        size: size.map_or(DEFAULT_BYTES, |(Bytes(bytes), _)| bytes),
        age: age.map_or(DEFAULT_AGE, |(Age(span), _)| span),
    }
}
