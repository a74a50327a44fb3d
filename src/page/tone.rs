//! Tone of a thing: how well it is, in a word, a shape and a colour, none of which is needed to tell it from another.

use crate::check::Severity;
use crate::wire::State;
use maud::{Markup, html};

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// It is as it should be.
    Well,
    /// Nothing is known of it.
    Unknown,
    /// It is on its way to being well, or worth knowing.
    Passing,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Bad,
}

impl Tone {
    /// All of them, for what is drawn of each.
    pub(super) const ALL: [Self; 5] = [Self::Well, Self::Unknown, Self::Passing, Self::Warning, Self::Bad];

    /// The name of its class in the style sheet, and of its shape.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Unknown => "unknown",
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Unknown => "not known",
            Self::Passing => "in progress",
            Self::Warning => "warning",
            Self::Bad => "not well",
        }
    }

    /// The colour of its shape in the tab of a browser, which knows no style sheet.
    fn colour(self) -> &'static str {
        match self {
            Self::Well => "1a7f37",
            Self::Unknown => "6e7781",
            Self::Passing => "0a5ec2",
            Self::Warning => "b87503",
            Self::Bad => "c4182b",
        }
    }

    /// The outline of its shape, in a square of 16 by 16.
    fn outline(self) -> &'static str {
        match self {
            Self::Well | Self::Passing | Self::Unknown => "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z",
            Self::Warning => "M8 1.2 15.4 14.4H.6z",
            Self::Bad => "M5 1h6l4 4v6l-4 4H5l-4-4V5z",
        }
    }

    /// What is cut out of it.
    fn cut(self) -> &'static str {
        match self {
            Self::Well => "M4.6 8.3l2.3 2.3 4.5-4.9",
            Self::Unknown => "M6.1 6.2a2 2 0 1 1 2.7 1.9c-.6.3-.8.6-.8 1.3M8 11.4v.4",
            Self::Passing => "M4.4 8h.5M7.75 8h.5M11.1 8h.5",
            Self::Warning => "M8 5.8v4M8 11.9v.4",
            Self::Bad => "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2",
        }
    }

    /// Its shape. Beside it stands a word, always.
    pub(super) fn mark(self) -> Markup {
        html! { svg class={ "mark " (self.class()) } viewBox="0 0 16 16" aria-hidden="true" {
            use href={ "#" (self.class()) } {}
        } }
    }

    /// Its shape and its word, or another one that says more.
    pub(super) fn says(self, word: impl std::fmt::Display) -> Markup {
        html! { span class={ "state " (self.class()) } { (self.mark()) " " (word) } }
    }

    /// Its shape as a picture of its own.
    pub(super) fn icon(self) -> String {
        format!(
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%23{}' \
             d='{}'/%3E%3Cpath fill='none' stroke='white' stroke-width='1.8' stroke-linecap='round' d='{}'/%3E%3C/svg%3E",
            self.colour(),
            self.outline(),
            self.cut()
        )
    }
}

/// The shapes, once in a document: they are referred to wherever they stand.
pub(super) fn shapes() -> Markup {
    html! { svg.shapes aria-hidden="true" {
        @for tone in Tone::ALL {
            symbol id=(tone.class()) viewBox="0 0 16 16" {
                path.outline d=(tone.outline()) {}
                path.cut d=(tone.cut()) {}
            }
        }
    } }
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Blocking => Self::Bad,
            Severity::Warning => Self::Warning,
            Severity::Information => Self::Passing,
        }
    }
}

impl From<Option<State>> for Tone {
    fn from(state: Option<State>) -> Self {
        match state {
            None => Self::Unknown,
            Some(State::Serving) => Self::Well,
            Some(State::Creating | State::Starting | State::Verifying) => Self::Passing,
            Some(State::Missing | State::Stopped | State::Hung | State::Held | State::Failed) => Self::Bad,
        }
    }
}
