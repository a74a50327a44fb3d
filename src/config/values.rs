//! Values that several sections have: lengths of time, paths and words as they stand in unit files.
//! Pure.

use crate::source::{Faults, Origin, Section};
use crate::span::Span;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The directories that systemd hides from the regions' units and from the supervisor: ProtectHome=, PrivateTmp= and
/// PrivateDevices=.
const HIDDEN: [&str; 6] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev"];

/// The hidden directory below which a path lies, if below one: systemd hides it from the sled's services.
pub fn hidden(path: &Path) -> Option<&'static str> {
    HIDDEN.into_iter().find(|dir| path.starts_with(dir))
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

/// A word that stands in unit files and sysfs paths as it is.
pub(super) fn word(
    section: &mut Section<'_>,
    key: &str,
    (what, most): (&str, usize),
    faults: &mut Faults,
) -> Option<(String, Origin)> {
    let (text, origin) = section.text(key, faults)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let legal = !text.is_empty() && text.len() <= most && text.chars().all(plain) && !text.starts_with(['.', '-']);
    if !legal {
        let problem = format!("{text:?} is no name of {what}");
        faults.push(&origin, section.path(key), problem, format!("write up to {most} letters, digits and ._-"));
        return None;
    }
    Some((text.to_owned(), origin))
}
