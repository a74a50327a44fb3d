//! `sledctl config check`, which needs no supervisor, so that a configuration can be checked before
//! it is put in place; `sledctl config diff` and `sledctl reload`, by which it comes into force.

use super::client::{Client, Failure, encoded};
use super::print;
use crate::config::Configuration;
use crate::config_dir;
use crate::source::Fault;
use crate::table::Tone;
use crate::wire::{Change, Condition, Difference, Error};
use http::Method;
use nix::unistd::{Uid, User};
use std::path::Path;

/// Checks a directory; `Ok(true)` if it has no fault.
pub(super) fn check(dir: &Path, json: bool) -> Result<bool, Failure> {
    let (read, ignored) = (config_dir::read(dir), config_dir::ignored(dir));
    let faults = read.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    let names = ignored.iter().map(|(file, why)| serde_json::json!({ "file": file, "why": why }));
    let body = serde_json::json!({ "faults": faults, "ignored": names.collect::<Vec<_>>() });
    print(json, &body, |_| {
        let ignored = ignored.iter().map(|(file, why)| format!("{}: ignored: {why}\n", file.display()));
        ignored.collect::<String>() + &spoken(&read)
    })?;
    Ok(faults.is_empty())
}

fn spoken(read: &Result<Configuration, Vec<Fault>>) -> String {
    match read {
        Ok(config) => format!(
            "no faults: {} serves {} regions on {}, and the HTTP endpoint listens on {}\n",
            config.sled.name,
            config.local_regions().len(),
            config.address,
            config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
        ),
        Err(faults) => {
            let list: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
            format!("{list}{} fault(s)\n", faults.len())
        }
    }
}

/// Whether `appliance.create_on_first_boot` is set.
pub(super) fn creates_on_first_boot() -> Result<bool, Failure> {
    let read = config_dir::read(Path::new(config_dir::DEFAULT));
    let config = read.map_err(|faults| Failure::Refused(Error::config_invalid(&faults)))?;
    Ok(config.sled.appliance.create_on_first_boot)
}

/// Shows what the configuration in the files would change; `Ok(false)` if somebody had better think
/// of it first.
pub(super) async fn diff(client: &Client, json: bool) -> Result<bool, Failure> {
    let found: Difference = client.order(Method::POST, "/v1/reload?dry_run=true").await?;
    print(json, &found, difference)?;
    Ok(found.refused.is_none() && !found.interrupts() && !found.needs_restart())
}

/// What `sledctl reload` was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Whatever it does is meant.
    pub(super) yes: bool,
    /// It is only to be shown.
    pub(super) dry_run: bool,
    /// Nobody is there who could be asked.
    pub(super) unattended: bool,
}

/// Shows what it changes, and has it taken over.
pub(super) async fn reload(client: &Client, manner: Manner, json: bool) -> Result<bool, Failure> {
    if manner.dry_run {
        return diff(client, json).await;
    }
    if !json {
        let found: Difference = client.order(Method::POST, "/v1/reload?dry_run=true").await?;
        print(json, &Difference { refused: None, ..found }, difference)?;
    }
    let Manner { yes, unattended, .. } = manner;
    let by = if unattended { "systemctl reload sledd".to_owned() } else { format!("sledctl reload, by {}", who()) };
    take(client, &format!("yes={yes}&unattended={unattended}"), &by, json).await
}

/// Has what lies in the files taken over, and says what came of it.
pub(super) async fn take(client: &Client, query: &str, by: &str, json: bool) -> Result<bool, Failure> {
    let path = format!("/v1/reload?{query}&by={}", encoded(by));
    let done: Difference = client.order(Method::POST, &path).await?;
    print(json, &done, |done| {
        let number = done.number.map(|number| format!(" as number {number}")).unwrap_or_default();
        let what = match done.from_files == done.to_files {
            true => "nothing was changed".to_owned(),
            false => format!("it is in force{number}: {}", short(&done.to_files)),
        };
        format!("{}\n", Tone::Well.paint(&what))
    })?;
    Ok(true)
}

/// Who runs this, for the record.
pub(super) fn who() -> String {
    let own = || User::from_uid(Uid::current()).ok().flatten().map(|user| user.name);
    let name = std::env::var("SUDO_USER").ok().or_else(own).unwrap_or_else(|| Uid::current().to_string());
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// A digest as people compare it.
pub(super) fn short(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
}

/// What another configuration changes.
pub(super) fn difference(found: &Difference) -> String {
    let mut out: String = found.changes.iter().map(change).collect();
    if found.changes.is_empty() {
        out += match (found.from_files == found.to_files, found.from == found.to) {
            (true, _) => "the configuration in the files is the one in force\n",
            (false, true) => "the files are others, and mean the same\n",
            (false, false) => "the port map in the files is another, and means the same for this sled\n",
        };
    }
    if found.from_files != found.to_files {
        out += &format!("files: {} -> {}\n", short(&found.from_files), short(&found.to_files));
    }
    let listed = |title: &str, all: &[Condition]| {
        let one = |found: &Condition| {
            format!("{title}: {} {}  {}\n    {}\n", found.severity, found.code, found.subject, found.cause)
        };
        all.iter().map(one).collect::<String>()
    };
    out += &listed("would come", &found.come);
    out += &listed("would go", &found.go);
    for lost in &found.unattachable {
        out += &Tone::Bad.paint(&format!("volume {} could not be attached any more: {}", lost.volume, lost.why));
        out += "\n";
    }
    if let Some(why) = &found.refused {
        out += &format!("{}\n    {}\n", Tone::Bad.paint("sledctl reload refuses this"), why.remedy);
    }
    out
}

fn change(change: &Change) -> String {
    let effect = match change.interrupts || change.needs_restart || change.needs_yes {
        true => Tone::Bad.paint(&change.effect),
        false => change.effect.clone(),
    };
    format!("{}: {}\n    {} {effect}\n", Tone::Heading.paint(&change.subject), change.what, Tone::Faint.paint("->"))
}
