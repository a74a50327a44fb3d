//! `sledctl region scrub`: every block of regions held to its checksum, one region of the sled at a time.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Doors;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::cli::region::of_this_sled;
use crate::names::{RegionName, VolumeName};
use crate::wire::{Refusal, Region};
use clap::Args;

/// Hold every written block of regions to its checksum, one region of the sled after the other. They go on meanwhile, and
/// are only read. Ctrl-C leaves the scrub as it is; the next one goes on where one was left.
#[derive(Debug, Args)]
pub(in crate::cli) struct Scrub {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The regions, VOLUME-INDEX.
    #[arg(value_name = "REGION")]
    names: Vec<RegionName>,
    /// Every region of this volume that is on this sled.
    #[arg(long, value_name = "VOLUME")]
    volume: Option<VolumeName>,
    /// Every region of this sled.
    #[arg(long)]
    all: bool,
}

impl Scrub {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let regions = self.regions(client).await?;
        let order = |region: RegionName| Order::new(&region, Operation::ScrubRegion { region: region.clone() });
        let orders = regions.into_iter().map(order).collect();
        carry_out(client, &Doors::default(), orders, output).await
    }

    async fn regions(&self, client: &Client) -> Result<Vec<RegionName>, Failure> {
        if !self.which.names.is_empty() {
            return Ok(self.which.names.clone());
        }
        let wanted = |region: &Region| {
            region.uuid.is_some() && self.which.volume.as_ref().is_none_or(|volume| region.name.volume() == volume)
        };
        let all = of_this_sled(client.sled().await?).into_iter().filter(wanted);
        let names: Vec<_> = all.map(|region| region.name).collect();
        match &self.which.volume {
            Some(volume) if names.is_empty() => {
                let message = format!("no region of {volume} is on this sled");
                Err(Failure::refused(Refusal::VolumeElsewhere, message, "see sledctl volume list"))
            }
            _ => Ok(names),
        }
    }
}
