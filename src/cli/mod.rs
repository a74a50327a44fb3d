//! `sledctl`: asks the supervisor over its unix socket and shows the answer.
//!
//! Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well (a blocking
//! condition is shown), 4 the supervisor cannot be reached.

mod client;
mod config;
mod create;
mod show;
mod table;

use crate::config_dir;
use crate::names::{RegionName, VolumeName};
use crate::wire;
use clap::{Args, Parser, Subcommand};
use client::{Client, Failure};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Done, but not well.
const NOT_WELL: u8 = 3;
/// The supervisor cannot be reached.
const UNREACHABLE: u8 = 4;

/// Looks after the storage sled that it runs on.
#[derive(Debug, Parser)]
#[command(name = "sledctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Print JSON: the supervisor's own answer, where there is one.
    #[arg(long, global = true)]
    json: bool,

    /// The supervisor's socket.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/sled/admin.sock")]
    socket: PathBuf,

    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well, \
                          4 the supervisor cannot be reached.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show everything at a glance: network, storage, volumes, and what is wrong.
    Status,
    /// List the volumes, or show one.
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// List, show or create regions.
    #[command(subcommand)]
    Region(RegionCommand),
    /// List every condition that holds, with cause and remedy.
    Checks,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum VolumeCommand {
    /// List the volumes that have a region on this sled.
    List,
    /// Show a volume, its regions, and why it is not ready.
    Show {
        /// The volume.
        volume: VolumeName,
    },
}

#[derive(Debug, Subcommand)]
enum RegionCommand {
    /// List the regions that the port map puts on this sled.
    List,
    /// Show a region.
    Show {
        /// The region, VOLUME-INDEX.
        region: RegionName,
    },
    /// Create regions that do not exist yet. One that does is left as it is.
    Create(CreateArguments),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct CreateArguments {
    /// The regions, VOLUME-INDEX.
    #[arg(value_name = "REGION")]
    regions: Vec<RegionName>,
    /// Every region that the port map puts on this sled.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// List every fault of sled.toml, its fragments and port-map.toml.
    Check {
        /// The directory that holds them.
        #[arg(long, value_name = "DIR", default_value = config_dir::DEFAULT)]
        dir: PathBuf,
    },
}

/// Does what the command line says.
pub fn run(arguments: &Arguments) -> ExitCode {
    if let Command::Config(ConfigCommand::Check { dir }) = &arguments.command {
        let checked = config::check(dir, arguments.json);
        return match checked {
            Ok(well) => ExitCode::from(u8::from(!well)),
            Err(failure) => {
                report(&failure, arguments.json);
                ExitCode::FAILURE
            }
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(ask(arguments)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_WELL),
        Err(failure) => {
            // Creations have told in JSON what became of each.
            if !(arguments.json && matches!(failure, Failure::Several { .. })) {
                report(&failure, arguments.json);
            }
            ExitCode::from(if matches!(failure, Failure::Unreachable(..)) { UNREACHABLE } else { 1 })
        }
    }
}

/// Asks and shows; `Ok(false)` when what is shown is not well.
async fn ask(arguments: &Arguments) -> Result<bool, Failure> {
    let client = Client::new(&arguments.socket);
    let json = arguments.json;
    match &arguments.command {
        Command::Status => {
            let sled = client.sled().await?;
            print(json, &sled, show::status)?;
            Ok(sled.well)
        }
        Command::Checks => {
            let sled = client.sled().await?;
            print(json, &sled.checks, |checks| show::checks(checks))?;
            Ok(sled.well)
        }
        Command::Volume(VolumeCommand::List) => {
            let volumes: wire::Volumes = client.get("/v1/volumes").await?;
            print(json, &volumes, show::volumes)?;
            Ok(volumes.volumes.iter().all(|volume| volume.ready))
        }
        Command::Volume(VolumeCommand::Show { volume }) => {
            let volume: wire::Volume = client.get(&format!("/v1/volumes/{volume}")).await?;
            print(json, &volume, show::volume)?;
            Ok(volume.ready)
        }
        Command::Region(RegionCommand::List) => {
            let regions = here(client.sled().await?);
            print(json, &regions, |regions| show::regions(regions))?;
            Ok(regions.iter().all(|region| region.state == Some(wire::State::Serving)))
        }
        Command::Region(RegionCommand::Show { region }) => {
            let sled = client.sled().await?;
            let found = here(sled.clone()).into_iter().find(|other| other.name == *region);
            let found = found.ok_or_else(|| no_region(region))?;
            print(json, &found, |found| show::region(found, &sled.checks))?;
            Ok(found.state == Some(wire::State::Serving))
        }
        Command::Region(RegionCommand::Create(wanted)) => {
            let regions = match wanted.all {
                true => here(client.sled().await?).into_iter().map(|region| region.name).collect(),
                false => wanted.regions.clone(),
            };
            create::create(&client, regions, json).await
        }
        Command::Config(_) => Ok(true),
    }
}

/// The regions of a sled's volumes that are on that sled.
fn here(sled: wire::Sled) -> Vec<wire::Region> {
    let name = sled.sled;
    sled.volumes.into_iter().flat_map(|volume| volume.regions).filter(|region| region.sled == name).collect()
}

fn no_region(region: &RegionName) -> Failure {
    let message = format!("the port map puts no region {region} on this sled");
    Failure::Refused(wire::Error::new("REGION_UNKNOWN", message, "see sledctl region list for those it does"))
}

fn print<T: Serialize + ?Sized>(json: bool, value: &T, show: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    let text = match json {
        true => serde_json::to_string_pretty(value).map_err(std::io::Error::from)? + "\n",
        false => show(value),
    };
    Ok(anstream::stdout().lock().write_all(text.as_bytes())?)
}

/// Tells a failure, where it can be told at all.
fn report(failure: &Failure, json: bool) {
    let error = failure.error();
    _ = match json {
        true => writeln!(anstream::stdout(), "{}", serde_json::json!({ "error": error })),
        false => writeln!(anstream::stderr(), "sledctl: {}\n    {}", error.message, error.remedy),
    };
}
