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

/// Cases in which one thing is otherwise: this is the state and the code that it leads to, and whether the volume
/// stays ready.
#[test]
fn every_condition_has_its_code_and_state() {
    type Change = fn(&mut Facts);
    let exited = |active| Unit { exit: Some(Exit::Status(1)), result: "exit-code".into(), restarts: 3, ..unit(active) };
    let cases: Vec<(Change, Option<State>, Code, &str)> = vec![
        (|f| f.network.as_mut().unwrap().nic = None, None, Code::NicMissing, "there is no network interface"),
        (
            |f| f.network.as_mut().unwrap().nic.as_mut().unwrap().carrier = false,
            None,
            Code::NicNoCarrier,
            "has no link",
        ),
        (
            |f| f.network.as_mut().unwrap().nic.as_mut().unwrap().master = None,
            None,
            Code::BridgePortMissing,
            "not a port of br0",
        ),
        (|f| f.network.as_mut().unwrap().bridge = None, None, Code::BridgeMissing, "no bridge br0"),
        (
            |f| f.network.as_mut().unwrap().bridge.as_mut().unwrap().addresses.clear(),
            None,
            Code::BridgeAddress,
            "192.168.4.189",
        ),
        (|f| f.network.as_mut().unwrap().bridge.as_mut().unwrap().up = false, None, Code::BridgeAddress, "is down"),
        (|f| f.disk = Some(Disk::default()), Some(State::Failed), Code::DataNotMounted, "/crucible"),
        (|f| f.disk.as_mut().unwrap().read_only = true, None, Code::DataReadOnly, "cannot be written"),
        (|f| f.disk.as_mut().unwrap().ledger = Err("torn".into()), Some(State::Failed), Code::LedgerUnreadable, "torn"),
        (
            |f| _ = f.unseen.insert("data disk", 91),
            None,
            Code::NotSeen,
            "the data disk could not be looked at for 91 s",
        ),
        (|f| _ = f.busy.insert(first(), Busy::Creating), Some(State::Creating), Code::RegionCreating, "being created"),
        (|f| _ = f.busy.insert(first(), Busy::Adopting), Some(State::Held), Code::RegionAdopting, "being adopted"),
        (|f| _ = f.busy.insert(first(), Busy::Deleting), Some(State::Held), Code::RegionDeleting, "being deleted"),
        (|f| f.disk.as_mut().unwrap().mark = Ok(None), Some(State::Failed), Code::DataForeign, "is not marked"),
        (|f| f.settled = Settled::Failed("torn".into()), None, Code::NotSettled, "torn"),
        (
            |f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent),
            Some(State::Missing),
            Code::RegionMissing,
            "is gone",
        ),
        (
            |f| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first()),
            Some(State::Failed),
            Code::RegionUnrecorded,
            "does not know",
        ),
        (
            |f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Unreadable("odd".into())),
            Some(State::Failed),
            Code::RegionIdentity,
            "odd",
        ),
        (
            |f| region(f).pulse.as_mut().unwrap().identity = Some(Ok(Uuid::nil())),
            Some(State::Failed),
            Code::RegionIdentity,
            "says it is",
        ),
        (
            |f| region(f).pulse.as_mut().unwrap().beat = Beat::Silent,
            Some(State::Hung),
            Code::RegionHung,
            "does not answer",
        ),
        (
            |f| region(f).pulse.as_mut().unwrap().beat = Beat::Lost("eof".into()),
            Some(State::Starting),
            Code::RegionDown,
            "closed the connection",
        ),
        (
            |f| region(f).pulse.as_mut().unwrap().beat = Beat::Unasked("no socket".into()),
            Some(State::Starting),
            Code::RegionDown,
            "cannot be asked how it is: no socket",
        ),
        (
            |f| region(f).pulse.as_mut().unwrap().beat = Beat::Refused,
            Some(State::Starting),
            Code::RegionStarting,
            "does not listen yet",
        ),
        (
            |f| region(f).pulse.as_mut().unwrap().pid = 1,
            Some(State::Starting),
            Code::RegionStarting,
            "does not listen yet",
        ),
        (|f| region(f).pulse = None, Some(State::Starting), Code::RegionStarting, ""),
        (|f| region(f).sockets = None, Some(State::Starting), Code::RegionStarting, ""),
        (|f| region(f).sockets.as_mut().unwrap().pid = Some(1), Some(State::Starting), Code::RegionStarting, ""),
        (
            |f| region(f).sockets.as_mut().unwrap().repair = Holder::Nobody,
            Some(State::Starting),
            Code::RegionStarting,
            "",
        ),
        (|f| region(f).unit = None, Some(State::Stopped), Code::RegionDown, "has not told"),
    ];
    let config = config();
    for (number, (change, state, code, cause)) in cases.into_iter().enumerate() {
        let mut facts = well(&config);
        change(&mut facts);
        let verdict = judge(&config, &facts);
        let found = verdict.findings.iter().find(|finding| finding.code == code);
        let found = found.unwrap_or_else(|| panic!("case {number}: no {code} in {verdict:#?}"));
        assert!(found.cause.contains(cause), "case {number}: {found:#?}");
        assert_eq!(verdict.states[&first()], state.unwrap_or(State::Serving), "case {number}: {verdict:#?}");
        assert!(!verdict.ready(&volume()), "case {number}: ready with {code}");
    }
    for (unit, state, cause) in [
        (exited(Active::Activating), State::Starting, "exited with status 1; systemd starts it again"),
        (exited(Active::Failed), State::Failed, "systemd gave up after 3 restart(s)"),
        (Unit { exit: Some(Exit::Signal(9)), ..exited(Active::Activating) }, State::Starting, "killed by signal 9"),
        (
            Unit { exit: Some(Exit::Status(75)), ..exited(Active::Activating) },
            State::Starting,
            "another process has locked",
        ),
    ] {
        let mut facts = well(&config);
        region(&mut facts).unit = Some(unit);
        let verdict = judge(&config, &facts);
        let found = verdict.findings.iter().find(|finding| finding.code == Code::RegionDown).unwrap();
        assert!(found.cause.contains(cause), "{found:#?}");
        assert_eq!((verdict.states[&first()], found.subject.as_str()), (state, "region still-fawn-0"));
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
    (nic.link_mbps, nic.usb_mbps) = (Some(1000), Some(480));
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
