//! `sledctl volume show`: one volume, its regions, who has it, and why it is not ready.

use crate::api::{Held, Operation};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, ago, named};
use crate::cli::view::{self, View, Watch};
use crate::cli::{checks, region};
use crate::names::VolumeName;
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::Tone;
use crate::wire::{Holder, Volume};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Time for which a change is waited for: what is told of times is not older than that.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);

/// Show a volume, its regions, and why it is not ready.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The volume.
    pub(super) volume: VolumeName,
    #[command(flatten)]
    pub(super) watch: Watch,
}

impl Show {
    /// Show the volume; `Ok(false)` if it is not ready.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        view::show(self, client, output, self.watch).await
    }
}

impl View for Show {
    type Answer = Volume;

    async fn ask(&self, client: &Client) -> Result<Volume, Failure> {
        client.volume(&self.volume).await
    }

    fn body<'a>(&self, volume: &'a Volume) -> impl Serialize + 'a {
        volume
    }

    fn names(&self, volume: &Volume) -> Vec<String> {
        vec![volume.volume.to_string()]
    }

    fn text(&self, volume: &Volume, screen: Screen) -> String {
        text(volume, screen)
    }

    fn is_well(&self, volume: &Volume) -> bool {
        volume.ready
    }

    async fn change(&self, client: &Client, volume: &Volume) {
        let (wait, revision) = (Some(Held(CHANGE_LIMIT)), Some(volume.revision));
        let shown = Operation::ShowVolume { volume: self.volume.clone(), wait, revision };
        // What the answer is, is asked for anew; and one that does not come is told of then.
        _ = client.ask::<Volume>(&shown).await;
    }
}

fn text(volume: &Volume, screen: Screen) -> String {
    let ready = if volume.ready { Tone::Well.paint("ready") } else { Tone::Bad.paint("not ready") };
    let mut out = format!("{}: {ready}\n\n", Tone::Heading.paint(volume.volume.as_str()));
    let hosts = volume.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    _ = writeln!(out, "  size             {}", spoken(volume.size_bytes));
    _ = writeln!(out, "  hosts            {}", if hosts.is_empty() { "anyone" } else { &hosts });
    if let Some(holder) = &volume.holder {
        let who = named(&holder.address, holder.host.as_ref());
        let (generation, since, kept) = (holder.generation, ago(holder.since), kept(volume, holder));
        _ = writeln!(out, "  ticket           {who}, generation {generation}, {since} ago{kept}");
        let denied: Vec<_> = holder.denied.iter().map(ToString::to_string).collect();
        if !denied.is_empty() {
            _ = writeln!(out, "  cut off          {}", denied.join(" "));
        }
    }
    for host in &volume.attached {
        let (who, regions) = (named(&host.address, host.host.as_ref()), host.regions.len());
        _ = writeln!(out, "  attached         {who}, to {regions} region(s), for {}", ago(host.since));
    }
    _ = writeln!(out, "  fault tolerance  {}", tolerance(volume.fault_tolerance));
    _ = writeln!(out, "  revision         {}\n", volume.revision);
    out += &region::table(&volume.regions, screen);
    if !volume.checks.is_empty() {
        out += &format!("\n{}", checks::text(&volume.checks));
    }
    out
}

/// Say whether the holder of a ticket that is not connected keeps a volume from others.
fn kept(volume: &Volume, holder: &Holder) -> &'static str {
    let attached = volume.attached.iter().any(|host| host.address == holder.address);
    match (holder.released, holder.keeps) {
        (true, _) => "; it has let go of it",
        (false, Some(true)) if !attached => "; away, and kept from others until it lets go or stays away",
        (false, Some(false)) if !attached => "; away, and no more kept from others",
        _ => "",
    }
}

fn tolerance(sleds: usize) -> String {
    match sleds {
        0 => "none: it does not survive the loss of a sled".into(),
        1 => "any one sled may fail".into(),
        more => format!("any {more} sleds may fail"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_ticket_it_is_told_whether_others_wait_for_its_holder() {
        let shown = |released: bool, keeps: Option<bool>, attached: bool| {
            let mut body: serde_json::Value =
                serde_json::from_str(include_str!("../../attach/tests/volume.json")).unwrap();
            let (address, since) = ("192.168.4.17", "2026-01-25T00:00:00Z");
            body["holder"] = json!({"address": address, "generation": 7, "since": since, "released": released,
                "keeps": keeps});
            let host = json!({"address": address, "since": since, "regions": ["still-fawn-0"]});
            body["attached"] = if attached { json!([host]) } else { json!([]) };
            let text = text(&serde_json::from_value(body).unwrap(), Screen::NONE);
            let line = text.lines().find(|line| line.contains("generation 7")).unwrap();
            line.split_once(';').map(|(_, kept)| kept.trim().to_owned()).unwrap_or_default()
        };
        assert!(shown(false, Some(true), false).contains("kept from others"));
        assert!(shown(false, Some(false), false).contains("no more kept"));
        assert!(shown(true, Some(false), false).contains("let go"));
        // A holder that is there, and one of which a sled of before does not say.
        assert_eq!((shown(false, Some(true), true), shown(false, None, false)), (String::new(), String::new()));
    }
}
