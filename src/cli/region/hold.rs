//! `sledctl region hold` and `release`: a region that is kept from running, and one that may run again.

use super::Which;
use crate::api::{Operation, Sentence};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::{Doors, Elsewhere};
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::names::RegionName;
use crate::wire::State;
use clap::Args;

/// Stop a region and keep it from running, until it is released; also over a reboot.
#[derive(Debug, Args)]
pub(in crate::cli) struct Hold {
    /// The region, VOLUME-INDEX.
    region: RegionName,
    /// Why; shown wherever the region is.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Even if another region of the volume does not serve.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

impl Hold {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let doors = self.elsewhere.doors(client).await?;
        let (region, reason) = (self.region.clone(), self.reason.clone().map(Sentence));
        let hold = Operation::HoldRegion { region, force: self.force, reason };
        carry_out(client, &doors, vec![Order::new(&self.region, hold)], output).await
    }
}

/// Let regions run again that are held, by somebody or because they failed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Release {
    #[command(flatten)]
    which: Which,
}

impl Release {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let regions = self.which.regions(client, |region| region.state == Some(State::Held)).await?;
        let order = |region: RegionName| Order::new(&region, Operation::ReleaseRegion { region: region.clone() });
        carry_out(client, &Doors::default(), regions.into_iter().map(order).collect(), output).await
    }
}
