//! `sledctl region list`: the regions of a sled as a table.

use super::of_this_sled;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, ago, named, or_dash};
use crate::cli::view::{View, Watch, show};
use crate::screen::Screen;
use crate::table::{Cell, Table, Tone, column, plain};
use crate::wire::{Region, State};
use clap::Args;
use serde::Serialize;

/// List the regions that the port map puts on this sled.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    watch: Watch,
}

impl List {
    /// List the regions; `Ok(false)` if one does not serve.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for List {
    type Answer = Vec<Region>;

    async fn ask(&self, client: &Client) -> Result<Vec<Region>, Failure> {
        Ok(of_this_sled(client.sled().await?))
    }

    fn body<'a>(&self, regions: &'a Vec<Region>) -> impl Serialize + 'a {
        regions
    }

    fn names(&self, regions: &Vec<Region>) -> Vec<String> {
        regions.iter().map(|region| region.name.to_string()).collect()
    }

    fn text(&self, regions: &Vec<Region>, screen: Screen) -> String {
        table(regions, screen)
    }

    fn is_well(&self, regions: &Vec<Region>) -> bool {
        regions.iter().all(|region| region.state == Some(State::Serving))
    }
}

/// Write regions as a table.
pub(in crate::cli) fn table(regions: &[Region], screen: Screen) -> String {
    let mut table = Table::new(&[
        column("REGION"),
        column("STATE"),
        column("FOR").rank(2),
        column("PORT").rank(3),
        column("REPAIR").rank(6),
        column("PID").rank(5),
        column("UUID").id().rank(4),
        column("VERSION").wide(),
        column("CONNECTED").wrap(15).rank(1),
    ]);
    for region in regions {
        table.row(vec![
            plain(&region.name),
            state(region),
            plain(region.since.map(ago).unwrap_or_default()),
            plain(region.port),
            plain(region.repair_port),
            plain(or_dash(region.pid)),
            plain(or_dash(region.uuid)),
            plain(or_dash(region.version.as_ref())),
            plain(peers(region)),
        ]);
    }
    table.on(screen)
}

/// Write a region's state; of one that is elsewhere, its sled.
pub(in crate::cli) fn state(region: &Region) -> Cell {
    let tone = match region.state {
        None => return (format!("on {}", region.sled), Tone::Faint),
        Some(State::Serving) => Tone::Well,
        Some(State::Creating | State::Starting | State::Verifying) => Tone::Warning,
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
