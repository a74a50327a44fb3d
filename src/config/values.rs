//! Values that several sections have: lengths of time, paths and words as they stand in unit files.
//! Pure.

use crate::source::{Faults, Origin, Section};
use crate::span::Span;
use std::path::PathBuf;
use std::str::FromStr;

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

/// An absolute path without `.`, `..` or white space: it stands in unit files as it is.
pub(super) fn plain_path(
    section: &mut Section<'_>,
    key: &str,
    example: &str,
    faults: &mut Faults,
) -> Option<(PathBuf, Origin)> {
    let (text, origin) = section.text(key, faults)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let whole = text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if !(text.starts_with('/') && whole && text.chars().all(plain)) {
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
) -> Option<String> {
    let (text, origin) = section.text(key, faults)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let legal = !text.is_empty() && text.len() <= most && text.chars().all(plain) && !text.starts_with(['.', '-']);
    if !legal {
        let problem = format!("{text:?} is no name of {what}");
        faults.push(&origin, section.path(key), problem, format!("write up to {most} letters, digits and ._-"));
        return None;
    }
    Some(text.to_owned())
}
