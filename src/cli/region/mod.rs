//! `sledctl region`: regions of this sled, from their creation to their end.

mod adopt;
mod create;
mod extents;
mod hold;
mod list;
mod rebuild;
mod repair;
mod restart;
mod scrub;
mod show;
mod trash;
mod which;

pub(super) use list::{state, table};
use which::Which;

use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use crate::wire::{Region, Sled};
use adopt::Adopt;
use clap::Subcommand;
use create::Create;
use hold::{Hold, Release};
use list::List;
use rebuild::Rebuild;
use repair::Repair;
use restart::Restart;
use scrub::Scrub;
use show::Show;
use trash::{Delete, Purge, Restore};

/// List, show, create, adopt, restart, hold, scrub, repair, rebuild, delete or restore regions.
#[derive(Debug, Subcommand)]
pub(super) enum RegionCommand {
    List(List),
    Show(Show),
    Create(Create),
    Adopt(Adopt),
    Delete(Delete),
    Repair(Repair),
    Rebuild(Rebuild),
    Restart(Restart),
    Hold(Hold),
    Release(Release),
    Scrub(Scrub),
    Restore(Restore),
    Purge(Purge),
}

impl RegionCommand {
    /// Carry out a region's command; `Ok(false)` if what is shown is not well.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match self {
            Self::List(list) => list.run(client, output).await,
            Self::Show(show) => show.run(client, output).await,
            Self::Create(create) => create.run(client, output).await,
            Self::Adopt(adopt) => adopt.run(client, output).await,
            Self::Delete(delete) => delete.run(client, output).await,
            Self::Repair(repair) => repair.run(client, output).await,
            Self::Rebuild(rebuild) => rebuild.run(client, output).await,
            Self::Restart(restart) => restart.run(client, output).await,
            Self::Hold(hold) => hold.run(client, output).await,
            Self::Release(release) => release.run(client, output).await,
            Self::Scrub(scrub) => scrub.run(client, output).await,
            Self::Restore(restore) => restore.run(client, output).await,
            Self::Purge(purge) => purge.run(client, output).await,
        }
    }
}

/// Choose the regions that are on a sled itself, of all that its volumes have.
pub(super) fn of_this_sled(sled: Sled) -> Vec<Region> {
    let name = sled.sled;
    sled.volumes.into_iter().flat_map(|volume| volume.regions).filter(|region| region.sled == name).collect()
}
