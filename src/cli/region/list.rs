//! `sledctl region list`: the regions of a sled as a table.

use super::of_this_sled;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{ago, named, or_dash, print};
use crate::table::{Cell, Table, Tone, plain};
use crate::wire::{Region, State};
use clap::Args;

/// List the regions that the port map puts on this sled.
#[derive(Debug, Args)]
pub(in crate::cli) struct List;

impl List {
    /// List the regions; `Ok(false)` if one does not serve.
    pub(super) async fn run(&self, client: &Client, json: bool) -> Result<bool, Failure> {
        let regions = of_this_sled(client.sled().await?);
        print(json, &regions, |regions| table(regions))?;
        Ok(regions.iter().all(|region| region.state == Some(State::Serving)))
    }
}

/// Write regions as a table.
pub(in crate::cli) fn table(regions: &[Region]) -> String {
    let mut table = Table::new(&["REGION", "STATE", "FOR", "PORT", "REPAIR", "PID", "UUID", "CONNECTED"]);
    for region in regions {
        table.row(vec![
            plain(&region.name),
            state(region),
            plain(region.since.map(ago).unwrap_or_default()),
            plain(region.port),
            plain(region.repair_port),
            plain(or_dash(region.pid)),
            plain(or_dash(region.uuid)),
            plain(peers(region)),
        ]);
    }
    table.text()
}

/// Write a region's state; of one that is elsewhere, its sled.
pub(in crate::cli) fn state(region: &Region) -> Cell {
    let tone = match region.state {
        None => return (format!("on {}", region.sled), Tone::Faint),
        Some(State::Serving) => Tone::Well,
        Some(State::Creating | State::Starting) => Tone::Warning,
        Some(_) => Tone::Bad,
    };
    (region.state.map(|state| state.to_string()).unwrap_or_default(), tone)
}

/// Write the hosts that are connected to a region.
pub(super) fn peers(region: &Region) -> String {
    let mut peers: Vec<_> = region.connected.iter().map(|peer| named(&peer.address, peer.host.as_ref())).collect();
    peers.dedup();
    if peers.is_empty() { "-".into() } else { peers.join(" ") }
}
