//! Regions that are made anew, and filled by a host that writes in earnest: its server's reconciliation is what copies, and
//! the trailers that it leaves are what ends the job.

use super::ACTIVE;
use super::data::{EXTENTS, Part, flip, name, reads, writes};
use crate::device::{Blocks, Device, program};
use crate::port_map::{STILL_FAWN, boot};
use crate::tickets::granted;
use std::fs::read;
use std::process::{Child, Stdio};
use std::time::Duration;
use support::extents::nth;
use support::hosts::Host;
use support::machine::{Machine, has};

/// The extents that are written to before the first rebuild, and the last one, which is empty until then.
const FIRST: std::ops::Range<u32> = 0..EXTENTS - 1;
const LAST: std::ops::Range<u32> = EXTENTS - 1..EXTENTS;

/// Lets a region rot, and has that found, and that nothing else has.
fn rots(machine: &Machine, region: usize) {
    flip(machine, region, 1, 9, Part::Data(100));
    let scrubbed = machine.run(&["sledctl", "region", "scrub", "--volume", "still-fawn"]);
    assert_eq!(scrubbed.status.code(), Some(1), "{scrubbed:?}");
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_BITROT"));
}

/// Asks for a rebuild, and waits until the empty region serves in the place of the other and waits for its host.
fn begins(machine: &Machine, region: usize, words: &[&str]) -> Child {
    let (name, before) = (name(region), machine.region(&name(region)).uuid);
    let mut command = machine.enter(&[&["sledctl", "region", "rebuild", &name], words].concat());
    let asked = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    machine.until(&format!("sledctl jobs | grep -q 'rebuild.*{name}.*waiting to be filled'"));
    let anew = machine.region(&name);
    assert!(anew.uuid.is_some() && anew.uuid != before, "{anew:#?}");
    asked
}

/// Starts the host's server anew: it fills the region before it is active, and the job ends by itself.
fn is_filled(machine: &Machine, host: &Host, asked: Child, extents: u32) -> (Device, Blocks) {
    let device = Device::start(host, &granted(host, ""));
    let blocks = device.open_within(ACTIVE);
    let asked = asked.wait_with_output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let jobs = machine.ok(&["sledctl", "jobs"]);
    assert!(jobs.contains(&format!("{extents} of {extents} extents have what")), "{jobs}");
    for extent in 0..EXTENTS {
        let [first, others @ ..] = [0, 1, 2].map(|region| read(nth(machine, &name(region), extent)).unwrap());
        assert!(others.iter().all(|other| *other == first), "extent {extent} is not the same everywhere");
    }
    (device, blocks)
}

/// Waits until a server has ended, which is seen when it is looked at.
fn ends(device: &mut Device) {
    while device.runs() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "it needs crucible-nbd-server in CRUCIBLE_BIN"]
fn a_region_is_made_anew_and_filled_by_the_server_of_its_host() {
    assert!(program().is_some(), "it needs crucible-nbd-server in CRUCIBLE_BIN");
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    let mut device = Device::start(&host, &granted(&host, ""));
    let mut blocks = device.open_within(ACTIVE);
    writes(&machine, &mut blocks, FIRST, 1);
    rots(&machine, 0);

    let before = machine.region("still-fawn-0");
    let refused = machine.run(&["sledctl", "region", "rebuild", "still-fawn-0"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains(&format!("{STILL_FAWN} is connected")) && why.contains("--attached"), "{why}");
    assert_eq!((machine.region("still-fawn-0").pid, device.runs()), (before.pid, true));
    reads(&mut blocks, 0..1, 1);

    let asked = begins(&machine, 0, &["--attached"]);
    // It knew the region that was there, and takes no other for it.
    ends(&mut device);
    let (device, mut blocks) = is_filled(&machine, &host, asked, FIRST.end);
    reads(&mut blocks, FIRST, 1);

    // It is as good as the others: what they are made anew from, and what is written to.
    writes(&machine, &mut blocks, LAST, 2);
    rots(&machine, 1);
    drop((blocks, device));
    machine.wait_for("still-fawn", |volume| volume.attached.is_empty());
    let asked = begins(&machine, 1, &[]);
    let (mut device, mut blocks) = is_filled(&machine, &host, asked, EXTENTS);
    reads(&mut blocks, FIRST, 1);
    reads(&mut blocks, LAST, 2);
    writes(&machine, &mut blocks, FIRST, 3);
    machine.ok(&["sledctl", "region", "scrub", "--volume", "still-fawn"]);
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "REGION_BITROT"));
    assert!(device.runs(), "it has ended");
}
