//! Glance at a volume on this host: what serves it, what waits, what is kept, and where it is mounted; the worst
//! last, with what to do, where the eye ends. Pure.

use super::findings::{Finding, length};
use super::here::Here;
use super::show::short;
use super::state::{Found, PauseState, RelayState, ServerState, State, Took};
use crate::check::Severity;
use crate::size;
use crate::table::{Cell, Table, Tone, plain};
use crate::times::in_seconds;
use std::fmt::Write as _;

/// The screen of `crucible-attach status V`, below what the sleds say.
pub(super) fn one(here: &Here, findings: &[Finding]) -> String {
    let (word, tone) = summary(here);
    let mut out = format!("\n{}: {}\n\n", Tone::Heading.paint("this host"), tone.paint(&word));
    if let Some(state) = here.state() {
        lines(&mut out, state);
    }
    match &here.device {
        Some(Found::There(device)) => {
            line(
                &mut out,
                "device",
                &format!("{}, {}, /dev/crucible/{}", device.path, size::spoken(device.size_bytes), here.volume),
            );
        }
        Some(Found::None) if here.concerns() => line(&mut out, "device", "none"),
        _ => {}
    }
    if let Some(Found::There(mount)) = &here.mount {
        let how = if mount.read_only { Tone::Bad.paint("read-only") } else { "read and write".into() };
        let also = if mount.also.is_empty() { String::new() } else { format!("; and at {}", mount.also.join(", ")) };
        line(&mut out, "mount", &format!("{}, {}, {how}{}", short(&mount.path), mount.file_system, short(&also)));
    } else if matches!((&here.mount, &here.device), (Some(Found::None), Some(Found::There(_)))) {
        let to_be = here.mounts_at.iter().flatten().next().map(|at| at.display().to_string());
        let said = to_be.map_or_else(|| "none".into(), |at| Tone::Bad.paint(&format!("not mounted at {}", short(&at))));
        line(&mut out, "mount", &said);
    }
    if let Some(Found::There(storage)) = &here.storage {
        let active = match storage.active {
            Some(true) => "active".to_owned(),
            Some(false) => Tone::Bad.paint("not active"),
            None => "not known whether active".to_owned(),
        };
        let nodes = storage.nodes.as_ref().map_or("all nodes".into(), |nodes| format!("on {nodes}"));
        line(&mut out, "storage", &format!("{} of Proxmox, {active}, {nodes}", storage.name));
    }
    out + &wrong(None, findings)
}

fn line(out: &mut String, name: &str, text: &str) {
    _ = writeln!(out, "  {name:<9} {text}");
}

/// The state of the volume in a word.
fn summary(here: &Here) -> (String, Tone) {
    let Some(state) = here.state() else {
        return match (&here.relay, here.configured) {
            (None, _) => ("not known".into(), Tone::Warning),
            (Some(_), true) => ("no relay serves it".into(), Tone::Bad),
            (Some(_), false) => ("it is not attached here".into(), Tone::Plain),
        };
    };
    match &state.relay {
        None => ("waits for the volume".into(), Tone::Bad),
        Some(RelayState { held: Some(pause), .. }) => {
            (format!("requests are held for {}", length(pause.seconds)), Tone::Bad)
        }
        Some(RelayState { serves: true, .. }) => ("served".into(), Tone::Well),
        Some(_) => ("about to be served".into(), Tone::Warning),
    }
}

fn lines(out: &mut String, state: &State) {
    match &state.ticket {
        Some(ticket) => line(
            out,
            "ticket",
            &format!(
                "generation {}, won {} ago ({})",
                ticket.generation,
                length(ticket.since_seconds),
                in_seconds(ticket.since)
            ),
        ),
        None => line(out, "ticket", "none yet"),
    }
    match &state.server {
        Some(server) => {
            line(out, "server", &activity(server));
            line(
                out,
                "",
                &format!("process {}, for {}, {}", server.pid, length(server.since_seconds), short(&server.program)),
            );
        }
        None => line(out, "server", &Tone::Bad.paint("none")),
    }
    if let Some(why) = &state.trouble {
        line(out, "", &short(&why.message));
    }
    if let Some(relay) = &state.relay {
        requests(out, relay);
    }
    line(
        out,
        "relay",
        &format!("process {}, for {}, version {}", state.pid, length(state.running_seconds), short(&state.version)),
    );
}

fn activity(server: &ServerState) -> String {
    match (&server.activity, &server.silent) {
        (Some(super::activity::Activity::Active), _) => Tone::Well.paint("active"),
        (Some(activity), _) => Tone::Warning.paint(&activity.to_string()),
        (None, Some(why)) => Tone::Warning.paint(&format!("does not say how it is: {}", short(why))),
        (None, None) => "does not say how it is".into(),
    }
}

fn requests(out: &mut String, relay: &RelayState) {
    let oldest = relay.oldest_request_seconds.map(|oldest| format!(", the first for {}", length(oldest)));
    line(
        out,
        "requests",
        &format!("{} wait{}; {} answered", relay.requests, oldest.unwrap_or_default(), relay.answered),
    );
    let kept = format!(
        "{} writes of {}, {} of {}",
        relay.kept_writes,
        relay.most_kept_writes,
        size::spoken(relay.kept_bytes),
        size::spoken(relay.most_kept_bytes)
    );
    line(out, "kept", &kept);
    if let Some(PauseState { seconds, why, .. }) = &relay.held {
        line(out, "held", &Tone::Bad.paint(&format!("for {}: {}", length(*seconds), short(why))));
    }
    if let Some(PauseState { seconds, why, ago_seconds }) = &relay.last_pause {
        let (all, together) = (relay.pauses, length(relay.paused_seconds));
        line(
            out,
            "pauses",
            &format!(
                "{all}, {together} together; the last {} ago, for {}:",
                length(ago_seconds.unwrap_or_default()),
                length(*seconds)
            ),
        );
        line(out, "", &short(why));
    }
    let again = match relay.replays {
        0 => String::new(),
        replays => format!("; {} writes given again, to {replays} of them", relay.replayed_writes),
    };
    line(out, "servers", &format!("{} so far{again}", relay.servers));
    let told = |of: fn(Took) -> f64| latency(relay, of);
    match told(|took| took.median_seconds) {
        None => line(out, "latency", &format!("no requests in the last {:.0} s", relay.latency.over_seconds)),
        Some(medians) => {
            line(out, "latency", &format!("{medians} (medians of {:.0} s)", relay.latency.over_seconds));
            line(out, "", &format!("at worst {}", told(|took| took.worst_seconds).unwrap_or_default()));
        }
    }
}

/// The latency of requests, by the kinds that there were; `None` if there were none.
fn latency(relay: &RelayState, of: fn(Took) -> f64) -> Option<String> {
    let kinds = [("read", relay.latency.read), ("write", relay.latency.write), ("flush", relay.latency.flush)];
    let told = kinds.into_iter().filter_map(|(kind, took)| Some(format!("{kind} {}", length(of(took?)))));
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The findings, each with what to do; `of` names the volume where there are several.
fn wrong(of: Option<&str>, findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let tone = match finding.severity {
            Severity::Blocking => Tone::Bad,
            Severity::Warning => Tone::Warning,
            Severity::Information => Tone::Plain,
        };
        let severity = tone.paint(&finding.severity.to_string());
        let of = of.filter(|of| *of != finding.subject).map(|of| format!("{of}: ")).unwrap_or_default();
        _ = writeln!(out, "\n{severity} {}  {of}{}", finding.code, short(&finding.subject));
        _ = writeln!(out, "    {}\n    -> {}", short(&finding.cause), short(&finding.remedy));
    }
    out
}

/// The screen of `crucible-attach status`: a line a volume, and below it what is wrong.
pub(super) fn all(volumes: &[(&Here, &[Finding])]) -> String {
    let mut table = Table::new(&["VOLUME", "HERE", "SERVER", "WAIT", "KEPT", "DEVICE", "MOUNT"]);
    volumes.iter().for_each(|(here, _)| table.row(row(here)));
    let below = volumes.iter().map(|(here, findings)| wrong(Some(here.volume.as_str()), findings));
    table.text() + &below.collect::<String>()
}

fn row(here: &Here) -> Vec<Cell> {
    let word = match summary(here) {
        (_, tone @ Tone::Bad) if here.state().is_none() => ("down".to_owned(), tone),
        (word, tone) => (
            word.replace("requests are held for", "held")
                .replace("waits for the volume", "waits")
                .replace("it is not attached here", "-"),
            tone,
        ),
    };
    let relay = here.state().and_then(|state| state.relay.as_ref());
    let server = here.state().and_then(|state| state.server.as_ref());
    let server = match server.map(|server| &server.activity) {
        Some(Some(super::activity::Activity::Active)) => ("active".to_owned(), Tone::Well),
        Some(Some(activity)) => (activity.word().to_owned(), Tone::Warning),
        Some(None) => ("silent".to_owned(), Tone::Warning),
        None => plain("-"),
    };
    let device = here.device.as_ref().and_then(Found::there).map_or("-", |device| &device.path);
    let mount = match here.mount.as_ref().and_then(Found::there) {
        Some(mount) if mount.read_only => (format!("{} (read-only)", short(&mount.path)), Tone::Bad),
        Some(mount) => plain(short(&mount.path)),
        None => plain("-"),
    };
    vec![
        plain(&here.volume),
        word,
        server,
        plain(relay.map_or("-".into(), |relay| relay.requests.to_string())),
        plain(relay.map_or("-".into(), |relay| size::spoken(relay.kept_bytes))),
        plain(device.trim_start_matches("/dev/")),
        mount,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::findings;

    /// The screen is read aloud, and no line is longer than a terminal.
    #[test]
    fn a_screen_has_everything_and_fits_a_terminal() {
        let here = Here::example();
        let text = anstream::adapter::strip_str(&one(&here, &findings::of(&here, None))).to_string();
        for said in [
            "this host: served",
            "generation 1769300000, won 3 h 0 min ago (2026-01-25T00:00:00Z)",
            "3 wait, the first for 2.0 ms; 1000 answered",
            "12 writes of 500, 48 KiB of 32 MiB",
            "2, 1.3 s together; the last 5 min 0 s ago, for 400 ms:",
            "read 0.21 ms, flush 0.80 ms (medians of 60 s)",
            "at worst read 3.4 ms, flush 40.0 ms",
            "/dev/nbd0, 12.5 GiB, /dev/crucible/still-fawn",
            "/mnt/crucible/still-fawn, ext4, read and write",
            "crucible-still-fawn of Proxmox, active, on pve",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        let wide = text.lines().map(|line| line.chars().count()).max();
        assert!(wide <= Some(80), "{wide:?}\n{text}");
        let table = anstream::adapter::strip_str(&all(&[(&here, &[])])).to_string();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.lines().nth(1).unwrap().starts_with("still-fawn  served  active  3 "), "{table}");
    }
}
