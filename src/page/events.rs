//! Last events, the newest first: each with its time, what it is about, and what has become of that.

use super::parts::{at, code};
use super::tone::Tone;
use crate::wire::{ErrorCode, Event, EventKind};
use maud::{Markup, html};

/// How many are shown.
const SHOWN: usize = 20;

/// Draw the last events.
pub(super) fn render(events: &[Event]) -> Markup {
    html! { section aria-labelledby="events" {
        h2 #events { "Last events" }
        @if events.is_empty() {
            p.card { "None is on record." }
        } @else {
            ol.card.events { @for event in events.iter().rev().take(SHOWN) { (one(event)) } }
        }
    } }
}

fn one(event: &Event) -> Markup {
    html! { li {
        (at(event.time)) " "
        div {
            (tone(event).says(event.kind.as_str().replace('_', " ")))
            @if !event.subject.is_empty() { ", " b { (event.subject) } }
            @match (&event.before, &event.after) {
                (None, None) => {},
                (Some(before), None) => { ": it was " (before) },
                (None, Some(after)) => { ": " (after) },
                (Some(before), Some(after)) => { ": " (before) " → " (after) },
            }
            @if let Some(cause) = &event.cause { ": " span.cause { (cause) } }
            @if let Some(by) = &event.by { span.faint { ", by " (by) } }
            @match &event.code {
                Some(ErrorCode::Check(found)) => { " " (code(found.as_str())) },
                Some(other) => { " " span.code { (other) } },
                None => {},
            }
        }
    } }
}

/// How well that is which an event tells of.
fn tone(event: &Event) -> Tone {
    match (&event.kind, &event.code, event.after.as_deref()) {
        (EventKind::CheckRaised, Some(ErrorCode::Check(code)), _) => code.severity().into(),
        (EventKind::CheckOver, ..) => Tone::Well,
        (EventKind::RegionState, _, Some("serving")) => Tone::Well,
        (EventKind::RegionState, _, Some("creating" | "starting" | "verifying")) => Tone::Passing,
        (EventKind::RegionState, ..) => Tone::Bad,
        (EventKind::JobEnded, _, Some("done")) => Tone::Well,
        (EventKind::JobEnded, _, Some("failed")) => Tone::Bad,
        (EventKind::EventsLost | EventKind::EventsDamaged | EventKind::ClockStep, ..) => Tone::Warning,
        (EventKind::RegionStopped | EventKind::Takeover | EventKind::HostDenied, ..) => Tone::Warning,
        _ => Tone::Passing,
    }
}
