//! `[notify]` of `sled.toml`: who is told of checks that are raised or over, if anybody is. Pure.

use super::values::plain_absolute;
use crate::check::Severity;
use crate::source::{Faults, Section};
use crate::span::Span;
use http::Uri;
use std::str::FromStr;

/// `[notify]`, with at least one way of telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The program that is run for each notification, and its arguments; empty: none is.
    pub program: Vec<String>,
    /// The URL that each notification is posted to in JSON.
    pub webhook: Option<Url>,
    /// The topic that each notification is published under in the manner of ntfy.
    pub ntfy: Option<Url>,
    /// The least severe check that is told.
    pub severity: Severity,
    /// The time for which a check must be raised, or over, before that is told.
    pub delay: Span,
    /// The most notifications in an hour.
    pub at_most: u32,
}

impl Notify {
    /// The least severity, the delay and the limit, unless something else is written.
    const DEFAULTS: (Severity, Span, u32) = (Severity::Blocking, Span::seconds(30), 12);

    /// Tell whether anything is to be told of checks of this severity.
    pub fn wants(&self, severity: Severity) -> bool {
        severity <= self.severity
    }
}

/// A URL of http or https. Whoever knows its path and its query may be let in by that: only its host is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// The URL, as the library of HTTP has it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// The host with its port, which may be shown to anybody.
    pub fn shown(&self) -> String {
        self.0.authority().map(ToString::to_string).unwrap_or_default()
    }
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "is no URL")?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.host().is_empty() => Err("names no host"),
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                Err("has a name or a password before the host, which is not sent")
            }
            (Some("http" | "https"), Some(_)) => Ok(Self(uri)),
            _ => Err("is no URL of http or https"),
        }
    }
}

/// A URL with one name in its path.
struct Topic(Url);

impl FromStr for Topic {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Url = text.parse()?;
        let topic = url.0.path().trim_matches('/');
        if topic.is_empty() || topic.contains('/') { Err("names no topic behind its host") } else { Ok(Self(url)) }
    }
}

/// A severity that is told of.
struct Told(Severity);

impl FromStr for Told {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "blocking" => Ok(Self(Severity::Blocking)),
            "warning" => Ok(Self(Severity::Warning)),
            _ => Err("is neither blocking nor warning"),
        }
    }
}

/// Read the section; `None` if it names nobody to tell.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Option<Notify> {
    let (severity, delay, at_most) = Notify::DEFAULTS;
    let notify = Notify {
        program: program(&mut section, faults),
        webhook: section
            .parsed("webhook", "write a URL such as \"https://alerts.example/sled\"", faults)
            .map(|(url, _)| url),
        ntfy: section
            .parsed::<Topic>("ntfy", "write a topic such as \"https://ntfy.sh/my-sleds\"", faults)
            .map(|(Topic(url), _)| url),
        severity: section
            .parsed("severity", "write \"blocking\" or \"warning\"", faults)
            .map_or(severity, |(Told(severity), _)| severity),
        delay: section
            .parsed("delay", "write a length of time such as \"30s\", or \"0s\" for none", faults)
            .map_or(delay, |(span, _)| span),
        at_most: section
            .integer("at_most", 1..=1000, faults)
            .and_then(|(number, _)| number.try_into().ok())
            .unwrap_or(at_most),
    };
    section.finish(faults);
    let told = !notify.program.is_empty() || notify.webhook.is_some() || notify.ntfy.is_some();
    told.then_some(notify)
}

fn program(section: &mut Section<'_>, faults: &mut Faults) -> Vec<String> {
    const REMEDY: &str =
        "write the program's path and its arguments, for example [\"/usr/local/bin/tell\", \"--sled\"]";
    let Some((words, origin)) = section.texts("program", faults) else { return Vec::new() };
    match words.first() {
        None => faults.push(&origin, section.path("program"), "names no program", REMEDY),
        Some((program, origin)) if !plain_absolute(program) => {
            faults.push(origin, section.path("program"), format!("{program:?} is no plain absolute path"), REMEDY);
        }
        Some(_) => {}
    }
    words.into_iter().map(|(word, _)| word.to_owned()).collect()
}
