//! `sledctl region restart`: regions run anew, one of a volume at a time.

use super::Which;
use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Elsewhere;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::names::RegionName;
use clap::Args;

/// Restart regions, one of a volume at a time: each only while the volume's others serve, and
/// the next one only when its hosts are back on it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restart {
    #[command(flatten)]
    which: Which,
    /// One at a time on the whole sled.
    #[arg(long)]
    rolling: bool,
    /// Even if another region of the volume does not serve.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

impl Restart {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let regions = self.which.regions(client, |region| region.pid.is_some()).await?;
        let doors = self.elsewhere.doors(client).await?;
        let orders = regions.into_iter().map(|region| self.order(region)).collect();
        carry_out(client, &doors, orders, output).await
    }

    fn order(&self, region: RegionName) -> Order {
        let (force, rolling) = (self.force, self.rolling);
        Order::new(&region, Operation::RestartRegion { region: region.clone(), force, rolling })
    }
}
