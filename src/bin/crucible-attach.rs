//! `crucible-attach`, the host's command.

use clap::Parser;
use crucible_sled::attach;
use std::process::ExitCode;

fn main() -> ExitCode {
    attach::run(&attach::Arguments::parse())
}
