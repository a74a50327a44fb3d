//! Scrubs of regions that are in use, held, and gone.

use crucible_sled::check::Code;
use crucible_sled::region::extent::{Array, Layout};
use crucible_sled::region::format::extent_path;
use crucible_sled::region::{Geometry, scrub::Wrong};
use crucible_sled::wire::{Asker, Job, JobKind, JobState, JobUnit, Refusal, State};
use serde_json::Value;
use std::time::Duration;
use support::layer::{Layer, SMALL};
use support::machine::{Machine, has};
use twox_hash::XxHash64;

const REGION: &str = "still-fawn-1";
const ROT: Code = Code::RegionBitrot;

/// Writes a block of an extent as the real program does, with its context, and what `spoil` makes of it.
fn write(machine: &Machine, region: &str, block: u64, spoil: impl FnOnce(&mut Vec<u8>)) {
    let json: Value = serde_json::from_str(&machine.sh(&format!("cat /crucible/{region}/region.json"))).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let geometry = Geometry {
        block_size: number(&json["block_size"]),
        extent_size: number(&json["extent_size"]["value"]),
        extent_count: number(&json["extent_count"]).try_into().unwrap(),
    };
    let layout = Layout::of(geometry);
    let mut data = vec![7; usize::try_from(geometry.block_size).unwrap()];
    let hash = XxHash64::oneshot(0, &data).to_le_bytes();
    spoil(&mut data);
    let mut slot = [0; 48];
    slot[0] = 1;
    slot[1..9].copy_from_slice(&hash);
    slot[10..18].copy_from_slice(&hash);
    let file = format!("/crucible/{region}/{}", extent_path(1));
    let blocks = block..block + 1;
    for (bytes, at) in [(&data[..], layout.data(&blocks).start), (&slot, layout.slots(Array::First, &blocks).start)] {
        let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        machine.sh(&format!("printf '{octal}' | dd of={file} bs=1 seek={at} conv=notrunc status=none"));
    }
}

fn scrub(machine: &Machine, words: &[&str]) -> (Option<i32>, Value) {
    let output = machine.run(&[&["sledctl", "--json", "region", "scrub"], words].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The scrub of a region that was asked for last, as soon as it is so: how far a job is nobody tells without being asked.
fn job(machine: &Machine, region: &str, so: impl Fn(&Job) -> bool) -> Job {
    loop {
        let jobs: Vec<Job> =
            serde_json::from_slice(&machine.run(&["sledctl", "--json", "jobs"]).stdout).unwrap_or_default();
        let mut own = jobs.into_iter().rev().filter(|job| job.kind == JobKind::Scrub);
        if let Some(job) = own.find(|job| job.region.to_string() == region).filter(&so) {
            return job;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_rotten_block_of_a_region_in_use_is_found_and_told_until_it_is_right() {
    let machine = Layer::small().boot_and_create();
    (0..3).for_each(|index| write(&machine, &format!("still-fawn-{index}"), 2, |_| ()));
    let before = machine.pids();
    let (code, jobs) = scrub(&machine, &["--all"]);
    assert_eq!(code, Some(0), "{jobs:#}");
    for job in jobs.as_array().unwrap() {
        let job: Job = serde_json::from_value(job["job"].clone()).unwrap();
        assert_eq!((job.kind, job.state), (JobKind::Scrub, JobState::Done));
        assert!(job.step.starts_with("nothing is wrong: ") && job.step.contains("1 written block(s)"), "{}", job.step);
    }
    write(&machine, REGION, 2, |data| data[9] ^= 1);
    let (code, job) = scrub(&machine, &["--volume", "still-fawn"]);
    assert_eq!(code, Some(1), "{job:#}");
    assert_eq!(job[1]["error"]["code"], "REGION_BITROT", "{job:#}");
    assert!(job[0]["error"].is_null() && job[2]["error"].is_null(), "{job:#}");
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_BITROT"));
    assert!(volume.ready, "it is a warning");
    let found = volume.regions[1].scrub.clone().unwrap();
    assert_eq!((found.rotten, found.unreadable, found.faults.len()), (1, 0, 1));
    let fault = &found.faults[0];
    assert_eq!((fault.extent, fault.block), (1, Some(2)));
    assert!(matches!(fault.wrong, Wrong::Rotten { .. }));
    assert!(fault.siblings.iter().all(|one| one.right && one.found == fault.wrong.expected()), "{fault:?}");
    let said = machine.run(&["sledctl", "region", "show", REGION]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("extent 1 block 2: its bytes") && said.contains("still-fawn-2 has what this"), "{said}");
    let metrics = machine.get("/metrics").1;
    let metrics = metrics.as_str().unwrap();
    for line in
        ["sled_region_rotten_blocks{region=\"still-fawn-1\",volume=\"still-fawn\"} 1", "sled_scrub_read_bytes_total "]
    {
        assert!(metrics.contains(line), "no {line}");
    }

    // What is known outlives the supervisor; a region that is held is scrubbed as well.
    machine.ok(&["sledctl", "region", "hold", REGION]);
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_BITROT") && has(volume, "REGION_HELD"));
    write(&machine, REGION, 2, |_| ());
    assert_eq!(scrub(&machine, &[REGION]).0, Some(0));
    assert_eq!(machine.region(REGION).state, Some(State::Held));
    assert!(!has(&machine.volume("still-fawn"), "REGION_BITROT"));
    machine.ok(&["sledctl", "region", "release", REGION]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    let others = before.iter().filter(|unit| !unit.contains(REGION));
    assert!(others.eq(machine.pids().iter().filter(|unit| !unit.contains(REGION))), "the others have gone on");
}

/// A slow scrub: whose turn it is, who goes on with it, who ends it, and that a region that goes is no finding.
#[test]
fn one_is_scrubbed_at_a_time_it_can_be_cancelled_and_a_region_that_goes_ends_it() {
    let map = SMALL.replace("block_size = 512", "block_size = 4096").replace("extent_size = 64", "extent_size = 4096");
    let slow = "[scrub]\nrate = \"1MiB/s\"\n";
    let layer = Layer::small().with("etc/sled/port-map.toml", &map).with("etc/sled/sled.toml.d/60-scrub.toml", slow);
    let machine = layer.boot_and_create();
    // Zeroes that are written are no hole, and right where nothing else was written.
    machine.sh("for index in 0 1 2; do dd if=/dev/zero of=/crucible/still-fawn-$index/00/000/001 bs=1M count=16 \
         conv=notrunc status=none; done");
    machine.sh("for index in 0 2; do sledctl region scrub still-fawn-$index >/dev/null 2>&1 & \
         until sledctl jobs | grep -q still-fawn-$index.*running; do sleep 0.05; done; done");
    let reads = |job: &Job| job.progress.is_some_and(|progress| progress.done > 0 && progress.unit == JobUnit::Bytes);
    assert_eq!(job(&machine, "still-fawn-0", reads).by, Some(Asker::User("root".into())));
    let second = job(&machine, "still-fawn-2", |_| true);
    assert_eq!((second.state, second.progress), (JobState::Running, None), "it waits for its turn");
    let (code, refused) = scrub(&machine, &["still-fawn-0"]);
    assert_eq!((code, refused[0]["error"]["code"].as_str()), (Some(1), Some("BUSY")), "{refused:#}");
    // Whoever comes after a supervisor that was killed goes on with what that was at, and with no more.
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    let again = job(&machine, "still-fawn-0", |job| job.unasked && reads(job));
    assert_eq!(again.by, Some(Asker::Sledd));
    let cut = job(&machine, "still-fawn-2", |job| job.state == JobState::Failed);
    assert_eq!(cut.error.unwrap().code, Refusal::CutShort);
    machine.ok(&["sledctl", "jobs", "cancel", &again.id.to_string()]);
    let cancelled = job(&machine, "still-fawn-0", |job| job.state != JobState::Running);
    assert_eq!((cancelled.id, cancelled.state), (again.id, JobState::Cancelled));

    machine.sh("sledctl region scrub still-fawn-2 >/dev/null 2>&1 &");
    job(&machine, "still-fawn-2", reads);
    machine.ok(&["sledctl", "region", "delete", "still-fawn-2", "--yes-destroy", "still-fawn-2"]);
    let gone = job(&machine, "still-fawn-2", |job| job.id > again.id && job.state != JobState::Running);
    let why = gone.error.unwrap();
    assert!(gone.state == JobState::Failed && why.message.contains("it was deleted meanwhile"), "{why:?}");
    assert!(!machine.sled().checks.iter().any(|check| check.code == ROT));
}
