//! Headline: one sentence that says what is wrong or that all is well, on which sled, and since when.

use super::parts::{code, count, since};
use super::tone::Tone;
use crate::check::{Scope, Severity};
use crate::wire::{Check, Sled};
use jiff::Timestamp;
use maud::{Markup, html};

/// What is said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headline {
    /// How the sled is.
    pub(super) tone: Tone,
    /// The beginning of the sentence, before the time.
    pub(super) begins: String,
    /// The time since when it is so.
    pub(super) since: Timestamp,
    /// The cause, after the time.
    pub(super) cause: Option<Check>,
    /// Whether the thing that it is about is named with it.
    named: bool,
}

impl Headline {
    /// Find what is to be said of a sled first: of its conditions the one that matters most.
    pub(super) fn of(sled: &Sled) -> Self {
        // A step on the way to being well is no more than that, as long as nothing is wrong beside it.
        let alarming = sled.checks.iter().find(|check| check.severity == Severity::Blocking && !check.code.passes());
        let passing = || sled.checks.iter().find(|check| check.severity == Severity::Blocking);
        let warning = || sled.checks.iter().find(|check| check.severity == Severity::Warning);
        if let Some(check) = alarming {
            return Self::about(Tone::Bad, unready(sled, check), check);
        }
        if let Some(check) = passing() {
            return Self::about(Tone::Passing, unready(sled, check), check);
        }
        if let Some(check) = warning() {
            let begins = format!("{} works, and {} wants a look", sled.sled, check.subject);
            return Self::about(Tone::Warning, begins, check);
        }
        let begins = format!("All is well on {}", sled.sled);
        Self { tone: Tone::Well, begins, since: well_since(sled), cause: None, named: false }
    }

    fn about(tone: Tone, begins: String, check: &Check) -> Self {
        // Of the whole sled the cause says enough by itself.
        let named = tone != Tone::Warning && matches!(check.code.about().scope, Scope::Region | Scope::Volume);
        Self { tone, begins, since: check.since, cause: Some(check.clone()), named }
    }

    /// What stands in the title of the window.
    pub(super) fn title(&self, sled: &Sled) -> String {
        match &self.cause {
            None => format!("{}: all is well", sled.sled),
            Some(check) => format!("{}: {}", sled.sled, check.code),
        }
    }

    /// Draw it, with what is to be done.
    pub(super) fn render(&self, sled: &Sled) -> Markup {
        let sentence = html! {
            (self.begins) " since " (since(self.since))
            @match &self.cause {
                None => ".",
                Some(check) => {
                    @if self.named { ", because of " (check.subject) }
                    ": " span.why { (sentence(&check.cause)) }
                },
            }
        };
        section(
            self.tone,
            sentence,
            html! {
                @if let Some(check) = &self.cause {
                    p.remedy { b { "Remedy" } " " (check.remedy) " " (code(check.code.as_str())) }
                }
                p.sum { (sum(sled)) }
            },
        )
    }
}

/// Draw a headline, and what follows it.
pub(super) fn section(tone: Tone, sentence: impl maud::Render, more: Markup) -> Markup {
    html! { section class={ "headline " (tone.class()) } aria-labelledby="headline" {
        h1 #headline { (tone.mark()) span.hidden { (tone.word()) ": " } span { (sentence) } }
        (more)
    } }
}

/// A cause as the end of a sentence.
fn sentence(cause: &str) -> String {
    let cause = cause.trim_end();
    if cause.ends_with(['.', '!', '?']) { cause.to_owned() } else { format!("{cause}.") }
}

/// Say which volumes cannot be attached, because of a condition.
fn unready(sled: &Sled, check: &Check) -> String {
    let unready: Vec<_> = sled.volumes.iter().filter(|volume| !volume.ready).map(|volume| &volume.volume).collect();
    match (check.code.about().scope, &unready[..]) {
        (Scope::Region | Scope::Volume, [one]) => {
            format!("{one} cannot be attached on {}", sled.sled)
        }
        (Scope::Region | Scope::Volume, [_, _, ..]) => {
            let all = sled.volumes.len();
            format!("{} of {all} volumes cannot be attached on {}", unready.len(), sled.sled)
        }
        _ => format!("No volume can be attached on {}", sled.sled),
    }
}

/// The time since when all is well: of what is known to have become well, the last.
fn well_since(sled: &Sled) -> Timestamp {
    let regions = sled.volumes.iter().flat_map(|volume| &volume.regions);
    regions.filter_map(|region| region.since).max().unwrap_or(sled.started)
}

/// Sum up what else there is, in numbers.
fn sum(sled: &Sled) -> String {
    let ready = sled.volumes.iter().filter(|volume| volume.ready).count();
    let hosts: usize = sled.volumes.iter().map(|volume| volume.attached.len()).sum();
    let of = |severity| sled.checks.iter().filter(|check| check.severity == severity).count();
    let checks = match (of(Severity::Blocking), of(Severity::Warning)) {
        (0, 0) => "no condition to look at".to_owned(),
        (0, warnings) => count(warnings, "warning", "warnings"),
        (blocking, 0) => count(blocking, "blocking condition", "blocking conditions"),
        (blocking, warnings) => {
            format!(
                "{}, {}",
                count(blocking, "blocking condition", "blocking conditions"),
                count(warnings, "warning", "warnings")
            )
        }
    };
    let all = sled.volumes.len();
    format!(
        "{ready} of {} ready, {}, {checks}.",
        count(all, "volume", "volumes"),
        count(hosts, "host attached", "hosts attached")
    )
}
