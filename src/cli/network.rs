//! `sledctl network`: the way from the cable to the sled's address, drawn with what is wrong where it is.

mod throughput;

use super::checks;
use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use super::view::{View, Watch, show};
use crate::api::Operation;
use crate::check::{Code, Severity};
use crate::screen::Screen;
use crate::table::Tone;
use crate::wire::{AddressState, Check, NetworkDetail, Spare, Through};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write as _;
use throughput::TestCommand;

const EXAMPLES: &str = "Examples:
  sledctl network              from the cable to the address, with what is wrong where it is
  sledctl network --watch      in place, while somebody plugs
  sledctl network test         what goes through, with a host on the other side";

/// Show the way from the cable to the sled's address: link, adapter, bridge, and what is wrong where.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct NetworkCommand {
    #[command(flatten)]
    watch: Watch,
    #[command(subcommand)]
    command: Option<Deed>,
}

#[derive(Debug, Subcommand)]
enum Deed {
    Test(TestCommand),
}

impl NetworkCommand {
    /// Show the network, or test it; `Ok(false)` if a blocking condition concerns it, or it is slow.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match &self.command {
            Some(Deed::Test(test)) => test.run(client, output).await,
            None => show(self, client, output, self.watch).await,
        }
    }
}

impl View for NetworkCommand {
    type Answer = NetworkDetail;

    async fn ask(&self, client: &Client) -> Result<NetworkDetail, Failure> {
        client.ask(&Operation::ShowNetwork {}).await
    }

    fn body<'a>(&self, detail: &'a NetworkDetail) -> impl Serialize + 'a {
        detail
    }

    fn names(&self, detail: &NetworkDetail) -> Vec<String> {
        vec![detail.network.nic.clone(), detail.network.bridge.clone()]
    }

    fn text(&self, detail: &NetworkDetail, _: Screen) -> String {
        text(detail)
    }

    fn is_well(&self, detail: &NetworkDetail) -> bool {
        detail.checks.iter().all(|check| check.severity != Severity::Blocking)
    }
}

/// Piece of the way that packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Cable,
    Nic,
    /// What lies between the two, as a rule nothing.
    Between,
    Bridge,
    Address,
}

impl Piece {
    const ALL: [Self; 5] = [Self::Cable, Self::Nic, Self::Between, Self::Bridge, Self::Address];

    fn label(self) -> &'static str {
        match self {
            Self::Cable => "cable",
            Self::Nic => "adapter",
            Self::Between => "through",
            Self::Bridge => "bridge",
            Self::Address => "address",
        }
    }

    /// Find the piece that a condition is drawn at.
    fn of(check: &Check) -> Self {
        match check.code {
            Code::NicNoCarrier | Code::NicSlow | Code::NicHalfDuplex | Code::NicFlapping | Code::NicErrors => {
                Self::Cable
            }
            Code::BridgeAddress
            | Code::AddressDuplicate
            | Code::AddressPrefix
            | Code::NoDefaultRoute
            | Code::RouteMissing
            | Code::NeighbourMissing => Self::Address,
            _ if check.subject.starts_with("nic ") => Self::Nic,
            _ => Self::Bridge,
        }
    }

    /// Say what there is of it.
    fn lines(self, detail: &NetworkDetail) -> Vec<String> {
        match self {
            Self::Cable => vec![cable(detail)],
            Self::Nic => adapter(detail),
            Self::Between => between(detail),
            Self::Bridge => vec![bridge(detail)],
            Self::Address => addresses(detail),
        }
    }
}

fn text(detail: &NetworkDetail) -> String {
    let mut out = String::new();
    for piece in Piece::ALL.into_iter().filter(|piece| !piece.lines(detail).is_empty()) {
        if piece != Piece::Cable {
            out += "     │\n";
        }
        for (at, line) in piece.lines(detail).iter().enumerate() {
            let label = if at == 0 { piece.label() } else { "" };
            _ = writeln!(out, "  {label:<9}{line}");
        }
        let own: Vec<_> = detail.checks.iter().filter(|check| Piece::of(check) == piece).cloned().collect();
        for line in if own.is_empty() { String::new() } else { checks::text(&own) }.lines() {
            _ = writeln!(out, "           {line}");
        }
    }
    out
}

fn mtu(mtu: Option<u32>) -> String {
    mtu.map(|mtu| format!(", MTU {mtu}")).unwrap_or_default()
}

fn cable(detail: &NetworkDetail) -> String {
    match (detail.network.carrier, detail.network.link_mbps) {
        (None, _) => Tone::Faint.paint("-"),
        (Some(false), _) => Tone::Bad.paint("no link"),
        (Some(true), None) => "link, at a speed that the driver does not tell".into(),
        (Some(true), Some(mbps)) => {
            let slow = mbps < detail.min_link_mbps;
            let expected = format!(" (expected: {} or more)", detail.min_link_mbps);
            let tone = if slow { Tone::Warning } else { Tone::Well };
            tone.paint(&format!("link at {mbps} Mbit/s{}", if slow { &expected } else { "" }))
        }
    }
}

fn adapter(detail: &NetworkDetail) -> Vec<String> {
    let nic = &detail.network.nic;
    let spare = detail.spare.as_ref().map(spare);
    let Some(adapter) = &detail.adapter else {
        return [Tone::Bad.paint(&format!("{nic} is not there"))].into_iter().chain(spare).collect();
    };
    let up = if adapter.up { Tone::Well.paint("up") } else { Tone::Bad.paint("down") };
    let driver = adapter.driver.as_ref().map(|driver| format!(", driver {driver}")).unwrap_or_default();
    let mut lines = vec![format!("{nic}: {up}{driver}{}", mtu(adapter.mtu))];
    if let Some(mbps) = detail.network.usb_mbps {
        let tone = if mbps < detail.min_usb_mbps { Tone::Warning } else { Tone::Well };
        let at = adapter.usb_path.as_ref().map(|path| format!(" at {path}")).unwrap_or_default();
        lines.push(format!("{}{at}", tone.paint(&format!("USB {mbps} Mbit/s"))));
    }
    lines.extend(spare);
    lines
}

fn spare(spare: &Spare) -> String {
    let speed = spare.link_mbps.map(|mbps| format!(" at {mbps} Mbit/s")).unwrap_or_default();
    let (tone, state) = match (spare.there, spare.carrier, spare.carries) {
        (_, _, true) => (Tone::Warning, "carries in the first one's place".to_owned()),
        (false, ..) => (Tone::Warning, "is not there".to_owned()),
        (true, false, _) => (Tone::Warning, "no link".to_owned()),
        (true, true, _) => (Tone::Well, format!("link{speed}, waits")),
    };
    format!("spare {}: {}", spare.name, tone.paint(&state))
}

fn between(detail: &NetworkDetail) -> Vec<String> {
    let through = detail.adapter.iter().flat_map(|adapter| &adapter.through);
    let vlan = |through: &Through| through.vlan.map_or_else(|| ": bond".into(), |vlan| format!(": VLAN {vlan}"));
    through.map(|through| format!("{}{}", through.name, vlan(through))).collect()
}

fn bridge(detail: &NetworkDetail) -> String {
    let name = &detail.network.bridge;
    let Some(bridge) = &detail.bridge_detail else { return Tone::Bad.paint(&format!("{name} is not there")) };
    let up = if bridge.up { Tone::Well.paint("up") } else { Tone::Bad.paint("down") };
    let port = detail.adapter.as_ref().map(|adapter| match (&adapter.master, adapter.port) {
        (Some(master), Some(state)) if master == name => format!(", the adapter's port is {}", state.as_str()),
        (Some(master), None) if master == name => ", and the adapter is a port of it".into(),
        (Some(master), _) => format!(", and the adapter is a port of {}", Tone::Bad.paint(master)),
        (None, _) => format!(", and the adapter {}", Tone::Bad.paint("is no port of it")),
    });
    let vlan = bridge.vlan.map(|vlan| format!(", VLAN {vlan} on the cable")).unwrap_or_default();
    format!("{name}: {up}{}{vlan}{}", mtu(bridge.mtu), port.unwrap_or_default())
}

fn addresses(detail: &NetworkDetail) -> Vec<String> {
    let seen = detail.bridge_detail.iter().flat_map(|bridge| &bridge.addresses);
    let mut lines: Vec<_> = seen
        .map(|seen| {
            let prefix = seen.prefix.map(|bits| format!("/{bits}")).unwrap_or_default();
            let own = if seen.address == detail.address { ", the sled's" } else { "" };
            let text = format!("{}{prefix}{own}", seen.address);
            match seen.state {
                AddressState::Usable if own.is_empty() => Tone::Faint.paint(&text),
                AddressState::Usable => Tone::Well.paint(&text),
                AddressState::Tentative => Tone::Warning.paint(&format!("{text}, being looked for on other machines")),
                AddressState::Duplicate => Tone::Bad.paint(&format!("{text}, which another machine has as well")),
            }
        })
        .collect();
    if !detail.bridge_detail.iter().flat_map(|bridge| &bridge.addresses).any(|seen| seen.address == detail.address) {
        lines.insert(0, Tone::Bad.paint(&format!("{} is not here", detail.address)));
    }
    lines.push(if detail.default_route { "default route".into() } else { Tone::Faint.paint("no default route") });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn detail() -> NetworkDetail {
        serde_json::from_value(json!({
            "sled": "proper-raptor", "as_of": "2026-01-01T00:00:00Z", "nic": "enx00e04ca81110", "carrier": true,
            "link_mbps": 1000, "usb_mbps": 5000, "bridge": "br0", "addresses": ["192.168.4.189"],
            "adapter": {"up": true, "driver": "r8152", "usb_path": "2-1.3", "mtu": 1500, "master": "br0",
                "port": "forwarding"},
            "bridge_detail": {"up": true, "mtu": 1500, "addresses": [
                {"address": "192.168.4.189", "prefix": 24, "state": "usable"},
                {"address": "fe80::2e0", "prefix": 64, "state": "tentative"}]},
            "address": "192.168.4.189", "default_route": false, "min_link_mbps": 2500, "min_usb_mbps": 5000,
            "checks": [{"code": "NIC_SLOW", "severity": "warning", "subject": "nic enx00e04ca81110",
                "cause": "the link has 1000 Mbit/s, and 2500 are expected",
                "remedy": "check the cable (Cat 5e or better)", "since": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap()
    }

    fn drawn(detail: &NetworkDetail, columns: Option<usize>) -> String {
        let page = anstream::adapter::strip_str(&text(detail)).to_string();
        // For how long it holds depends on when it is asked.
        let page = page.replace(
            &checks::text(&detail.checks).lines().next().map_or(String::new(), |line| {
                let bare = anstream::adapter::strip_str(line).to_string();
                bare[bare.find(", for").unwrap()..].to_owned()
            }),
            "",
        );
        Screen { columns, wide: false }.fold(&page).into_owned()
    }

    const WHOLE: &str = "  cable    link at 1000 Mbit/s (expected: 2500 or more)
           warning NIC_SLOW  nic enx00e04ca81110
               the link has 1000 Mbit/s, and 2500 are expected
               -> check the cable (Cat 5e or better)
     │
  adapter  enx00e04ca81110: up, driver r8152, MTU 1500
           USB 5000 Mbit/s at 2-1.3
     │
  bridge   br0: up, MTU 1500, the adapter's port is forwarding
     │
  address  192.168.4.189/24, the sled's
           fe80::2e0/64, being looked for on other machines
           no default route
";

    #[test]
    fn the_way_is_drawn_with_what_is_wrong_where_it_is() {
        assert_eq!(drawn(&detail(), None), WHOLE);
        assert_eq!(drawn(&detail(), Some(200)), WHOLE);
        assert_eq!(drawn(&detail(), Some(80)), WHOLE);
        let narrow = drawn(&detail(), Some(40));
        assert!(
            narrow.starts_with("  cable    link at 1000 Mbit/s\n           (expected: 2500 or more)\n"),
            "{narrow}"
        );
        assert!(
            narrow.contains("  bridge   br0: up, MTU 1500, the\n           adapter's port is forwarding\n"),
            "{narrow}"
        );
    }

    #[test]
    fn a_vlan_is_drawn_where_it_is() {
        let mut detail = detail();
        detail.bridge_detail.as_mut().unwrap().vlan = Some(5);
        assert!(
            drawn(&detail, None).contains("  bridge   br0: up, MTU 1500, VLAN 5 on the cable, the adapter's port is")
        );
        let upon = Through { name: "enx0.6".into(), vlan: Some(6) };
        detail.adapter.as_mut().unwrap().through = vec![upon];
        detail.spare =
            Some(Spare { name: "eno1".into(), there: true, carrier: true, link_mbps: Some(1000), carries: false });
        let page = drawn(&detail, None);
        assert!(page.contains("           spare eno1: link at 1000 Mbit/s, waits\n"), "{page}");
        detail.spare = None;
        let page = drawn(&detail, None);
        assert!(page.contains("at 2-1.3\n     │\n  through  enx0.6: VLAN 6\n     │\n  bridge   br0"), "{page}");
    }

    #[test]
    fn what_is_not_there_says_so() {
        let mut none = NetworkDetail { adapter: None, bridge_detail: None, checks: Vec::new(), ..detail() };
        none.network.carrier = None;
        assert_eq!(
            anstream::adapter::strip_str(&text(&none)).to_string(),
            "  cable    -\n     │\n  adapter  enx00e04ca81110 is not there\n     │\n  bridge   br0 is not there\n     \
             │\n  address  192.168.4.189 is not here\n           no default route\n"
        );
    }
}
