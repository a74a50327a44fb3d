//! `sledd`, the supervisor of a storage sled.

use clap::Parser;
use crucible_sled::{config_dir, daemon};
use std::path::PathBuf;
use std::process::ExitCode;

/// Supervises the Crucible regions of this sled. Started by sledd.service.
#[derive(Debug, Parser)]
#[command(name = "sledd", version)]
struct Arguments {
    /// The directory of sled.toml and port-map.toml.
    #[arg(long, value_name = "DIR", default_value = config_dir::DEFAULT)]
    config: PathBuf,

    /// Where sysfs is mounted.
    #[arg(long, value_name = "DIR", default_value = "/sys")]
    sysfs: PathBuf,

    /// Write the units' drop-ins below DIR and end: for systemd, as a generator.
    #[arg(long, value_name = "DIR")]
    generator: Option<PathBuf>,

    /// Empty DIR, slowly, and end: for the unit that removes a deleted region.
    #[arg(long, value_name = "DIR", conflicts_with = "generator")]
    empty: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (&arguments.generator, &arguments.empty) {
        (Some(dir), _) => {
            daemon::generate(&arguments.config, dir).map_err(|why| format!("no drop-ins for the regions' units: {why}"))
        }
        (None, Some(dir)) => daemon::empty(dir).map_err(|why| format!("{} is not emptied: {why}", dir.display())),
        (None, None) => return daemon::run(&daemon::Options { config: arguments.config, sysfs: arguments.sysfs }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sledd: {why}");
            ExitCode::FAILURE
        }
    }
}
