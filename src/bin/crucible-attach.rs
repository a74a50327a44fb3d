//! `crucible-attach`, the host's command.

use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// Attaches volumes of storage sleds to this host.
///
/// This version can do nothing yet but say so: attach by hand, with the targets that
/// `GET /v1/volumes/VOLUME` of the sled names, once it answers 200.
#[derive(Debug, Parser)]
#[command(name = "crucible-attach", version)]
struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    // There is nothing to run: whoever calls it without an option is shown the usage.
    eprint!("{}", Arguments::command().render_long_help());
    ExitCode::from(2)
}
