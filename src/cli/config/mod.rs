//! `sledctl config`: the configuration of a sled, what another one would change, and those that were in force.

mod check;
mod diff;
mod history;
mod restore;
mod takeover;

pub(super) use check::Check;
pub(super) use diff::{Diff, difference, text};
pub(super) use takeover::{Takeover, operator};

use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use clap::Subcommand;
use history::History;
use restore::Restore;

/// Look at the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    Diff(Diff),
    History(History),
    Restore(Restore),
    Check(Check),
}

impl ConfigCommand {
    /// Carry out a configuration's command; `Ok(false)` if what is shown is not well.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match self {
            Self::Diff(diff) => diff.run(client, output).await,
            Self::History(history) => history.run(client, output).await,
            Self::Restore(restore) => restore.run(client, output).await,
            Self::Check(check) => check.run(output),
        }
    }
}

/// Shorten a digest to what people compare.
fn short(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
}
