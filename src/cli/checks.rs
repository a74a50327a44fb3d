//! `sledctl checks`: the conditions that hold, with cause and remedy.

use super::client::Client;
use super::failure::Failure;
use super::print::{Output, ago};
use super::view::{View, Watch, show};
use crate::check::Severity;
use crate::screen::Screen;
use crate::table::Tone;
use crate::wire::{Check, Sled};
use clap::Args;
use serde::Serialize;

/// List every condition that holds, with cause and remedy.
#[derive(Debug, Args)]
pub(super) struct ChecksCommand {
    #[command(flatten)]
    watch: Watch,
}

impl ChecksCommand {
    /// List the conditions; `Ok(false)` if the sled is not well.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for ChecksCommand {
    type Answer = Sled;

    async fn ask(&self, client: &Client) -> Result<Sled, Failure> {
        client.sled().await
    }

    fn body<'a>(&self, sled: &'a Sled) -> impl Serialize + 'a {
        &sled.checks
    }

    fn names(&self, sled: &Sled) -> Vec<String> {
        sled.checks.iter().map(|check| check.code.to_string()).collect()
    }

    fn text(&self, sled: &Sled, _: Screen) -> String {
        let wrong = sled.checks.iter().any(|check| check.severity != Severity::Information);
        if wrong || sled.checks.is_empty() {
            return text(&sled.checks);
        }
        format!("nothing is wrong; to be known:\n\n{}", text(&sled.checks))
    }

    fn is_well(&self, sled: &Sled) -> bool {
        sled.well
    }
}

/// Write conditions, each with cause and remedy.
pub(super) fn text(checks: &[Check]) -> String {
    if checks.is_empty() {
        return "nothing is wrong\n".into();
    }
    checks.iter().map(|check| one(check, 0)).collect()
}

/// Write conditions at a glance: those with one code and cause once.
pub(super) fn glance(checks: &[Check]) -> String {
    let mut rest = checks;
    let mut out = String::new();
    while let Some((first, _)) = rest.split_first() {
        let same = rest.iter().take_while(|check| (check.code, &check.cause) == (first.code, &first.cause)).count();
        out += &one(first, same - 1);
        rest = &rest[same..];
    }
    out
}

/// Write a condition, and how many others are alike.
fn one(check: &Check, alike: usize) -> String {
    let tone = match check.severity {
        Severity::Blocking => Tone::Bad,
        Severity::Warning => Tone::Warning,
        Severity::Information => Tone::Faint,
    };
    let head = tone.paint(&format!("{} {}", check.severity, check.code));
    let others = if alike == 0 { String::new() } else { format!(" and {alike} more (sledctl checks)") };
    let arrow = Tone::Faint.paint("->");
    let (subject, since) = (&check.subject, ago(check.since));
    format!("{head}  {subject}{others}, for {since}\n    {}\n    {arrow} {}\n", check.cause, check.remedy)
}
