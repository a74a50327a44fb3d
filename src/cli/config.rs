//! `sledctl config check`, which needs no supervisor, so that a configuration can be checked before
//! it is put in place; `sledctl config diff` and `sledctl reload`, by which it comes into force.

use super::client::{Client, Failure};
use super::print;
use crate::config::Configuration;
use crate::config_dir;
use crate::source::Fault;
use crate::table::Tone;
use crate::wire::{Change, Difference, Error};
use http::Method;
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
    Ok(!found.interrupts() && !found.needs_restart())
}

/// Shows what it changes, and has it taken over.
pub(super) async fn reload(client: &Client, yes: bool, json: bool) -> Result<bool, Failure> {
    if !json {
        let found: Difference = client.order(Method::POST, "/v1/reload?dry_run=true").await?;
        print(json, &found, difference)?;
    }
    let done: Difference = client.order(Method::POST, &format!("/v1/reload?yes={yes}")).await?;
    print(json, &done, |done| {
        let what =
            if done.changes.is_empty() && done.from == done.to { "nothing was changed" } else { "it is in force" };
        format!("{}\n", Tone::Well.paint(what))
    })?;
    Ok(true)
}

fn difference(found: &Difference) -> String {
    let mut out: String = found.changes.iter().map(change).collect();
    if found.changes.is_empty() {
        out += match found.from == found.to {
            true => "the configuration in the files is the one in force\n",
            false => "the port map in the files is another, and means the same for this sled\n",
        };
    }
    out
}

fn change(change: &Change) -> String {
    let effect = match change.interrupts || change.needs_restart {
        true => Tone::Bad.paint(&change.effect),
        false => change.effect.clone(),
    };
    format!("{}: {}\n    {} {effect}\n", Tone::Heading.paint(&change.subject), change.what, Tone::Faint.paint("->"))
}
