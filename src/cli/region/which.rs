//! Regions that a command is about: by their names, or all for which there is something to do.

use super::of_this_sled;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::names::RegionName;
use crate::wire::Region;
use clap::Args;

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The regions, VOLUME-INDEX.
    #[arg(value_name = "REGION")]
    pub(super) names: Vec<RegionName>,
    /// Every region of this sled for which there is something to do.
    #[arg(long)]
    pub(super) all: bool,
}

impl Which {
    /// Name the regions that were given, or all of this sled for which there is something to do.
    pub(super) async fn regions(
        &self,
        client: &Client,
        something: impl Fn(&Region) -> bool,
    ) -> Result<Vec<RegionName>, Failure> {
        if !self.all {
            return Ok(self.names.clone());
        }
        Ok(of_this_sled(client.sled().await?).into_iter().filter(something).map(|region| region.name).collect())
    }
}
