//! `sledctl reload`: a changed configuration is taken over while everything runs.

use super::client::Client;
use super::config::{self, Diff, Takeover};
use super::failure::Failure;
use super::print::{Output, print};
use crate::wire::Difference;
use clap::Args;

/// Take a changed configuration over while everything runs; what it changes is shown first.
#[derive(Debug, Args)]
pub(super) struct ReloadCommand {
    /// Even if hosts that are connected are cut off or interrupted, a region is stopped, a volume could
    /// not be attached any more, or something that is kept is destroyed.
    #[arg(long)]
    yes: bool,
    /// Only show it, as `config diff` does.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// As who cannot be asked (ExecReload= of sledd.service): hosts may be interrupted, and no more.
    #[arg(long, hide = true, conflicts_with_all = ["yes", "dry_run"])]
    unattended: bool,
}

impl ReloadCommand {
    /// Show what changes, and have it taken over.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
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
