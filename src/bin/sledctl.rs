//! `sledctl`, the operator's command on a storage sled.

use clap::Parser;
use crucible_sled::{cli, completion};
use std::process::ExitCode;

fn main() -> ExitCode {
    completion::answer(cli::completed);
    cli::run(&cli::Arguments::parse())
}
