//! `sledctl volume list`: the volumes of a sled as a table.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::print;
use crate::size::spoken;
use crate::table::{Cell, Table, Tone, plain};
use crate::wire::Volumes;
use clap::Args;

/// List the volumes that have a region on this sled.
#[derive(Debug, Args)]
pub(in crate::cli) struct List;

impl List {
    /// List the volumes; `Ok(false)` if one is not ready.
    pub(super) async fn run(&self, client: &Client, json: bool) -> Result<bool, Failure> {
        let volumes: Volumes = client.ask(&Operation::ListVolumes {}).await?;
        print(json, &volumes, table)?;
        Ok(volumes.volumes.iter().all(|volume| volume.ready))
    }
}

/// Write volumes as a table.
pub(in crate::cli) fn table(volumes: &Volumes) -> String {
    let mut table = Table::new(&["VOLUME", "READY", "SIZE", "SERVING", "WHY NOT"]);
    for volume in &volumes.volumes {
        let why: Vec<_> = volume.blocking.iter().map(|code| code.as_str()).collect();
        table.row(vec![
            plain(&volume.volume),
            yes(volume.ready),
            plain(spoken(volume.size_bytes)),
            plain(format!("{} of {}", volume.serving, volume.regions)),
            plain(why.join(" ")),
        ]);
    }
    table.text()
}

fn yes(well: bool) -> Cell {
    if well { ("yes".into(), Tone::Well) } else { ("no".into(), Tone::Bad) }
}
