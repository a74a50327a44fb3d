//! `sledctl region hold` and `release`: a region that is kept from running, and one that may run again.

use super::Which;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::{Doors, Elsewhere};
use crate::cli::orders::{Order, carry_out};
use crate::cli::query::{self, flag};
use crate::names::RegionName;
use crate::wire::State;
use clap::Args;
use http::Method;

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
    pub(super) async fn run(&self, client: &Client, json: bool) -> Result<bool, Failure> {
        let doors = self.elsewhere.doors(client).await?;
        let path = format!("/v1/regions/{}/hold", self.region);
        let path = query::with(&path, &[("reason", self.reason.clone()), flag("force", self.force)]);
        carry_out(client, &doors, vec![Order::new(self.region.clone(), Method::POST, path)], json).await
    }
}

/// Let regions run again that are held, by somebody or because they failed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Release {
    #[command(flatten)]
    which: Which,
}

impl Release {
    pub(super) async fn run(&self, client: &Client, json: bool) -> Result<bool, Failure> {
        let regions = self.which.regions(client, |region| region.state == Some(State::Held)).await?;
        let order = |region: RegionName| {
            let path = format!("/v1/regions/{region}/release");
            Order::new(region, Method::POST, path)
        };
        carry_out(client, &Doors::default(), regions.into_iter().map(order).collect(), json).await
    }
}
