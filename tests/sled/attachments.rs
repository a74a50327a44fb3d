//! Volumes attached in earnest: upstream's own block device on each host, started with what its
//! ticket says. They need
//! `crucible-nbd-server` beside the real downstairs: where it is, `tests/run sled` runs them.

mod data;
mod rebuild;
mod rot;

use crate::calm::Calm;
use crate::device::{Blocks, Device, program};
use crate::port_map::{PUMPED_PIGLET, STILL_FAWN, boot, is_shut_out};
use crate::takeover::TAKEOVER;
use crate::tickets::{GRANT_LIMIT, granted, refused};
use crucible_sled::wire::Volume;
use std::time::{Duration, Instant};
use support::hosts::{Host, SLED};
use support::machine::{Machine, has};

/// How long it may take until a volume is active; it takes half a second.
const ACTIVE: Duration = Duration::from_secs(15);
/// For how long the new host is watched: the old one tries again every ten seconds.
const WATCH: Duration = Duration::from_secs(25);
/// How long a single write may take while an outsider tries.
const WRITE: Duration = Duration::from_secs(2);
/// How long a downstairs keeps a connection on which nothing comes.
const IDLE: Duration = Duration::from_secs(45);
/// A block of the volume, and of its first half in bytes.
const BLOCK: usize = 512;
const HALF: u64 = 128 * 1024 / 2;

/// A block that tells who wrote it, and when.
fn block(who: &str, n: u64) -> Vec<u8> {
    format!("{who} {n:020} ").into_bytes().into_iter().cycle().take(BLOCK).collect()
}

/// Writes block upon block to the second half, until that fails: how many were flushed, and when
/// the last of them was asked for.
fn write_until_cut(mut blocks: Blocks) -> (u64, Instant) {
    let (mut flushed, mut last) = (0, Instant::now());
    loop {
        let asked = Instant::now();
        if blocks.write(HALF, &block("first", flushed + 1)).is_err() {
            return (flushed, last);
        }
        (flushed, last) = (flushed + 1, asked);
    }
}

/// Writes and reads for a while, and never waits long.
fn is_undisturbed(blocks: &mut Blocks, time: Duration) -> u64 {
    let (began, mut n) = (Instant::now(), 0);
    while began.elapsed() < time {
        let (asked, at) = (Calm::begin(), HALF + n % 100 * BLOCK as u64);
        blocks.write(at, &block("second", n)).unwrap();
        assert_eq!(blocks.read(at, BLOCK).unwrap(), block("second", n));
        assert!(asked.elapsed() < WRITE, "write {n} took {:?}, after {:?}", asked.elapsed(), began.elapsed());
        n += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    n
}

/// The sockets of a host's connections to the volume's regions, in the machine.
fn connections(machine: &Machine, host: &Host) -> String {
    let ports = "( sport = :3830 or sport = :3831 or sport = :3832 )";
    machine.sh(&format!("ss -Htn 'dst {} and {ports}'", host.address))
}

#[test]
#[ignore = "it needs crucible-nbd-server in CRUCIBLE_BIN"]
fn the_next_host_has_what_the_first_one_flushed_and_is_not_disturbed_by_it() {
    assert!(program().is_some(), "it needs crucible-nbd-server in CRUCIBLE_BIN");
    let machine = boot();
    let (first, second, before) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET), machine.pids());
    let ticket = granted(&first, "");
    let mut old = Device::start(&first, &ticket);
    let mut blocks = old.open_within(ACTIVE);
    assert_eq!((blocks.size, ticket.size_bytes), (2 * HALF, 2 * HALF));
    for n in 0..20 {
        blocks.write(n * BLOCK as u64, &block("first", n)).unwrap();
    }
    let writing = std::thread::spawn(move || write_until_cut(blocks));
    machine.wait_for("still-fawn", |volume| volume.attached.iter().any(|attached| attached.regions.len() == 3));
    refused(&second, "", 409, "VOLUME_ATTACHED_ELSEWHERE");

    let began = Calm::begin();
    let ticket = granted(&second, TAKEOVER);
    let granted_at = Instant::now();
    assert!(began.elapsed() < GRANT_LIMIT, "it took {:?}", began.elapsed());
    assert_eq!(connections(&machine, &first), "");
    let mut new = Device::start(&second, &ticket);
    let mut blocks = new.open_within(ACTIVE);
    println!("active {:?} after the ticket", granted_at.elapsed());
    for n in 0..20 {
        assert_eq!(blocks.read(n * BLOCK as u64, BLOCK).unwrap(), block("first", n), "block {n}");
    }
    let found = blocks.read(HALF, BLOCK).unwrap();
    let written = is_undisturbed(&mut blocks, WATCH);
    let tries = old.runs();
    println!("{written} writes; the first host's server {}", if tries { "still tries" } else { "has ended" });

    let (flushed, last) = writing.join().unwrap();
    assert!(flushed > 0 && last < granted_at, "the first host flushed after the second one's ticket was granted");
    // Acknowledged writes are there; one more may be, that was cut off before its answer.
    assert!([flushed, flushed + 1].map(|n| block("first", n)).contains(&found), "{flushed} were flushed");
    assert!(new.runs());
    assert_eq!(connections(&machine, &first), "");
    is_shut_out(&first, &[3830, 3831, 3832]);
    // The host may have given up at once; if not, it was heard.
    let told = |volume: &Volume| (!tries || has(volume, "CLIENT_FOREIGN")) && !volume.attached.is_empty();
    let volume = machine.wait_for("still-fawn", told);
    assert!(volume.ready && volume.attached.iter().all(|attached| attached.address == second.ip()), "{volume:#?}");
    assert_eq!(machine.pids(), before);
}

/// A host that was switched off and on again within seconds: nobody has told the regions that its
/// old connections are dead, and they would find out only after the new ones have come.
#[test]
#[ignore = "it needs crucible-nbd-server in CRUCIBLE_BIN"]
fn a_host_that_is_back_at_once_is_not_disturbed_by_what_it_left() {
    assert!(program().is_some(), "it needs crucible-nbd-server in CRUCIBLE_BIN");
    let machine = boot();
    let host = machine.host(PUMPED_PIGLET);
    let old = Device::start(&host, &granted(&host, ""));
    old.open_within(ACTIVE).write(0, &block("first", 0)).unwrap();
    machine.wait_for("still-fawn", |volume| volume.attached.iter().any(|attached| attached.regions.len() == 3));
    host.ok(&["ip", "link", "set", "eth0", "down"]);
    drop(old);
    host.ok(&["ss", "-K", "dst", SLED]);
    host.ok(&["ip", "link", "set", "eth0", "up"]);
    assert_eq!(connections(&machine, &host).lines().count(), 3);

    let mut new = Device::start(&host, &granted(&host, ""));
    let mut blocks = new.open_within(ACTIVE);
    assert_eq!(blocks.read(0, BLOCK).unwrap(), block("first", 0));
    is_undisturbed(&mut blocks, IDLE + 10 * GRANT_LIMIT);
    assert!(new.runs());
}
