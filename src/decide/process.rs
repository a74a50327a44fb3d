//! Process and unit of a region, and what they mean once it is known that the region is what it should be: whether it
//! serves, and in what way it does not.

use super::block;
use super::facts::{Active, Beat, Doing, Facts, Holder, Region, Sockets, Start, Stopped, Stranger, Unit};
use super::failure::ended;
use super::finding::Finding;
use super::network;
use super::storage::full;
use super::tls;
use super::verification;
use crate::check::Code;
use crate::config::Configuration;
use crate::port_map::LocalRegion;
use crate::region::Record;
use crate::size;
use crate::systemd::names;
use crate::times::in_seconds;
use crate::wire::State;
use std::net::{IpAddr, SocketAddr};

/// The time that a downstairs takes to hash 128 MiB that were left dirty, in milliseconds: between 250 and 450 were
/// measured.
const HASHING_MS: u64 = 350;
const HASHED_BYTES: u64 = 128 << 20;

/// A state, and what is wrong unless it is [`State::Serving`].
pub(super) type Judged = (State, Vec<Finding>);

/// Judge a region that is there, and not held.
pub(super) fn judge_unit(
    config: &Configuration,
    local: &LocalRegion,
    facts: &Facts,
    region: &Region,
    (record, queued): (&Record, bool),
) -> Judged {
    let Some(unit) = &region.unit else {
        return (State::Stopped, vec![down(local, "systemd has not told its state yet".into())]);
    };
    let mut found: Vec<_> = region.sockets.iter().flat_map(|sockets| strangers(local, sockets)).collect();
    let (state, own) = match unit.active {
        _ if unit.masked && region.alive().is_none() => (State::Stopped, Some(masked(local))),
        Active::Active if region.alive().is_none() => {
            (State::Starting, Some(down(local, format!("its downstairs {}; systemd starts it again", why(region)))))
        }
        Active::Active => judge_process(config, local, facts, region, record),
        // The run that it gave up was another region's, or is to be tried once more.
        Active::Failed if region.is_former(unit.invocation.as_ref()) => {
            not_running(config, local, facts, region, (!found.is_empty(), queued))
        }
        Active::Failed => (State::Failed, Some(gave_up(local, region, unit))),
        Active::Inactive => not_running(config, local, facts, region, (!found.is_empty(), queued)),
        Active::Activating if unit.exit.is_some() => {
            (State::Starting, Some(down(local, format!("its downstairs {}; systemd starts it again", why(region)))))
        }
        Active::Activating => (State::Starting, Some(starting(local, facts))),
        Active::Deactivating => (State::Stopped, Some(down(local, "its unit is being stopped".into()))),
    };
    let state = if found.is_empty() || state != State::Serving { state } else { State::Failed };
    found.extend(own);
    (state, found)
}

type JudgedProcess = (State, Option<Finding>);

fn judge_process(
    config: &Configuration,
    local: &LocalRegion,
    facts: &Facts,
    region: &Region,
    record: &Record,
) -> JudgedProcess {
    let pid = region.alive();
    let Some(pulse) = region.pulse.as_ref().filter(|pulse| Some(pulse.pid) == pid) else {
        return (State::Starting, Some(starting(local, facts)));
    };
    let listens = region
        .sockets
        .as_ref()
        .is_some_and(|sockets| sockets.pid == pid && sockets.data == Holder::Own && sockets.repair == Holder::Own);
    let elsewhere = region.sockets.as_ref().map_or(&[][..], |sockets| &sockets.elsewhere);
    match (&pulse.beat, &pulse.identity) {
        (Beat::Refused, _) if !elsewhere.is_empty() => (State::Failed, Some(moved(local, config.address, elsewhere))),
        (_, Some(Ok(uuid))) if *uuid != record.uuid => {
            let cause =
                format!("what listens on {} says it is {uuid}, and {} is on record", local.repair_port(), record.uuid);
            let remedy = format!("if region.json is right again: sledctl region restart {} --force", local.name);
            (State::Failed, Some(Finding::about_region(local, Code::RegionIdentity, cause, remedy)))
        }
        (Beat::Otherwise, _) => (State::Failed, Some(otherwise(config, local))),
        (Beat::Lost(why), _) => {
            (State::Starting, Some(down(local, format!("its downstairs closed the connection: {why}"))))
        }
        (Beat::Unasked(why), _) => {
            let finding = down(local, format!("it cannot be asked how it is: {why}"));
            let remedy = format!("systemctl restart {}", names::BROKER);
            (State::Starting, Some(Finding { remedy, ..finding }))
        }
        // A full disk has a finding of its own, and is the reason.
        (Beat::Silent, _) if facts.disk.as_ref().is_some_and(full) => (State::Hung, None),
        (Beat::Silent, _) => {
            let retrying = block::retrying(local, facts, region);
            (State::Hung, Some(retrying.unwrap_or_else(|| hung(config, local, region))))
        }
        (Beat::Answering, Some(Ok(_))) if listens => (State::Serving, None),
        (Beat::Answering, Some(Err(why))) => {
            let cause = format!("its repair port {} does not tell who it is: {why}", local.repair_port());
            (State::Starting, Some(Finding { cause, ..starting(local, facts) }))
        }
        _ => (State::Starting, Some(starting(local, facts))),
    }
}

/// The reason why its last downstairs ended, as part of a sentence that begins with "its downstairs".
fn why(region: &Region) -> String {
    let exit = region.unit.as_ref().and_then(|unit| unit.exit).filter(|_| region.alive().is_none());
    match (&region.failure, exit) {
        (Some(failure), _) => failure.cause(),
        (None, Some(exit)) => ended(exit),
        (None, None) => "has ended".into(),
    }
}

fn not_running(
    config: &Configuration,
    local: &LocalRegion,
    facts: &Facts,
    region: &Region,
    (taken, queued): (bool, bool),
) -> JudgedProcess {
    if facts.just_created.contains(&local.name) {
        let cause = "it was just created, and starts when the other creations are done".to_owned();
        return (State::Starting, Some(Finding { cause, ..starting(local, facts) }));
    }
    if verification::is_due(facts, &local.name) && !facts.leaving {
        return (State::Verifying, Some(verification::finding(local, facts)));
    }
    if queued {
        let cause = "it is started when those before it have been".to_owned();
        return (State::Starting, Some(Finding { cause, ..starting(local, facts) }));
    }
    if matches!(region.start, Start::Asked | Start::Granted) {
        return (State::Starting, Some(starting(local, facts)));
    }
    if let (Start::NoPort(port, why), false) = (&region.start, taken) {
        let cause = format!("{why}; it belongs to {}", local.name);
        let remedy = "the region starts by itself when the port is free".to_owned();
        let finding = Finding::about_region(local, Code::PortTaken, cause, remedy);
        return (State::Stopped, Some(Finding { subject: format!("port {port}"), ..finding }));
    }
    if network::is_duplicate(config, facts) && region.start == Start::Idle && !facts.leaving && !taken {
        // The sled's own check says so once.
        return (State::Stopped, None);
    }
    let remedy = format!("it starts by itself when that is over; systemctl status {}", names::unit(&local.name));
    let cause = if facts.intruded(&local.name) {
        "its downstairs does not run: another process has files of it open for writing".into()
    } else {
        waits_for(config, local, facts, region, taken)
    };
    (State::Stopped, Some(Finding::about_region(local, Code::RegionDown, cause, remedy)))
}

/// The reason why a unit that could run does not.
fn waits_for(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region, port_taken: bool) -> String {
    let addresses = facts.network.as_ref().and_then(|network| network.bridge.as_ref()).map(|b| b.addresses.as_slice());
    match (&region.start, &region.failure) {
        _ if facts.leaving => "its downstairs does not run: the machine is being switched off".into(),
        _ if facts.disk.as_ref().is_some_and(|disk| disk.read_only) => {
            "its downstairs does not run: the data disk cannot be written to".into()
        }
        _ if tls::usable(config, facts).is_err() => {
            "its downstairs does not run: the files of [tls] cannot be used".into()
        }
        _ if facts.outdated(&local.name).is_some() => {
            "its downstairs does not run: systemd does not have its unit as it is configured".into()
        }
        _ if port_taken => "its downstairs does not run: a port of its own is taken".into(),
        (Start::Refused(why), _) => format!("systemd does not start it: {}", why.trim_end_matches('.')),
        (Start::Idle, _) if !addresses.unwrap_or_default().contains(&config.address) => {
            format!("its downstairs does not run: it waits until this machine has the address {}", config.address)
        }
        (Start::Idle, None) if stopped(region).is_some() => {
            let at = stopped(region).map(|stopped| in_seconds(stopped.at).to_string()).unwrap_or_default();
            format!("its unit was stopped at {at} by systemctl or another program, not by the supervisor")
        }
        (_, Some(failure)) => format!("its downstairs {}; it is started again when that is over", failure.cause()),
        _ => "its downstairs does not run".into(),
    }
}

/// The stop from outside that ended its last run.
fn stopped(region: &Region) -> Option<&Stopped> {
    let run = &region.unit.as_ref()?.invocation;
    region.stopped.as_ref().filter(|stopped| stopped.run == *run)
}

fn strangers(local: &LocalRegion, sockets: &Sockets) -> Vec<Finding> {
    let ports = [(&sockets.data, local.port), (&sockets.repair, local.repair_port())];
    let taken = ports.into_iter().filter_map(|(holder, port)| match holder {
        Holder::Other(stranger) => Some(port_taken(local, port, stranger)),
        _ => None,
    });
    taken.collect()
}

fn port_taken(local: &LocalRegion, port: u16, stranger: &Stranger) -> Finding {
    let (who, remedy) = match (stranger.pid, &stranger.unit) {
        (Some(pid), Some(unit)) => {
            let remedy = if unit.ends_with(".service") || unit.ends_with(".socket") {
                format!(
                    "systemctl disable --now {unit} (stopped alone, it may be back after a reboot), or, of one that is \
                     not enabled: systemctl stop {unit}"
                )
            } else {
                format!("end process {pid}")
            };
            (format!("process {pid} ({}) of {unit}", stranger.command), remedy)
        }
        (Some(pid), None) => (format!("process {pid} ({})", stranger.command), format!("end process {pid}")),
        (None, _) => ("a process that cannot be seen".into(), format!("find it: ss -tlnp 'sport = :{port}'")),
    };
    let cause = format!("{who} listens on port {port}, which belongs to {}", local.name);
    let remedy = format!("{remedy}; the region starts by itself when the port is free");
    Finding { subject: format!("port {port}"), ..Finding::about_region(local, Code::PortTaken, cause, remedy) }
}

fn down(local: &LocalRegion, cause: String) -> Finding {
    let unit = names::unit(&local.name);
    let remedy = format!("read why: journalctl -u {unit} -n 50; it is started again without a hand");
    Finding::about_region(local, Code::RegionDown, cause, remedy)
}

fn gave_up(local: &LocalRegion, region: &Region, unit: &Unit) -> Finding {
    let name = names::unit(&local.name);
    let cause = format!(
        "its downstairs {}, and systemd gave up after {} restart(s) ({})",
        why(region),
        unit.restarts,
        unit.result
    );
    let remedy = format!("read why: journalctl -u {name} -n 50; it is started again when everything is right");
    Finding::about_region(local, Code::RegionDown, cause, remedy)
}

/// A unit that somebody wants systemd not to start.
fn masked(local: &LocalRegion) -> Finding {
    let unit = names::unit(&local.name);
    let cause = "its downstairs does not run: its unit is masked, so that systemd does not start it".into();
    // The link may lie in /run, and another in /etc.
    let remedy = format!("systemctl unmask {unit} && systemctl unmask --runtime {unit}; it starts by itself then");
    Finding::about_region(local, Code::RegionDown, cause, remedy)
}

/// A downstairs that was started with the values of an earlier configuration.
fn moved(local: &LocalRegion, address: IpAddr, places: &[SocketAddr]) -> Finding {
    let places = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let (port, repair) = (local.port, local.repair_port());
    let cause = format!("its downstairs listens on {places}, and the port map says {port} and {repair} of {address}");
    let remedy = format!("when no host uses it: sledctl region restart {}", local.name);
    Finding::about_region(local, Code::RegionDown, cause, remedy)
}

/// A downstairs that was started before `[tls]` was written, or taken away.
fn otherwise(config: &Configuration, local: &LocalRegion) -> Finding {
    let cause = if config.sled.tls.is_some() {
        "its downstairs was started without TLS, and sled.toml has [tls]"
    } else {
        "its downstairs was started with TLS, and sled.toml has no [tls]"
    };
    let remedy = format!("when no host uses it: sledctl region restart {} --force", local.name);
    Finding::about_region(local, Code::RegionDown, cause.into(), remedy)
}

fn starting(local: &LocalRegion, facts: &Facts) -> Finding {
    let survey = facts.disk.as_ref().and_then(|disk| disk.surveys.get(&local.name));
    let (cause, remedy) = match survey.map_or(0, |survey| survey.dirty) {
        0 => ("its downstairs runs and does not listen yet".to_owned(), "wait".to_owned()),
        dirty => {
            let time = spoken_ms(hashing_ms(local, dirty));
            let cause = format!("its downstairs hashes what a crash left dirty before it listens: {dirty} extent(s)");
            (cause, format!("wait: that takes about {time}"))
        }
    };
    Finding::about_region(local, Code::RegionStarting, cause, remedy)
}

/// The time until a downstairs with so many dirty extents listens, roughly.
fn hashing_ms(local: &LocalRegion, dirty: u32) -> u64 {
    let bytes = local.geometry.block_size * local.geometry.extent_size * u64::from(dirty);
    (bytes * HASHING_MS).div_ceil(HASHED_BYTES)
}

fn spoken_ms(ms: u64) -> String {
    if ms < 1000 { "a second".into() } else { format!("{} s", ms.div_ceil(1000)) }
}

fn hung(config: &Configuration, local: &LocalRegion, region: &Region) -> Finding {
    let doing = region.doing.as_ref().filter(|doing| Some(doing.pid) == region.alive());
    let cause = match doing {
        None => "its downstairs listens, and does not answer".to_owned(),
        Some(doing) => format!("its downstairs listens, and does not answer: {}", activity(doing)),
    };
    let (name, port) = (&local.name, local.port);
    // The downstairs shakes hands with one after the other, and asks nobody twice.
    let unshaken = config.sled.tls.is_some() && region.pulse.as_ref().is_some_and(|pulse| pulse.identity.is_none());
    let remedy = match (doing, config.sled.downstairs.restart_hung_after) {
        (Some(Doing { state: 'T', pid, .. }), _) => format!("kill -CONT {pid}: it goes on where it was stopped"),
        (Some(Doing { state: 't', pid, .. }), _) => format!(
            "a debugger or tracer holds it (TracerPid in /proc/{pid}/status): let it go, and it goes on where it was"
        ),
        (Some(Doing { journal_stopped: true, .. }), _) => {
            "the journal is stopped, and whoever writes to it waits: systemctl restart systemd-journald".to_owned()
        }
        (_, None) if unshaken => format!(
            "with TLS one connection that says nothing keeps out all that come after it: find it (ss -tn 'sport = \
             :{port}') and end it on its host; if there is none, look at the disk (dmesg)"
        ),
        (_, Some(after)) => format!("it is restarted when it has been so for {after}; look at dmesg for the disk"),
        (_, None) => {
            format!("look at the disk first (dmesg); if that is well: sledctl region restart {name}")
        }
    };
    Finding::about_region(local, Code::RegionHung, cause, remedy)
}

/// The activity of a process, in words.
fn activity(doing: &Doing) -> String {
    let state = match doing.state {
        'R' => "it computes",
        'D' => "it waits for a disk",
        'S' | 'I' => "it sleeps",
        'T' | 't' => "it was stopped by a signal",
        'Z' | 'X' => "it has ended",
        _ => "its state is odd",
    };
    let unread = size::spoken(doing.unread);
    format!(
        "process {} takes {} % of a processor ({state}), {} connection(s) wait for it, {unread} sent to it unread",
        doing.pid, doing.cpu_percent, doing.backlog
    )
}
