//! `sledctl region delete`, `restore` and `purge`: regions that are deleted, and lie in the trash for a while.

use crate::api::{Operation, Unix};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Doors;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::names::{NameError, RegionName};
use clap::Args;
use std::str::FromStr;

/// Delete a region: it is kept for a while, and can be had back.
#[derive(Debug, Args)]
pub(in crate::cli) struct Delete {
    /// The region.
    region: RegionName,
    /// The region's name once more, for one that the port map has.
    #[arg(long, value_name = "REGION")]
    yes_destroy: Option<String>,
}

impl Delete {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let Self { region, yes_destroy } = self;
        let delete = Operation::DeleteRegion { region: region.clone(), yes_destroy: yes_destroy.clone() };
        let order = Order::new(region, delete);
        carry_out(client, &Doors::default(), vec![order], output).await
    }
}

/// Have a deleted region back.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// The region; if it was deleted more than once, its name in the trash.
    #[arg(value_name = "REGION[.TIME]")]
    region: Deleted,
}

impl Restore {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let Deleted { region, time } = &self.region;
        let order = Order::new(region, Operation::RestoreRegion { region: region.clone(), deleted: time.map(Unix) });
        carry_out(client, &Doors::default(), vec![order], output).await
    }
}

/// Remove a deleted region for good, before its time.
#[derive(Debug, Args)]
pub(in crate::cli) struct Purge {
    /// The region; if it was deleted more than once, its name in the trash.
    #[arg(value_name = "REGION[.TIME]")]
    region: Deleted,
    /// The same once more.
    #[arg(long, value_name = "REGION[.TIME]")]
    yes_destroy: Option<String>,
}

impl Purge {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let Deleted { region, time } = &self.region;
        let (deleted, yes_destroy) = (time.map(Unix), self.yes_destroy.clone());
        let order = Order::new(region, Operation::PurgeRegion { region: region.clone(), deleted, yes_destroy });
        carry_out(client, &Doors::default(), vec![order], output).await
    }
}

/// Deleted region: its name and, if there are several of it, when it was deleted.
#[derive(Debug, Clone)]
struct Deleted {
    region: RegionName,
    /// Time of its deletion, in seconds since 1970.
    time: Option<i64>,
}

impl FromStr for Deleted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, time) = text.split_once('.').map_or((text, None), |(name, time)| (name, Some(time)));
        let region = name.parse().map_err(|why: NameError| why.to_string())?;
        let time = time.map(str::parse).transpose().map_err(|_| "behind the name is no time".to_owned())?;
        Ok(Self { region, time })
    }
}
