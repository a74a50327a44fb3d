//! `sledd`, the supervisor of a storage sled.

use clap::Parser;
use crucible_sled::{daemon, terminal};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = daemon::Arguments::parse();
    let done = if let Some(dir) = &arguments.generator {
        daemon::generate(&arguments.config, dir).map_err(|why| format!("no drop-ins for the regions' units: {why}"))
    } else if let Some(dir) = &arguments.empty {
        daemon::empty(dir).map_err(|why| format!("{} is not emptied: {why}", dir.display()))
    } else if arguments.reserve_ports {
        daemon::reserve_ports(&arguments.config)
            .map_err(|why| format!("the ports of the port map are not kept free for the regions: {why}"))
    } else if arguments.sockets {
        daemon::give_sockets().map_err(|why| format!("there are no more sockets: {why}"))
    } else if let Some(index) = arguments.rejoin {
        daemon::rejoin(&arguments.config, index).map_err(|why| format!("the adapter is not put back: {why}"))
    } else if let Some(seconds) = arguments.network {
        daemon::try_network(&arguments.config, seconds).map_err(|why| format!("no other network is tried out: {why}"))
    } else if let Some(place) = &arguments.probe {
        daemon::probe(place).map_err(|why| format!("nobody can be asked: {why}"))
    } else if let Some(port) = arguments.canary {
        daemon::canary(port).map_err(|why| format!("nobody hears what was found: {why}"))
    } else {
        let daemon::Arguments { config, sysfs, proc, kmsg, .. } = arguments;
        return daemon::run(&daemon::Options { config, sysfs, proc, kmsg });
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            terminal::note(&format!("sledd: {why}"));
            ExitCode::FAILURE
        }
    }
}
