//! `sledctl volume`: the volumes that have a region on a sled, and the hosts that may talk to them.

mod drain;
mod list;
mod permit;
mod show;

pub(super) use list::table;

use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use clap::Subcommand;
use drain::Drain;
use list::List;
use permit::{Allow, Deny};
use show::Show;

/// List the volumes, or show one.
#[derive(Debug, Subcommand)]
pub(super) enum VolumeCommand {
    List(List),
    Show(Show),
    Allow(Allow),
    Deny(Deny),
    Drain(Drain),
}

impl VolumeCommand {
    /// Carry out a volume's command; `Ok(false)` if what is shown is not well.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match self {
            Self::List(list) => list.run(client, output).await,
            Self::Show(show) => show.run(client, output).await,
            Self::Allow(allow) => allow.run(client, output).await,
            Self::Deny(deny) => deny.run(client, output).await,
            Self::Drain(drain) => drain.run(client, output).await,
        }
    }
}
