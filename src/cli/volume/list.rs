//! `sledctl volume list`: the volumes of a sled as a table.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::Output;
use crate::cli::view::{View, Watch, show};
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::{Cell, Table, Tone, column, plain};
use crate::wire::Volumes;
use clap::Args;
use serde::Serialize;

/// List the volumes that have a region on this sled.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    watch: Watch,
}

impl List {
    /// List the volumes; `Ok(false)` if one is not ready.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for List {
    type Answer = Volumes;

    async fn ask(&self, client: &Client) -> Result<Volumes, Failure> {
        client.ask(&Operation::ListVolumes {}).await
    }

    fn body<'a>(&self, volumes: &'a Volumes) -> impl Serialize + 'a {
        volumes
    }

    fn names(&self, volumes: &Volumes) -> Vec<String> {
        volumes.volumes.iter().map(|volume| volume.volume.to_string()).collect()
    }

    fn text(&self, volumes: &Volumes, screen: Screen) -> String {
        table(volumes, screen)
    }

    fn is_well(&self, volumes: &Volumes) -> bool {
        volumes.volumes.iter().all(|volume| volume.ready)
    }
}

/// Write volumes as a table.
pub(in crate::cli) fn table(volumes: &Volumes, screen: Screen) -> String {
    let mut table = Table::new(&[
        column("VOLUME"),
        column("READY"),
        column("SIZE").rank(3),
        column("SERVING").rank(2),
        column("WHY NOT").wrap(12).rank(1),
    ]);
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
    table.on(screen)
}

fn yes(well: bool) -> Cell {
    if well { ("yes".into(), Tone::Well) } else { ("no".into(), Tone::Bad) }
}
