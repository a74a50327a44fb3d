//! Decision whether an update of the image is applied by itself, now: in its window, old enough, never a version that
//! has failed, and one sled of a volume after the other.
//!
//! Two sleds must not both find that the other one is well, and then both go. So a sled shows that it updates before
//! it asks how the others are; and whoever sees that another one updates does not go. Of two that see each other the
//! one with the lower name keeps its turn and looks again, and the other gives up its own.

use crate::config::{Apply, Update};
use crate::names::SledName;
use jiff::Timestamp;
use jiff::civil::DateTime;

/// The beginning of the reason for which a sled that updates asks hosts to wait: by it the other sleds see that it
/// does.
pub const MARK: &str = "the image is updated";

/// Word the reason of a sled that updates to a version.
pub fn mark(version: &str) -> String {
    format!("{MARK} to {version}")
}

/// Tell whether a reason is a sled's that updates, and not an operator's that begins alike.
pub fn is_mark(reason: &str) -> bool {
    let version = reason.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(" to ")).unwrap_or_default();
    version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains(char::is_whitespace)
}

/// What is known when it is decided.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The time.
    pub now: Timestamp,
    /// The same by the machine's clock and time zone.
    pub local: DateTime,
    /// The version that can be had or lies in its slot already, if there is one; or why that is not known.
    pub newer: Result<Option<Candidate<'a>>, &'a str>,
    /// The version that was tried last and failed, and why.
    pub failed: Option<(&'a str, &'a str)>,
    /// Whether this boot has yet to show that it is a good one.
    pub on_trial: bool,
    /// The reason why this sled is not to go away now, if there is one.
    pub busy: Option<&'a str>,
    /// The other sleds that have regions of this sled's volumes.
    pub others: &'a [Other],
}

/// Version that could be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The version.
    pub version: &'a str,
    /// The time from which it is old enough; `None`: nobody knows since when there is such a one.
    pub ripe: Option<Timestamp>,
}

/// Another sled, as it says itself how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub sled: SledName,
    /// Whether it says that it updates.
    pub updates: bool,
    /// The reason why this sled must not go away now, if there is one: what is not well there.
    pub unwell: Option<String>,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is nothing to be applied, or somebody is to do it by hand.
    Nothing,
    /// It is not applied yet, and why.
    Wait(String),
    /// This version is to be applied now.
    Go(String),
}

/// Decide whether an update is applied now.
pub fn decide(update: &Update, seen: &Seen<'_>) -> Decision {
    let Some(window) = update.window.filter(|_| update.apply == Apply::Window) else { return Decision::Nothing };
    let candidate = match seen.newer {
        Ok(Some(candidate)) => candidate,
        Ok(None) => return Decision::Nothing,
        Err(why) => return Decision::Wait(format!("it is not known whether there is another version: {why}")),
    };
    let version = candidate.version;
    let wait = match (seen.failed, candidate.ripe) {
        (Some((failed, why)), _) if failed == version => {
            format!("{version} has failed ({why}), and is not tried again by itself: sledctl update apply")
        }
        _ if seen.on_trial => "the version that runs has yet to show that it is well".to_owned(),
        (_, None) => format!("nobody knows since when there is a {version}"),
        (_, Some(ripe)) if ripe > seen.now => {
            format!("{version} is applied from {ripe:.0} on, {} after its release", update.delay)
        }
        _ if !window.contains(seen.local) => {
            let next = window.next(seen.local).map(|at| format!(", next {}", at.strftime("%a %-d %b %H:%M")));
            format!("its window is {window}{}", next.unwrap_or_default())
        }
        _ => match (seen.busy, first_unwell(seen.others)) {
            (Some(why), _) => why.to_owned(),
            (None, Some(why)) => why,
            (None, None) => return Decision::Go(version.to_owned()),
        },
    };
    Decision::Wait(wait)
}

/// The reason of the first sled, by name, for which this one must not go away.
fn first_unwell(others: &[Other]) -> Option<String> {
    let mut whys: Vec<_> = others.iter().filter_map(|other| Some((&other.sled, reason(other)?))).collect();
    whys.sort();
    whys.into_iter().next().map(|(_, why)| why)
}

fn reason(other: &Other) -> Option<String> {
    if other.updates {
        return Some(format!("{} is being updated", other.sled));
    }
    other.unwell.as_ref().map(|why| format!("{} is not well: {why}", other.sled))
}

/// What comes of a look at the others that was made after this sled has shown that it updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may go.
    Go,
    /// It keeps its turn, and looks again: another one that gives way.
    Look(String),
    /// It gives up its turn, and why.
    Yield(String),
}

/// Judge whether it is this sled's turn, which shows that it updates by now.
pub fn turn(own: &SledName, others: &[Other]) -> Turn {
    let ahead = others.iter().find(|other| other.updates && other.sled < *own);
    let unwell = others.iter().find(|other| !other.updates && other.unwell.is_some());
    if let Some(why) = ahead.or(unwell).and_then(reason) {
        return Turn::Yield(why);
    }
    others.iter().find(|other| other.updates).and_then(reason).map_or(Turn::Go, Turn::Look)
}
