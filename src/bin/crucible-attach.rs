//! `crucible-attach`, the host's command.

use clap::Parser;
use crucible_sled::{attach, completion};
use std::process::ExitCode;

fn main() -> ExitCode {
    completion::answer(attach::completed);
    attach::run(&attach::Arguments::parse())
}
