//! `sledctl status`: a sled at a glance, what is wrong first.

use super::checks;
use super::client::Client;
use super::failure::Failure;
use super::print::{Output, ago};
use super::view::{View, Watch, show};
use super::volume;
use crate::check::Severity;
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::Tone;
use crate::wire::{Network, Sled, Storage};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Show everything at a glance: network, storage, volumes, and what is wrong.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    watch: Watch,
}

impl StatusCommand {
    /// Show the sled; `Ok(false)` if it is not well.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for StatusCommand {
    type Answer = Sled;

    async fn ask(&self, client: &Client) -> Result<Sled, Failure> {
        client.sled().await
    }

    fn body<'a>(&self, sled: &'a Sled) -> impl Serialize + 'a {
        sled
    }

    fn names(&self, sled: &Sled) -> Vec<String> {
        vec![sled.sled.to_string()]
    }

    fn text(&self, sled: &Sled, screen: Screen) -> String {
        text(sled, screen)
    }

    fn is_well(&self, sled: &Sled) -> bool {
        sled.well
    }
}

/// Write a sled's status.
pub(super) fn text(sled: &Sled, screen: Screen) -> String {
    let checks = if sled.checks.is_empty() { String::new() } else { format!("\n{}", checks::glance(&sled.checks)) };
    format!("{}\n{}\n{}{checks}", headline(sled), parts(sled, screen), volume::table(&sled.brief(), screen))
}

/// Write a sled's status for a screen that may not have room for all of it: what is wrong stands at the top;
/// `more` is said of it as well.
pub(super) fn headline_first(sled: &Sled, more: &str, screen: Screen) -> String {
    let blocking: Vec<_> = sled.checks.iter().filter(|check| check.severity == Severity::Blocking).cloned().collect();
    let others: Vec<_> = sled.checks.iter().filter(|check| check.severity != Severity::Blocking).cloned().collect();
    let part = |text: String| if text.is_empty() { text } else { text + "\n" };
    let (first, last) = (part(checks::glance(&blocking)), checks::glance(&others));
    let volumes = part(volume::table(&sled.brief(), screen));
    format!("{}\n{first}{}{more}\n{volumes}{last}", headline(sled), parts(sled, screen))
}

fn headline(sled: &Sled) -> String {
    format!("{} {}: {}\n", Tone::Heading.paint(sled.sled.as_str()), sled.address, health(sled))
}

fn parts(sled: &Sled, screen: Screen) -> String {
    let mut out = String::new();
    _ = writeln!(out, "  network   {}", network(&sled.network));
    _ = writeln!(out, "  storage   {}", storage(&sled.storage));
    _ = writeln!(out, "  port map  {}", digest(&sled.port_map, screen));
    _ = writeln!(out, "  sledd     {}, up {}", sled.version, ago(sled.started));
    out
}

/// Write a digest: on a screen as much of it as people compare.
fn digest(digest: &str, screen: Screen) -> &str {
    const SHORT: usize = "sha256:".len() + 12;
    if screen.columns.is_some() { digest.get(..SHORT).unwrap_or(digest) } else { digest }
}

fn health(sled: &Sled) -> String {
    let count = |severity| sled.checks.iter().filter(|check| check.severity == severity).count();
    match (count(Severity::Blocking), count(Severity::Warning)) {
        (0, 0) => Tone::Well.paint("well"),
        (0, warnings) => Tone::Warning.paint(&format!("well, {warnings} warning(s)")),
        (blocking, warnings) => Tone::Bad.paint(&format!("not well: {blocking} blocking, {warnings} warning(s)")),
    }
}

fn network(network: &Network) -> String {
    let speed = |mbps: Option<u32>, what: &str| mbps.map(|mbps| format!(", {what}{mbps} Mbit/s")).unwrap_or_default();
    let nic = match network.carrier {
        None => Tone::Bad.paint(&format!("{} is not there", network.nic)),
        Some(false) => Tone::Bad.paint(&format!("{} has no link", network.nic)),
        Some(true) => format!("{} up{}", network.nic, speed(network.link_mbps, "")),
    };
    let bridge = match &network.addresses {
        None => Tone::Bad.paint(&format!("no {}", network.bridge)),
        Some(addresses) => {
            // Those that nobody has given it are no news: each link of IPv6 has one.
            let on_link = |address: &&IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
            let addresses = addresses.iter().filter(|address| !on_link(address));
            let addresses = addresses.map(ToString::to_string).collect::<Vec<_>>().join(" ");
            format!("{} {addresses}", network.bridge)
        }
    };
    format!("{nic}{}; {bridge}", speed(network.usb_mbps, "USB "))
}

fn storage(storage: &Storage) -> String {
    if !storage.mounted {
        return Tone::Bad.paint(&format!("{} is not mounted", storage.root));
    }
    let (free, capacity, promised) = (storage.free_bytes, storage.capacity_bytes, storage.promised_bytes);
    format!("{}: {} free of {}, {} promised", storage.root, spoken(free), spoken(capacity), spoken(promised))
}
