//! `crucible-attach install` and `uninstall`: from nothing to a volume that is mounted at each boot, and back.
//!
//! A step is *judged*, from what is wanted and what was found, and then *carried out*; after that it is looked at again,
//! and has to be so. So whatever was done before stays, a second run does nothing, and one that was cut off goes on
//! where it ended. All steps are judged before the first is carried out: what cannot be is said while nothing is changed.
//!
//! | module | job |
//! |---|---|
//! | [`facts`] | what is wanted, and what was found. Pure |
//! | [`step`], [`plan`], [`undo`] | the steps, and what each would do, or why it cannot. Pure |
//! | [`texts`], [`places`] | the files that are written, and where. Pure |
//! | [`storage`] | Proxmox' storages. Pure |
//! | [`trouble`] | causes and remedies. Pure |
//! | [`look`], [`old`] | what is on the host, and what was set up by hand |
//! | [`act`] | carries out |
//! | [`command`], [`flag`] | programs, the immutable flag |
//! | [`report`] | what is said of each step |

mod act;
mod command;
pub(super) mod facts;
mod flag;
mod look;
mod old;
mod places;
mod plan;
mod report;
mod step;
mod storage;
pub(super) mod trouble;
mod undo;

use super::arguments::{InstallArguments, UninstallArguments};
use super::failure::Failure;
use super::sleds::{Aim, Sleds};
use super::texts;
use super::units::Units;
use crate::wire::Refusal;
use act::Hand;
use facts::{Extent, Facts, Wanted};
use look::Looker;
use report::{Outcome, Report};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Component, Path};
use std::process::ExitCode;
use std::time::Duration;

/// The directories that the volume's service is kept from seeing.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Install a volume on this host.
///
/// # Errors
/// The step that could not be done, and why; those before it stay done.
pub(super) async fn install(arguments: &InstallArguments, json: bool) -> Result<ExitCode, Failure> {
    let wanted = wanted(arguments)?;
    let mut report = Report::new(&wanted.volume, json);
    let limit = Duration::from(arguments.timeout);
    let done = installed(&wanted, limit, arguments.dry_run, &mut report).await;
    report.ends(done)
}

/// Remove from this host what an installation has made.
///
/// # Errors
/// The step that could not be undone, and why; those before it stay undone.
pub(super) async fn uninstall(arguments: &UninstallArguments, json: bool) -> Result<ExitCode, Failure> {
    let wanted = Wanted {
        volume: arguments.volume.clone(),
        sleds: None,
        tls: None,
        server: None,
        extent: Extent::Mount,
        mount: None,
        storage: None,
        content: None,
    };
    let mut report = Report::new(&wanted.volume, json);
    let done = uninstalled(&wanted, arguments.dry_run, &mut report).await;
    report.ends(done)
}

/// The installation that the command line asks for.
fn wanted(arguments: &InstallArguments) -> Result<Wanted, Failure> {
    let named = arguments.target.named();
    let on_record = || fs::metadata(places::conf(&arguments.target.volume)).is_ok();
    let sleds = if named.is_empty() && on_record() {
        None
    } else {
        Some(arguments.target.sleds()?.iter().map(ToString::to_string).collect())
    };
    let extent = match (arguments.raw, arguments.no_mount) {
        (true, _) => Extent::Device,
        (_, true) => Extent::FileSystem,
        _ => Extent::Mount,
    };
    if let Some(path) = arguments.mount.as_deref().filter(|path| !is_plain(path)) {
        let message = format!("--mount {} is no path of a directory that could be a mountpoint", path.display());
        return Err(Failure::usage(
            message,
            "for example --mount /mnt/crucible-storage: absolute, without spaces, . and ..",
        ));
    }
    Ok(Wanted {
        volume: arguments.target.volume.clone(),
        sleds,
        tls: tls(arguments)?,
        server: arguments.server.clone(),
        extent,
        mount: arguments.mount.clone(),
        storage: arguments.storage.clone(),
        content: arguments.content.clone(),
    })
}

/// Whether a path can be written into a unit as it is, and means the same there.
fn is_plain(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let simple = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let graphic = text.chars().all(|c| c.is_alphanumeric() || "/-_.+:@,=%".contains(c));
    let written = text.split('/').skip(1).all(|part| !["", "."].contains(&part));
    path.is_absolute() && path.parent().is_some() && simple && graphic && written
}

/// The files for TLS as options of `serve`; they are going to be read by a service.
fn tls(arguments: &InstallArguments) -> Result<Option<Vec<String>>, Failure> {
    let files = [&arguments.cert_pem, &arguments.key_pem, &arguments.root_cert_pem];
    let mut words = Vec::new();
    for (option, path) in texts::TLS.iter().zip(files) {
        let Some(path) = path else { continue };
        if !is_plain(path) {
            let message = format!("{option} {} is no path that a service could be told", path.display());
            return Err(Failure::usage(message, "name it by an absolute path without spaces"));
        }
        if HIDDEN.iter().any(|dir| path.starts_with(dir)) {
            let message = format!("{option} {} is where a service sees nothing", path.display());
            return Err(Failure::usage(message, "copy it to /etc/crucible-attach, with the mode 0600, for example"));
        }
        fs::File::open(path).map_err(|why| {
            let message = format!("the file {}: {why}", path.display());
            Failure::refused(Refusal::NoFile, message, "name it on the command line")
        })?;
        words.extend([(*option).to_owned(), path.display().to_string()]);
    }
    Ok((!words.is_empty()).then_some(words))
}

async fn installed(
    wanted: &Wanted,
    limit: Duration,
    dry_run: bool,
    report: &mut Report<'_>,
) -> Result<String, Failure> {
    may()?;
    let units = Units::connect().await?;
    let mut looker = Looker { wanted, units: &units, targets: BTreeSet::new() };
    let mut facts = looker.look().await?;
    looker.targets = asked(wanted, &facts).await?;
    facts.targets = looker.targets.clone();
    let judged = plan::Step::ALL.iter().map(|step| plan::judge(*step, wanted, &facts));
    let judged = judged.collect::<Result<Vec<_>, _>>().map_err(Failure::Refused)?;
    if dry_run {
        for (step, verdict) in plan::Step::ALL.iter().zip(judged) {
            let (outcome, what) = match verdict {
                plan::Verdict::Already(what) => (Outcome::Already, what),
                plan::Verdict::Do(_, what) => (Outcome::Would, what),
                plan::Verdict::Later(what) => (Outcome::Later, what),
                plan::Verdict::Skipped(what) => (Outcome::Skipped, what),
            };
            report.says(step.name(), outcome, what)?;
        }
        return Ok(format!("{}: nothing was changed (--dry-run)", wanted.volume));
    }
    let hand = Hand { volume: &wanted.volume, units: &units, limit };
    for step in plan::Step::ALL {
        carry_out(step, wanted, &looker, &hand, &mut facts, report).await?;
    }
    Ok(if report.is_idle() {
        format!("{} is installed, and was: nothing was changed", wanted.volume)
    } else {
        format!("{} is installed", wanted.volume)
    })
}

/// Carry out one step: judged by what is now, done, and looked at again.
async fn carry_out(
    step: plan::Step,
    wanted: &Wanted,
    looker: &Looker<'_>,
    hand: &Hand<'_>,
    facts: &mut Facts,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    looker.again(facts).await?;
    if step == plan::Step::FileSystem {
        looker.content(facts).await?;
    }
    let (action, what) = match plan::judge(step, wanted, facts).map_err(Failure::Refused)? {
        plan::Verdict::Already(what) => return report.says(step.name(), Outcome::Already, what),
        plan::Verdict::Skipped(what) => return report.says(step.name(), Outcome::Skipped, what),
        plan::Verdict::Later(what) => return Err(no_effect(step.name(), &what)),
        plan::Verdict::Do(action, what) => (action, what),
    };
    let beside = hand.does(&action, facts).await?;
    looker.again(facts).await?;
    match step {
        plan::Step::Kernel => looker.kernel(facts).await?,
        plan::Step::Server => looker.server(facts).await?,
        plan::Step::FileSystem => looker.content(facts).await?,
        plan::Step::Storage => looker.storages(facts).await?,
        _ => {}
    }
    let now = plan::judge(step, wanted, facts).map_err(Failure::Refused)?;
    if matches!(now, plan::Verdict::Do(..)) && beside.is_none() {
        return Err(no_effect(step.name(), &what));
    }
    report.says(step.name(), Outcome::Done, beside.unwrap_or(what))
}

async fn uninstalled(wanted: &Wanted, dry_run: bool, report: &mut Report<'_>) -> Result<String, Failure> {
    may()?;
    let units = Units::connect().await?;
    let looker = Looker { wanted, units: &units, targets: BTreeSet::new() };
    let mut facts = looker.look().await?;
    // The mountpoint of an installation is known for as long as its unit is there; what was mounted by hand is none
    // of this.
    let path = facts.mounts.first().map_or_else(|| facts::usual(&wanted.volume), |mount| mount.path.clone());
    let wanted = &Wanted { mount: Some(path), ..wanted.clone() };
    let looker = Looker { wanted, ..looker };
    looker.again(&mut facts).await?;
    let judged = undo::Step::ALL.iter().map(|step| undo::judge(*step, &wanted.volume, &facts));
    let judged = judged.collect::<Result<Vec<_>, _>>().map_err(Failure::Refused)?;
    if dry_run {
        for (step, verdict) in undo::Step::ALL.iter().zip(judged) {
            let (outcome, what) = match verdict {
                undo::Verdict::Already(what) => (Outcome::Already, what),
                undo::Verdict::Do(_, what) => (Outcome::Would, what),
            };
            report.says(step.name(), outcome, what)?;
        }
        return Ok(format!("{}: nothing was changed (--dry-run)", wanted.volume));
    }
    let hand = Hand { volume: &wanted.volume, units: &units, limit: Duration::ZERO };
    for step in undo::Step::ALL {
        undo_step(step, &looker, &hand, &mut facts, report).await?;
    }
    Ok(if report.is_idle() {
        format!("{} was not installed: nothing was changed", wanted.volume)
    } else {
        format!("{} is not installed any more; its data is as it was", wanted.volume)
    })
}

async fn undo_step(
    step: undo::Step,
    looker: &Looker<'_>,
    hand: &Hand<'_>,
    facts: &mut Facts,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    looker.again(facts).await?;
    let (action, what) = match undo::judge(step, hand.volume, facts).map_err(Failure::Refused)? {
        undo::Verdict::Already(what) => return report.says(step.name(), Outcome::Already, what),
        undo::Verdict::Do(action, what) => (action, what),
    };
    hand.undoes(&action, facts).await?;
    looker.again(facts).await?;
    if step == undo::Step::Storage {
        looker.storages(facts).await?;
    }
    match undo::judge(step, hand.volume, facts).map_err(Failure::Refused)? {
        undo::Verdict::Already(_) => report.says(step.name(), Outcome::Done, what),
        undo::Verdict::Do(..) => Err(no_effect(step.name(), &what)),
    }
}

/// Find that this process may do all of it.
fn may() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(Failure::Refused(trouble::not_root())) }
}

fn no_effect(step: &str, what: &str) -> Failure {
    let message = format!("{step}: it was done, and is not so: {what}");
    Failure::refused(Refusal::NoEffect, message, "see journalctl -b; the same command again tries it again")
}

/// Ask the sleds where the volume is: one that no sled carries, or that this host may not have, is not installed. If
/// none answers, nothing is known.
async fn asked(wanted: &Wanted, facts: &Facts) -> Result<BTreeSet<SocketAddr>, Failure> {
    let text = texts::conf(facts.conf.as_deref(), wanted.sleds.as_deref(), None);
    let values = texts::values(&text);
    let given = act::endpoints(values.get(texts::SLEDS).map(String::as_str).unwrap_or_default());
    let sleds = Sleds::look(&wanted.volume, given, Aim::Win).await;
    if sleds.reached() {
        sleds.carried()?;
        sleds.admitted()?;
    }
    let regions = sleds.looks().flat_map(|look| &look.volume.regions);
    Ok(regions.map(|region| SocketAddr::new(region.address, region.port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_is_a_plain_path() {
        for plain in ["/mnt/crucible-storage", "/srv/a_b.c", "/mnt/100%"] {
            assert!(is_plain(Path::new(plain)), "{plain}");
        }
        for odd in [
            "mnt",
            "/",
            "/mnt/a b",
            "/mnt/../etc",
            "/mnt/./a",
            "/mnt/a/",
            "/mnt//a",
            "/mnt/a\nWhat=/dev/sda",
            "/mnt/a\\x20",
        ] {
            assert!(!is_plain(Path::new(odd)), "{odd:?}");
        }
    }
}
