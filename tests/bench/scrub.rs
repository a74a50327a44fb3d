//! What a scrub costs: how fast a mostly sparse and a full region are held to their checksums, what memory that takes,
//! and what a writer beside it notices. Over a limit is a failure.
//!
//! ```text
//! cargo bench --bench scrub [-- PART]
//! ```
//!
//! | part | figure |
//! |---|---|
//! | `sparse` | a region of 12.5 GiB of which little is written, against upstream's `verify` |
//! | `full` | blocks that are all written, against `dd` of the same files past the page cache, both on one processor; and memory above idle |
//! | `beside` | a writer's 99th percentile while a scrub goes on at its default rate, against that without one |
//!
//! The machine's disk is a loop device over a file. In `full` and `beside` it reads and writes that file past the page cache:
//! so what is compared is the disk on which temporary files lie (`TMPDIR`, or `/var/tmp`), and not memory. Where that file
//! system cannot do that, it is said.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use crucible_sled::region::extent::{Array, Layout, SLOT_BYTES};
use crucible_sled::region::format::extent_path;
use crucible_sled::wire::{Job, JobState};
use procfs::process::Process;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::figures::{is_within, median, rounds, show};
use support::layer::Layer;
use support::machine::Machine;
use twox_hash::XxHash64;

/// A part: whether it kept within its limits.
type Part = fn() -> bool;
const PARTS: [(&str, Part); 3] = [("sparse", sparse), ("full", full), ("beside", beside)];

/// The extents of the shipped port map's volumes.
const LAYOUT: Layout = Layout { block_bytes: 4096, blocks: 32768 };
const EXTENTS: u32 = 100;
/// Nothing holds it back.
const UNBOUND: &str = "[scrub]\nschedule = \"off\"\nrate = \"100GiB/s\"\n";
const ROUNDS: usize = 5;

/// The time that upstream's `verify` took for 12.5 GiB of which little was written, where it is not asked itself.
const VERIFY: Duration = Duration::from_secs(54);
/// The most of that which a scrub may take.
const MOST_OF_VERIFY: f64 = 1.0 / 20.0;
/// The blocks of each extent that are written in a mostly sparse region.
const SCATTERED: u64 = 64;

/// The extents that are full, of 128 MiB each.
const FULL: u32 = 16;
/// The least speed, as a share of that of `dd`.
const LEAST_OF_DD: f64 = 0.8;
/// The most memory above what an idle supervisor has, in MiB.
const MOST_MEMORY: f64 = 8.0;

/// The writes that are timed without a scrub, and beside one.
const WRITES: usize = 1500;
/// A writer's 99th percentile beside a scrub may be so many times that without one.
const MOST_BESIDE: f64 = 1.2;

fn main() -> ExitCode {
    // Cargo passes options of its own.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = PARTS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
    let within: Vec<_> = chosen.map(|(_, part)| part()).collect();
    if !within.is_empty() && within.iter().all(|within| *within) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sparse() -> bool {
    let machine = Layer::shipped().with("etc/sled/sled.toml.d/60-scrub.toml", UNBOUND).boot_and_create();
    for number in 0..EXTENTS {
        fill(&machine, "pve-0", number, (0..SCATTERED).map(|nth| nth * (LAYOUT.blocks / SCATTERED)));
    }
    machine.sh("sync --file-system /crucible");
    let times: Vec<_> = (0..rounds(ROUNDS)).map(|_| scrub(&machine)).collect();
    let times = ordered(times);
    let (whose, verify) = match std::env::var_os("CRUCIBLE_BIN") {
        None => ("upstream's verify, as it was measured", VERIFY),
        Some(_) => {
            machine.sh("sledctl region hold pve-0 >/dev/null");
            let program = "/usr/lib/crucible/crucible-downstairs verify -d /crucible/pve-0 >/dev/null";
            ("upstream's verify", timed(&machine, program))
        }
    };
    let ratio = median(&times).div_duration_f64(verify);
    println!("a region of 12.5 GiB, with {SCATTERED} blocks written in each of {EXTENTS} extents, in ms");
    show("a scrub", &times);
    show(whose, &[verify]);
    println!("  the ratio: {ratio:.3} (limit {MOST_OF_VERIFY})");
    is_within(ratio <= MOST_OF_VERIFY)
}

fn full() -> bool {
    let machine = Layer::shipped().with("etc/sled/sled.toml.d/60-scrub.toml", UNBOUND).boot_and_create();
    machine.wait_for("pve", |volume| volume.ready);
    (0..FULL).for_each(|number| fill(&machine, "pve-0", number, 0..LAYOUT.blocks));
    machine.sh("sync --file-system /crucible");
    let disk = past_the_cache(&machine);
    let sledd = machine.sledd();
    let idle = memory(&sledd);
    // What it begins later has what its threads have.
    machine.sh("taskset --all-tasks --cpu-list --pid 0 $(systemctl show --value --property=MainPID sledd) >/dev/null");
    let files: Vec<_> = (0..FULL).map(|number| format!("/crucible/pve-0/{}", extent_path(number))).collect();
    let files = files.join(" ");
    let dd = format!("for file in {files}; do taskset --cpu-list 0 dd if=$file of=/dev/null bs=1M iflag=direct; done");
    // Nothing of them is in memory, contexts included.
    let forget = format!("for file in {files}; do dd if=$file iflag=nocache count=0; done");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds(ROUNDS) {
        machine.sh(&format!("({forget}) 2>/dev/null"));
        theirs.push(timed(&machine, &format!("({dd}) 2>/dev/null")));
        ours.push(scrub(&machine));
    }
    // The most that it had at any time.
    let most = sledd.status().unwrap().vmhwm.unwrap() as f64 / 1024.0;
    let ratio = middle(&theirs, &ours);
    let (ours, theirs) = (ordered(ours), ordered(theirs));
    println!("{FULL} extents of 128 MiB, all written, on {disk}, in ms");
    show("a scrub", &ours);
    show("dd past the page cache", &theirs);
    println!("  its speed is {ratio:.2} of that of dd (limit {LEAST_OF_DD})");
    println!("  memory: {:.1} MiB above the {idle:.1} of an idle one (limit {MOST_MEMORY})", most - idle);
    is_within(ratio >= LEAST_OF_DD && most - idle <= MOST_MEMORY)
}

fn beside() -> bool {
    let schedule = "[scrub]\nschedule = \"off\"\n";
    let machine = Layer::shipped().with("etc/sled/sled.toml.d/60-scrub.toml", schedule).boot_and_create();
    (0..FULL).for_each(|number| fill(&machine, "pve-0", number, 0..LAYOUT.blocks));
    machine.sh("sync --file-system /crucible");
    let disk = past_the_cache(&machine);
    let file = File::options().write(true).create(true).truncate(true).open(inside(&machine, "writer")).unwrap();
    file.set_len(1 << 30).unwrap();
    write(&file);
    let (mut alone, mut scrubbed) = (Vec::new(), Vec::new());
    for _ in 0..rounds(ROUNDS) {
        alone.push(write(&file));
        let mut scrub = machine.enter(&["sledctl", "region", "scrub", "pve-0"]);
        let mut scrub = scrub.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let id = running(&machine);
        scrubbed.push(write(&file));
        assert_eq!(running(&machine), id, "it ended before the writer did");
        machine.sh(&format!("sledctl jobs cancel {id} >/dev/null"));
        scrub.wait().unwrap();
    }
    let ratio = middle(&scrubbed, &alone);
    let (alone, scrubbed) = (ordered(alone), ordered(scrubbed));
    println!("a write of 4 KiB and its sync on {disk}, the 99th percentile of {WRITES}, in ms");
    show("alone", &alone);
    show("beside a scrub at its default rate", &scrubbed);
    println!("  the ratio: {ratio:.2} (limit {MOST_BESIDE})");
    is_within(ratio <= MOST_BESIDE)
}

/// Lets the machine's disk read and write its file past the page cache, and tells what it is then.
fn past_the_cache(machine: &Machine) -> &'static str {
    let device = std::fs::metadata(format!("/proc/{}/root/dev/sled-data", machine.leader())).unwrap().rdev();
    let device = format!("/dev/loop{}", nix::sys::stat::minor(device));
    let set = Command::new("losetup").args(["--direct-io=on", &device]).stderr(Stdio::null()).status().unwrap();
    if set.success() { "the disk of temporary files" } else { "a disk that is in memory: no figure of one" }
}

/// The number of the job that runs, as soon as one does.
fn running(machine: &Machine) -> u64 {
    loop {
        let jobs: Vec<Job> = serde_json::from_slice(&machine.run(&["sledctl", "--json", "jobs"]).stdout).unwrap();
        if let Some(job) = jobs.iter().find(|job| job.state == JobState::Running) {
            return job.id;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The 99th percentile of writes that last, all over a file.
fn write(file: &File) -> Duration {
    let mut times: Vec<_> = (0..rounds(WRITES) as u64)
        .map(|nth| {
            let began = Instant::now();
            // A prime of blocks apart: no two are neighbours.
            file.write_all_at(&[7; 4096], nth * 7919 % 262_144 * 4096).unwrap();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Writes blocks of an extent and their contexts, clean, as a host's flush leaves them.
fn fill(machine: &Machine, region: &str, number: u32, blocks: impl Iterator<Item = u64>) {
    let path = inside(machine, &format!("{region}/{}", extent_path(number)));
    let file = File::options().write(true).open(path).unwrap();
    let mut data = vec![0; LAYOUT.block_bytes.try_into().unwrap()];
    for block in blocks {
        data[..8].copy_from_slice(&(block | u64::from(number) << 32).to_le_bytes());
        let hash = XxHash64::oneshot(0, &data).to_le_bytes();
        let mut slot = [0; SLOT_BYTES];
        slot[0] = 1;
        slot[1..9].copy_from_slice(&hash);
        slot[10..18].copy_from_slice(&hash);
        let own = block..block + 1;
        file.write_all_at(&slot, LAYOUT.slots(Array::First, &own).start).unwrap();
        file.write_all_at(&data, LAYOUT.data(&own).start).unwrap();
    }
    let mut ends = [0; 16];
    (ends[0], ends[8]) = (7, 3);
    file.write_all_at(&ends, LAYOUT.trailer() + 1).unwrap();
}

/// The path out here of what lies on the data disk.
fn inside(machine: &Machine, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root/crucible/{path}", machine.leader()))
}

/// How long a whole scrub of the region takes, as an operator asks for it.
fn scrub(machine: &Machine) -> Duration {
    timed(machine, "sledctl region scrub pve-0 >/dev/null")
}

/// How long a script takes in the machine, by the machine's clock.
fn timed(machine: &Machine, script: &str) -> Duration {
    let spent = machine.sh(&format!("set -e; from=$(date +%s%N)\n{script}\necho $((($(date +%s%N) - from) / 1000))"));
    Duration::from_micros(spent.trim().lines().last().unwrap().parse().unwrap())
}

/// The middle one of the rounds' ratios, each of which is of times one after the other: what a disk gives changes.
fn middle(of: &[Duration], to: &[Duration]) -> f64 {
    let mut ratios: Vec<_> = of.iter().zip(to).map(|(of, to)| of.div_duration_f64(*to)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn ordered(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// The memory of a process, in MiB, from which on the most is counted.
fn memory(process: &Process) -> f64 {
    // proc(5): 5 resets the peak.
    std::fs::write(format!("/proc/{}/clear_refs", process.pid), "5").unwrap();
    process.status().unwrap().vmrss.unwrap() as f64 / 1024.0
}
