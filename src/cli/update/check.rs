//! `sledctl update check`: whether there is a newer version of the image.

use super::source::{beside, configured, offered};
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::config_dir;
use crate::update::checked::{Found, Newer};
use crate::update::layout::Layout;
use crate::update::offer::Offer;
use crate::update::release::Release;
use crate::update::{checked, pull, sysupdate};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The place of the image's data disk, where the configuration has faults.
const DATA: &str = "/crucible";

/// Look for a newer version, and tell what changes with it, as far as its release says. What is found at the configured
/// source is remembered: `UPDATE_AVAILABLE` tells of it, and `sledctl update status`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// A URL, a directory or an update's file; without it, `appliance.update` of sled.toml.
    source: Option<String>,
}

/// Answer of `update check`.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    running: String,
    available: Option<String>,
    released: Option<Timestamp>,
    changes: Vec<String>,
    lacks: Vec<String>,
    source: String,
}

impl Check {
    pub(super) async fn run(&self, running: Release, output: Output) -> Result<bool, Failure> {
        let (source, newer) = look(self.source.as_deref(), &running).await?;
        print(output, &Checked::of(running.version, newer, source), text)?;
        Ok(true)
    }
}

/// Look for a newer version. What is found at the configured source is remembered, and that nothing could be found out
/// there as well.
pub(super) async fn look(source: Option<&str>, running: &Release) -> Result<(String, Option<Newer>), Failure> {
    let looked = find(source, running).await;
    if let Some(configured) = source.is_none().then(configured).flatten() {
        let found = match &looked {
            Ok((_, Some(newer))) => Found::Newer(newer.clone()),
            Ok((_, None)) => Found::Nothing,
            Err(why) => Found::Failed { why: why.error().message },
        };
        let before = checked::Checked::load();
        checked::Checked::after(before.as_ref(), configured, running.version.clone(), found).save()?;
    }
    looked
}

async fn find(source: Option<&str>, running: &Release) -> Result<(String, Option<Newer>), Failure> {
    let (source, offer) = offered(source, running).await?;
    let url = offer.as_ref().map_or(Ok(source.clone()), Offer::url)?;
    let newer = beside(offer, async {
        let Some(version) = sysupdate::available().await? else { return Ok(None) };
        describe(&url, version, running).await.map(Some)
    });
    Ok((source, newer.await?))
}

/// Describe a version that is offered at `url`, as it does itself, and as it suits this machine.
pub(super) async fn describe(url: &str, version: String, running: &Release) -> io::Result<Newer> {
    let manifest = pull::manifest(url, &version).await?;
    let config = config_dir::read(Path::new(config_dir::DEFAULT)).ok();
    let root = config.map_or_else(|| DATA.into(), |config| config.sled.storage.root);
    Ok(Newer::of(version, manifest.as_ref(), running, &Layout::read(&root)))
}

impl Checked {
    /// Answer that this was found.
    pub(super) fn of(running: String, newer: Option<Newer>, source: String) -> Self {
        let available = newer.as_ref().map(|newer| newer.version.clone());
        let Newer { released, changes, lacks, .. } = newer.unwrap_or_default();
        Self { running, available, released, changes, lacks, source }
    }
}

/// Write which version can be had, if there is a newer one.
pub(super) fn text(checked: &Checked) -> String {
    let Some(version) = &checked.available else {
        return format!("{} runs, and {} has nothing newer\n", checked.running, checked.source);
    };
    let released = checked.released.map(|at| format!(", released {at:.0}")).unwrap_or_default();
    let mut out = format!("{version} can be had{released} ({} runs): sledctl update apply\n", checked.running);
    for why in &checked.lacks {
        _ = writeln!(out, "  this machine cannot take it: {why}");
    }
    for line in &checked.changes {
        _ = writeln!(out, "  {line}");
    }
    out
}
