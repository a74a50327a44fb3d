//! `[scrub]`: how often every block is held to its checksum, and how fast.

use super::values::{Days, Positive, Reserve};
use crate::source::{Faults, Section};
use crate::span::Span;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The least rate, in bytes a second: a region of 12.5 GiB takes three and a half hours then.
const LEAST_RATE: u64 = 1 << 20;
/// A twelfth of what the slowest disk of a sled reads (an SSD behind USB 3), so that hosts do not notice.
const DEFAULT_RATE: u64 = 64 << 20;
/// A month and some days: one that is due each week, or each month, has been missed then.
const DEFAULT_OUTDATED_AFTER: Span = Span::seconds(35 * 86_400);

/// `[scrub]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// How often each region is scrubbed without being asked.
    pub schedule: Schedule,
    /// The most bytes that are read in a second.
    pub rate: u64,
    /// The age from which the last scrub of a region is too old; `None`: never.
    pub outdated_after: Option<Span>,
    /// Whether what a scrub finds is repaired without being asked.
    pub repair: bool,
}

/// How often something is done by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Once a day.
    Daily,
    /// Once in seven days.
    Weekly,
    /// Once in thirty days.
    Monthly,
    /// Only when somebody asks.
    Off,
}

impl Schedule {
    /// The time from one to the next; `None` if there is no next one.
    pub fn period(self) -> Option<Duration> {
        match self {
            Self::Daily => Some(Duration::from_hours(24)),
            Self::Weekly => Some(Duration::from_hours(7 * 24)),
            Self::Monthly => Some(Duration::from_hours(30 * 24)),
            Self::Off => None,
        }
    }
}

impl FromStr for Schedule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "daily" => Ok(Self::Daily),
            "weekly" => Ok(Self::Weekly),
            "monthly" => Ok(Self::Monthly),
            "off" => Ok(Self::Off),
            _ => Err("is neither daily, weekly, monthly nor off"),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Off => "off",
        })
    }
}

/// Bytes a second.
struct Rate(u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(size) = text.strip_suffix("/s") else { return Err("has no \"/s\" at its end".into()) };
        match size.trim_end().parse() {
            Ok(Reserve::Bytes(bytes)) if bytes >= LEAST_RATE => Ok(Self(bytes)),
            Ok(Reserve::Bytes(_)) => Err("is less than 1MiB/s".into()),
            Ok(Reserve::Percent(_)) => Err("is a share, and no rate".into()),
            Err(why) => Err(why),
        }
    }
}

/// An age in days or hours that is not nothing, or `never`.
struct Age(Option<Span>);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self(None));
        }
        let Days(span) = text.parse()?;
        text.parse::<Positive>().map(|_| Self(Some(span))).map_err(str::to_owned)
    }
}

pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Scrub {
    let schedule = section.parsed("schedule", "write \"daily\", \"weekly\", \"monthly\" or \"off\"", faults);
    let rate = section.parsed("rate", "write a rate such as \"64MiB/s\", at least \"1MiB/s\"", faults);
    let age = section.parsed("outdated_after", "write \"never\" or a time in days, such as \"35d\"", faults);
    let repair = section.boolean("repair", faults).unwrap_or(false);
    section.finish(faults);
    Scrub {
        schedule: schedule.map_or(Schedule::Weekly, |(schedule, _)| schedule),
        rate: rate.map_or(DEFAULT_RATE, |(Rate(bytes), _)| bytes),
        outdated_after: age.map_or(Some(DEFAULT_OUTDATED_AFTER), |(Age(span), _)| span),
        repair,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_size_a_second() {
        for (text, rate) in [("64MiB/s", Some(64 << 20)), ("1 GiB/s", Some(1 << 30)), ("64MiB", None), ("5%/s", None)] {
            assert_eq!(text.parse::<Rate>().ok().map(|rate| rate.0), rate, "{text}");
        }
        assert!("1KiB/s".parse::<Rate>().is_err_and(|why| why.contains("less")));
    }
}
