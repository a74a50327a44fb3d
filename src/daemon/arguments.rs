//! The command line of `sledd`. Nobody calls it by hand: its units do.

use crate::config_dir;
use clap::Parser;
use std::path::PathBuf;

/// Supervises the Crucible regions of this sled. Started by sledd.service.
#[derive(Debug, Parser)]
#[command(name = "sledd", version)]
pub struct Arguments {
    /// The directory of sled.toml and port-map.toml.
    #[arg(long, value_name = "DIR", default_value = config_dir::DEFAULT)]
    pub config: PathBuf,

    /// Where sysfs is mounted.
    #[arg(long, value_name = "DIR", default_value = "/sys")]
    pub sysfs: PathBuf,

    /// Where proc is mounted, for what it says of the machine.
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    pub proc: PathBuf,

    /// Read the kernel's log from FILE, in place of the one that systemd has opened for it.
    #[arg(long, value_name = "FILE")]
    pub kmsg: Option<PathBuf>,

    /// Write the units' drop-ins below DIR and end: for systemd, as a generator.
    #[arg(long, value_name = "DIR")]
    pub generator: Option<PathBuf>,

    /// Empty DIR, slowly, and end: for the unit that removes a deleted region.
    #[arg(long, value_name = "DIR", conflicts_with = "generator")]
    pub empty: Option<PathBuf>,

    /// Keep the ports of the port map free for the regions, and end: for sled-ports.service.
    #[arg(long)]
    pub reserve_ports: bool,

    /// Put the network adapter with the kernel's number INDEX back into the bridge, and end: for
    /// sled-network-rejoin@.service.
    #[arg(long, value_name = "INDEX")]
    pub rejoin: Option<u32>,

    /// Try the network of another configuration out for SECONDS, and take it back if nobody has reached the sled by it
    /// then: for sled-network.service.
    #[arg(long, value_name = "SECONDS")]
    pub network: Option<u64>,

    /// Open sockets for the supervisor, for sled-sockets.service.
    #[arg(long)]
    pub sockets: bool,

    /// Ask on BRIDGE which other machine has ADDRESS, and say what came of it.
    #[arg(long, num_args = 2, value_names = ["BRIDGE", "ADDRESS"], hide = true)]
    pub probe: Option<Vec<String>>,

    /// Try what the unit that this runs in is allowed, from PORT on, and say what came of it.
    #[arg(long, value_name = "PORT", hide = true, value_parser = clap::value_parser!(u16).range(1..=60000))]
    pub canary: Option<u16>,
}
