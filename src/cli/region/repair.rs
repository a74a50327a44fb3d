//! `sledctl region repair`: extents that a scrub found rotten, from the volume's other regions on this sled.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Elsewhere;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::names::RegionName;
use clap::Args;

/// Replace the extents that the region's last scrub found rotten by those of the volume's other regions on this sled:
/// where one is of the same generation and flush, and whole. The region is stopped for a moment, in its turn; what was
/// there is kept in the trash.
#[derive(Debug, Args)]
pub(in crate::cli) struct Repair {
    /// The region, VOLUME-INDEX.
    region: RegionName,
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

impl Repair {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let doors = self.elsewhere.doors(client).await?;
        let repair = Operation::RepairRegion { region: self.region.clone(), dry_run: self.dry_run };
        carry_out(client, &doors, vec![Order::new(&self.region, repair)], output).await
    }
}
