//! The decisions by tables and properties: a sled on which all is well, and everything that
//! can be otherwise.

use super::*;
use crate::check::Code;
use crate::config::{self, Sources};
use crate::decide::facts::{
    Active, Beat, Bridge, Exit, Holder, Network, Nic, OnDisk, Pulse, Region, Sockets, Start, Stranger, Unit,
};
use crate::decide::plan::{Action, Creation, may_create, plan};
use crate::region::{Ledger, Record, RegionJson};
use crate::source::Source;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const FIRST: &str = "still-fawn-0";

fn config() -> Configuration {
    let source = |text: &str| Source { file: "f".into(), text: Ok(text.into()) };
    let map = "[sleds.proper-raptor]\naddress = \"192.168.4.189\"\n[defaults]\nextent_count = 4\n[volumes.still-fawn]\n\
               hosts = [\"192.168.4.17\"]\n\
               regions = [\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"]\n";
    let sled = vec![source(include_str!("../../../etc/sled.toml"))];
    config::read(&Sources { sled, port_map: source(map), ephemeral: 32768..=60999 }).unwrap()
}

fn volume() -> VolumeName {
    "still-fawn".parse().unwrap()
}

fn first() -> RegionName {
    FIRST.parse().unwrap()
}

/// All is well.
fn well(config: &Configuration) -> Facts {
    let nic = Nic { up: true, carrier: true, master: Some("br0".into()), link_mbps: Some(2500), usb_mbps: Some(5000) };
    let bridge = Bridge { up: true, addresses: vec![config.address] };
    let mut facts = Facts {
        bus: Some(Bus::Connected),
        network: Some(Network { nic: Some(nic), bridge: Some(bridge) }),
        disk: Some(Disk { serial: 7, mounted: true, capacity: 1 << 40, free: 1 << 39, ..Disk::default() }),
        ..Facts::default()
    };
    let mut ledger = Ledger::default();
    for (index, local) in config.local_regions().into_iter().enumerate() {
        let pid = u32::try_from(100 + index).unwrap();
        let uuid = Uuid::from_u128(pid.into());
        let geometry = local.geometry;
        let json = format!(
            "{{\"block_size\":{},\"extent_size\":{{\"value\":{},\"shift\":12}},\"extent_count\":{},\"uuid\":\"{uuid}\",\
             \"encrypted\":false,\"database_read_version\":1,\"database_write_version\":1}}",
            geometry.block_size, geometry.extent_size, geometry.extent_count
        );
        ledger.regions.insert(local.name.clone(), Record { uuid, geometry, created: Timestamp::UNIX_EPOCH });
        let disk = facts.disk.as_mut().unwrap();
        disk.regions.insert(local.name.clone(), OnDisk::Present(RegionJson::parse(json.as_bytes()).unwrap()));
        let own = (Holder::Own, Holder::Own);
        let region = Region {
            unit: Some(Unit {
                active: Active::Active,
                pid: Some(pid),
                exit: None,
                result: "success".into(),
                restarts: 0,
            }),
            sockets: Some(Sockets { pid: Some(pid), data: own.0, repair: own.1, elsewhere: vec![], connected: vec![] }),
            pulse: Some(Pulse { pid, beat: Beat::Answering, identity: Some(Ok(uuid)) }),
            ..Region::default()
        };
        facts.regions.insert(local.name, region);
    }
    facts.disk.as_mut().unwrap().ledger = Ok(ledger);
    facts
}

fn region(facts: &mut Facts) -> &mut Region {
    facts.regions.get_mut(&first()).unwrap()
}

/// The first region, stopped, with nobody on its ports.
fn stopped(facts: &mut Facts) {
    let region = region(facts);
    region.unit = Some(Unit { active: Active::Inactive, pid: None, exit: None, result: "success".into(), restarts: 0 });
    let nobody = (Holder::Nobody, Holder::Nobody);
    region.sockets =
        Some(Sockets { pid: None, data: nobody.0, repair: nobody.1, elsewhere: vec![], connected: vec![] });
    region.pulse = None;
}

fn starts(config: &Configuration, facts: &Facts) -> Vec<Action> {
    plan(config, facts)
}

#[test]
fn when_all_is_well_nothing_is_said_or_done() {
    let config = config();
    let facts = well(&config);
    let verdict = judge(&config, &facts);
    assert_eq!(verdict.findings, []);
    assert!(verdict.ready(&volume()));
    assert_eq!(plan(&config, &facts), []);
}

/// One thing is otherwise: this is the state and the code that it leads to, and whether the
/// volume stays ready.
#[test]
fn every_condition_has_its_code_and_state() {
    type Change = fn(&mut Facts);
    let exited =
        |active| Unit { active, pid: None, exit: Some(Exit::Status(1)), result: "exit-code".into(), restarts: 3 };
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
            |f| _ = f.unseen.insert(Watched::Disk, 91),
            None,
            Code::NotSeen,
            "the data disk could not be looked at for 91 s",
        ),
        (|f| region(f).creating = true, Some(State::Creating), Code::RegionCreating, "being created"),
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
    let mut config = config();
    let mut facts = well(&config);
    let codes = |config: &Configuration, facts: &Facts| {
        judge(config, facts).findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    facts.disk.as_mut().unwrap().free = 1 << 35;
    assert_eq!(codes(&config, &facts), [Code::DiskLow]);
    facts.disk.as_mut().unwrap().free = 0;
    // Thick regions have their blocks.
    assert_eq!(codes(&config, &facts), [Code::DiskLow]);
    config.sled.storage.provisioning = crate::config::Provisioning::Thin;
    assert_eq!(codes(&config, &facts), [Code::DiskFull]);
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
fn a_stopped_region_is_started_once_everything_is_right() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    assert_eq!(starts(&config, &facts), [Action::Start(first())]);
    type Change = fn(&mut Facts);
    let obstacles: Vec<Change> = vec![
        |f| f.bus = Some(Bus::Unreachable(String::new())),
        |f| f.network.as_mut().unwrap().bridge.as_mut().unwrap().addresses.clear(),
        |f| f.network = None,
        |f| f.disk = None,
        |f| f.disk.as_mut().unwrap().mounted = false,
        |f| f.disk.as_mut().unwrap().read_only = true,
        |f| f.disk.as_mut().unwrap().ledger = Err(String::new()),
        |f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent),
        |f| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first()),
        |f| region(f).needs_look = 8,
        |f| region(f).creating = true,
        |f| region(f).start = Start::Asked,
        |f| region(f).start = Start::Refused(String::new()),
        |f| region(f).sockets = None,
        |f| region(f).unit = None,
        |f| region(f).unit.as_mut().unwrap().active = Active::Failed,
        |f| region(f).unit.as_mut().unwrap().active = Active::Activating,
        |f| {
            region(f).sockets.as_mut().unwrap().repair =
                Holder::Other(Stranger { pid: Some(9), command: "nc".into(), unit: None })
        },
    ];
    for (number, obstacle) in obstacles.into_iter().enumerate() {
        let mut facts = facts.clone();
        obstacle(&mut facts);
        assert_eq!(starts(&config, &facts), [], "obstacle {number}");
    }
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
    assert!(found.remedy.contains("systemctl stop nc.service"), "{found:#?}");
}

#[test]
fn restarts_are_forgiven_after_a_minute_of_health_and_not_before() {
    let config = config();
    let mut facts = well(&config);
    region(&mut facts).unit.as_mut().unwrap().restarts = 2;
    assert_eq!(plan(&config, &facts), []);
    region(&mut facts).steady = true;
    assert_eq!(plan(&config, &facts), [Action::Forgive(first())]);
}

#[test]
fn a_region_is_created_only_where_nothing_is() {
    let config = config();
    let whole = well(&config);
    let uuid = Uuid::from_u128(100);
    assert_eq!(may_create(&config, &whole, &first()), Ok(Creation::AlreadyThere(uuid)));
    let refusal = |change: fn(&mut Facts), name: &str| {
        let mut facts = whole.clone();
        change(&mut facts);
        may_create(&config, &facts, &name.parse().unwrap()).unwrap_err().code
    };
    assert_eq!(refusal(|_| (), "pve-0"), "REGION_UNKNOWN");
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().mounted = false, FIRST), "DATA_NOT_MOUNTED");
    assert_eq!(refusal(|f| f.disk = None, FIRST), "DATA_NOT_MOUNTED");
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().ledger = Err(String::new()), FIRST), "LEDGER_UNREADABLE");
    assert_eq!(refusal(|f| region(f).creating = true, FIRST), "REGION_CREATING");
    // Once on record, never again, whatever became of it.
    assert_eq!(
        refusal(|f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent), FIRST),
        "REGION_EXISTS"
    );
    let forget = |f: &mut Facts| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first());
    assert_eq!(refusal(forget, FIRST), "REGION_UNRECORDED");

    let mut facts = whole.clone();
    stopped(&mut facts);
    forget(&mut facts);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    assert!(matches!(may_create(&config, &facts, &first()), Ok(Creation::Go(_))));
    let stranger = Stranger { pid: Some(9), command: "nc".into(), unit: None };
    region(&mut facts).sockets.as_mut().unwrap().data = Holder::Other(stranger);
    assert_eq!(may_create(&config, &facts, &first()).unwrap_err().code, "PORT_TAKEN");
}

fn any_holder() -> impl Strategy<Value = Holder> {
    let other = Holder::Other(Stranger { pid: Some(9), command: "nc".into(), unit: None });
    prop_oneof![Just(Holder::Nobody), Just(Holder::Own), Just(other)]
}

fn any_unit() -> impl Strategy<Value = Option<Unit>> {
    let active = prop_oneof![
        Just(Active::Inactive),
        Just(Active::Activating),
        Just(Active::Active),
        Just(Active::Deactivating),
        Just(Active::Failed)
    ];
    let exit = prop_oneof![Just(None), Just(Some(Exit::Status(1))), Just(Some(Exit::Signal(9)))];
    proptest::option::of(
        (active, exit, proptest::option::of(100u32..103), 0u32..3).prop_map(|(active, exit, pid, restarts)| Unit {
            active,
            pid,
            exit,
            result: "x".into(),
            restarts,
        }),
    )
}

fn any_region() -> impl Strategy<Value = Region> {
    let sockets = (proptest::option::of(100u32..103), any_holder(), any_holder())
        .prop_map(|(pid, data, repair)| Sockets { pid, data, repair, elsewhere: vec![], connected: vec![] });
    let beat = prop_oneof![
        Just(Beat::Refused),
        Just(Beat::Asked),
        Just(Beat::Answering),
        Just(Beat::Silent),
        Just(Beat::Lost("x".into()))
    ];
    let identity = proptest::option::of(prop_oneof![
        (100u128..103).prop_map(|n| Ok(Uuid::from_u128(n))),
        Just(Err("x".to_owned()))
    ]);
    let pulse = (100u32..103, beat, identity).prop_map(|(pid, beat, identity)| Pulse { pid, beat, identity });
    let start = prop_oneof![Just(Start::Idle), Just(Start::Asked), Just(Start::Granted)];
    let rest = (any::<bool>(), start, any::<bool>(), 0u64..9);
    (any_unit(), proptest::option::of(sockets), proptest::option::of(pulse), rest).prop_map(
        |(unit, sockets, pulse, (creating, start, steady, needs_look))| Region {
            unit,
            sockets,
            pulse,
            creating,
            start,
            steady,
            needs_look,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is seen: nothing is started that runs, is not the region on record, or whose
    /// ports are not free; and nothing is started twice.
    #[test]
    fn what_is_started_may_be(regions in proptest::collection::vec(any_region(), 3), mounted in any::<bool>(), present in any::<[bool; 3]>()) {
        let config = config();
        let mut facts = well(&config);
        let names: Vec<_> = facts.regions.keys().cloned().collect();
        facts.regions = names.iter().cloned().zip(regions).collect();
        let disk = facts.disk.as_mut().unwrap();
        disk.mounted = mounted;
        for (name, present) in names.iter().zip(present) {
            if !present { disk.regions.insert(name.clone(), OnDisk::Absent); }
        }
        let actions = plan(&config, &facts);
        for action in &actions {
            let Action::Start(name) = action else { continue };
            let region = &facts.regions[name];
            prop_assert!(mounted && present[usize::from(name.index())]);
            prop_assert_eq!(region.unit.as_ref().unwrap().active, Active::Inactive);
            prop_assert!(region.start == Start::Idle && !region.creating && region.needs_look <= 7);
            let sockets = region.sockets.as_ref().unwrap();
            prop_assert!(sockets.data == Holder::Nobody && sockets.repair == Holder::Nobody);
        }
        for name in &names {
            let concerning = actions.iter().filter(|action| matches!(action, Action::Start(n) | Action::Forgive(n) if n == name));
            prop_assert!(concerning.count() <= 1);
        }
    }

    /// Whatever is seen: a volume is ready only if each of its regions is proven, by facts
    /// about one and the same process, to serve the region on record.
    #[test]
    fn ready_is_proven(regions in proptest::collection::vec(any_region(), 3), which in 0usize..4) {
        let config = config();
        let mut facts = well(&config);
        // Some of the regions are as they should be, so that ready is not out of reach.
        for (name, seen) in facts.regions.keys().cloned().collect::<Vec<_>>().into_iter().zip(regions).skip(which) {
            facts.regions.insert(name, seen);
        }
        let verdict = judge(&config, &facts);
        let proven = |(name, region): (&RegionName, &Region)| {
            let pid = region.unit.as_ref().filter(|unit| unit.active == Active::Active)?.pid?;
            let sockets = region.sockets.as_ref()?;
            let pulse = region.pulse.as_ref()?;
            let uuid = facts.disk.as_ref()?.ledger.as_ref().ok()?.regions.get(name)?.uuid;
            let own = sockets.pid == Some(pid) && sockets.data == Holder::Own && sockets.repair == Holder::Own;
            let alive = pulse.pid == pid && pulse.beat == Beat::Answering && pulse.identity == Some(Ok(uuid));
            (own && alive && !region.creating).then_some(())
        };
        let all = facts.regions.iter().all(|region| proven(region).is_some());
        prop_assert_eq!(verdict.ready(&volume()), all);
        for (name, state) in &verdict.states {
            let told = verdict.findings.iter().any(|f| f.code.severity() == Severity::Blocking && f.concerns(name.volume()));
            prop_assert!(*state == State::Serving || told, "{} is {} and nothing says why", name, state);
        }
    }
}
