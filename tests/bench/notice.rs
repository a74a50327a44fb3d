//! How soon the supervisor notices, and what it costs that it is there: figures with a limit
//! each. Over a limit is a failure.
//!
//! ```text
//! cargo bench --bench notice [-- PART]
//! ```
//!
//! | part | figure |
//! |---|---|
//! | `deaths` | a region is killed: when a waiting poll is answered, and when it serves again |
//! | `cable` | the cable is pulled and plugged: when a waiting poll is answered, against a bare netlink listener |
//! | `idle` | wake-ups, processor time and memory of a supervisor with twelve regions and nothing to do |

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod cable;
mod latency;

use procfs::process::Process;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::figures::{calm, is_within};
use support::layer::Layer;

/// A part: whether it kept within its limits.
type Part = fn() -> bool;
const PARTS: [(&str, Part); 3] = [("deaths", latency::deaths), ("cable", cable::cable), ("idle", idle)];

fn main() -> ExitCode {
    // Cargo passes options of its own.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = PARTS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
    let within: Vec<_> = chosen.map(|(_, part)| part()).collect();
    if !within.is_empty() && within.iter().all(|within| *within) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The most wake-ups a second.
const MOST_WAKEUPS: f64 = 1.0;
/// The most processor time, in percent of one core.
const MOST_CPU: f64 = 0.1;
/// The most memory, in MiB: its program's text and the C library's included, which it maps.
const MOST_MEMORY: f64 = 10.0;
/// After this nothing is left to do: what was created is settled, restarts are forgiven, and the files that each
/// downstairs has open were looked at for the last time, a minute after its start and a turn of the slow looks later.
const CALM: Duration = Duration::from_secs(90);
/// How long is watched.
const WATCHED: Duration = Duration::from_secs(120);

/// A disk that is well, as smartctl tells it.
const WELL: &str = "#!/bin/sh\necho '{\"smartctl\":{\"exit_status\":0},\"smart_status\":{\"passed\":true}}'\n";

/// Twelve regions that serve, nobody who polls, and two minutes in which nothing happens; all that a machine has is watched
/// but the kernel's log, which a container has none of.
fn idle() -> bool {
    let machine = Layer::shipped().as_a_machine().with_script("usr/sbin/smartctl", WELL).boot_and_create();
    for volume in ["pve", "still-fawn", "pumped-piglet", "chief-horse"] {
        machine.wait_for(volume, |volume| volume.ready);
    }
    sleep(calm(CALM));
    let sledd = machine.sledd();
    let before = processor_time(&sledd);
    let Switches { slept, pushed } = Switches::watch(&sledd);
    let spent = processor_time(&sledd) - before;
    let seconds = calm(WATCHED).as_secs_f64();
    let (wakeups, cpu) = (slept as f64 / seconds, spent / seconds * 100.0);
    let memory = sledd.status().unwrap().vmrss.unwrap() as f64 / 1024.0;
    println!(
        "idle, twelve regions: {wakeups:.2} wake-ups a second (limit {MOST_WAKEUPS}), {cpu:.3} % CPU (limit {MOST_CPU}); \
         pushed aside {:.2} times a second; {memory:.1} MiB of memory (limit {MOST_MEMORY})",
        pushed as f64 / seconds
    );
    is_within(wakeups <= MOST_WAKEUPS && cpu <= MOST_CPU && memory <= MOST_MEMORY)
}

/// The seconds of processor time that a process has had, those of threads that ended included.
fn processor_time(process: &Process) -> f64 {
    let stat = process.stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

/// How often a process went to sleep, and was woken later, and how often it had to make way.
#[derive(Clone, Copy, Default)]
struct Switches {
    slept: u64,
    pushed: u64,
}

impl Switches {
    /// Watches all threads of a process for a while, those that begin or end meanwhile included:
    /// of one that ends it counts what was told at most a second before.
    fn watch(process: &Process) -> Self {
        let (began, whole) = (Instant::now(), calm(WATCHED));
        let first = Self::of_threads(process);
        let mut last = first.clone();
        while began.elapsed() < whole {
            sleep(Duration::from_secs(1).min(whole - began.elapsed().min(whole)));
            last.extend(Self::of_threads(process));
        }
        let more = last.iter().map(|(thread, now)| {
            let before = first.get(thread).copied().unwrap_or_default();
            (now.slept - before.slept, now.pushed - before.pushed)
        });
        more.fold(Self::default(), |sum, more| Self { slept: sum.slept + more.0, pushed: sum.pushed + more.1 })
    }

    fn of_threads(process: &Process) -> BTreeMap<i32, Self> {
        let threads = process.tasks().unwrap().flatten();
        let one = |thread: procfs::process::Task| {
            let status = thread.status().ok()?;
            let (slept, pushed) = (status.voluntary_ctxt_switches?, status.nonvoluntary_ctxt_switches?);
            Some((thread.tid, Self { slept, pushed }))
        };
        threads.filter_map(one).collect()
    }
}
