//! `sledctl update tend` (sled-update.timer): another version is looked for when that is due, and applied in its window
//! if that is wanted. The look is over before anything is decided; and the decision is not made here.

use super::apply::Apply;
use super::check::look;
use super::others::others;
use crate::api::{Choice, Operation, Sentence};
use crate::check::Code;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::{Doors, Elsewhere};
use crate::cli::print::Output;
use crate::config::{self, Configuration, UpdateSource};
use crate::config_dir;
use crate::decide::update::{Candidate, Decision, Other, Seen, Turn, decide, is_mark, mark, turn};
use crate::span::Span;
use crate::terminal;
use crate::update::checked::{Checked, Held};
use crate::update::record::{Attempt, Outcome};
use crate::update::release::{self, Installed, Release};
use crate::wire::{Maintenance, Sled};
use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The time for which hosts are asked to wait at most: what is longer has gone wrong, and hosts need their volumes.
const MARKED: Span = Span::seconds(3600);
/// The time for which another sled that updates as well is waited for, and the time between two looks at it.
const TURN_LIMIT: Duration = Duration::from_secs(120);
const TURN_POLL: Duration = Duration::from_secs(2);
/// How many times as long as is steady (`downstairs.steady_after`) the others' regions must have served: hosts make up
/// for what one has missed that was away for a reboot, and not for a restart.
const SETTLED: u64 = 10;

/// Look for another version, and apply it in its window (sled-update.service).
#[derive(Debug, Args)]
pub(in crate::cli) struct Tend;

impl Tend {
    pub(super) async fn run(&self, client: &Client, running: &Release, output: Output) -> Result<bool, Failure> {
        end_mark(client).await;
        let config = config_dir::read(Path::new(config_dir::DEFAULT)).map_err(|faults| {
            let why = faults.first().map(|fault| format!(": {}: {}", fault.key, fault.problem)).unwrap_or_default();
            std::io::Error::other(format!("the configuration has faults{why}"))
        })?;
        let Some(source) = config.sled.appliance.update.as_ref().map(UpdateSource::url) else { return Ok(true) };
        let (update, now) = (&config.sled.update, Timestamp::now());
        let due = |checked: Checked| checked.is_due(source, &running.version, update, now);
        // A look that fails is remembered, and shown.
        if update.check.is_some() && Checked::load().is_none_or(due) {
            look_now(running).await;
        }
        if update.apply == config::Apply::Window {
            tend_window(client, &config, running, output).await
        } else {
            Ok(true)
        }
    }
}

async fn look_now(running: &Release) {
    if let Err(why) = look(None, running).await {
        terminal::note(&format!("it could not be looked for another version: {}", why.error().message));
    }
}

/// Apply what is to be applied now, and remember why nothing is.
async fn tend_window(
    client: &Client,
    config: &Configuration,
    running: &Release,
    output: Output,
) -> Result<bool, Failure> {
    let failed = Held::load().and_then(|held| held.failed);
    let doors = Elsewhere::default().doors(client).await?;
    let why = match weigh(client, config, running, failed.as_ref(), &doors).await? {
        Decision::Nothing => String::new(),
        Decision::Wait(why) => why,
        Decision::Go(version) => match take_turn(client, config, &version, &doors).await? {
            Some(why) => why,
            None => return apply(client, running, version, output).await,
        },
    };
    Held::remember(why, failed)?;
    Ok(true)
}

/// Decide by what is known of this sled; the others are asked only if nothing else speaks against it.
async fn weigh(
    client: &Client,
    config: &Configuration,
    running: &Release,
    failed: Option<&(String, String)>,
    doors: &Doors,
) -> Result<Decision, Failure> {
    let (checked, attempt, installed) = (Checked::load(), Attempt::load(), release::installed()?);
    let (update, now) = (&config.sled.update, Timestamp::now());
    let beside = attempt.clone().and_then(|attempt| attempt.waiting(&running.version, &installed));
    let source = config.sled.appliance.update.as_ref().map(UpdateSource::url);
    let known = match &checked {
        Some(checked) => checked.known(source, &running.version, update, now),
        None => Err("nobody has looked yet".into()),
    };
    let found = match (&known, &checked) {
        (Ok(Some(newer)), Some(checked)) => {
            Ok(Some(Candidate { version: &newer.version, ripe: checked.ripe(newer, update.delay) }))
        }
        (Err(why), _) => Err(why.as_str()),
        (Ok(_), _) => Ok(None),
    };
    let tried = attempt.as_ref().and_then(|attempt| given_up(attempt, &running.version));
    let own = client.sled().await;
    let busy = own.as_ref().map_or_else(|why| Some(why.error().message), busy);
    let mut seen = Seen {
        now,
        local: now.to_zoned(TimeZone::system()).datetime(),
        newer: candidate(beside.as_deref(), found, &installed),
        failed: tried.or(failed.map(|(version, why)| (version.as_str(), why.as_str()))),
        on_trial: release::has_yet_to_show(&running.version, &installed),
        busy: busy.as_deref(),
        others: &[],
    };
    let (Decision::Go(_), Ok(own)) = (decide(update, &seen), &own) else { return Ok(decide(update, &seen)) };
    let others = others(own, doors, settled(config)).await;
    seen.others = &others;
    Ok(decide(update, &seen))
}

/// The version to be decided on: one that waits in its slot has been decided for; any other that is here already was
/// rolled or tried, and is not taken again.
fn candidate<'a>(
    beside: Option<&'a str>,
    found: Result<Option<Candidate<'a>>, &'a str>,
    installed: &[Installed],
) -> Result<Option<Candidate<'a>>, &'a str> {
    let is_here = |version: &str| installed.iter().any(|one| one.version == version);
    match beside {
        Some(version) => Ok(Some(Candidate { version, ripe: Some(Timestamp::UNIX_EPOCH) })),
        None => found.map(|found| found.filter(|found| !is_here(found.version))),
    }
}

/// The time for which the others' regions must have served.
fn settled(config: &Configuration) -> SignedDuration {
    let seconds = config.sled.downstairs.steady_after.seconds.saturating_mul(SETTLED);
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// The version that was tried and did not stay, and why.
fn given_up<'a>(attempt: &'a Attempt, running: &str) -> Option<(&'a str, &'a str)> {
    match &attempt.outcome {
        Some(Outcome::Failed { why, .. } | Outcome::RolledBack { why, .. }) if attempt.from == running => {
            Some((&attempt.to, why))
        }
        _ => None,
    }
}

/// Find why this sled is not to go away now, by what is going on at it, and by its clock.
fn busy(own: &Sled) -> Option<String> {
    if let Some(why) = out_of_step(own.checks.iter().map(|check| check.code)) {
        return Some(why);
    }
    if let Some(maintenance) = &own.maintenance {
        let reason = maintenance.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Some(format!("this sled is in maintenance{reason}"));
    }
    own.volumes.iter().find_map(|volume| {
        let job = volume.regions.iter().find(|region| region.sled == own.sled && region.turn);
        let drain = volume.drain.as_ref().map(|_| format!("{} is being drained", volume.volume));
        drain.or_else(|| job.map(|region| format!("a job is at {}", region.name)))
    })
}

/// Find why this sled does not know what time it is: its window and the delay after a release go by that.
fn out_of_step(checks: impl IntoIterator<Item = Code>) -> Option<String> {
    let code = checks.into_iter().find(|code| matches!(code, Code::ClockUnsynchronised | Code::ClockBehind))?;
    Some(format!("its clock is not to be relied on ({code}), and windows go by it; by hand: sledctl update apply"))
}

/// Show that this sled updates, and wait until no other one does; `Some`: it is not its turn, and why.
async fn take_turn(
    client: &Client,
    config: &Configuration,
    version: &str,
    doors: &Doors,
) -> Result<Option<String>, Failure> {
    let reason = Some(Sentence(mark(version)));
    let mark = Operation::SetMaintenance { on: Choice(true), time: Some(MARKED), reason };
    client.ask::<Option<Maintenance>>(&mark).await?;
    let why = await_turn(client, doors, settled(config)).await;
    if !matches!(why, Ok(None)) {
        end_mark(client).await;
    }
    why
}

async fn await_turn(client: &Client, doors: &Doors, settled: SignedDuration) -> Result<Option<String>, Failure> {
    let began = Instant::now();
    loop {
        let own = client.sled().await?;
        let all: Vec<Other> = others(&own, doors, settled).await;
        match turn(&own.sled, &all) {
            Turn::Go => return Ok(None),
            Turn::Yield(why) => return Ok(Some(why)),
            Turn::Look(why) if began.elapsed() >= TURN_LIMIT => return Ok(Some(why)),
            Turn::Look(_) => sleep(TURN_POLL).await,
        }
    }
}

/// Apply a version, and reboot into it if that is needed; then the next boot ends the mark.
async fn apply(client: &Client, running: &Release, version: String, output: Output) -> Result<bool, Failure> {
    terminal::note(&format!("{version} is applied: its window is open, and the other sleds are well"));
    let applied = Apply::by_itself(version.clone()).run(client, running, output).await;
    let begun = Attempt::load().filter(|attempt| attempt.to == version && attempt.outcome.is_none());
    if applied.is_err() || begun.as_ref().is_none_or(|attempt| attempt.rolled) {
        end_mark(client).await;
    }
    // Another one can be had by now: the next decision is on that.
    if applied.is_ok() && begun.is_none() {
        look_now(running).await;
    }
    let why = applied.as_ref().err().map(|why| why.error().message);
    let failed = why.clone().map(|why| (version, why));
    Held::remember(why.unwrap_or_default(), failed)?;
    applied
}

/// End the mark of an update that is over, or was given up; what somebody else asked for stays.
async fn end_mark(client: &Client) {
    let marked = |shown: &Maintenance| shown.until.is_some() && shown.reason.as_deref().is_some_and(is_mark);
    let shown = client.ask::<Option<Maintenance>>(&Operation::ShowMaintenance {}).await;
    if !shown.is_ok_and(|shown| shown.as_ref().is_some_and(marked)) {
        return;
    }
    let off = Operation::SetMaintenance { on: Choice(false), time: None, reason: None };
    if let Err(why) = client.ask::<Option<Maintenance>>(&off).await {
        terminal::note(&format!("hosts are still asked to wait: {}", why.error().message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_not_in_step_has_no_window() {
        assert_eq!(out_of_step([Code::ClockStepped, Code::MemoryPressure]), None);
        for code in [Code::ClockUnsynchronised, Code::ClockBehind] {
            let why = out_of_step([Code::MemoryPressure, code]).unwrap();
            assert!(why.contains(code.as_str()), "{why}");
        }
    }

    #[test]
    fn what_is_here_already_is_decided_on_only_while_it_waits() {
        let installed = ["1", "2"].map(|version| Installed { version: version.into(), tries_left: None });
        let found = |version| Ok(Some(Candidate { version, ripe: None }));
        let decided_on = |beside, found| {
            candidate(beside, found, &installed).map(|candidate| candidate.map(|candidate| candidate.version))
        };
        assert_eq!(decided_on(None, found("3")), Ok(Some("3")));
        assert_eq!(decided_on(None, found("2")), Ok(None), "it was rolled, or given up");
        assert_eq!(decided_on(Some("2"), found("2")), Ok(Some("2")));
        assert_eq!(decided_on(Some("2"), found("3")), Ok(Some("2")), "3 is decided on when 2 has been started");
        assert_eq!(decided_on(Some("2"), Err("nobody answers")), Ok(Some("2")));
        assert_eq!(decided_on(None, Err("nobody answers")), Err("nobody answers"));
    }
}
