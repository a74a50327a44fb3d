//! `sledctl config history`: the last configurations that were in force.

use super::short;
use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::Output;
use crate::cli::view::{View, Watch, show};
use crate::config::Kept;
use crate::screen::Screen;
use crate::table::Tone;
use crate::wire::Configurations;
use clap::Args;
use serde::Serialize;

/// List the last ten configurations that were in force.
#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    #[command(flatten)]
    watch: Watch,
}

impl History {
    /// List the configurations, the last one first.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for History {
    type Answer = Configurations;

    async fn ask(&self, client: &Client) -> Result<Configurations, Failure> {
        configurations(client).await
    }

    fn body<'a>(&self, all: &'a Configurations) -> impl Serialize + 'a {
        all
    }

    fn names(&self, all: &Configurations) -> Vec<String> {
        all.kept.iter().map(|kept| kept.number.to_string()).collect()
    }

    fn text(&self, all: &Configurations, _: Screen) -> String {
        text(all)
    }
}

/// Read the configurations that are kept, without their files.
pub(super) async fn configurations(client: &Client) -> Result<Configurations, Failure> {
    client.ask(&Operation::ListConfigurations {}).await
}

fn text(all: &Configurations) -> String {
    let mut out: String = all.kept.iter().map(|kept| one(kept, all.in_force == Some(kept.number))).collect();
    if all.kept.is_empty() {
        out += "none was kept so far\n";
    }
    let in_force = all.kept.iter().find(|kept| all.in_force == Some(kept.number));
    if in_force.is_none_or(|kept| kept.digest != all.files.digest) {
        out += &format!("the files in {} are others: {}", all.dir, short(&all.files.digest));
        out += &all.files.changed.map(|at| format!(", changed {at}")).unwrap_or_default();
        out += &match all.files.faults.len() {
            0 => " (sledctl config diff)\n".to_owned(),
            faults => format!(", with {faults} fault(s) (sledctl config check)\n"),
        };
    }
    out
}

fn one(kept: &Kept, in_force: bool) -> String {
    let until = match kept.until {
        _ if in_force => "now, in force".to_owned(),
        Some(until) => until.to_string(),
        None => "the sled was last up".into(),
    };
    let number = Tone::Heading.paint(&format!("{:>4}", kept.number));
    let map = short(&kept.port_map);
    format!(
        "{number}  {}  from {} until {until}\n      by {}; port map {map}\n",
        short(&kept.digest),
        kept.since,
        kept.by
    )
}
