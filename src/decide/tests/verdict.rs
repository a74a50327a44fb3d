//! Verdicts when one thing is otherwise.

use super::*;
use crate::check::Code;
use crate::decide::facts::{Exit, Stranger};
use crate::decide::plan::plan;
use crate::decide::verdict::judge;
use crate::wire::State;

#[test]
fn when_all_is_well_nothing_is_said_or_done() {
    let config = config();
    let facts = well(&config);
    let verdict = judge(&config, &facts);
    assert_eq!(verdict.findings, []);
    assert!(verdict.ready(&volume()));
    assert_eq!(plan(&config, &facts), []);
}

/// A situation by its name: what is otherwise than when all is well, the state of the region that it leads to, the code
/// under which it is told, and words of the cause. None of them leaves the volume ready.
type Row = (&'static str, fn(&mut Facts), State, Code, &'static str);

const NETWORK: &[Row] = &[
    (
        "the interface is gone",
        |f| network(f).nic = None,
        State::Serving,
        Code::NicMissing,
        "there is no network interface",
    ),
    ("the cable is pulled", |f| nic(f).carrier = false, State::Serving, Code::NicNoCarrier, "has no link"),
    (
        "the interface is in no bridge",
        |f| nic(f).master = None,
        State::Serving,
        Code::BridgePortMissing,
        "not a port of br0",
    ),
    ("the bridge is gone", |f| network(f).bridge = None, State::Serving, Code::BridgeMissing, "no bridge br0"),
    (
        "the bridge has not the sled's address",
        |f| network(f).bridge.as_mut().unwrap().addresses.clear(),
        State::Serving,
        Code::BridgeAddress,
        "192.168.4.189",
    ),
    (
        "the bridge is down",
        |f| network(f).bridge.as_mut().unwrap().up = false,
        State::Serving,
        Code::BridgeAddress,
        "is down",
    ),
];

const DISK: &[Row] = &[
    ("no disk is mounted", |f| *disk(f) = Disk::default(), State::Failed, Code::DataNotMounted, "/crucible"),
    ("the disk is read-only", |f| disk(f).read_only = true, State::Serving, Code::DataReadOnly, "cannot be written"),
    (
        "the ledger cannot be read",
        |f| disk(f).ledger = Err("torn".into()),
        State::Failed,
        Code::LedgerUnreadable,
        "torn",
    ),
    (
        "the disk answers no look",
        |f| _ = f.unseen.insert("data disk", 91),
        State::Serving,
        Code::NotSeen,
        "the data disk could not be looked at for 91 s",
    ),
    ("the disk has no mark", |f| disk(f).mark = Ok(None), State::Failed, Code::DataForeign, "is not marked"),
    (
        "what was cut short is not settled",
        |f| f.settled = Settled::Failed("torn".into()),
        State::Serving,
        Code::NotSettled,
        "torn",
    ),
    (
        "the region's directory is gone",
        |f| _ = disk(f).regions.insert(first(), OnDisk::Absent),
        State::Missing,
        Code::RegionMissing,
        "is gone",
    ),
    (
        "the region is not on record",
        |f| _ = disk(f).ledger.as_mut().unwrap().regions.remove(&first()),
        State::Failed,
        Code::RegionUnrecorded,
        "does not know",
    ),
    (
        "the region's file cannot be read",
        |f| _ = disk(f).regions.insert(first(), OnDisk::Unreadable("odd".into())),
        State::Failed,
        Code::RegionIdentity,
        "odd",
    ),
];

const WORK: &[Row] = &[
    (
        "the region is being created",
        |f| _ = f.busy.insert(first(), Busy::Creating),
        State::Creating,
        Code::RegionCreating,
        "being created",
    ),
    (
        "the region is being adopted",
        |f| _ = f.busy.insert(first(), Busy::Adopting),
        State::Held,
        Code::RegionAdopting,
        "being adopted",
    ),
    (
        "the region is being deleted",
        |f| _ = f.busy.insert(first(), Busy::Deleting),
        State::Held,
        Code::RegionDeleting,
        "being deleted",
    ),
];

const PROCESS: &[Row] = &[
    (
        "its repair port tells of another region",
        |f| pulse(f).identity = Some(Ok(Uuid::nil())),
        State::Failed,
        Code::RegionIdentity,
        "says it is",
    ),
    ("it is silent", |f| pulse(f).beat = Beat::Silent, State::Hung, Code::RegionHung, "does not answer"),
    (
        "it has hung up",
        |f| pulse(f).beat = Beat::Lost("eof".into()),
        State::Starting,
        Code::RegionDown,
        "closed the connection",
    ),
    (
        "there is no socket to ask it by",
        |f| pulse(f).beat = Beat::Unasked("no socket".into()),
        State::Starting,
        Code::RegionDown,
        "cannot be asked how it is: no socket",
    ),
    (
        "it refuses connections",
        |f| pulse(f).beat = Beat::Refused,
        State::Starting,
        Code::RegionStarting,
        "does not listen yet",
    ),
    (
        "the process before it was asked",
        |f| pulse(f).pid = 1,
        State::Starting,
        Code::RegionStarting,
        "does not listen yet",
    ),
    ("it has not been asked yet", |f| region(f).pulse = None, State::Starting, Code::RegionStarting, ""),
    ("its ports have not been seen", |f| region(f).sockets = None, State::Starting, Code::RegionStarting, ""),
    ("another process has its port", |f| sockets(f).pid = Some(1), State::Starting, Code::RegionStarting, ""),
    ("nobody has its repair port", |f| sockets(f).repair = Holder::Nobody, State::Starting, Code::RegionStarting, ""),
    ("its unit has not been seen", |f| region(f).unit = None, State::Stopped, Code::RegionDown, "has not told"),
];

fn network(facts: &mut Facts) -> &mut Network {
    facts.network.as_mut().unwrap()
}

fn nic(facts: &mut Facts) -> &mut Nic {
    network(facts).nic.as_mut().unwrap()
}

fn disk(facts: &mut Facts) -> &mut Disk {
    facts.disk.as_mut().unwrap()
}

fn pulse(facts: &mut Facts) -> &mut Pulse {
    region(facts).pulse.as_mut().unwrap()
}

fn sockets(facts: &mut Facts) -> &mut Sockets {
    region(facts).sockets.as_mut().unwrap()
}

#[test]
fn every_condition_has_its_code_and_state() {
    let config = config();
    for (situation, change, state, code, cause) in [NETWORK, DISK, WORK, PROCESS].into_iter().flatten() {
        let mut facts = well(&config);
        change(&mut facts);
        let verdict = judge(&config, &facts);
        let found = verdict.findings.iter().find(|finding| finding.code == *code);
        let found = found.unwrap_or_else(|| panic!("{situation}: no {code} in {verdict:#?}"));
        assert!(found.cause.contains(cause), "{situation}: {found:#?}");
        assert_eq!(verdict.states[&first()], *state, "{situation}: {verdict:#?}");
        assert!(!verdict.ready(&volume()), "{situation}: ready with {code}");
    }
}

#[test]
fn every_end_of_a_process_has_its_state_and_words() {
    let config = config();
    let exited = |active| Unit { exit: Some(Exit::Status(1)), result: "exit-code".into(), restarts: 3, ..unit(active) };
    let again = |exit| Unit { exit: Some(exit), ..exited(Active::Activating) };
    for (situation, unit, state, cause) in [
        (
            "it is started again",
            exited(Active::Activating),
            State::Starting,
            "exited with status 1; systemd starts it again",
        ),
        ("it is given up", exited(Active::Failed), State::Failed, "systemd gave up after 3 restart(s)"),
        ("it was killed", again(Exit::Signal(9)), State::Starting, "killed by signal 9"),
        ("another has its lock", again(Exit::Status(75)), State::Starting, "another process has locked"),
    ] {
        let mut facts = well(&config);
        region(&mut facts).unit = Some(unit);
        let verdict = judge(&config, &facts);
        let found = verdict.findings.iter().find(|finding| finding.code == Code::RegionDown);
        let found = found.unwrap_or_else(|| panic!("{situation}: {verdict:#?}"));
        assert!(found.cause.contains(cause), "{situation}: {found:#?}");
        assert_eq!((verdict.states[&first()], found.subject.as_str()), (state, "region still-fawn-0"), "{situation}");
    }
}

/// The room on the disk: the reserve is a warning, a full disk under thin regions blocks.
#[test]
fn a_disk_that_fills_up_is_told_in_time() {
    let config = config();
    let mut facts = well(&config);
    let codes = |config: &Configuration, facts: &Facts| {
        judge(config, facts).findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    facts.disk.as_mut().unwrap().free = 1 << 35;
    assert_eq!(codes(&config, &facts), [Code::DiskLow]);
    // Regions whose every block is reserved go on when there is no more.
    let disk = facts.disk.as_mut().unwrap();
    disk.free = 0;
    for local in config.local_regions() {
        let survey = Survey { allocated: local.geometry.disk_bytes(), fault: None, dirty: 0 };
        disk.surveys.insert(local.name, survey);
    }
    // The regions go on; but a repair needs room of its own, and whoever attaches anew needs one.
    assert_eq!(codes(&config, &facts), [Code::RepairImpossible, Code::DiskLow]);
    facts.disk.as_mut().unwrap().surveys.clear();
    assert_eq!(codes(&config, &facts), [Code::DiskFull, Code::DiskOvercommitted]);
    assert!(!judge(&config, &facts).ready(&volume()));
}

/// A volume was renamed in the map: what it leaves behind is told, and nothing is done to it.
#[test]
fn a_region_that_left_the_map_is_told() {
    let config = config();
    let mut facts = well(&config);
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let record = ledger.regions[&first()].clone();
    ledger.regions.insert("old-1".parse().unwrap(), record);
    let verdict = judge(&config, &facts);
    assert_eq!(
        (verdict.findings[0].code, verdict.findings[0].subject.as_str()),
        (Code::RegionUnmapped, "region old-1")
    );
    assert!(verdict.ready(&volume()) && plan(&config, &facts).is_empty());
}

#[test]
fn slow_hardware_and_an_open_volume_are_warnings() {
    let mut config = config();
    let mut facts = well(&config);
    let nic = facts.network.as_mut().unwrap().nic.as_mut().unwrap();
    (nic.link_mbps, nic.usb.as_mut().unwrap().mbps) = (Some(1000), Some(480));
    config.map.volumes.get_mut(&volume()).unwrap().hosts.clear();
    facts.bus = Some(Bus::Unreachable("gone".into()));
    let verdict = judge(&config, &facts);
    let codes: Vec<_> = verdict.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::SystemdUnreachable, Code::NicSlow, Code::NicUsb2, Code::VolumeOpen]);
    assert!(verdict.ready(&volume()));
}

#[test]
fn a_downstairs_of_an_earlier_map_is_told_by_its_ports() {
    let config = config();
    let mut facts = well(&config);
    let region = region(&mut facts);
    region.pulse.as_mut().unwrap().beat = Beat::Refused;
    let sockets = region.sockets.as_mut().unwrap();
    (sockets.data, sockets.repair, sockets.elsewhere) =
        (Holder::Nobody, Holder::Nobody, vec!["192.168.4.189:3900".parse().unwrap()]);
    let verdict = judge(&config, &facts);
    assert!(
        verdict.findings[0]
            .cause
            .contains("listens on 192.168.4.189:3900, and the port map says 3830 and 7830 of 192.168.4.189")
    );
}

#[test]
fn a_stranger_on_a_port_is_named_with_what_to_do() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    let stranger = Stranger { pid: Some(9), command: "nc -l 7830".into(), unit: Some("nc.service".into()) };
    region(&mut facts).sockets.as_mut().unwrap().repair = Holder::Other(stranger);
    let verdict = judge(&config, &facts);
    let found = verdict.findings.iter().find(|finding| finding.code == Code::PortTaken).unwrap();
    assert_eq!(found.subject, "port 7830");
    assert!(found.cause.contains("process 9 (nc -l 7830) of nc.service"), "{found:#?}");
    assert!(found.remedy.contains("systemctl disable --now nc.service"), "{found:#?}");
}

#[test]
fn a_port_that_cannot_be_had_is_named_although_nobody_is_seen_to_listen() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    region(&mut facts).start =
        crate::decide::facts::Start::NoPort(3830, "port 3830 is taken: process 9 (nc) has bound it".into());
    let found = judge(&config, &facts).findings;
    let taken = found.iter().find(|finding| finding.code == Code::PortTaken).unwrap();
    assert_eq!(taken.subject, "port 3830");
    assert!(taken.cause.contains("process 9 (nc)") && taken.cause.contains("still-fawn-0"), "{taken:?}");
}

#[test]
fn whoever_is_not_let_in_and_is_there_or_tried_is_named() {
    let config = config();
    let mut facts = well(&config);
    let stranger: std::net::IpAddr = "192.168.4.99".parse().unwrap();
    let peer = |address| crate::wire::Peer { address, port: 1, host: None };
    let shown = |facts: &Facts| {
        let found = judge(&config, facts).findings.into_iter().find(|finding| finding.code == Code::ClientForeign);
        found.map(|finding| finding.cause)
    };
    region(&mut facts).sockets.as_mut().unwrap().connected =
        vec![peer("192.168.4.17".parse().unwrap()), peer(config.address), peer("127.0.0.1".parse().unwrap())];
    assert_eq!(shown(&facts), None);
    region(&mut facts).sockets.as_mut().unwrap().connected.push(peer(stranger));
    assert!(shown(&facts).unwrap().contains("192.168.4.99 is connected to still-fawn-0"));
    region(&mut facts).sockets.as_mut().unwrap().connected.clear();
    let turned_away = crate::decide::facts::TurnedAway { asked: [stranger].into(), dropped: true };
    facts.turned_away.insert(volume(), turned_away);
    let cause = shown(&facts).unwrap();
    assert!(cause.contains("192.168.4.99 asked for a ticket") && cause.contains("were dropped"), "{cause}");
}
