//! The answers as a person reads them: what is wrong first seen, and why beside it.

use super::client::Failure;
use crate::check::Severity;
use crate::size;
use crate::table::{Cell, Table, Tone, plain};
use crate::terminal;
use crate::times::in_seconds;
use crate::wire::{Check, Holder, Maintenance, Network, Proposal, Region, Sled, State, Storage, Volume, Volumes};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Prints a value: as JSON, or as a person reads it.
pub(super) fn print<T: Serialize + ?Sized>(
    json: bool,
    value: &T,
    show: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let printed = match json {
        true => terminal::json(value),
        false => terminal::out(&show(value)),
    };
    Ok(printed?)
}

/// `sledctl status`.
pub(super) fn status(sled: &Sled) -> String {
    let count = |severity| sled.checks.iter().filter(|check| check.severity == severity).count();
    let (blocking, warnings) = (count(Severity::Blocking), count(Severity::Warning));
    let health = match (blocking, warnings) {
        (0, 0) => Tone::Well.paint("well"),
        (0, warnings) => Tone::Warning.paint(&format!("well, {warnings} warning(s)")),
        (blocking, warnings) => Tone::Bad.paint(&format!("not well: {blocking} blocking, {warnings} warning(s)")),
    };
    let mut out = format!("{} {}: {health}\n\n", Tone::Heading.paint(sled.sled.as_str()), sled.address);
    _ = writeln!(out, "  network   {}", network(&sled.network));
    _ = writeln!(out, "  storage   {}", storage(&sled.storage));
    _ = writeln!(out, "  port map  {}", sled.port_map);
    _ = writeln!(out, "  sledd     {}, up {}\n", sled.version, ago(sled.started));
    out += &volumes(&sled.brief());
    if !sled.checks.is_empty() {
        out += &format!("\n{}", alike(&sled.checks));
    }
    out
}

/// The conditions at a glance: those with one code and cause are shown once.
fn alike(all: &[Check]) -> String {
    let mut rest = all;
    let mut out = String::new();
    while let Some((first, _)) = rest.split_first() {
        let same = rest.iter().take_while(|check| (check.code, &check.cause) == (first.code, &first.cause)).count();
        out += &one_check(first, same - 1);
        rest = &rest[same..];
    }
    out
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
            let addresses = addresses.iter().filter(|address| address.is_ipv4());
            let addresses = addresses.map(ToString::to_string).collect::<Vec<_>>().join(" ");
            format!("{} {addresses}", network.bridge)
        }
    };
    format!("{nic}{}; {bridge}", speed(network.usb_mbps, "USB "))
}

fn storage(storage: &Storage) -> String {
    match storage.mounted {
        true => {
            format!(
                "{}: {} free of {}, {} promised",
                storage.root,
                size::spoken(storage.free_bytes),
                size::spoken(storage.capacity_bytes),
                size::spoken(storage.promised_bytes)
            )
        }
        false => Tone::Bad.paint(&format!("{} is not mounted", storage.root)),
    }
}

/// `sledctl volume list`.
pub(super) fn volumes(volumes: &Volumes) -> String {
    let mut table = Table::new(&["VOLUME", "READY", "SIZE", "SERVING", "WHY NOT"]);
    for volume in &volumes.volumes {
        let why: Vec<_> = volume.blocking.iter().map(|code| code.as_str()).collect();
        table.row(vec![
            plain(&volume.volume),
            yes(volume.ready),
            plain(size::spoken(volume.size_bytes)),
            plain(format!("{} of {}", volume.serving, volume.regions)),
            plain(why.join(" ")),
        ]);
    }
    table.text()
}

fn yes(well: bool) -> Cell {
    if well { ("yes".into(), Tone::Well) } else { ("no".into(), Tone::Bad) }
}

/// `sledctl volume show`.
pub(super) fn volume(volume: &Volume) -> String {
    let ready = if volume.ready { Tone::Well.paint("ready") } else { Tone::Bad.paint("not ready") };
    let mut out = format!("{}: {ready}\n\n", Tone::Heading.paint(volume.volume.as_str()));
    let hosts = volume.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    _ = writeln!(out, "  size             {}", size::spoken(volume.size_bytes));
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
    out += &regions(&volume.regions);
    if !volume.checks.is_empty() {
        out += &format!("\n{}", checks(&volume.checks));
    }
    out
}

/// What the holder of a ticket that is not connected keeps from others.
fn kept(volume: &Volume, holder: &Holder) -> &'static str {
    let attached = volume.attached.iter().any(|host| host.address == holder.address);
    match (holder.released, holder.keeps) {
        (true, _) => "; it has let go of it",
        (false, Some(true)) if !attached => "; away, and kept from others until it lets go or stays away",
        (false, Some(false)) if !attached => "; away, and no more kept from others",
        _ => "",
    }
}

/// An address, with its name if it has one.
fn named(address: &IpAddr, name: Option<&String>) -> String {
    name.map_or_else(|| address.to_string(), |name| format!("{address} ({name})"))
}

fn tolerance(sleds: usize) -> String {
    match sleds {
        0 => "none: it does not survive the loss of a sled".into(),
        1 => "any one sled may fail".into(),
        more => format!("any {more} sleds may fail"),
    }
}

/// `sledctl region list`.
pub(super) fn regions(regions: &[Region]) -> String {
    let mut table = Table::new(&["REGION", "STATE", "FOR", "PORT", "REPAIR", "PID", "UUID", "CONNECTED"]);
    for region in regions {
        table.row(vec![
            plain(&region.name),
            state(region),
            plain(region.since.map(ago).unwrap_or_default()),
            plain(region.port),
            plain(region.repair_port),
            plain(or_dash(region.pid)),
            plain(or_dash(region.uuid)),
            plain(peers(region)),
        ]);
    }
    table.text()
}

fn state(region: &Region) -> Cell {
    let tone = match region.state {
        None => return (format!("on {}", region.sled), Tone::Faint),
        Some(State::Serving) => Tone::Well,
        Some(State::Creating | State::Starting) => Tone::Warning,
        Some(_) => Tone::Bad,
    };
    (region.state.map(|state| state.to_string()).unwrap_or_default(), tone)
}

fn program(region: &Region) -> String {
    match (&region.version, region.message_version) {
        (Some(version), Some(messages)) => format!("{version}, message version {messages}"),
        _ => "-".into(),
    }
}

fn peers(region: &Region) -> String {
    let mut peers: Vec<_> = region.connected.iter().map(|peer| named(&peer.address, peer.host.as_ref())).collect();
    peers.dedup();
    if peers.is_empty() { "-".into() } else { peers.join(" ") }
}

pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// `sledctl region show`.
pub(super) fn region(region: &Region, all: &[Check]) -> String {
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
    _ = writeln!(out, "  unit       crucible-downstairs@{}.service", region.name);
    let subjects =
        [format!("region {}", region.name), format!("port {}", region.port), format!("port {}", region.repair_port)];
    let own: Vec<_> = all.iter().filter(|check| subjects.contains(&check.subject)).cloned().collect();
    if !own.is_empty() {
        out += &format!("\n{}", checks(&own));
    }
    out
}

/// `sledctl downstairs`.
pub(super) fn programs(regions: &[Region]) -> String {
    let mut table = Table::new(&["REGION", "STATE", "PID", "VERSION", "MESSAGES"]);
    for region in regions {
        table.row(vec![
            plain(&region.name),
            state(region),
            plain(or_dash(region.pid)),
            plain(or_dash(region.version.as_ref())),
            plain(or_dash(region.message_version)),
        ]);
    }
    table.text()
}

/// `sledctl maintenance`.
pub(super) fn maintenance(now: Option<&Maintenance>) -> String {
    let Some(now) = now else { return "no maintenance: hosts may attach\n".into() };
    let reason = now.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let until = now.until.map_or_else(|| "sledctl maintenance off".into(), |until| in_seconds(until).to_string());
    format!(
        "maintenance{reason}\n  since {}, until {until}; no host may attach a volume meanwhile\n",
        in_seconds(now.since)
    )
}

/// `sledctl region adopt --dry-run`.
pub(super) fn proposals(proposals: &[Proposal]) -> String {
    if proposals.is_empty() {
        return "nothing waits to be adopted\n".into();
    }
    let mut table = Table::new(&["REGION", "FROM", "UNIT", "CONNECTED", "UUID", ""]);
    for proposal in proposals {
        let hosts: Vec<_> = proposal.connected.iter().map(ToString::to_string).collect();
        let verdict = match &proposal.problem {
            None => ("would be adopted".into(), Tone::Well),
            Some(problem) => (problem.clone(), Tone::Bad),
        };
        table.row(vec![
            plain(&proposal.region),
            plain(or_dash(proposal.from.as_ref())),
            plain(or_dash(proposal.unit.as_ref())),
            plain(if hosts.is_empty() { "-".into() } else { hosts.join(" ") }),
            plain(or_dash(proposal.uuid)),
            verdict,
        ]);
    }
    table.text()
}

/// `sledctl checks`.
pub(super) fn checks(checks: &[Check]) -> String {
    if checks.is_empty() {
        return "nothing is wrong\n".into();
    }
    checks.iter().map(|check| one_check(check, 0)).collect()
}

fn one_check(check: &Check, alike: usize) -> String {
    let tone = match check.severity {
        Severity::Blocking => Tone::Bad,
        Severity::Warning => Tone::Warning,
        Severity::Information => Tone::Faint,
    };
    let head = tone.paint(&format!("{} {}", check.severity, check.code));
    let others = if alike == 0 { String::new() } else { format!(" and {alike} more (sledctl checks)") };
    let arrow = Tone::Faint.paint("->");
    let (subject, since) = (&check.subject, ago(check.since));
    format!("{head}  {subject}{others}, for {since}\n    {}\n    {arrow} {}\n", check.cause, check.remedy)
}

/// How long ago, in the largest unit that is not zero.
pub(super) fn ago(since: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
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
                serde_json::from_str(include_str!("../attach/tests/volume.json")).unwrap();
            let (address, since) = ("192.168.4.17", "2026-01-25T00:00:00Z");
            body["holder"] = json!({"address": address, "generation": 7, "since": since, "released": released,
                "keeps": keeps});
            let host = json!({"address": address, "since": since, "regions": ["still-fawn-0"]});
            body["attached"] = if attached { json!([host]) } else { json!([]) };
            let text = volume(&serde_json::from_value(body).unwrap());
            let line = text.lines().find(|line| line.contains("generation 7")).unwrap();
            line.split_once(';').map(|(_, kept)| kept.trim().to_owned()).unwrap_or_default()
        };
        assert!(shown(false, Some(true), false).contains("kept from others"));
        assert!(shown(false, Some(false), false).contains("no more kept"));
        assert!(shown(true, Some(false), false).contains("let go"));
        // One that is there, and what a sled of before does not say.
        assert_eq!((shown(false, Some(true), true), shown(false, None, false)), (String::new(), String::new()));
    }
}
