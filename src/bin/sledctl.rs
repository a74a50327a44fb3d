//! `sledctl`, the operator's command on a storage sled.

use clap::Parser;
use crucible_sled::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(&cli::Arguments::parse())
}
