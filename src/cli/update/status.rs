//! `sledctl update status`: the versions of a machine, the one that can be had, and what became of the last update.

use crate::cli::failure::Failure;
use crate::cli::print::Output;
use crate::config::{Apply, UpdateSource};
use crate::config_dir;
use crate::screen::Screen;
use crate::table::{Table, Tone, column, plain};
use crate::times;
use crate::update::checked::{Checked, Held, Newer};
use crate::update::record::{Attempt, Outcome};
use crate::update::release::{self, Installed, Release, order};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Show which version runs, which others can be started or had, what an update waits for that is applied by itself, and
/// what became of the last one.
#[derive(Debug, Args)]
pub(in crate::cli) struct Status;

/// Answer of `update status`.
#[derive(Debug, Serialize)]
struct Found {
    running: Release,
    on_trial: bool,
    installed: Vec<Installed>,
    last: Option<Attempt>,
    /// The version that can be had; absent if there is none or it is not known.
    available: Option<Newer>,
    /// The reason why it is not known whether another version can be had.
    unknown: Option<String>,
    /// The time of the last look for one.
    looked: Option<Timestamp>,
    /// Whether it is applied by itself, in a window.
    by_itself: bool,
    /// The reason why it is not applied by itself yet.
    waits: Option<String>,
}

impl Status {
    /// Show the versions; `Ok(false)` if the last update failed.
    pub(super) fn run(&self, running: Release, output: Output) -> Result<bool, Failure> {
        let last = Attempt::load();
        let well =
            !matches!(&last, Some(Attempt { outcome: Some(Outcome::Failed { .. } | Outcome::RolledBack { .. }), .. }));
        let found = Found::of(running, release::installed()?, last);
        let name = |installed: &Installed| installed.version.clone();
        output.show(&found, || found.installed.iter().map(name).collect(), |found| text(found, output.screen))?;
        Ok(well)
    }
}

impl Found {
    fn of(running: Release, installed: Vec<Installed>, last: Option<Attempt>) -> Self {
        let (now, checked) = (Timestamp::now(), Checked::load());
        let config = config_dir::read(Path::new(config_dir::DEFAULT)).map(|config| config.sled);
        let known = match (&config, &checked) {
            (Err(_), _) => Err("the configuration has faults".to_owned()),
            (Ok(config), _) if config.appliance.update.is_none() => Err("nobody says where updates come from".into()),
            (Ok(_), None) => Err("nobody has looked yet".into()),
            (Ok(config), Some(checked)) => {
                let source = config.appliance.update.as_ref().map(UpdateSource::url);
                checked.known(source, &running.version, &config.update, now).map(Option::<&Newer>::cloned)
            }
        };
        let by_itself = config.is_ok_and(|config| config.update.apply == Apply::Window);
        let on_trial = release::has_yet_to_show(&running.version, &installed);
        let waits = Held::load().filter(|_| by_itself).and_then(|held| held.holds(now).map(str::to_owned));
        Self {
            running,
            on_trial,
            installed,
            last,
            unknown: known.as_ref().err().cloned(),
            available: known.ok().flatten(),
            looked: checked.map(|checked| checked.at),
            by_itself,
            waits,
        }
    }
}

impl Found {
    /// Whether the boot loader takes another version first: a higher one that has tries left, or needs none.
    fn comes_behind(&self, installed: &Installed) -> bool {
        let first = |one: &Installed| one.tries_left != Some(0) && order(&one.version) > order(&installed.version);
        self.installed.iter().any(first)
    }
}

/// Write what can be had, as far as it is known, and what is done with it.
fn beyond(found: &Found) -> String {
    let looked = found.looked.map(|at| format!(" (looked {})", times::in_seconds(at))).unwrap_or_default();
    let mut out = match (&found.unknown, &found.available) {
        (Some(why), _) => Tone::Warning.paint(&format!("not known whether there is another version: {why}\n")),
        (None, None) => format!("there is no other version{looked}\n"),
        (None, Some(newer)) => {
            let released = newer.released.map(|at| format!(", released {}", times::in_seconds(at))).unwrap_or_default();
            format!("{} can be had{released}{looked}\n", Tone::Heading.paint(&newer.version))
        }
    };
    for why in found.available.iter().flat_map(|newer| &newer.lacks) {
        out += &Tone::Bad.paint(&format!("this machine cannot take it: {why}\n"));
    }
    for line in found.available.iter().flat_map(|newer| &newer.changes) {
        _ = writeln!(out, "  {line}");
    }
    match (&found.waits, found.by_itself, &found.available) {
        (Some(why), ..) => _ = writeln!(out, "it is not applied by itself yet: {why}"),
        (None, false, Some(_)) => out += "it is applied by hand: sledctl update apply\n",
        (None, ..) => {}
    }
    out
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
        table.row(vec![plain(&installed.version), plain(state(found, installed))]);
    }
    out += &format!("\n{}", table.on(screen));
    out += &format!("\n{}", beyond(found));
    if let Some(last) = &found.last {
        out += &format!("\nlast update: {} -> {}, at {}: {}\n", last.from, last.to, last.at, outcome(last, running));
    }
    out
}

fn state(found: &Found, installed: &Installed) -> String {
    match (installed.version == found.running.version, installed.tries_left) {
        (true, _) if found.on_trial => "runs".to_owned(),
        (true, None) => "runs, and stays".into(),
        // The way back was taken, and not gone yet.
        (true, Some(_)) => "runs until the next boot, and comes last then".into(),
        (false, None) => "can be started".into(),
        (false, Some(0)) => "given up".into(),
        (false, Some(_)) if found.comes_behind(installed) => "can be started".into(),
        (false, Some(left)) => format!("starts at the next boot: {left} tries"),
    }
}

fn outcome(last: &Attempt, running: &Release) -> String {
    match &last.outcome {
        Some(Outcome::Good { why, .. }) => Tone::Well.paint(&format!("{} stays: {why}", last.to)),
        Some(Outcome::Failed { why, .. }) => Tone::Bad.paint(&format!("a try failed: {why}")),
        Some(Outcome::RolledBack { why, .. }) => {
            Tone::Bad.paint(&format!("{} came back, because of {}: {why}", last.from, last.to))
        }
        Some(Outcome::CutShort { .. }) if order(&last.to) < order(&last.from) => Tone::Warning
            .paint("the way back was cut short, and nothing has come of it: sledctl update back takes it again"),
        Some(Outcome::CutShort { .. }) => Tone::Warning
            .paint("it was cut short, and nothing of it can be started: sledctl update apply takes it again"),
        None if running.version == last.to => format!("{} is being judged", last.to),
        None => format!("{} is started at the next boot", last.to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let running = r#"{"version": "1", "commit": "c", "base": "b", "downstairs": "d", "demonstration": false}"#;
        Found {
            running: serde_json::from_str(running).unwrap(),
            on_trial: false,
            installed: Vec::new(),
            last: None,
            available: None,
            unknown: Some("the last look failed: nobody answers".into()),
            looked: Some(Timestamp::UNIX_EPOCH),
            by_itself: false,
            waits: None,
        }
    }

    #[test]
    fn a_version_stays_if_it_comes_first_at_the_next_boot() {
        let said = |version: &str, tries_left, on_trial| {
            state(&Found { on_trial, ..found() }, &Installed { version: version.into(), tries_left })
        };
        for (version, tries_left, on_trial, means) in [
            ("1", None, false, "runs, and stays"),
            ("1", Some(2), true, "runs"),
            ("1", Some(0), true, "runs"),
            ("1", Some(0), false, "runs until the next boot, and comes last then"),
            ("0", None, false, "can be started"),
            ("0", Some(3), false, "starts at the next boot: 3 tries"),
            ("0", Some(0), false, "given up"),
        ] {
            assert_eq!(said(version, tries_left, on_trial), means, "{version} {tries_left:?} {on_trial}");
        }
    }

    #[test]
    fn a_version_does_not_start_before_a_higher_one_that_is_well() {
        let one = |version: &str, tries_left| Installed { version: version.into(), tries_left };
        let (before, ran) = (one("0", Some(3)), one("1", None));
        let said = |ran: Installed| state(&Found { installed: vec![before.clone(), ran], ..found() }, &before);
        assert_eq!(said(ran), "can be started", "the way back was cut short");
        assert_eq!(said(one("1", Some(0))), "starts at the next boot: 3 tries");
    }

    #[test]
    fn what_is_not_known_is_not_said_to_be_none() {
        let mut found = found();
        let said = beyond(&found);
        assert!(said.contains("not known whether") && said.contains("nobody answers") && !said.contains("no other"));
        found.unknown = None;
        assert_eq!(beyond(&found), "there is no other version (looked 1970-01-01T00:00:00Z)\n");
        let changes = vec!["repairs are faster".into()];
        found.available = Some(Newer { version: "2".into(), changes, lacks: vec!["x".into()], released: None });
        let said = beyond(&found);
        for part in
            ["2", "can be had", "cannot take it: x", "  repairs are faster\n", "by hand: sledctl update apply\n"]
        {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        (found.by_itself, found.waits) = (true, Some("its window is Sun 04:00-06:00".into()));
        assert!(beyond(&found).ends_with("it is not applied by itself yet: its window is Sun 04:00-06:00\n"));
    }
}
