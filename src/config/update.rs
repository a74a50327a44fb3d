//! `[update]`: how often it is looked for another version of the image, and whether it is applied by itself. Pure.

use super::values::{Days, OrNever};
use super::window::Window;
use crate::source::{Faults, Origin, Section};
use crate::span::Span;
use std::str::FromStr;

/// The time from one check to the next, unless something else is written.
const DEFAULT_CHECK: Span = Span::seconds(86_400);
/// The least: each check asks a server that others ask as well.
const LEAST_CHECK: Span = Span::seconds(15 * 60);
/// The time for which others may find out what is wrong with a release.
const DEFAULT_DELAY: Span = Span::seconds(7 * 86_400);

/// `[update]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// The time from one check to the next; `None`: nobody checks without being asked.
    pub check: Option<Span>,
    /// The time of the week in which an update is applied, if it is.
    pub window: Option<Window>,
    /// The age that a release must have before it is applied by itself.
    pub delay: Span,
    /// Whether it is applied by itself.
    pub apply: Apply,
}

/// Whether an update is applied by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// Only when somebody asks.
    Manual,
    /// In the window.
    Window,
}

impl FromStr for Apply {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "manual" => Ok(Self::Manual),
            "window" => Ok(Self::Window),
            _ => Err("is neither manual nor window"),
        }
    }
}

/// Time from one check to the next, or `never`.
struct Interval(Option<Span>);

impl FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse()? {
            OrNever(Some(span)) if span < LEAST_CHECK => Err("is less than 15 min"),
            OrNever(span) => Ok(Self(span)),
        }
    }
}

/// Read `[update]`.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Update {
    let check = section.parsed("check", "write \"never\" or a time such as \"1d\", at least \"15m\"", faults);
    let check = check.map(|(interval, _)| interval);
    let remedy = "write days and times such as \"Sun 04:00-06:00\", or times alone for each day";
    let window: Option<(Window, Origin)> = section.parsed("window", remedy, faults);
    let delay = section.parsed("delay", "write a time in days or hours, such as \"7d\" or \"0h\"", faults);
    let apply: Option<(Apply, Origin)> = section.parsed("apply", "write \"manual\" or \"window\"", faults);
    // Nothing is said of a window that has a fault itself.
    let window_is_read = window.is_some() || !section.keys().contains(&"window");
    if let Some((Apply::Window, origin)) = apply.as_ref().filter(|_| window_is_read) {
        find_possible(check.as_ref(), window.as_ref(), origin, faults);
    }
    section.finish(faults);
    let window = window.map(|(window, _)| window);
    let apply = apply.map_or(Apply::Manual, |(apply, _)| apply);
    // A sled that is to apply updates checks often enough to do so, unless it is told otherwise.
    let often = window.filter(|_| apply == Apply::Window).map_or(DEFAULT_CHECK, |window| window.length());
    Update {
        check: check.map_or(Some(often.min(DEFAULT_CHECK)), |Interval(span)| span),
        window,
        delay: delay.map_or(DEFAULT_DELAY, |(Days(span), _)| span),
        apply,
    }
}

/// Find that an update can be applied by itself at all: what is older than the time between two checks is not known,
/// and nothing is applied by it.
fn find_possible(check: Option<&Interval>, window: Option<&(Window, Origin)>, apply: &Origin, faults: &mut Faults) {
    let Some((window, origin)) = window else {
        let remedy = "write window = \"Sun 04:00-06:00\" beside it, or apply = \"manual\"";
        return faults.push(apply, "update.apply", "there is no window to apply an update in", remedy);
    };
    let length = window.length();
    if length < LEAST_CHECK {
        let problem = format!("{window} lasts {length}, and nobody checks more often than each {LEAST_CHECK}");
        return faults.push(origin, "update.window", problem, "write a window of at least 15 minutes");
    }
    let problem = match check {
        Some(Interval(Some(check))) if *check > length => {
            format!(
                "{window} is shorter than the time from one check to the next, {check}: no update would be possible"
            )
        }
        Some(Interval(None)) => "nobody checks (check = \"never\"), and no update would be possible".into(),
        _ => return,
    };
    let remedy = format!("write check = \"{}m\" or less, or a longer window", length.seconds / 60);
    faults.push(origin, "update.window", problem, remedy);
}
