//! History of a sled: what happened is told after restarts of the supervisor and of the machine, with who asked for
//! it, and whoever follows it misses nothing.

use crucible_sled::wire::{Event, EventKind, Events};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use support::layer::Layer;
use support::machine::Machine;

fn events(machine: &Machine, more: &[&str]) -> Vec<Event> {
    let output = machine.run(&[&["sledctl", "--json", "events", "--since", "1d"], more].concat());
    serde_json::from_slice::<Events>(&output.stdout).unwrap().events
}

/// Waits until something has happened, and returns it.
fn wait_for(machine: &Machine, is_it: impl Fn(&Event) -> bool) -> Event {
    loop {
        if let Some(event) = events(machine, &[]).into_iter().find(&is_it) {
            return event;
        }
        // Nobody tells a test of it that has no stream: it is asked again.
        machine.sh("sleep 0.05");
    }
}

fn restarted(machine: &Machine, restart: &[&str]) {
    let before = machine.sled().started;
    machine.ok(restart);
    while machine.sled().started == before {}
}

/// Whoever follows, as a process of the machine.
struct Follower(Child);

impl Follower {
    fn begin(machine: &Machine) -> Self {
        let mut command = machine.enter(&["sledctl", "--json", "events", "--follow", "--since", "1d"]);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// What it has told by the time that it tells this.
    fn told(mut self, last: u64) -> Vec<u64> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let ids = lines.map(|line| serde_json::from_str::<Event>(&line.unwrap()).unwrap().id);
        let mut told = Vec::new();
        for id in ids {
            told.push(id);
            if id >= last {
                break;
            }
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        told
    }
}

#[test]
fn what_happened_is_known_after_a_restart_a_kill_and_a_reboot() {
    let mut machine = Layer::small().boot_and_create();
    let follower = Follower::begin(&machine);
    // Who asked: an operator, and whoever stops a unit behind the supervisor's back.
    let created = wait_for(&machine, |event| event.kind == EventKind::JobEnded);
    assert_eq!(created.by.map(|by| by.to_string()).as_deref(), Some("root"));
    machine.ok(&["systemctl", "stop", "crucible-downstairs@still-fawn-1.service"]);
    let stopped = wait_for(&machine, |event| event.kind == EventKind::RegionStopped);
    assert_eq!((stopped.subject.as_str(), stopped.by.unwrap().to_string()), ("region still-fawn-1", "systemd".into()));
    machine.wait_for("still-fawn", |volume| volume.ready);
    machine.ok(&["sledctl", "region", "hold", "still-fawn-1", "--reason", "a test"]);
    let raised = wait_for(&machine, |event| {
        event.kind == EventKind::CheckRaised && event.code.as_ref().is_some_and(|code| code.as_str() == "REGION_HELD")
    });
    let held = machine.wait_for_check("still-fawn", "REGION_HELD").since;
    machine.ok(&["sledctl", "maintenance", "on", "--reason", "another switch"]);
    let maintenance = wait_for(&machine, |event| event.kind == EventKind::Maintenance);
    assert_eq!(maintenance.cause.as_deref(), Some("another switch"));

    let jobs = machine.ok(&["sledctl", "--json", "jobs"]);
    restarted(&machine, &["systemctl", "restart", "sledd.service"]);
    restarted(&machine, &["systemctl", "kill", "-s", "KILL", "sledd.service"]);
    let killed = wait_for(&machine, |event| event.kind == EventKind::SleddStarted && event.cause.is_some());
    assert!(killed.cause.unwrap().contains("without a word"));
    // Who followed all the time has missed nothing, and heard nothing twice.
    let last = events(&machine, &[]).pop().unwrap().id;
    let told = follower.told(last);
    let all: Vec<_> = events(&machine, &[]).into_iter().map(|event| event.id).filter(|id| *id <= last).collect();
    assert!(told.is_sorted_by(|one, next| one < next));
    assert_eq!(told, all);

    machine.reboot();
    machine.wait_for("still-fawn", |volume| !volume.regions.is_empty());
    let booted = wait_for(&machine, |event| event.kind == EventKind::Booted);
    assert!(booted.id > last);
    // What holds still has held since then, and is not told as something new.
    assert_eq!(machine.wait_for_check("still-fawn", "REGION_HELD").since, held);
    let again = events(&machine, &["--code", "REGION_HELD"]);
    assert_eq!(again.iter().map(|event| event.id).collect::<Vec<_>>(), [raised.id]);
    assert_eq!(machine.ok(&["sledctl", "--json", "jobs"]), jobs);

    // Without a supervisor the files are read, and that is said.
    machine.ok(&["systemctl", "stop", "sledd.socket", "sledd.service"]);
    let output = machine.run(&["sledctl", "events", "--since", "1d", "--region", "still-fawn-1"]);
    let (lines, note) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && note.contains("are read from /var/lib/sled/events"), "{note}");
    assert!(lines.contains("region still-fawn-1 was stopped") && lines.contains("(by systemd)"), "{lines}");
    assert!(!lines.contains("still-fawn-0"), "{lines}");
}
