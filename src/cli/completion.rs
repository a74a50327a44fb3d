//! Completions of `sledctl`: volumes, regions, hosts and jobs as the supervisor knows them, or the port map if that does
//! not answer at once; conditions by their codes. Nothing is said of what could not be found out.

use super::client::Client;
use super::{Arguments, SOCKET};
use crate::api::Operation;
use crate::check::Code;
use crate::completion::{candidate, with_candidates};
use crate::config::Configuration;
use crate::config_dir;
use crate::names::{RegionName, SledName, VolumeName};
use crate::wire::{Job, State, StorageDetail};
use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// Time that the supervisor may take: whoever has pressed a key waits for it.
const LIMIT: Duration = Duration::from_millis(150);

/// Make the command with the candidates of its arguments.
pub fn command() -> Command {
    with_candidates(Arguments::command(), &|name| {
        let find: fn() -> Vec<CompletionCandidate> = match name {
            "VOLUME" => volumes,
            "REGION" => regions,
            "REGION[.TIME]" => trash,
            "HOST" => hosts,
            "ID" | "JOB" => jobs,
            "CODE" => codes,
            _ => return None,
        };
        Some(ArgValueCandidates::new(find))
    })
}

/// Names that may be typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    volumes: Vec<(VolumeName, &'static str)>,
    regions: Vec<(RegionName, String)>,
    hosts: BTreeSet<String>,
}

/// Answer of `GET /v1/sled`, as far as it has names.
#[derive(Debug, Deserialize)]
struct SledNames {
    sled: SledName,
    volumes: Vec<NamesOfVolume>,
}

#[derive(Debug, Deserialize)]
struct NamesOfVolume {
    volume: VolumeName,
    ready: bool,
    hosts: Vec<IpAddr>,
    regions: Vec<NamesOfRegion>,
}

#[derive(Debug, Deserialize)]
struct NamesOfRegion {
    name: RegionName,
    sled: SledName,
    state: Option<State>,
}

impl From<SledNames> for Names {
    fn from(sled: SledNames) -> Self {
        let mut names = Self::default();
        for volume in sled.volumes {
            names.volumes.push((volume.volume, if volume.ready { "ready" } else { "not ready" }));
            names.hosts.extend(volume.hosts.iter().map(ToString::to_string));
            let here = volume.regions.into_iter().filter(|region| region.sled == sled.sled);
            names.regions.extend(
                here.map(|region| (region.name, region.state.map(|state| state.to_string()).unwrap_or_default())),
            );
        }
        names
    }
}

impl From<&Configuration> for Names {
    fn from(config: &Configuration) -> Self {
        let regions = config.local_regions();
        let here = |name: &VolumeName| regions.iter().any(|region| region.name.volume() == name);
        Self {
            volumes: config.map.volumes.keys().filter(|name| here(name)).map(|name| (name.clone(), "")).collect(),
            regions: regions.iter().map(|region| (region.name.clone(), String::new())).collect(),
            hosts: hosts_of(config),
        }
    }
}

/// Name the hosts of a map: by their names, where they have one.
fn hosts_of(config: &Configuration) -> BTreeSet<String> {
    let map = &config.map;
    let addresses = map.volumes.values().flat_map(|volume| &volume.hosts);
    let name = |address: &IpAddr| map.name_of(*address).map_or_else(|| address.to_string(), str::to_owned);
    addresses.map(name).chain(map.hosts.keys().map(ToString::to_string)).collect()
}

/// Find the names that the supervisor knows, or else the port map.
fn names() -> Names {
    match ask::<SledNames>(Operation::ShowSled {}) {
        Some(sled) => sled.into(),
        None => configuration().map(|config| Names::from(&config)).unwrap_or_default(),
    }
}

fn configuration() -> Option<Configuration> {
    config_dir::read(Path::new(config_dir::DEFAULT)).ok()
}

fn volumes() -> Vec<CompletionCandidate> {
    names().volumes.into_iter().map(|(name, ready)| candidate(name, ready)).collect()
}

fn regions() -> Vec<CompletionCandidate> {
    names().regions.into_iter().map(|(name, state)| candidate(name, state)).collect()
}

/// The map's names are known beside the addresses that the supervisor tells.
fn hosts() -> Vec<CompletionCandidate> {
    let mut hosts = names().hosts;
    hosts.extend(configuration().iter().flat_map(hosts_of));
    hosts.into_iter().map(|host| candidate(host, "")).collect()
}

fn jobs() -> Vec<CompletionCandidate> {
    let jobs: Vec<Job> = ask(Operation::ListJobs {}).unwrap_or_default();
    let what = |job: &Job| format!("{} {}, {}", job.kind.as_str(), job.region, job.state.as_str());
    jobs.iter().map(|job| candidate(job.id, what(job))).collect()
}

/// The regions in the trash, by the names that tell them apart.
fn trash() -> Vec<CompletionCandidate> {
    let Some(detail) = ask::<StorageDetail>(Operation::ShowStorage {}) else { return Vec::new() };
    let several = |name: &RegionName| detail.trash.iter().filter(|deleted| deleted.region == *name).count() > 1;
    let name =
        |region: &RegionName, at: i64| if several(region) { format!("{region}.{at}") } else { region.to_string() };
    let kept = detail.trash.iter().filter(|deleted| !deleted.removing);
    kept.map(|deleted| {
        let at = deleted.deleted;
        candidate(name(&deleted.region, at.as_second()), format!("deleted {at:.0}"))
    })
    .collect()
}

fn codes() -> Vec<CompletionCandidate> {
    Code::ALL.iter().map(|code| code.about()).map(|about| candidate(about.code, about.raised)).collect()
}

/// Ask the supervisor, for a short while.
fn ask<T: DeserializeOwned>(operation: Operation) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let client = Client::new(&socket(std::env::args_os()));
    runtime.block_on(async { timeout(LIMIT, client.ask(&operation)).await.ok()?.ok() })
}

/// Find the socket that the line names which is completed.
fn socket(words: impl Iterator<Item = OsString>) -> PathBuf {
    let words: Vec<_> = words.collect();
    let after = words.iter().position(|word| word == "--socket").and_then(|at| words.get(at + 1)).map(PathBuf::from);
    let within = || words.iter().find_map(|word| word.to_str()?.strip_prefix("--socket=").map(PathBuf::from));
    after.or_else(within).unwrap_or_else(|| SOCKET.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn names_come_from_the_map_where_nobody_answers() {
        let names = Names::from(&config::shipped(""));
        let volumes: Vec<_> = names.volumes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(volumes, ["chief-horse", "pumped-piglet", "pve", "still-fawn"]);
        assert_eq!(names.regions.len(), 12);
        assert!(["still-fawn", "chief-horse"].iter().all(|host| names.hosts.contains(*host)), "{:?}", names.hosts);
    }

    #[test]
    fn the_socket_is_the_one_of_the_line() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        for (line, wanted) in [
            ("sledctl -- sledctl region show ", SOCKET),
            ("sledctl -- sledctl --socket /a region show ", "/a"),
            ("sledctl -- sledctl region --socket=/b show ", "/b"),
            ("sledctl -- sledctl --socket", SOCKET),
        ] {
            assert_eq!(socket(words(line)), Path::new(wanted), "{line}");
        }
    }

    /// Whoever renames an argument does not lose its candidates unseen.
    #[test]
    fn every_noun_has_candidates_somewhere() {
        fn named(command: &Command, name: &str) -> usize {
            let own = command.get_arguments().filter(|argument| {
                let names = argument.get_value_names().unwrap_or_default();
                names.iter().any(|given| given == name) && argument.get::<ArgValueCandidates>().is_some()
            });
            own.count() + command.get_subcommands().map(|command| named(command, name)).sum::<usize>()
        }
        for (name, least) in [("VOLUME", 4), ("REGION", 8), ("REGION[.TIME]", 2), ("HOST", 2), ("ID", 3), ("CODE", 1)] {
            assert!(named(&command(), name) >= least, "{name}");
        }
    }
}
