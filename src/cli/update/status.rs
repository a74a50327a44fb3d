//! `sledctl update status`: the versions of a machine, and what became of the last update.

use crate::cli::failure::Failure;
use crate::cli::print::Output;
use crate::screen::Screen;
use crate::table::{Table, Tone, column, plain};
use crate::update::record::{Attempt, Outcome};
use crate::update::release::{self, Installed, Release};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;

/// Show which version runs, which others can be started, and what became of the last update.
#[derive(Debug, Args)]
pub(in crate::cli) struct Status;

/// Answer of `update status`.
#[derive(Debug, Serialize)]
struct Found {
    running: Release,
    on_trial: bool,
    installed: Vec<Installed>,
    last: Option<Attempt>,
}

impl Status {
    /// Show the versions; `Ok(false)` if the last update failed.
    pub(super) fn run(&self, running: Release, output: Output) -> Result<bool, Failure> {
        let last = Attempt::load();
        let well =
            !matches!(&last, Some(Attempt { outcome: Some(Outcome::Failed { .. } | Outcome::RolledBack { .. }), .. }));
        let found = Found { running, on_trial: release::on_trial(), installed: release::installed()?, last };
        let name = |installed: &Installed| installed.version.clone();
        output.show(&found, || found.installed.iter().map(name).collect(), |found| text(found, output.screen))?;
        Ok(well)
    }
}

fn text(found: &Found, screen: Screen) -> String {
    let running = &found.running;
    let mut out = format!("{} runs, of commit {}\n", Tone::Heading.paint(&running.version), running.commit);
    _ = writeln!(out, "its downstairs program is {}", running.downstairs);
    if running.demonstration {
        out += &Tone::Warning.paint("it is a demonstration: a stand-in serves the regions, and keeps no data\n");
    }
    let mut table = Table::new(&[column("VERSION"), column("STATE").wrap(12)]);
    for installed in &found.installed {
        let state = match (installed.version == running.version, installed.tries_left) {
            (true, _) if found.on_trial => "runs".to_owned(),
            (true, _) => "runs, and stays".into(),
            (false, None) => "can be started".into(),
            (false, Some(0)) => "given up".into(),
            (false, Some(left)) => format!("starts at the next boot: {left} tries"),
        };
        table.row(vec![plain(&installed.version), plain(state)]);
    }
    out += &format!("\n{}", table.on(screen));
    if let Some(last) = &found.last {
        out += &format!("\nlast update: {} -> {}, at {}: {}\n", last.from, last.to, last.at, outcome(last, running));
    }
    out
}

fn outcome(last: &Attempt, running: &Release) -> String {
    match &last.outcome {
        Some(Outcome::Good { why, .. }) => Tone::Well.paint(&format!("{} stays: {why}", last.to)),
        Some(Outcome::Failed { why, .. }) => Tone::Bad.paint(&format!("a try failed: {why}")),
        Some(Outcome::RolledBack { why, .. }) => {
            Tone::Bad.paint(&format!("{} came back, because of {}: {why}", last.from, last.to))
        }
        Some(Outcome::CutShort { .. }) => Tone::Warning
            .paint("it was cut short, and nothing of it can be started: sledctl update apply takes it again"),
        None if running.version == last.to => format!("{} is being judged", last.to),
        None => format!("{} is started at the next boot", last.to),
    }
}
