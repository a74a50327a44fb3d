//! Every crash point: the supervisor is killed just before each of its system calls that change
//! the data disk, and before each thing it asks of systemd, while it creates, adopts, deletes,
//! restores, removes, repairs and rebuilds a region or grants a ticket, and again while it puts right what the first kill left.
//! After each, once it runs again: what must never be.
//!
//! Each operation has a machine of its own. Every point is tried each time. Of the second kills, one in so many
//! is, chosen by chance: `CRASH_SEED` repeats a run. With `--pairs` all of them are. Ends with `N crash
//! points, M violations`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod calls;
mod operations;
mod owners;
mod repairs;
mod seconds;
mod tickets;
mod tracer;

use operations::{ALL, Operation};
use owners::Owners;
use seconds::Seconds;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::layer::Layer;
use support::machine::Machine;
use tracer::{Filter, Tracer};

/// The most points that an operation is thought to have; more would be a loop.
const POINT_LIMIT: usize = 400;
/// How long anything may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long after the answer an operation has points yet.
const LAST_POINTS: Duration = Duration::from_millis(500);
/// What is asked of systemd: each is a point.
const METHODS: &[&str] = &[
    "StartUnit",
    "StopUnit",
    "StartTransientUnit",
    "EnableUnitFiles",
    "DisableUnitFiles",
    "Reload",
    "SetUnitProperties",
];
/// Starts sledd, or waits before that to be continued, if somebody wants to be there when it
/// starts.
const GATE: &str = "#!/bin/sh\nif [ -e /run/gate ]; then rm /run/gate; kill -STOP $$; fi\nexec /usr/bin/sledd\n";
const GATED: &str = "[Service]\nExecStart=\nExecStart=/usr/lib/crucible/gate\nRestartSteps=0\nRestartSec=10ms\n";

/// The findings over all operations.
#[derive(Default)]
struct Report {
    points: AtomicUsize,
    violations: Mutex<Vec<String>>,
}

fn main() -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |operation: &&Operation| wanted.is_empty() || wanted.iter().any(|name| name == operation.name);
    let work: Vec<_> = ALL.iter().filter(chosen).collect();
    let (report, next, seconds) = (Report::default(), AtomicUsize::new(0), Seconds::wanted());
    // Each machine waits more than it works.
    let machines = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..machines {
            scope.spawn(|| {
                while let Some(operation) = work.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let done =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(operation, &seconds, &report)));
                    if done.is_err() {
                        report.violate(operation, 0, "the test itself went wrong");
                    }
                }
            });
        }
    });
    let violations = report.violations.into_inner().unwrap();
    for violation in &violations {
        println!("{violation}");
    }
    println!("{} crash points, {} violations", report.points.into_inner(), violations.len());
    ExitCode::from(u8::from(!violations.is_empty()))
}

impl Report {
    fn violate(&self, operation: &Operation, number: usize, what: &str) {
        let line = format!("{} killed at point {number}: {what}", operation.name);
        eprintln!("{line}");
        self.violations.lock().unwrap().push(line);
    }
}

/// Kills the supervisor at every point of an operation.
fn run(operation: &Operation, seconds: &Seconds, report: &Report) {
    let layer = Layer::small()
        .with("etc/sled/port-map.toml", &tickets::map())
        .with("etc/sled/sled.toml.d/70-operation.toml", operation.config);
    let layer = layer.with_script("usr/lib/crucible/gate", GATE);
    let machine = layer.with("etc/systemd/system/sledd.service.d/gate.conf", GATED).boot();
    let owners = Owners::watch(&machine);
    let began = Instant::now();
    let mut kills = 0;
    let all =
        (1..POINT_LIMIT).flat_map(|number| seconds.of(operation.name, number).map(move |second| (number, second)));
    for (number, second) in all {
        match point(&machine, operation, number, second) {
            Ok(0) => {
                eprintln!("{}: {kills} kills in {} s", operation.name, began.elapsed().as_secs());
                break;
            }
            Ok(more) => kills += more,
            Err(why) => {
                report.violate(operation, number, &why);
                eprintln!("{}", machine.sh("journalctl -u sledd -o cat -n 30; find /crucible -maxdepth 2"));
                break;
            }
        }
    }
    report.points.fetch_add(kills, Ordering::SeqCst);
    for violation in owners.stop() {
        report.violate(operation, 0, &violation);
    }
}

/// Kills the supervisor at one point of an operation, and then perhaps at one of its recovery. Returns how often
/// it was killed: not at all, if the operation has no such point.
fn point(machine: &Machine, operation: &Operation, number: usize, second: Option<usize>) -> Result<usize, String> {
    (operation.prepare)(machine);
    machine.sh(if second.is_some() { "touch /run/gate" } else { "rm -f /run/gate" });
    let killed = kill_at(machine, operation, number);
    // A kill that came after the last look leaves a supervisor at the gate, too.
    let again = second.is_some_and(|second| killed && kill_in_recovery(machine, second));
    settled(machine)?;
    (operation.check)(machine)?;
    Ok(usize::from(killed) + usize::from(again))
}

/// Carries the operation out; whether the supervisor was killed at that point of it.
fn kill_at(machine: &Machine, operation: &Operation, number: usize) -> bool {
    settled(machine).unwrap();
    let pid = supervisor(machine, "sledd");
    let filter = Filter { below: Some("/crucible".into()), methods: METHODS };
    let tracer = Tracer::attach(pid, number, filter).unwrap();
    let mut asked = asking(machine, operation).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The operation ends when it is done; with the supervisor gone it may wait for the next one.
    loop {
        if tracer.wait_killed(Duration::from_millis(5)).is_some() {
            asked.kill().unwrap();
            asked.wait().unwrap();
            return true;
        }
        if asked.try_wait().unwrap().is_some() {
            break;
        }
    }
    // Its last points come after the answer: a unit that is started.
    tracer.wait_killed(LAST_POINTS).is_some()
}

/// The command that has it carried out, in the machine or on a host.
fn asking(machine: &Machine, operation: &Operation) -> Command {
    match operation.host {
        None => machine.enter(operation.act),
        Some(address) => {
            let mut command = machine.host(address).space.command(operation.act);
            command.env(tickets::ANSWERS, tickets::answers(machine));
            command
        }
    }
}

/// Kills the supervisor that starts now at a point of what it does first.
fn kill_in_recovery(machine: &Machine, number: usize) -> bool {
    let pid = supervisor(machine, "gate");
    let filter = Filter { below: Some("/crucible".into()), methods: METHODS };
    let tracer = Tracer::attach(pid, number, filter).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGCONT).unwrap();
    // Whatever it has to settle is settled before it answers.
    machine.run(&["sledctl", "status"]);
    tracer.wait_killed(Duration::from_millis(50)).is_some()
}

/// The supervisor's process, out here, once it runs (`sledd`) or waits at the gate (`gate`).
fn supervisor(machine: &Machine, comm: &str) -> u32 {
    let began = Instant::now();
    loop {
        let shown = machine.ok(&["systemctl", "show", "-P", "MainPID", "sledd.service"]);
        let inside: u32 = shown.trim().parse().unwrap();
        let outside = if inside == 0 { None } else { machine.outside_pid(inside) };
        let stat = outside.and_then(|pid| procfs::process::Process::new(pid.cast_signed()).ok()?.stat().ok());
        if let (Some(pid), Some(stat)) = (outside, stat)
            && stat.comm == comm
            && (comm != "gate" || stat.state == 'T')
        {
            return pid;
        }
        assert!(began.elapsed() < ANSWER_LIMIT, "there is no supervisor");
    }
}

/// The supervisor answers, and has put right whatever there was.
fn settled(machine: &Machine) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let output = machine.run(&["sledctl", "--json", "status"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(0 | 3) if said.contains("NOT_SETTLED") => return Err(said),
            // An adoption that was cut short is being undone.
            Some(0 | 3) if said.contains("REGION_ADOPTING") && began.elapsed() < ANSWER_LIMIT => {}
            Some(0 | 3) => return Ok(()),
            _ if began.elapsed() > ANSWER_LIMIT => return Err(format!("no answer: {output:?}")),
            _ => {}
        }
    }
}
