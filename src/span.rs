//! Lengths of time as people write them: `5s`, `30m`, `2h`, `7d`. Pure.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest, in seconds: a thousand years are enough, and no sum with a date overflows.
const LIMIT_SECONDS: u64 = 365_000 * 86_400;
/// The units, the largest first, each in seconds. `min` is what systemd writes for `m`.
const UNITS: [(&str, u64); 5] = [("d", 86_400), ("h", 3600), ("min", 60), ("m", 60), ("s", 1)];

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The length in seconds, a thousand years at most.
    pub seconds: u64,
}

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self { seconds }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_secs(span.seconds)
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is no length of time";
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].trim();
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(WRONG)?;
        let number: u64 = digits.parse().map_err(|_| WRONG)?;
        let seconds = number.checked_mul(*unit).filter(|seconds| *seconds <= LIMIT_SECONDS).ok_or(WRONG)?;
        Ok(Self { seconds })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, unit)| self.seconds >= *unit && self.seconds.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("s", 1));
        write!(f, "{} {name}", self.seconds / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_shown_in_its_largest_whole_unit() {
        for (text, seconds, shown) in [
            ("5s", 5, "5 s"),
            ("90 s", 90, "90 s"),
            ("2min", 120, "2 min"),
            ("30m", 1800, "30 min"),
            ("12h", 43_200, "12 h"),
            ("7d", 604_800, "7 d"),
            ("0h", 0, "0 s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.seconds, span.to_string().as_str()), (seconds, shown));
        }
        for wrong in ["", "5", "s", "-1s", "1w", "9999999d", "99999999999999999999s", "1 h 2 m"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
