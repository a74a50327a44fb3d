//! Values that several sections have: lengths of time, paths and words as they stand in unit files.
//! Pure.

use crate::source::{Faults, Origin, Section};
use crate::span::Span;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The directories that systemd hides from the regions' units and from the supervisor: ProtectHome=, PrivateTmp= and
/// PrivateDevices=.
const HIDDEN: [&str; 6] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev"];

/// The hidden directory below which a path lies, if below one: systemd hides it from the sled's services.
pub fn hidden(path: &Path) -> Option<&'static str> {
    HIDDEN.into_iter().find(|dir| path.starts_with(dir))
}

/// The part of the data file system that is kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// A share of its capacity, in percent from 0 to 100.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
}

impl Reserve {
    /// The reserve in bytes on a file system of `capacity` bytes.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Percent(percent) => capacity / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl FromStr for Reserve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "is neither a percentage nor a size".to_owned();
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().ok().filter(|p| *p <= 100);
            return percent.map(Self::Percent).ok_or_else(wrong);
        }
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let shift = match text[digits.len()..].trim() {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            "" => return Err(format!("has no unit: it may be meant as \"{number}%\" or as \"{number}GiB\"")),
            unit @ ("K" | "KB" | "k" | "kB" | "M" | "MB" | "G" | "GB" | "T" | "TB") => {
                let letter = unit[..1].to_uppercase();
                return Err(format!("may be counted in thousands or in 1024s: for these write \"{number}{letter}iB\""));
            }
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Self::Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

/// A length of time, or `never`.
pub(super) struct OrNever(pub(super) Option<Span>);

impl FromStr for OrNever {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" { Ok(Self(None)) } else { text.parse().map(|Positive(span)| Self(Some(span))) }
    }
}

/// A length of time that is not nothing.
pub(super) struct Positive(pub(super) Span);

impl FromStr for Positive {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span: Span = text.parse()?;
        if span.seconds == 0 { Err("is no time at all") } else { Ok(Self(span)) }
    }
}

/// A length of time that is kept for days: there `m` is a minute to one and a month to another, and what it decides
/// cannot always be undone.
pub(super) struct Days(pub(super) Span);

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].trim();
        if let (Ok(number), "m" | "M" | "mo" | "month" | "months") = (digits.parse::<u32>(), unit) {
            let days = u64::from(number) * 30;
            return Err(format!("may be minutes or months: write \"{number}min\" or \"{days}d\""));
        }
        text.parse().map(Self).map_err(str::to_owned)
    }
}

/// Whether a path is absolute, without `.`, `..` or white space.
pub(super) fn plain_absolute(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let whole = text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    text.starts_with('/') && whole && text.chars().all(plain)
}

/// An absolute path without `.`, `..` or white space: it stands in unit files as it is.
pub(super) fn plain_path(
    section: &mut Section<'_>,
    key: &str,
    example: &str,
    faults: &mut Faults,
) -> Option<(PathBuf, Origin)> {
    let (text, origin) = section.text(key, faults)?;
    if !plain_absolute(text) {
        let problem = format!("{text:?} is no plain absolute path");
        let remedy = format!("write a path of letters, digits and ._-+ that begins with /, for example {example:?}");
        faults.push(&origin, section.path(key), problem, remedy);
    }
    Some((text.into(), origin))
}

/// A user, as a word, and how long it may be (useradd(8)).
pub(super) const USER: (&str, usize) = ("a user", 31);
/// An interface, and how long its name may be (the kernel's `IFNAMSIZ`).
pub(super) const INTERFACE: (&str, usize) = ("an interface", 15);

/// Whether a text is such a word, of at most so many characters.
pub(super) fn is_word(text: &str, most: usize) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.len() <= most && text.chars().all(plain) && !text.starts_with(['.', '-'])
}

/// A word that stands in unit files and sysfs paths as it is.
pub(super) fn word(
    section: &mut Section<'_>,
    key: &str,
    (what, most): (&str, usize),
    faults: &mut Faults,
) -> Option<(String, Origin)> {
    let (text, origin) = section.text(key, faults)?;
    if !is_word(text, most) {
        let problem = format!("{text:?} is no name of {what}");
        faults.push(&origin, section.path(key), problem, format!("write up to {most} letters, digits and ._-"));
        return None;
    }
    Some((text.to_owned(), origin))
}
