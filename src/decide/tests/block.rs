//! Block devices below the data disk: what is told of them, and to whom it matters.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::facts::{Block, Doing, Drive, FsErrors, Incident, KernelLog, Sign, Slow};
use crate::decide::finding::{Finding, Scope};
use crate::decide::plan::{Action, plan};
use crate::decide::verdict::judge;
use crate::span::Span;
use crate::wire::State;

/// Devices that are well.
fn block() -> Block {
    let sda = Drive { name: "sda".into(), failed: Some(0), discards: true, ..Drive::default() };
    let (errors, trimmed) = (Some(FsErrors::default()), true);
    Block { kind: "ext4".into(), device: Some("sda1".into()), errors, trimmed, disks: vec![sda], ..Block::default() }
}

/// What a change of such devices leads to.
fn found(change: impl Fn(&mut Block)) -> Vec<Finding> {
    let mut facts = well(&config());
    let mut block = block();
    change(&mut block);
    facts.block = Some(block);
    judge(&config(), &facts).findings
}

#[test]
fn devices_that_are_well_or_not_known_are_no_finding() {
    assert_eq!(found(|_| ()), []);
    assert_eq!(found(|block| (block.errors, block.disks) = (None, Vec::new())), []);
    assert_eq!(found(|block| block.disks[0].failed = None), []);
    // A bridge that does not know what it is asked for.
    assert_eq!(found(|block| block.disks[0].failed = Some(15)), []);
}

/// Hosts have nothing to do with it, and a disk that turns has no use for it.
#[test]
fn a_flash_disk_that_is_not_told_what_is_freed_is_information_for_the_operator() {
    for (change, cause, remedy) in [
        ((|block| block.trimmed = false) as fn(&mut Block), "fstrim.timer is not enabled", "enable --now fstrim.timer"),
        (|block| block.disks[0].discards = false, "it cannot be", "passes TRIM on"),
    ] {
        let found = found(change);
        let [one] = &found[..] else { panic!("{found:#?}") };
        assert_eq!((one.code, one.code.severity()), (Code::DiskNotTrimmed, Severity::Information));
        assert!(one.scope == Scope::Operator && one.cause.contains(cause) && one.remedy.contains(remedy), "{one:?}");
    }
    assert_eq!(found(|block| (block.trimmed, block.discard) = (false, true)), []);
    assert_eq!(found(|block| (block.disks[0].discards, block.disks[0].rotational) = (false, true)), []);
}

#[test]
fn each_thing_that_is_wrong_with_a_device_is_a_warning_with_its_name() {
    type Case = (fn(&mut Block), Code, &'static str, &'static str, &'static str);
    let errors = |block: &mut Block| {
        let last = Timestamp::from_second(1_796_034_179).ok();
        let (function, at) = (Some("ext4_find_entry".into()), Some(77));
        block.errors = Some(FsErrors { count: 3, first: None, last, function, block: at });
    };
    let cases: [Case; 4] = [
        (
            errors,
            Code::DiskErrors,
            "disk sda1",
            "ext4 has 3 error(s) of sda1 on record, the last at 2026-11-30T10:22:59Z in ext4_find_entry, at block 77",
            "e2fsck -f /dev/sda1",
        ),
        (
            |block| block.disks[0].failed = Some(16),
            Code::DiskErrors,
            "disk sda",
            "sda has failed 16 requests within an hour",
            "smartctl -x /dev/sda",
        ),
        (
            |block| block.disks[0].slow = Some(Slow { now_ms: 300, usual_ms: Some(0) }),
            Code::DiskSlow,
            "disk sda",
            "a request to sda takes 300 ms, and mostly took less than 1 ms",
            "iostat -x 5 sda",
        ),
        (
            |block| block.disks[0].slow = Some(Slow { now_ms: 1500, usual_ms: None }),
            Code::DiskSlow,
            "disk sda",
            "a request to sda takes 1500 ms",
            "sledctl top",
        ),
    ];
    for (change, code, subject, cause, remedy) in cases {
        let found = found(change);
        let [one] = &found[..] else { panic!("{found:#?}") };
        assert_eq!((one.code, one.subject.as_str(), one.cause.as_str()), (code, subject, cause));
        assert_eq!((one.code.severity(), &one.scope), (Severity::Warning, &Scope::Sled));
        assert!(one.remedy.contains(remedy), "{one:?}");
    }
}

/// What the kernel's log has of the disk or of the device on it, and of nothing else.
#[test]
fn errors_in_the_kernels_log_are_told_of_the_disk_that_they_are_of() {
    let incident = |sign| Incident {
        began: Timestamp::from_second(1_796_034_179).unwrap(),
        signs: [sign].into(),
        words: "I/O error, dev sda, sector 2048".into(),
    };
    for (device, sign, told) in [
        ("sda", Sign::IoError, true),
        ("sda1", Sign::IoError, true),
        ("sda2", Sign::IoError, false),
        ("sdb", Sign::IoError, false),
        ("sda", Sign::UsbReset, false),
        ("ata1", Sign::DiskTimeout, true),
        ("ata1", Sign::DiskMute, true),
        ("ata1", Sign::DiskReset, false),
        ("ata2", Sign::DiskTimeout, false),
    ] {
        let mut facts = well(&config());
        facts.block = Some(block());
        facts.block.as_mut().unwrap().disks[0].hangs_on = vec!["ata1".into()];
        facts.kernel_log = KernelLog([(device.to_owned(), vec![incident(sign)])].into());
        let found = judge(&config(), &facts).findings;
        assert_eq!(found.len(), usize::from(told), "{device}: {found:#?}");
        for one in found {
            assert_eq!((one.code, one.subject.as_str()), (Code::DiskErrors, "disk sda"));
            assert!(
                one.cause.ends_with(&format!(
                    "within a day, the last at 2026-11-30T10:22:59Z: {} (the kernel: \"I/O error, dev sda, sector 2048\")",
                    sign.of_disk().unwrap()
                )),
                "{one:?}"
            );
        }
    }
}

/// A file system that the kernel has made read-only is told as that, and one that was mounted so is not.
#[test]
fn a_disk_that_the_kernel_froze_is_told_from_one_that_is_mounted_read_only() {
    for (frozen, code) in [(true, Code::DiskReadOnly), (false, Code::DataReadOnly)] {
        let mut facts = well(&config());
        let disk = facts.disk.as_mut().unwrap();
        (disk.read_only, disk.frozen) = (true, frozen);
        facts.block = Some(block());
        let verdict = judge(&config(), &facts);
        let [one] = &verdict.findings[..] else { panic!("{verdict:#?}") };
        assert_eq!((one.code, one.code.severity(), &one.scope), (code, Severity::Blocking, &Scope::Sled));
        assert!(!verdict.ready(&volume()));
        assert_eq!(one.remedy.contains("e2fsck -f /dev/sda1"), frozen, "{one:?}");
        facts.block.as_mut().unwrap().kind = "xfs".into();
        let of_xfs = judge(&config(), &facts).findings.remove(0);
        assert_eq!(of_xfs.remedy.contains("xfs_repair /dev/sda1"), frozen, "{of_xfs:?}");
    }
}

/// Nothing is to be said of whose disk it is where the kernel lets nobody read it any more.
#[test]
fn a_disk_that_the_kernel_gave_up_is_not_told_to_be_anothers() {
    let mut facts = well(&config());
    let disk = facts.disk.as_mut().unwrap();
    (disk.read_only, disk.frozen) = (true, true);
    disk.mark = Err("disk.json: Input/output error (os error 5)".into());
    disk.ledger = Err("the disk is not this sled's".into());
    facts.block = Some(block());
    let told: Vec<_> = judge(&config(), &facts).findings.into_iter().map(|one| (one.code, one.cause)).collect();
    let of_disk = |told: &[(Code, String)], code| told.iter().any(|(one, _)| *one == code);
    assert!(of_disk(&told, Code::DiskReadOnly) && !of_disk(&told, Code::DataForeign), "{told:?}");
    assert!(
        told.iter().any(|(_, cause)| cause.contains("cannot be read any more") && cause.contains("disk.json: Input")),
        "{told:?}"
    );
}

/// Crucible's downstairs tries a write that fails again for ever: it computes, and answers nobody.
#[test]
fn a_downstairs_that_tries_a_refused_write_for_ever_is_named_as_that() {
    let busy = |state, wanted_percent| Doing {
        pid: 100,
        state,
        // Whatever others leave to it.
        cpu_percent: wanted_percent / 20,
        wanted_percent,
        backlog: 0,
        unread: 4096,
        journal_stopped: false,
    };
    let read_only = |facts: &mut Facts| facts.disk.as_mut().unwrap().read_only = true;
    let failing = |facts: &mut Facts| {
        let mut block = block();
        block.disks[0].failed = Some(40);
        facts.block = Some(block);
    };
    let errors = |facts: &mut Facts| {
        facts.block = Some(Block { errors: Some(FsErrors { count: 1, ..FsErrors::default() }), ..block() });
    };
    type Case<'a> = (&'a dyn Fn(&mut Facts), Doing, Option<&'static str>);
    let cases: [Case<'_>; 7] = [
        (&read_only, busy('R', 100), Some("the file system is read-only")),
        (&failing, busy('R', 100), Some("sda fails requests")),
        (&errors, busy('S', 80), Some("ext4 has 1 error(s) on record")),
        // The disk takes its time to refuse.
        (&failing, busy('D', 0), Some("sda fails requests; process 100 waits for it, and answers nobody")),
        // It waits for the disk, was stopped, or nothing is known of the disk: that is another thing.
        (&errors, busy('D', 0), None),
        (&errors, busy('T', 0), None),
        (&|_| (), busy('R', 100), None),
    ];
    let mut impatient = config();
    impatient.sled.downstairs.restart_hung_after = Some(Span::seconds(60));
    for (change, doing, why) in cases {
        let mut facts = well(&config());
        change(&mut facts);
        region(&mut facts).pulse.as_mut().unwrap().beat = Beat::Silent;
        region(&mut facts).doing = Some(doing.clone());
        // A restart does not help against a disk that refuses.
        region(&mut facts).hung_seconds = 600;
        let restarts = plan(&impatient, &facts).contains(&Action::Restart(first()));
        assert_eq!(restarts, why.is_none(), "{doing:?}");
        let verdict = judge(&config(), &facts);
        let about = |finding: &&Finding| finding.subject == "region still-fawn-0";
        let found: Vec<_> = verdict.findings.iter().filter(about).collect();
        let [one] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(one.code, if why.is_some() { Code::RegionRetrying } else { Code::RegionHung }, "{doing:?}");
        assert_eq!((one.code.severity(), verdict.states[&first()]), (Severity::Blocking, State::Hung));
        assert!(one.cause.contains(why.unwrap_or("does not answer")), "{one:?}");
    }
}
