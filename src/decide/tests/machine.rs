//! Machine below the sled: what is told of it, and that none of it keeps a host from its volume.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::facts::{
    Block, Clock, Crash, FsErrors, Health, Incident, KernelLog, Machine, Sensor, Sign, Smart, Step, Unclean, Watchdog,
};
use crate::decide::finding::{Finding, Scope};
use crate::decide::verdict::judge;
use crate::region::verification::Verification;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn found(change: impl Fn(&mut Facts)) -> Vec<Finding> {
    let mut facts = well(&config());
    facts.machine = Some(Machine::default());
    change(&mut facts);
    let verdict = judge(&config(), &facts);
    assert!(verdict.ready(&volume()), "nothing of the machine keeps a host from its volume: {verdict:#?}");
    verdict.findings
}

fn machine(facts: &mut Facts) -> &mut Machine {
    facts.machine.as_mut().unwrap()
}

fn sensor(chip: &str, disk: Option<&str>, degrees: i64) -> Sensor {
    Sensor { chip: chip.into(), label: Some("Tctl".into()), disk: disk.map(str::to_owned), degrees, limit: Some(95) }
}

fn watchdog(armed: Option<bool>) -> Watchdog {
    Watchdog {
        device: "watchdog0".into(),
        identity: Some("SP5100 TCO timer".into()),
        armed,
        timeout_s: Some(60),
        reset: false,
    }
}

#[test]
fn a_machine_that_is_well_or_says_nothing_is_no_finding() {
    assert_eq!(found(|facts| facts.machine = None), []);
    assert_eq!(found(|_| ()), []);
    let fine = |facts: &mut Facts| {
        let clock = Clock { synchronised: Some(true), ..Clock::default() };
        *machine(facts) = Machine {
            memory_stalled: Some(9),
            io_stalled: Some(79),
            sensors: vec![sensor("k10temp", None, 94), sensor("nvme", Some("nvme0n1"), 60)],
            throttled: Some(0),
            // Modules of others: ZFS is such.
            taint: Some(1 | 1 << 12 | 1 << 13 | 1 << 9),
            watchdogs: vec![watchdog(Some(true)), watchdog(Some(false))],
            clock,
            ..Machine::default()
        };
    };
    assert_eq!(found(fine), []);
    assert_eq!(found(|facts| machine(facts).watchdogs = vec![watchdog(None)]), []);
}

/// What is otherwise, the code under which it is told, its severity, whether it is the operator's alone, its subject and
/// words of its cause.
type Case = (fn(&mut Facts), Code, Severity, bool, &'static str, &'static str);

const CASES: &[Case] = &[
    (
        |facts| machine(facts).memory_stalled = Some(10),
        Code::MemoryPressure,
        Severity::Warning,
        false,
        "memory",
        "in 10 % of the last minute nobody got on, as all waited for memory",
    ),
    (
        |facts| machine(facts).io_stalled = Some(80),
        Code::IoPressure,
        Severity::Warning,
        false,
        "disks",
        "in 80 % of the last minute",
    ),
    (
        |facts| machine(facts).killed = 2,
        Code::OomKilled,
        Severity::Warning,
        false,
        "memory",
        "the kernel has killed 2 process(es)",
    ),
    (
        |facts| machine(facts).killed_in = [("still-fawn-0".to_owned(), 1)].into(),
        Code::OomKilled,
        Severity::Warning,
        false,
        "memory",
        "killed 1 process(es), as there was no memory left; among what was killed: 1 of still-fawn-0",
    ),
    (
        |facts| machine(facts).sensors = vec![sensor("k10temp", None, 95)],
        Code::SledHot,
        Severity::Warning,
        false,
        "sensor k10temp",
        "k10temp Tctl shows 95 °C, and 95 °C is its limit",
    ),
    (
        |facts| machine(facts).sensors = vec![sensor("nvme", Some("nvme0n1"), 96)],
        Code::DiskHot,
        Severity::Warning,
        false,
        "disk nvme0n1",
        "nvme0n1 has 96 °C (nvme Tctl), and 95 °C is its limit",
    ),
    (
        |facts| machine(facts).throttled = Some(3),
        Code::CpuThrottled,
        Severity::Warning,
        false,
        "processor",
        "as it is too hot (3 time(s) within an hour)",
    ),
    (
        |facts| machine(facts).slowed = true,
        Code::CpuThrottled,
        Severity::Warning,
        false,
        "processor",
        "as it is too hot",
    ),
    (
        |facts| machine(facts).taint = Some(1 << 4 | 1 << 7 | 1 << 12),
        Code::KernelTainted,
        Severity::Warning,
        false,
        "kernel",
        "machine check); a part of it has died",
    ),
    (
        |facts| machine(facts).watchdogs = vec![watchdog(Some(false))],
        Code::WatchdogUnarmed,
        Severity::Information,
        true,
        "watchdog watchdog0",
        "nobody feeds the watchdog watchdog0 (SP5100 TCO timer)",
    ),
    (
        |facts| machine(facts).clock.battery_lost = Some(at(946_684_800)),
        Code::ClockRtcLost,
        Severity::Warning,
        true,
        "clock",
        "showed 2000-01-01T00:00:00Z at the start",
    ),
    (
        |facts| machine(facts).clock.synchronised = Some(false),
        Code::ClockUnsynchronised,
        Severity::Warning,
        true,
        "clock",
        "is not kept in step with others",
    ),
    (
        |facts| machine(facts).clock.step = Some(Step { before: at(0), after: at(1_800_000_000) }),
        Code::ClockStepped,
        Severity::Information,
        true,
        "clock",
        "was set from 1970-01-01T00:00:00Z to 2027-01-15T08:00:00Z",
    ),
    (
        |facts| facts.ahead = Some((at(1_800_000_000), "still-fawn-0 was put on record".into())),
        Code::ClockBehind,
        Severity::Warning,
        true,
        "clock",
        "before 2027-01-15T08:00:00Z, at which still-fawn-0 was put on record: it is behind",
    ),
    (
        |facts| facts.unclean = Some(Unclean::Cut),
        Code::SledUnclean,
        Severity::Warning,
        false,
        "sled",
        "ended without a shutdown: its power was cut, it was reset, or it went off before its disk had all",
    ),
    (
        |facts| facts.unclean = Some(Unclean::Watchdog),
        Code::SledUnclean,
        Severity::Warning,
        false,
        "sled",
        "its hardware watchdog reset it",
    ),
    (
        |facts| facts.unclean = Some(Unclean::Panic),
        Code::SledUnclean,
        Severity::Warning,
        false,
        "sled",
        "its kernel panicked",
    ),
    (
        |facts| facts.verification = Some(Verification::lost("b", "EOF while parsing".into())),
        Code::VerificationLost,
        Severity::Warning,
        false,
        "sled",
        "could not be read (EOF while parsing), so that all extents of the regions",
    ),
    (
        |facts| {
            let (records, words) = (vec!["/var/lib/systemd/pstore/17".to_owned()], Some("BUG: x".to_owned()));
            machine(facts).crash = Some(Crash { count: 2, records, words });
        },
        Code::KernelCrashed,
        Severity::Warning,
        true,
        "kernel",
        "has crashed 2 time(s), the last time with the words: BUG: x; its record is /var/lib/systemd/pstore/17",
    ),
    (
        |facts| tells(facts, |told| told.failing = vec!["it says itself that it is failing".into()]),
        Code::DiskFailing,
        Severity::Warning,
        false,
        "disk sda",
        "sda (870 EVO) is failing: it says itself that it is failing",
    ),
    (
        |facts| tells(facts, |told| told.recorded = vec!["12 error(s) in its log".into()]),
        Code::DiskErrors,
        Severity::Warning,
        false,
        "disk sda",
        "sda has on record, by its own word: 12 error(s) in its log",
    ),
    (
        |facts| tells(facts, |told| told.used_percent = Some(90)),
        Code::DiskWear,
        Severity::Warning,
        false,
        "disk sda",
        "has used 90 % of the life",
    ),
    (
        |facts| tells(facts, |told| told.degrees = Some(70)),
        Code::DiskHot,
        Severity::Warning,
        false,
        "disk sda",
        "sda has 70 °C, and 70 °C is its limit",
    ),
    (
        |facts| tells(facts, |told| (told.degrees, told.limit_degrees, told.too_hot) = (Some(66), Some(80), true)),
        Code::DiskHot,
        Severity::Warning,
        false,
        "disk sda",
        "sda has 66 °C",
    ),
    (
        |facts| region(facts).io_stalled = Some(90),
        Code::RegionIoStalled,
        Severity::Warning,
        false,
        "region still-fawn-0",
        "in 90 % of the last minute its downstairs did not get on",
    ),
];

/// A disk tells of its health, in which something is otherwise than when it is well.
fn tells(facts: &mut Facts, change: impl Fn(&mut Smart)) {
    let mut told = Smart {
        model: Some("870 EVO".into()),
        serial: Some("S6P".into()),
        degrees: Some(33),
        used_percent: Some(89),
        ..Smart::default()
    };
    change(&mut told);
    facts.health = [("sda".to_owned(), Health::Known(Box::new(told)))].into();
}

#[test]
fn each_thing_that_is_otherwise_is_one_finding() {
    for (change, code, severity, operator, subject, cause) in CASES {
        let found = found(change);
        let [one] = &found[..] else { panic!("{code}: {found:#?}") };
        assert_eq!((one.code, one.code.severity(), one.subject.as_str()), (*code, *severity, *subject));
        assert_eq!(one.scope == Scope::Operator, *operator, "{one:?}");
        assert!(one.cause.contains(cause), "{one:?}");
    }
}

/// Of what was killed, and whose control group it was, the kernel's log tells.
#[test]
fn a_killed_process_is_told_with_its_control_group() {
    let words = "task_memcg=/system.slice/a.service,task=python3,pid=77,uid=0";
    let incident = Incident { began: at(1_800_000_000), signs: [Sign::OutOfMemory].into(), words: words.into() };
    let log = KernelLog([("/system.slice/a.service".to_owned(), vec![incident])].into());
    let found = found(|facts| facts.kernel_log = log.clone());
    let [one] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(one.code, Code::OomKilled);
    assert!(one.cause.ends_with(&format!("no memory left; the last at 2027-01-15T08:00:00Z: {words}")), "{one:?}");
}

/// Of a downstairs that was killed the group is another one by now, which knows nothing of it.
#[test]
fn a_killed_downstairs_is_told_by_the_log_when_its_control_group_is_gone() {
    let incident = || Incident { began: at(1_800_000_000), signs: [Sign::OutOfMemory].into(), words: "w".into() };
    let group = |region: &str| format!("/system.slice/crucible-downstairs@{region}.service");
    let log = KernelLog(
        [
            (group("still-fawn-0"), vec![incident(), incident()]),
            (group("still-fawn-1"), vec![incident()]),
            ("/system.slice/a.service".to_owned(), vec![incident()]),
        ]
        .into(),
    );
    let found = found(|facts| {
        facts.kernel_log = log.clone();
        machine(facts).killed_in = [("still-fawn-1".to_owned(), 3)].into();
    });
    let [one] = &found[..] else { panic!("{found:#?}") };
    assert!(one.cause.contains("killed 4 process(es)"), "{one:?}");
    assert!(one.cause.contains("among what was killed: 2 of still-fawn-0, 3 of still-fawn-1;"), "{one:?}");
}

/// A disk of which nothing is known is neither well nor not; and the kernel's sensor is newer than what it said.
#[test]
fn what_is_not_known_of_a_disk_is_not_said() {
    assert_eq!(found(|facts| tells(facts, |_| ())), []);
    let asleep = |disk: &str| [(disk.to_owned(), Health::Unknown("it sleeps".into()))].into();
    let unknown = |disk: &str, contained: bool| {
        found(|facts| {
            facts.health = asleep(disk);
            facts.machine.take_if(|_| contained);
        })
    };
    let told = unknown("sda", false);
    let [one] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((one.code, &one.scope), (Code::DiskHealthUnknown, &Scope::Operator));
    assert_eq!(one.cause, "nobody knows whether sda is well: it sleeps");
    assert!(one.remedy.contains("smartctl -x /dev/sda "), "{one:?}");
    assert_eq!((unknown("vda", false), unknown("sda", true)), (vec![], vec![]));
    let sensed = |facts: &mut Facts| {
        tells(facts, |told| told.degrees = Some(90));
        machine(facts).sensors = vec![sensor("drivetemp", Some("sda"), 40)];
    };
    assert_eq!(found(sensed), []);
}

/// What a power cut means for the data depends on what that lies on, and what was found since is said.
#[test]
fn an_end_without_a_shutdown_says_what_it_means_for_the_data() {
    let on = |kind: &str, errors: Option<u64>| {
        let found = found(|facts| {
            let errors = errors.map(|count| FsErrors { count, ..FsErrors::default() });
            facts.block = Some(Block { kind: kind.into(), errors, ..Block::default() });
            facts.unclean = Some(Unclean::Cut);
        });
        found[0].cause.clone()
    };
    assert!(on("ext4", Some(0)).contains("on ext4 an extent may be marked clean"));
    assert!(on("ext4", Some(0)).contains("what is known since: the file system has no error on record"));
    assert!(!on("zfs", None).contains("extent"));
}

/// The clock is held against what is on record of the regions, and a minute is nothing.
#[test]
fn a_clock_that_is_behind_the_record_is_seen() {
    use crate::decide::machine::ahead;
    let mut disk = well(&config()).disk.unwrap();
    let ledger = disk.ledger.as_mut().unwrap();
    ledger.regions.get_mut(&first()).unwrap().created = at(5000);
    disk.mark = Ok(None);
    for (now, behind) in [(5000, false), (4940, false), (4939, true), (7, true)] {
        let told = behind.then(|| (at(5000), "still-fawn-0 was put on record".to_owned()));
        assert_eq!(ahead(&disk, at(now)), told, "{now}");
    }
    disk.ledger = Err("torn".into());
    assert_eq!(ahead(&disk, at(7)), None);
}
