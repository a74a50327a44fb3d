//! `sledctl region show`: one region of a sled, and what is wrong with it.

use super::extents::Map;
use super::list::{peers, state};
use super::of_this_sled;
use crate::clean;
use crate::cli::checks;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, or_dash};
use crate::cli::view::{View, Watch, show};
use crate::names::RegionName;
use crate::screen::Screen;
use crate::table::Tone;
use crate::times::in_seconds;
use crate::wire::{Check, Refusal, Region, State};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;

/// Show a region, or how its extents stand.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The region, VOLUME-INDEX.
    region: RegionName,
    /// Show a map of its extents instead: which were written, are dirty, or are not what their checksums say.
    #[arg(long)]
    extents: bool,
    #[command(flatten)]
    watch: Watch,
}

impl Show {
    /// Show the region; `Ok(false)` if it does not serve.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        if self.extents {
            return show(&Map(&self.region), client, output, self.watch).await;
        }
        show(self, client, output, self.watch).await
    }
}

impl View for Show {
    type Answer = (Region, Vec<Check>);

    async fn ask(&self, client: &Client) -> Result<(Region, Vec<Check>), Failure> {
        let name = &self.region;
        let sled = client.sled().await?;
        let checks = sled.checks.clone();
        let found = of_this_sled(sled).into_iter().find(|region| region.name == *name);
        let found = found.ok_or_else(|| {
            let message = format!("the port map puts no region {name} on this sled");
            Failure::refused(Refusal::RegionUnknown, message, "see sledctl region list for those it does")
        })?;
        Ok((found, checks))
    }

    fn body<'a>(&self, (region, _): &'a (Region, Vec<Check>)) -> impl Serialize + 'a {
        region
    }

    fn names(&self, (region, _): &(Region, Vec<Check>)) -> Vec<String> {
        vec![region.name.to_string()]
    }

    fn text(&self, (region, checks): &(Region, Vec<Check>), _: Screen) -> String {
        text(region, checks)
    }

    fn is_well(&self, (region, _): &(Region, Vec<Check>)) -> bool {
        region.state == Some(State::Serving)
    }
}

fn text(region: &Region, all: &[Check]) -> String {
    let (state, tone) = state(region);
    let mut out = format!("{}: {}\n\n", Tone::Heading.paint(&region.name.to_string()), tone.paint(&state));
    _ = writeln!(out, "  since      {}", or_dash(region.since.map(in_seconds)));
    if let Some(at) = region.stopped_outside {
        let at = in_seconds(at);
        _ = writeln!(out, "  stopped    at {at} by systemctl or another program, not by the supervisor");
    }
    _ = writeln!(out, "  address    {}, data port {}, repair port {}", region.address, region.port, region.repair_port);
    _ = writeln!(out, "  uuid       {}", or_dash(region.uuid));
    _ = writeln!(out, "  process    {}", or_dash(region.pid));
    _ = writeln!(out, "  runs       {}", program(region));
    _ = writeln!(out, "  connected  {}", peers(region));
    _ = writeln!(out, "  scrubbed   {}", scrubbed(region));
    _ = writeln!(out, "  unit       crucible-downstairs@{}.service", region.name);
    out += &faults(region);
    let subjects =
        [format!("region {}", region.name), format!("port {}", region.port), format!("port {}", region.repair_port)];
    let own: Vec<_> = all.iter().filter(|check| subjects.contains(&check.subject)).cloned().collect();
    if !own.is_empty() {
        out += &format!("\n{}", checks::text(&own));
    }
    out
}

/// When the region was last scrubbed, and what was found.
fn scrubbed(region: &Region) -> String {
    let Some(scrub) = &region.scrub else { return "never".into() };
    let last = match scrub.completed {
        Some(at) => format!("at {}", in_seconds(at)),
        None => "never whole".into(),
    };
    let since = match (scrub.ended, &scrub.failed) {
        (_, Some(why)) => format!("; the last one could not go on: {}", clean::line(why)),
        (Some(ended), None) if scrub.completed.is_none() && scrub.begun == ended => {
            format!("; verified at {}, after the machine ended without a shutdown", in_seconds(ended))
        }
        (None, None) => format!("; the next one was begun at {}", in_seconds(scrub.begun)),
        (Some(ended), None) if scrub.completed.is_none_or(|at| at < ended) && scrub.unreadable == 0 => {
            format!("; the last one was cancelled at {}", in_seconds(ended))
        }
        _ => String::new(),
    };
    match (scrub.rotten, scrub.unreadable) {
        (0, 0) if scrub.completed.is_some() => format!("{last}{since}; nothing is wrong"),
        (0, 0) => format!("{last}{since}"),
        (rotten, 0) => format!("{last}{since}; {rotten} block(s) are not what their checksums say"),
        (rotten, unread) => {
            format!("{last}{since}; {rotten} block(s) are not what their checksums say, {unread} place(s) not readable")
        }
    }
}

/// What is wrong with which block, and what the volume's other regions on this sled have there.
fn faults(region: &Region) -> String {
    let Some(scrub) = region.scrub.as_ref().filter(|scrub| !scrub.faults.is_empty()) else { return String::new() };
    let mut out = String::from("\n");
    for fault in &scrub.faults {
        let text = fault.to_string();
        _ = writeln!(out, "  {}", Tone::Bad.paint(&clean::line(&text)));
        for sibling in &fault.siblings {
            let has = match (sibling.found, sibling.right) {
                (Some(found), true) if fault.wrong.expected() == Some(found) => "has what this context says".to_owned(),
                (Some(found), true) => format!("has {found}, as its own context says"),
                (Some(found), false) => format!("has {found}, which is not what its own context says"),
                (None, _) => "cannot be read there".to_owned(),
            };
            _ = writeln!(out, "      {} {has}", sibling.region);
        }
    }
    let more = (scrub.rotten + scrub.unreadable).saturating_sub(scrub.faults.len() as u64);
    if more > 0 {
        _ = writeln!(out, "  and {more} more");
    }
    out
}

fn program(region: &Region) -> String {
    match (&region.version, region.message_version) {
        (Some(version), Some(messages)) => format!("{version}, message version {messages}"),
        _ => "-".into(),
    }
}
