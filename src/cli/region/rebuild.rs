//! `sledctl region rebuild`: a region made anew in the place of one that cannot be repaired, and filled by its host.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Elsewhere;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::names::RegionName;
use clap::Args;

/// Make a region anew in the place of one that cannot be repaired: the old one is held and moved to the trash, and an empty
/// one with a UUID of its own takes its place, which its host fills from the volume's other regions when its server is
/// started anew. Refused while a host has the volume attached. Watches the filling to its end; Ctrl-C leaves it as it is,
/// and asked for again it goes on.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rebuild {
    /// The region, VOLUME-INDEX.
    region: RegionName,
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it while a host has the volume attached as well: its server ends at once; crucible-attach starts it anew by
    /// itself, and the guest stands still until the region is filled; without crucible-attach the guest loses its disk.
    #[arg(long)]
    attached: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

impl Rebuild {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let doors = self.elsewhere.doors(client).await?;
        let (region, dry_run, attached) = (self.region.clone(), self.dry_run, self.attached);
        let rebuild = Operation::RebuildRegion { region, dry_run, attached };
        carry_out(client, &doors, vec![Order::new(&self.region, rebuild)], output).await
    }
}
