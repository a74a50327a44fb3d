//! `sledctl reload`: a changed configuration is taken over while everything runs.

use super::client::Client;
use super::config::{self, Diff, Takeover};
use super::failure::Failure;
use super::print::{Output, print};
use crate::appliance::{self, trial};
use crate::wire::Difference;
use clap::Args;
use serde::Serialize;
use std::path::Path;

/// Take a changed configuration over while everything runs; what it changes is shown first.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub(super) struct ReloadCommand {
    /// Even if hosts that are connected are cut off or interrupted, a region is stopped, a volume could
    /// not be attached any more, or something that is kept is destroyed.
    #[arg(long)]
    yes: bool,
    /// Only show it, as `config diff` does.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Keep the network that an earlier reload has put on trial, as if a host had reached the sled by it.
    #[arg(long, conflicts_with_all = ["yes", "dry_run"])]
    confirm: bool,
    /// As who cannot be asked (ExecReload= of sledd.service): hosts may be interrupted, and no more.
    #[arg(long, hide = true, conflicts_with_all = ["yes", "dry_run", "confirm"])]
    unattended: bool,
}

impl ReloadCommand {
    /// Show what changes, and have it taken over.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        if self.confirm {
            return confirm(output);
        }
        if self.dry_run {
            return Diff.run(client, output).await;
        }
        if output.is_text() {
            let found = config::difference(client, None).await?;
            print(output, &Difference { refused: None, ..found }, config::text)?;
        }
        let by = if self.unattended {
            "systemctl reload sledd".to_owned()
        } else {
            format!("sledctl reload, by {}", config::operator())
        };
        Takeover { yes: self.yes, unattended: self.unattended, by }.run(client, output).await
    }
}

/// Say that the network on trial is to stay.
fn confirm(output: Output) -> Result<bool, Failure> {
    let memory = Path::new(trial::MEMORY);
    let known = || trial::load(memory).is_some_and(|record| !record.taken_back);
    let on_trial = appliance::is_image() && (known() || trial::lost(memory));
    if on_trial {
        trial::confirm(memory)?;
    }
    print(output, &Confirmed { confirmed: on_trial }, |said| {
        let text = if said.confirmed { "the network stays" } else { "no network is on trial" };
        text.to_owned()
    })?;
    Ok(on_trial)
}

/// What came of it.
#[derive(Serialize)]
struct Confirmed {
    confirmed: bool,
}
