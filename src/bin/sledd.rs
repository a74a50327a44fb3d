//! `sledd`, the supervisor of a storage sled.

use clap::Parser;
use crucible_sled::{config_dir, daemon, terminal};
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

    /// Keep the ports of the port map free for the regions, and end: for sled-ports.service.
    #[arg(long)]
    reserve_ports: bool,

    /// Open sockets for the supervisor, for sled-sockets.service.
    #[arg(long)]
    sockets: bool,

    /// Try what the unit that this runs in is allowed, from PORT on, and say what came of it.
    #[arg(long, value_name = "PORT", hide = true, value_parser = clap::value_parser!(u16).range(1..=60000))]
    canary: Option<u16>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if let Some(dir) = &arguments.generator {
        daemon::generate(&arguments.config, dir).map_err(|why| format!("no drop-ins for the regions' units: {why}"))
    } else if let Some(dir) = &arguments.empty {
        daemon::empty(dir).map_err(|why| format!("{} is not emptied: {why}", dir.display()))
    } else if arguments.reserve_ports {
        daemon::reserve_ports(&arguments.config)
            .map_err(|why| format!("the ports of the port map are not kept free for the regions: {why}"))
    } else if arguments.sockets {
        daemon::give_sockets().map_err(|why| format!("there are no more sockets: {why}"))
    } else if let Some(port) = arguments.canary {
        daemon::canary(port).map_err(|why| format!("nobody hears what was found: {why}"))
    } else {
        return daemon::run(&daemon::Options { config: arguments.config, sysfs: arguments.sysfs });
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            terminal::note(&format!("sledd: {why}"));
            ExitCode::FAILURE
        }
    }
}
