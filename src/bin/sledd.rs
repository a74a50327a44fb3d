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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(dir) = arguments.generator else {
        return daemon::run(&daemon::Options { config: arguments.config, sysfs: arguments.sysfs });
    };
    match daemon::generate(&arguments.config, &dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sledd: no drop-ins for the regions' units: {why}");
            ExitCode::FAILURE
        }
    }
}
