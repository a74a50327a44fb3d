//! Distinctness of conditions: one is its code and what it is about. Since when it is so is told by these two, and
//! whoever follows it knows it by them. So whatever is seen, none is told twice.

use super::*;
use crate::check::Code;
use crate::config::Tls as Wanted;
use crate::decide::facts::{
    Enforcement, Faults, Files, Flaw, Gap, Image, InForce, Incident, KernelLog, MacChange, Obstacle, Outdated, Sign,
    Start, Stopped, Stranger, Tls, TurnedAway,
};
use crate::decide::finding::Finding;
use crate::decide::verdict::judge;
use crate::region::{HeldBy, Hold};
use crate::wire::{Maintenance, Peer};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn disk(facts: &mut Facts) -> &mut Disk {
    facts.disk.as_mut().unwrap()
}

fn ledger(facts: &mut Facts) -> &mut Ledger {
    // A ledger that another oddity has made unreadable has nothing odd in it.
    let disk = disk(facts);
    if disk.ledger.is_err() {
        disk.ledger = Ok(Ledger::default());
    }
    disk.ledger.as_mut().unwrap()
}

fn stranger(pid: u32) -> Stranger {
    Stranger { pid: Some(pid), command: format!("writer {pid}"), unit: None }
}

fn strangers(pids: &[u32]) -> Vec<Stranger> {
    pids.iter().map(|pid| stranger(*pid)).collect()
}

fn bridge(facts: &mut Facts) -> &mut Bridge {
    facts.network.get_or_insert_default().bridge.get_or_insert_default()
}

fn nic(facts: &mut Facts) -> &mut Nic {
    facts.network.get_or_insert_default().nic.get_or_insert_default()
}

fn hold(by: HeldBy) -> Hold {
    Hold { by, why: "x".into(), remedy: None, since: Timestamp::UNIX_EPOCH }
}

/// The files of `[tls]`, each as bad as can be.
fn bad_files(facts: &mut Facts) {
    let (at, cert, root_cert) = (Timestamp::UNIX_EPOCH, Err(Flaw::Missing), Err(Flaw::Empty));
    facts.tls = Some(Tls { at, cert, key: Err(Flaw::Open(0o644)), root_cert, refused: None });
}

/// Of everything that is looked at something.
const ODD: &[Situation] = &[
    ("the disk is full", |facts| disk(facts).free = 0),
    ("the disk fills up", |facts| disk(facts).free = 1 << 35),
    ("there is no inode left", |facts| (disk(facts).inodes, disk(facts).inodes_free) = (1000, 0)),
    ("few inodes are left", |facts| (disk(facts).inodes, disk(facts).inodes_free) = (1000, 40)),
    ("the disk is not mounted", |facts| disk(facts).mounted = false),
    ("the disk is read-only", |facts| disk(facts).read_only = true),
    ("the mark cannot be read", |facts| disk(facts).mark = Err("torn".into())),
    ("the ledger cannot be read", |facts| disk(facts).ledger = Err("garbage".into())),
    ("the ledger was damaged", |facts| disk(facts).damage = Some("garbage".into())),
    ("what was cut short is not settled", |facts| facts.settled = Settled::Failed("x".into())),
    ("regions are on record that the map has not", |facts| {
        let record = Record {
            uuid: Uuid::from_u128(1),
            geometry: config().local_regions()[0].geometry,
            created: Timestamp::UNIX_EPOCH,
            by: "a test".into(),
        };
        ["old-0", "old-1", "old-2"].iter().for_each(|old| {
            ledger(facts).regions.insert(old.parse().unwrap(), record.clone());
        });
    }),
    ("the grants cannot be read", |facts| {
        (disk(facts).grants, facts.grants) = (Err("x".into()), None);
    }),
    ("a volume's grants cannot be read", |facts| facts.unread_grants = [(volume(), "x".into())].into()),
    ("a volume's grants were damaged", |facts| facts.damaged_grants = [(volume(), "x".into())].into()),
    ("the region's directory is gone", |facts| {
        disk(facts).regions.insert(first(), OnDisk::Absent);
    }),
    ("the region's file cannot be read", |facts| {
        disk(facts).regions.insert(first(), OnDisk::Unreadable("x".into()));
    }),
    ("the region is not on record", |facts| {
        ledger(facts).regions.remove(&first());
    }),
    ("an operator holds the region", |facts| {
        ledger(facts).holds.insert(first(), hold(HeldBy::Operator));
    }),
    ("it is held for its crashes", |facts| {
        facts.holding.insert(first(), hold(HeldBy::CrashLoop));
    }),
    ("a file of the stopped region is odd", |facts| {
        stopped(facts);
        disk(facts).surveys.insert(first(), Survey { allocated: 0, fault: Some("x".into()), dirty: 7 });
    }),
    ("a process writes to the region", |facts| facts.intruders = Some([(first(), strangers(&[9]))].into())),
    ("three processes write to it", |facts| facts.intruders = Some([(first(), strangers(&[7, 8, 9]))].into())),
    ("another process has its ports", |facts| {
        region(facts).sockets.iter_mut().for_each(|seen| {
            (seen.data, seen.repair) = (Holder::Other(stranger(7)), Holder::Other(stranger(7)));
        });
    }),
    ("the region is stopped", |facts| stopped(facts)),
    ("its port is taken", |facts| {
        stopped(facts);
        region(facts).start = Start::NoPort(3830, "port 3830 is taken".into());
    }),
    ("it was stopped by somebody", |facts| {
        stopped(facts);
        region(facts).stopped = Some(Stopped { at: Timestamp::UNIX_EPOCH, run: None });
    }),
    ("it is being created", |facts| {
        facts.busy.insert(first(), Busy::Creating);
    }),
    ("a host lacks it alone", |facts| {
        let peer = Peer { address: "192.168.4.17".parse().unwrap(), port: 1, host: None };
        let others = facts.regions.iter_mut().filter(|(name, _)| **name != first());
        others.for_each(|(_, seen)| seen.sockets.as_mut().unwrap().connected.push(peer.clone()));
        facts.lacks = [((first(), peer.address), 600)].into();
    }),
    ("a stranger knocks", |facts| {
        facts
            .turned_away
            .insert(volume(), TurnedAway { asked: ["192.168.4.99".parse().unwrap()].into(), dropped: true });
    }),
    ("the cable is pulled", |facts| nic(facts).carrier = false),
    ("the interface is down", |facts| nic(facts).up = false),
    ("the interface is slow in every way", |facts| {
        let nic = nic(facts);
        (nic.link_mbps, nic.usb.get_or_insert_default().mbps, nic.mtu) = (Some(1), Some(1), Some(1));
    }),
    ("the interface is driven wrongly, sleeps, and fails", |facts| {
        let nic = nic(facts);
        (nic.half_duplex, nic.driver, nic.lineage) = (true, Some("cdc_ncm".into()), vec!["2-1".into()]);
        (nic.renamed, nic.twins, nic.losses) = (Some("eth0".into()), vec!["eth1".into()], 9);
        nic.faults = Faults { received: 9, received_faulty: 99, ..Faults::default() };
        let usb = nic.usb.get_or_insert_default();
        (usb.autosuspend, usb.id) = (true, Some("0bda:8156".into()));
        let incident =
            Incident { began: Timestamp::UNIX_EPOCH, signs: [Sign::TransmitTimeout].into(), words: "x".into() };
        facts.kernel_log = KernelLog([("2-1".into(), vec![incident])].into());
    }),
    ("the bridge looks for loops, and has another address", |facts| {
        let change = MacChange { from: "a".into(), at: Timestamp::UNIX_EPOCH };
        let bridge = bridge(facts);
        (bridge.stp, bridge.forward_delay, bridge.mac) = (true, 1500, Some("b".into()));
        bridge.mac_change = Some(change);
    }),
    ("the bridge would wait", |facts| bridge(facts).forward_delay = 1500),
    ("hosts are not reached", |facts| {
        let network = facts.network.get_or_insert_default();
        network.unroutable = ["192.168.4.17".parse().unwrap()].into();
        network.unanswering = ["192.168.4.17".parse().unwrap()].into();
        let peer = Peer { address: "192.168.4.17".parse().unwrap(), port: 1, host: None };
        region(facts).sockets.iter_mut().for_each(|seen| seen.connected.push(peer.clone()));
    }),
    ("the kernel is old", |facts| {
        nic(facts).driver = Some("r8152".into());
        facts.network.get_or_insert_default().kernel = Some("6.1.0-13-amd64".into());
    }),
    ("the interface is in no bridge", |facts| nic(facts).master = None),
    ("its bridge port is blocked", |facts| nic(facts).port = Some(PortState::Blocking)),
    ("the interface is gone", |facts| facts.network.get_or_insert_default().nic = None),
    ("the bridge is gone", |facts| facts.network.get_or_insert_default().bridge = None),
    ("the bridge is down", |facts| bridge(facts).up = false),
    ("another machine has the sled's address", |facts| {
        let address = config().address;
        (bridge(facts).addresses, bridge(facts).duplicates) = (Vec::new(), vec![address]);
    }),
    ("the address has another prefix", |facts| {
        let address = config().address;
        bridge(facts).prefixes = [(address, 32)].into();
    }),
    ("systemd cannot be reached", |facts| facts.bus = Some(Bus::Unreachable("x".into()))),
    ("its unit could not be renewed", |facts| {
        facts.outdated = Some(Outdated { by: Obstacle::Systemd("x".into()), regions: [first()].into() })
    }),
    ("two looks are not answered", |facts| facts.unseen = [("data disk", 7), ("units", 8)].into()),
    ("an upgrade is unfinished", |facts| facts.unfinished_upgrade = true),
    ("the sled is going down", |facts| facts.leaving = true),
    ("the sled is in maintenance", |facts| {
        facts.maintenance = Some(Maintenance { reason: None, since: Timestamp::UNIX_EPOCH, until: None });
    }),
    ("nothing is enforced", |facts| {
        let (bind, address) = (Err(Gap::NoLibrary), Err(Gap::NotLoaded));
        facts.enforcement = Some(Enforcement { bind, address });
    }),
    ("the image is a demonstration, and was given up", |facts| {
        let (given_up, refused) = (Some(("2".into(), "x".into())), vec!["x".into()]);
        let image = Image { version: "1".into(), demonstration: true, given_up, refused, ..Image::default() };
        facts.image =
            Some(Image { replaced: vec!["x".into()], renewed: Some("x".into()), reset: Some("x".into()), ..image });
    }),
    ("the files are not those in force", |facts| {
        let (dir, digest, read) = ("/etc/sled".into(), "sha256:1".into(), Err(Vec::new()));
        facts.files = Some(Files { dir, digest, changed: None, read });
        facts.in_force = Some(InForce { not_kept: Some("x".into()), ..InForce::default() });
    }),
    ("the files of TLS are bad", bad_files),
];

/// With one file for everything, and a volume that anybody may attach.
fn odd_config() -> Configuration {
    let mut config = config_of(&MAP.replace("hosts = [\"192.168.4.17\"]\n", ""));
    let [cert, key, root_cert] = [const { "/etc/sled/all.pem" }; 3].map(Into::into);
    config.sled.tls = Some(Wanted { cert, key, root_cert, expires_warning: Wanted::EXPIRES_WARNING });
    config
}

fn twice(config: &Configuration, facts: &Facts) -> Vec<(Code, String)> {
    let mut known = BTreeSet::new();
    let told = judge(config, facts).findings.into_iter().map(|found| (found.code, found.subject));
    told.filter(|one| !known.insert(one.clone())).collect()
}

fn told(facts: &Facts, code: Code) -> Vec<Finding> {
    judge(&config(), facts).findings.into_iter().filter(|found| found.code == code).collect()
}

/// So that none of them has become something that nobody tells of.
#[test]
fn each_oddity_is_told() {
    let config = odd_config();
    let well = well(&config);
    let quiet = judge(&config, &well).findings;
    for (situation, odd) in ODD {
        let mut facts = well.clone();
        odd(&mut facts);
        assert_ne!(judge(&config, &facts).findings, quiet, "{situation}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_seen_no_condition_is_told_twice(
        odd in proptest::sample::subsequence(ODD, 0..=ODD.len()).prop_shuffle(),
        strict in any::<bool>(),
    ) {
        let config = if strict { config() } else { odd_config() };
        let mut facts = well(&config);
        odd.iter().for_each(|(_, odd)| odd(&mut facts));
        let situations: Vec<_> = odd.iter().map(|(situation, _)| situation).collect();
        prop_assert_eq!(twice(&config, &facts), [], "{:?}", situations);
    }
}

#[test]
fn a_disk_without_bytes_and_without_inodes_is_full_in_two_ways() {
    let mut facts = well(&config());
    (disk(&mut facts).free, disk(&mut facts).inodes, disk(&mut facts).inodes_free) = (0, 1000, 0);
    let full = told(&facts, Code::DiskFull);
    let subjects: Vec<_> = full.iter().map(|found| found.subject.as_str()).collect();
    assert_eq!(subjects, ["disk /crucible", "inodes /crucible"], "{full:#?}");
}

#[test]
fn several_that_write_to_a_region_are_one_condition_with_all_of_their_names() {
    let mut facts = well(&config());
    facts.intruders = Some([(first(), strangers(&[7, 8]))].into());
    let found = told(&facts, Code::RegionForeignProcess);
    assert_eq!(found.len(), 1, "{found:#?}");
    for words in ["process 7 (writer 7)", "process 8 (writer 8)"] {
        assert!(found[0].cause.contains(words), "{found:?}");
    }
    assert!(found[0].remedy.contains("kill 7") && found[0].remedy.contains("kill 8"), "{found:?}");
}

#[test]
fn a_file_that_is_bad_as_a_key_and_as_a_certificate_is_told_once_with_both() {
    let config = odd_config();
    let mut facts = well(&config);
    bad_files(&mut facts);
    let found = judge(&config, &facts).findings;
    let found: Vec<_> = found.into_iter().filter(|found| found.code == Code::TlsUnusable).collect();
    assert!(found.len() == 1 && found[0].subject == "tls /etc/sled/all.pem", "{found:#?}");
    for words in ["mode 0644", "is not there", "holds no certificate"] {
        assert!(found[0].cause.contains(words), "{found:?}");
    }
}
