//! Frame of every page: head, style, script, landmarks; and the policy by which a browser runs nothing else.

use super::parts::{picture, since};
use super::tone::{Tone, shapes};
use crate::clean;
use crate::wire::Sled;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Style of every page.
const STYLE: &str = include_str!("style.css");
/// Script of every page that changes.
const SCRIPT: &str = include_str!("script.js");
/// Program that made the page: with another one the script loads the whole of it.
const GENERATOR: &str = concat!("sledd ", env!("CARGO_PKG_VERSION"));

/// Policy of a page's content: its own style and script by their digests, what the script asks of the sled, the icon
/// in the tab, and nothing else.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    )
});

/// A text as a policy allows it.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// A page before it is written.
pub(super) struct Document<'a> {
    /// The sled's name, or what stands for it.
    pub(super) name: &'a str,
    /// How the sled is, for the icon.
    pub(super) tone: Tone,
    /// The title of the window.
    pub(super) title: &'a str,
    /// The time at which what is shown was found to be so.
    pub(super) as_of: Option<Timestamp>,
    /// What is shown.
    pub(super) main: Markup,
    /// What stands below.
    pub(super) footer: Footer<'a>,
}

/// The end of a page.
#[derive(Debug, Default)]
pub(super) struct Footer<'a> {
    /// The sled, if there is a verdict on it.
    pub(super) sled: Option<&'a Sled>,
    /// The number of its configuration.
    pub(super) configuration: Option<u64>,
}

impl Document<'_> {
    /// Write a page that follows what happens.
    pub(super) fn render(self) -> String {
        self.write(true)
    }

    /// Write a page that is always the same.
    pub(super) fn still(self) -> String {
        self.write(false)
    }

    fn write(self, live: bool) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content=(GENERATOR);
                    title { (self.title) }
                    link rel="icon" href=(self.tone.icon());
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (shapes())
                    header {
                        a.name href="/" { (self.name) }
                        @if let Some(as_of) = self.as_of { " " span #as-of { "as of " (picture(as_of)) } }
                        @if live {
                            " " span #live role="status" {}
                            noscript { "Load it again to see what has become of it." }
                        }
                        p #said.hidden role="status" {}
                    }
                    main { (self.main) }
                    (self.footer.render())
                    @if live { script { (PreEscaped(SCRIPT)) } }
                }
            }
        };
        // The texts of others are clean where they become facts; what is shown is so once more, here.
        clean::lines(&page.into_string()).into_owned()
    }
}

impl Footer<'_> {
    fn render(&self) -> Markup {
        html! { footer {
            p {
                (GENERATOR)
                @if let Some(sled) = self.sled { ", up since " (since(sled.started)) }
                @if let Some(number) = self.configuration { ", configuration " (number) }
            }
            @if let Some(sled) = self.sled { p { "map " span.digest { (sled.port_map) } } }
            nav aria-label="Other forms of this" {
                a href="/metrics" { "metrics" } " " a href="/openapi.json" { "openapi.json" } " "
                a href="/v1/sled" { "sled as JSON" } " " a href="/checks" { "all conditions" }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_the_style_and_the_script_as_they_stand_in_the_page() {
        let page = super::super::starting();
        for (begin, end, directive) in [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")] {
            let text = page.split_once(begin).unwrap().1.split_once(end).unwrap().0;
            let allowed = format!("{directive} 'sha256-{}';", STANDARD.encode(Sha256::digest(text)));
            assert!(POLICY.contains(&allowed), "{allowed} is not in {}", *POLICY);
            assert_eq!(page.matches(begin).count(), 1);
        }
        assert!(POLICY.starts_with("default-src 'none';") && !POLICY.contains("unsafe"), "{}", *POLICY);
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "the policy does not allow attributes");
    }
}
