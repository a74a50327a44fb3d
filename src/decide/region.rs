//! What the facts of one region mean: the state it is in, and why it does not serve.

use super::facts::{Active, Beat, Busy, Exit, Facts, Holder, OnDisk, Region, Sockets, Start, Stranger, Unit};
use super::finding::{Finding, Scope};
use super::storage::belongs;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::{Record, RegionJson};
use crate::systemd::names;
use crate::wire::State;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The status with which the unit's flock(1) ends when another process has the lock; set in
/// the unit's drop-in.
const LOCKED: i32 = 75;

/// A state, and what is wrong unless it is [`State::Serving`].
type Judged = (State, Vec<Finding>);

/// What lies on disk, as far as it decides whether a downstairs may run on it.
pub(super) enum Identity<'a> {
    /// The data disk or its ledger is unavailable: a finding about the sled says so.
    Unavailable,
    /// The region was never created.
    NeverCreated,
    /// It is there and is the region on record, as the map wants it.
    Known(&'a Record),
    /// Something else; this is what.
    Wrong(State, Box<Finding>),
}

/// Compares what lies on disk with the record and the map.
pub(super) fn identity<'a>(config: &Configuration, local: &LocalRegion, facts: &'a Facts) -> Identity<'a> {
    let Some(disk) = facts.disk.as_ref().filter(|disk| disk.mounted && belongs(config, disk).is_ok()) else {
        return Identity::Unavailable;
    };
    let (Ok(ledger), Some(on_disk)) = (&disk.ledger, disk.regions.get(&local.name)) else {
        return Identity::Unavailable;
    };
    let dir = config.region_dir(&local.name).display().to_string();
    let wrong = |code, cause: String, remedy: String| {
        Identity::Wrong(State::Failed, Box::new(finding(local, code, cause, remedy)))
    };
    let adopting = facts.busy.get(&local.name) == Some(&Busy::Adopting);
    if ledger.adoptions.contains_key(&local.name) && !adopting {
        let (cause, remedy) = match facts.stuck_adoptions.get(&local.name) {
            None => ("its adoption was cut short, and is being undone".to_owned(), "wait".to_owned()),
            Some(why) => (
                format!("its adoption was cut short, and cannot be undone: {why}"),
                "mend that; it is tried again every 10 s".into(),
            ),
        };
        return Identity::Wrong(State::Held, Box::new(finding(local, Code::RegionAdopting, cause, remedy)));
    }
    match (ledger.regions.get(&local.name), on_disk) {
        (None, OnDisk::Absent) if disk.unadopted.contains(&local.name) => {
            Identity::Wrong(State::Held, Box::new(unadopted(config, local)))
        }
        (None, OnDisk::Absent) => Identity::NeverCreated,
        (None, _) => {
            let cause = format!("{dir} exists, and the ledger does not know it");
            let remedy = format!(
                "if it is a region: sledctl region adopt {} checks it and puts it on record; else move it away",
                local.name
            );
            wrong(Code::RegionUnrecorded, cause, remedy)
        }
        (Some(record), OnDisk::Absent) => {
            Identity::Wrong(State::Missing, Box::new(lost(local, record, &config.sled.storage.root)))
        }
        (Some(_), OnDisk::Unreadable(why)) => wrong(Code::RegionIdentity, format!("{dir}: {why}"), restore(&dir)),
        (Some(record), OnDisk::Present(found)) => match differences(record, found) {
            Some(cause) => wrong(Code::RegionIdentity, cause, restore(&dir)),
            None if record.geometry != local.geometry => {
                let (wants, has) = (local.geometry, record.geometry);
                let cause = format!("the port map wants {wants}, and the region was made as {has}");
                wrong(
                    Code::RegionIdentity,
                    cause,
                    format!("write {has} into port-map.toml: a region keeps its geometry"),
                )
            }
            None => match damage(local, facts) {
                Some(fault) => wrong(Code::RegionDamaged, format!("{dir}: {fault}"), repair(&dir, &local.name, fault)),
                None => Identity::Known(record),
            },
        },
    }
}

/// What is wrong with its files, while nothing runs on them: a downstairs that repairs an
/// extent replaces its file.
fn damage<'a>(local: &LocalRegion, facts: &'a Facts) -> Option<&'a str> {
    let runs = facts.regions.get(&local.name).is_some_and(active);
    // Of a disk that cannot be written to as a whole, another finding tells.
    let disk = facts.disk.as_ref().filter(|disk| !disk.read_only)?;
    disk.surveys.get(&local.name)?.fault.as_deref().filter(|_| !runs)
}

fn repair(dir: &str, name: &RegionName, fault: &str) -> String {
    match fault.contains("belongs to") || fault.contains("mounted") {
        true => format!("put that right in {dir}; nothing is started on it as it is"),
        false => format!(
            "restore {dir}; or, if the volume's other regions are whole: sledctl region delete {name} --yes-destroy \
             {name}, create it anew, and have the host repair it"
        ),
    }
}

fn unadopted(config: &Configuration, local: &LocalRegion) -> Finding {
    let (root, name) = (config.sled.storage.root.display(), &local.name);
    let cause = format!("{root}/vm-{name} is there, from before this supervisor");
    finding(local, Code::RegionUnadopted, cause, format!("sledctl region adopt {name}; --dry-run shows what it does"))
}

fn restore(dir: &str) -> String {
    format!("restore {dir}; the supervisor starts nothing on it as it is")
}

fn lost(local: &LocalRegion, record: &Record, root: &Path) -> Finding {
    let (name, root) = (&local.name, root.display());
    let cause = format!("{root}/{name} is gone; the region {} was there since {}", record.uuid, record.created);
    let remedy = format!(
        "find out who removed it, and restore {root}/{name}; if it is lost for good: \
         sledctl region delete {name} --yes-destroy {name}, and create it anew"
    );
    finding(local, Code::RegionMissing, cause, remedy)
}

fn differences(record: &Record, found: &RegionJson) -> Option<String> {
    if found.uuid != record.uuid {
        return Some(format!("region.json has the UUID {}, and {} is on record", found.uuid, record.uuid));
    }
    let (has, had) = (found.geometry(), record.geometry);
    (has != had).then(|| format!("region.json has the geometry {has}, and {had} is on record"))
}

/// Judges one region.
pub(super) fn judge(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> Judged {
    match facts.busy.get(&local.name) {
        Some(busy) => at_work(local, *busy),
        None => judge_idle(config, local, facts, region),
    }
}

/// Judges one region whatever a job may be doing to it.
pub(super) fn judge_idle(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> Judged {
    match identity(config, local, facts) {
        Identity::Unavailable if active(region) => (State::Failed, Vec::new()),
        Identity::Unavailable if absent(config, local, facts) => (State::Missing, Vec::new()),
        Identity::Unavailable => (State::Stopped, Vec::new()),
        Identity::NeverCreated => (State::Missing, vec![missing(local, facts)]),
        Identity::Wrong(state, finding) => (state, vec![*finding]),
        Identity::Known(record) => judge_unit(config, local, facts, region, record),
    }
}

/// Whether there is nothing on this sled's disk that could be the region.
fn absent(config: &Configuration, local: &LocalRegion, facts: &Facts) -> bool {
    let disk = facts.disk.as_ref().filter(|disk| disk.mounted && belongs(config, disk).is_ok());
    disk.is_some_and(|disk| {
        disk.regions.get(&local.name) == Some(&OnDisk::Absent) && !disk.unadopted.contains(&local.name)
    })
}

fn at_work(local: &LocalRegion, busy: Busy) -> Judged {
    let (state, code, cause) = match busy {
        Busy::Creating => (State::Creating, Code::RegionCreating, "it is being created"),
        Busy::Adopting => (State::Held, Code::RegionAdopting, "it is being adopted"),
        Busy::Deleting => (State::Held, Code::RegionDeleting, "it is being deleted or restored"),
    };
    (state, vec![finding(local, code, cause.into(), "wait until it is done: sledctl jobs".into())])
}

fn missing(local: &LocalRegion, facts: &Facts) -> Finding {
    let name = &local.name;
    let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
    let stones = ledger.map(|ledger| ledger.restorable(name)).unwrap_or_default();
    let (cause, remedy) = match stones.last() {
        None => ("it has not been created".to_owned(), format!("sledctl region create {name}")),
        Some(stone) => (
            format!("it was deleted at {}, and is kept for a while", stone.deleted),
            match stones.len() {
                1 => format!("to have it back: sledctl region restore {name}; a new one: sledctl region create {name}"),
                more => format!(
                    "{more} of it are kept (sledctl storage): sledctl region restore {name}.TIME; a new one: \
                     sledctl region create {name}"
                ),
            },
        ),
    };
    finding(local, Code::RegionMissing, cause, remedy)
}

fn active(region: &Region) -> bool {
    region.unit.as_ref().is_some_and(|unit| unit.active == Active::Active)
}

fn judge_unit(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region, record: &Record) -> Judged {
    let Some(unit) = &region.unit else {
        return (State::Stopped, vec![down(local, "systemd has not told its state yet".into())]);
    };
    let mut found: Vec<_> = region.sockets.iter().flat_map(|sockets| strangers(local, sockets)).collect();
    let (state, own) = match unit.active {
        Active::Active => judge_process(local, config.address, region, unit, record),
        Active::Failed => (State::Failed, Some(gave_up(local, unit))),
        Active::Inactive if facts.just_created.contains(&local.name) => {
            let cause = "it was just created, and starts when the other creations are done".to_owned();
            (State::Starting, Some(Finding { cause, ..starting(local) }))
        }
        Active::Inactive if matches!(region.start, Start::Asked | Start::Granted) => {
            (State::Starting, Some(starting(local)))
        }
        Active::Inactive => {
            let cause = waits_for(config, facts, region, !found.is_empty());
            (State::Stopped, Some(stopped(local, cause)))
        }
        Active::Activating if unit.exit.is_some() => {
            let cause = format!("its downstairs {}; systemd starts it again", ended(unit));
            (State::Starting, Some(down(local, cause)))
        }
        Active::Activating => (State::Starting, Some(starting(local))),
        Active::Deactivating => (State::Stopped, Some(down(local, "its unit is being stopped".into()))),
    };
    let state = if found.is_empty() || state != State::Serving { state } else { State::Failed };
    found.extend(own);
    (state, found)
}

fn judge_process(
    local: &LocalRegion,
    address: IpAddr,
    region: &Region,
    unit: &Unit,
    record: &Record,
) -> (State, Option<Finding>) {
    let Some(pulse) = region.pulse.as_ref().filter(|pulse| Some(pulse.pid) == unit.pid) else {
        return (State::Starting, Some(starting(local)));
    };
    let listens = region
        .sockets
        .as_ref()
        .is_some_and(|sockets| sockets.pid == unit.pid && sockets.data == Holder::Own && sockets.repair == Holder::Own);
    let elsewhere = region.sockets.as_ref().map_or(&[][..], |sockets| &sockets.elsewhere);
    match (&pulse.beat, &pulse.identity) {
        (Beat::Refused, _) if !elsewhere.is_empty() => (State::Failed, Some(moved(local, address, elsewhere))),
        (_, Some(Ok(uuid))) if *uuid != record.uuid => {
            let cause =
                format!("what listens on {} says it is {uuid}, and {} is on record", local.repair_port(), record.uuid);
            let remedy = format!("if region.json is right again: systemctl restart {}", names::unit(&local.name));
            (State::Failed, Some(finding(local, Code::RegionIdentity, cause, remedy)))
        }
        (Beat::Lost(why), _) => {
            (State::Starting, Some(down(local, format!("its downstairs closed the connection: {why}"))))
        }
        (Beat::Silent, _) => (State::Hung, Some(hung(local))),
        (Beat::Answering, Some(Ok(_))) if listens => (State::Serving, None),
        (Beat::Answering, Some(Err(why))) => {
            let cause = format!("its repair port {} does not tell who it is: {why}", local.repair_port());
            (State::Starting, Some(Finding { cause, ..starting(local) }))
        }
        _ => (State::Starting, Some(starting(local))),
    }
}

/// Why a unit that could run does not.
fn waits_for(config: &Configuration, facts: &Facts, region: &Region, port_taken: bool) -> String {
    let addresses = facts.network.as_ref().and_then(|network| network.bridge.as_ref()).map(|b| b.addresses.as_slice());
    match &region.start {
        _ if facts.disk.as_ref().is_some_and(|disk| disk.read_only) => {
            "its downstairs does not run: the data disk cannot be written to".into()
        }
        _ if port_taken => "its downstairs does not run: a port of its own is taken".into(),
        Start::Refused(why) => format!("systemd does not start it: {}", why.trim_end_matches('.')),
        Start::Idle if !addresses.unwrap_or_default().contains(&config.address) => {
            format!("its downstairs does not run: it waits until this machine has the address {}", config.address)
        }
        Start::Idle | Start::Asked | Start::Granted => "its downstairs does not run".into(),
    }
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
            (format!("process {pid} ({}) of {unit}", stranger.command), format!("systemctl stop {unit}"))
        }
        (Some(pid), None) => (format!("process {pid} ({})", stranger.command), format!("end process {pid}")),
        (None, _) => ("a process that cannot be seen".into(), format!("find it: ss -tlnp 'sport = :{port}'")),
    };
    let cause = format!("{who} listens on port {port}, which belongs to {}", local.name);
    let remedy = format!("{remedy}; the region starts by itself when the port is free");
    Finding { subject: format!("port {port}"), ..finding(local, Code::PortTaken, cause, remedy) }
}

fn finding(local: &LocalRegion, code: Code, cause: String, remedy: String) -> Finding {
    let scope = Scope::Volume(local.name.volume().clone());
    Finding { code, subject: format!("region {}", local.name), scope, cause, remedy }
}

fn down(local: &LocalRegion, cause: String) -> Finding {
    let unit = names::unit(&local.name);
    let remedy = format!("read why: journalctl -u {unit} -n 50; it is started again without a hand");
    finding(local, Code::RegionDown, cause, remedy)
}

/// Down, and waiting for something that is named.
fn stopped(local: &LocalRegion, cause: String) -> Finding {
    let remedy = format!("it starts by itself when that is over; systemctl status {}", names::unit(&local.name));
    finding(local, Code::RegionDown, cause, remedy)
}

fn gave_up(local: &LocalRegion, unit: &Unit) -> Finding {
    let name = names::unit(&local.name);
    let cause = format!(
        "its downstairs {}, and systemd gave up after {} restart(s) ({})",
        ended(unit),
        unit.restarts,
        unit.result
    );
    let remedy = format!("read why: journalctl -u {name} -n 50; when it is mended: systemctl reset-failed {name}");
    finding(local, Code::RegionDown, cause, remedy)
}

/// It was started with the values of an earlier configuration.
fn moved(local: &LocalRegion, address: IpAddr, places: &[SocketAddr]) -> Finding {
    let places = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let (port, repair) = (local.port, local.repair_port());
    let cause = format!("its downstairs listens on {places}, and the port map says {port} and {repair} of {address}");
    let remedy = format!("when no host uses it: systemctl restart {}", names::unit(&local.name));
    finding(local, Code::RegionDown, cause, remedy)
}

fn starting(local: &LocalRegion) -> Finding {
    let cause = "its downstairs runs and does not listen yet".to_owned();
    let remedy = "wait: after a crash it hashes what was written last, up to half a second an extent".to_owned();
    finding(local, Code::RegionStarting, cause, remedy)
}

fn hung(local: &LocalRegion) -> Finding {
    let cause = "its downstairs listens, and does not answer".to_owned();
    let remedy = format!(
        "look at the disk first (df -h, dmesg): if it is full, make room, and do not restart; otherwise \
         systemctl status {}",
        names::unit(&local.name)
    );
    finding(local, Code::RegionHung, cause, remedy)
}

fn ended(unit: &Unit) -> String {
    match unit.exit {
        Some(Exit::Status(LOCKED)) => {
            "did not start, as another process has locked its directory (fuser -v shows it)".into()
        }
        Some(Exit::Status(203)) => "did not start: its program cannot be executed (downstairs.program)".into(),
        Some(Exit::Status(217)) => "did not start: its user does not exist (downstairs.user)".into(),
        Some(Exit::Status(status)) => format!("exited with status {status}"),
        Some(Exit::Signal(signal)) => format!("was killed by signal {signal}"),
        None => format!("did not start ({})", unit.result),
    }
}
