//! `sledctl update check`: whether there is a newer version of the image.

use super::source::{beside, offered};
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::update::release::Release;
use crate::update::sysupdate;
use clap::Args;
use serde::Serialize;

/// Look for a newer version.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// A URL, a directory or an update's file; without it, `appliance.update` of sled.toml.
    source: Option<String>,
}

/// Answer of `update check`.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub(super) running: String,
    pub(super) available: Option<String>,
    pub(super) source: String,
}

impl Check {
    pub(super) async fn run(&self, running: Release, output: Output) -> Result<bool, Failure> {
        let (source, offer) = offered(self.source.as_deref(), &running).await?;
        let available = beside(offer, sysupdate::available()).await?;
        print(output, &Checked { running: running.version, available, source }, text)?;
        Ok(true)
    }
}

/// Write which version can be had, if there is a newer one.
pub(super) fn text(checked: &Checked) -> String {
    match &checked.available {
        Some(version) => format!("{version} can be had ({} runs): sledctl update apply\n", checked.running),
        None => format!("{} runs, and {} has nothing newer\n", checked.running, checked.source),
    }
}
