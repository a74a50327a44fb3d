//! A downstairs that listens and does not answer: what it is doing is told, and it is restarted
//! only where that was asked for, and where it does no harm.

use crucible_sled::protocol::RUOK;
use crucible_sled::wire::{State, Volume};
use std::io::Write;
use std::net::TcpStream;
use support::hosts::SLED;
use support::layer::Layer;
use support::machine::{Machine, cause, has};

/// The share of a processor, in percent, that one that computes gets on any machine, however busy that is, and one
/// that sleeps does not.
const SHARE: u32 = 10;
const REGION: &str = "still-fawn-1";
const RESTART: &str = "[downstairs]\nhung_after = \"2s\"\nrestart_hung_after = \"2s\"\n";

fn restarting() -> Layer {
    Layer::small().with("etc/sled/sled.toml.d/60-x.toml", RESTART)
}

fn fault(machine: &Machine, fault: &str) {
    machine.sh(&format!("echo {fault} >/crucible/{REGION}/stand-in-fault"));
}

fn no_fault(machine: &Machine) {
    machine.sh(&format!("rm /crucible/{REGION}/stand-in-fault"));
}

/// How much of a processor a hung one is said to take.
fn percent(volume: &Volume) -> Option<u32> {
    let words = cause(volume, "REGION_HUNG")?.split(" % of a processor").next()?;
    words.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_livelock_is_told_from_a_wait_and_is_left_running() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    let mut stream = machine.in_outside(|| TcpStream::connect((SLED, 3831)).unwrap());
    fault(&machine, "livelock");
    // The first is read, and the second waits.
    for _ in 0..2 {
        stream.write_all(&RUOK).unwrap();
    }
    let volume = machine.wait_for("still-fawn", |volume| percent(volume).is_some_and(|percent| percent >= SHARE));
    let told = cause(&volume, "REGION_HUNG").unwrap();
    for words in ["it computes", "0 connection(s) wait for it", "8 B sent to it unread"] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    assert_eq!(volume.regions[1].state, Some(State::Hung));
    fault(&machine, "hang");
    machine.wait_for("still-fawn", |volume| {
        percent(volume).is_some_and(|percent| percent < SHARE)
            && cause(volume, "REGION_HUNG").unwrap().contains("sleeps")
    });
    no_fault(&machine);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.pids(), before);
}

#[test]
fn one_that_hangs_is_restarted_where_that_was_asked_for() {
    let machine = restarting().boot_and_create();
    let before = machine.volume("still-fawn");
    fault(&machine, "hang");
    let check = machine.wait_for_check("still-fawn", "REGION_HUNG");
    assert!(check.remedy.contains("restarted when it has been so for 2 s"), "{check:#?}");
    machine.wait_for("still-fawn", |volume| {
        volume.regions[1].pid.is_some() && volume.regions[1].pid != before.regions[1].pid
    });
    no_fault(&machine);
    let after = machine.wait_for("still-fawn", |volume| volume.ready);
    let pids = |volume: &Volume| [volume.regions[0].pid, volume.regions[2].pid];
    assert_eq!(pids(&after), pids(&before));
}

#[test]
fn one_that_hangs_is_not_restarted_while_a_sibling_is_down() {
    let machine = restarting().boot_and_create();
    machine.ok(&["sledctl", "region", "hold", "still-fawn-2"]);
    let before = machine.region(REGION).pid;
    fault(&machine, "hang");
    machine.wait_for_check("still-fawn", "REGION_HUNG");
    assert_eq!(machine.hear(6, "sledd", "hung for too long"), "");
    assert_eq!(machine.region(REGION).pid, before);
    machine.ok(&["sledctl", "region", "release", "still-fawn-2"]);
    machine.wait_for("still-fawn", |volume| volume.regions[1].pid != before);
    no_fault(&machine);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// A restart cures no full disk: that is what is told, and nothing is restarted, not even where
/// it was asked for.
#[test]
fn a_region_that_hangs_on_a_full_disk_is_left_running() {
    let machine = restarting().with_disk("200M").boot_and_create();
    let before = machine.pids();
    machine.sh("fallocate -l $(($(df --output=avail -B1 /crucible | tail -1) - (8 << 20))) /crucible/filler");
    fault(&machine, "livelock");
    machine.wait_for("still-fawn", |volume| {
        volume.regions[1].state == Some(State::Hung) && has(volume, "DISK_FULL") && !has(volume, "REGION_HUNG")
    });
    assert_eq!(machine.hear(6, "sledd", "hung for too long|REGION_HUNG"), "");
    assert!(!machine.volume("still-fawn").ready);
    machine.sh("rm /crucible/filler");
    // The region has its time from now on.
    machine.wait_for("still-fawn", |volume| !has(volume, "DISK_FULL"));
    no_fault(&machine);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.pids(), before);
}

/// As [`Layer::small`], with extents that take their time to hash.
const LARGE: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[defaults]
block_size = 4096
extent_size = 32768
extent_count = 20
[volumes.still-fawn]
hosts = ["192.168.4.17"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
"#;

/// Killed before a flush, it hashes what it wrote before it listens.
#[test]
fn a_slow_start_says_what_it_hashes_and_for_how_long() {
    let machine = Layer::small().with("etc/sled/port-map.toml", LARGE).boot_and_create();
    fault(&machine, "slow-start 4000");
    machine.sh(&format!(
        "cd /crucible/{REGION}/00/000; for extent in 00[0-9]; do \
         printf '\\001' | dd of=$extent bs=1 seek=$(($(stat -c %s $extent) - 32)) conv=notrunc 2>/dev/null; done"
    ));
    machine.kill("KILL", REGION);
    let hashing = |cause: &str| cause.contains("hashes what a crash left dirty before it listens: 10 extent(s)");
    let volume = machine.wait_for("still-fawn", |volume| cause(volume, "REGION_STARTING").is_some_and(hashing));
    let check = volume.checks.iter().find(|check| check.code.as_str() == "REGION_STARTING").unwrap();
    assert_eq!(check.remedy, "wait: that takes about 4 s");
    no_fault(&machine);
    machine.wait_for("still-fawn", |volume| volume.ready);
}
