//! Completions of `crucible-attach`: the volumes that this host is configured for, and conditions by their codes.

use super::Arguments;
use super::codes::Code;
use super::conf::PLACE;
use crate::completion::{candidate, with_candidates};
use crate::names::VolumeName;
use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use std::fs;

/// Make the command with the candidates of its arguments.
pub fn command() -> Command {
    with_candidates(Arguments::command(), &|name| match name {
        "VOLUME" => Some(ArgValueCandidates::new(volumes)),
        "CODE" => Some(ArgValueCandidates::new(codes)),
        _ => None,
    })
}

fn volumes() -> Vec<CompletionCandidate> {
    let names = fs::read_dir(PLACE).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let volume = |name: &str| name.strip_suffix(".conf")?.parse::<VolumeName>().ok();
    let mut volumes: Vec<_> = names.filter_map(|name| volume(name.to_str()?)).collect();
    volumes.sort();
    volumes.into_iter().map(|name| candidate(name, "")).collect()
}

fn codes() -> Vec<CompletionCandidate> {
    Code::ALL.iter().map(|code| code.about()).map(|about| candidate(about.code, about.raised)).collect()
}
