//! Conditions: those that hold, each with its cause and its remedy; and the explanation of every one that there is,
//! from the table of them.

use super::document::{Document, Footer};
use super::headline;
use super::parts::{code, since};
use super::tone::Tone;
use crate::check::{About, Code};
use crate::wire::Check;
use maud::{Markup, html};

/// Draw the conditions that hold.
pub(super) fn render(checks: &[Check]) -> Markup {
    html! { section aria-labelledby="checks" {
        h2 #checks { "Conditions" }
        @if checks.is_empty() { p.card { (Tone::Well.says("none")) } }
        @for check in checks {
            article class={ "card check " (Tone::from(check.severity).class()) } {
                h3 { (Tone::from(check.severity).says(check.severity)) " " (code(check.code.as_str())) }
                p.sum { (check.subject) ", since " (since(check.since)) }
                p.cause { (check.cause) }
                p.remedy { b { "Remedy" } " " (check.remedy) }
            }
        }
    } }
}

/// Render the page that explains every condition: each has its code as its anchor.
pub fn explanations() -> String {
    let main = html! {
        (headline::section(Tone::Passing, "Conditions that a sled can be in, and what is to be done.", html! {
            p.sum { a href="/" { "Back to the sled" } }
        }))
        section aria-labelledby="all" {
            h2 #all { "By what is to be looked at first" }
            @for code in Code::ALL { (explanation(code.about())) }
        }
    };
    let (name, title) = ("sled", "conditions");
    Document { name, tone: Tone::Passing, title, as_of: None, main, footer: Footer::default() }.still()
}

fn explanation(about: &About) -> Markup {
    let tone = Tone::from(about.severity);
    html! { article id=(about.code) class={ "card check " (tone.class()) } {
        h3 { (tone.says(about.severity)) " " span.code { (about.code) } }
        p.sum {
            "Concerns " (about.scope) ", since version " (about.since) "."
            @if about.passes { " It passes by itself." }
        }
        p { (about.raised) }
        p.cause { b { "Cause" } " " (about.cause) }
        p.remedy { b { "Remedy" } " " (about.remedy) }
    } }
}
