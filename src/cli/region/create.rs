//! `sledctl region create`: regions that do not exist yet.

use super::Which;
use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Doors;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::Output;
use crate::cli::storage;
use crate::config_dir;
use crate::names::RegionName;
use crate::size::spoken;
use crate::wire::{Error, Refusal, StorageDetail};
use clap::Args;
use std::path::Path;

/// Create regions that do not exist yet. One that does is left as it is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    which: Which,
    /// Only if `appliance.create_on_first_boot` is set (sled-first-regions.service).
    #[arg(long, hide = true)]
    first_boot: bool,
    /// The region's name once more, if it was in the port map when the ledger was lost, which may have known
    /// it: it never existed, or is lost for good.
    #[arg(long, value_name = "REGION", conflicts_with = "all")]
    never_existed: Option<RegionName>,
}

impl Create {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        if self.first_boot && !is_set_for_first_boot()? {
            return Ok(true);
        }
        let regions = self.which.regions(client, |_| true).await?;
        if self.which.all || regions.len() > 1 {
            fit(&storage::detail(client).await?, &regions).map_err(Failure::Refused)?;
        }
        let orders = regions.into_iter().map(|region| self.order(region)).collect();
        carry_out(client, &Doors::default(), orders, output).await
    }

    fn order(&self, region: RegionName) -> Order {
        let never_existed = self.never_existed.clone().filter(|name| *name == region);
        Order::new(&region, Operation::CreateRegion { region: region.clone(), never_existed })
    }
}

/// Read whether `appliance.create_on_first_boot` is set.
fn is_set_for_first_boot() -> Result<bool, Failure> {
    let read = config_dir::read(Path::new(config_dir::DEFAULT));
    let config = read.map_err(|faults| Failure::Refused(Error::config_invalid(&faults)))?;
    Ok(config.sled.appliance.create_on_first_boot)
}

/// Refuse regions that do not fit on the disk together, if each takes its blocks when it is made: once, before the
/// first is.
///
/// # Errors
/// `NO_ROOM`: they do not fit.
fn fit(detail: &StorageDetail, regions: &[RegionName]) -> Result<(), Error> {
    let wanted: Vec<_> = detail.wanted.iter().filter(|wanted| regions.contains(&wanted.region)).collect();
    let (needs, count): (u64, _) = (wanted.iter().map(|wanted| wanted.bytes).sum(), wanted.len());
    let repair = wanted.iter().map(|wanted| wanted.repair_bytes).max().unwrap_or_default().max(detail.repair_bytes);
    let (keeps, free) = (detail.reserve_bytes.max(repair), detail.storage.free_bytes);
    if count < 2 || detail.provisioning != "thick" || needs.saturating_add(keeps) <= free {
        return Ok(());
    }
    let message = format!(
        "{count} regions do not fit on {}: together they take {}, {} is free, and {} is kept in reserve: none is created",
        detail.storage.root,
        spoken(needs),
        spoken(free),
        spoken(keeps)
    );
    let remedy = "free some (sledctl storage), make the volumes smaller in port-map.toml, name the regions that are to be \
                  created first, or set storage.provisioning = \"thin\"";
    Err(Error::new(Refusal::NoRoom, message, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Storage, WantedRegion};

    #[test]
    fn what_does_not_fit_together_is_told_once() {
        let names: Vec<RegionName> = ["a-0", "a-1", "a-2"].map(|name| name.parse().unwrap()).into();
        let detail = |gib: u64, provisioning: &str| StorageDetail {
            storage: Storage {
                root: "/crucible".into(),
                mounted: true,
                capacity_bytes: 100 << 30,
                free_bytes: gib << 30,
                promised_bytes: 0,
                used_bytes: 0,
            },
            disk: None,
            belongs_to: None,
            reserve_bytes: 5 << 30,
            repair_bytes: 0,
            inodes_free: None,
            wanted: names
                .iter()
                .map(|name| WantedRegion { region: name.clone(), bytes: 10 << 30, repair_bytes: 1 << 27 })
                .collect(),
            provisioning: provisioning.into(),
            unreserved_bytes: 0,
            regions: Vec::new(),
            trash: Vec::new(),
        };
        assert!(fit(&detail(35, "thick"), &names).is_ok());
        let why = fit(&detail(34, "thick"), &names).unwrap_err();
        assert!(why.message.contains("3 regions") && why.message.contains("take 30 GiB, 34 GiB is free"), "{why:?}");
        // Fewer regions fit, and so do those that take nothing yet.
        assert!(fit(&detail(34, "thick"), &names[..2]).is_ok());
        assert!(fit(&detail(4, "thin"), &names).is_ok());
    }
}
