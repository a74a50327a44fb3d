//! When the sled asks its hosts to wait: during maintenance, and while it is switched off.

use crate::calm::Calm;
use crucible_sled::wire::Volume;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use support::hosts::ask;
use support::layer::Layer;
use support::machine::{Machine, cause, has};

fn in_maintenance(machine: &Machine) -> Volume {
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "MAINTENANCE"));
    assert!(!volume.ready);
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 503);
    volume
}

#[test]
fn maintenance_tells_why_and_until_when_and_ends_by_itself() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    machine.ok(&["sledctl", "maintenance", "on", "--for", "2s", "--reason", "new cable"]);
    let began = Instant::now();
    let volume = in_maintenance(&machine);
    let until = machine.sled().maintenance.and_then(|maintenance| maintenance.until).unwrap().to_string();
    let told = cause(&volume, "MAINTENANCE").unwrap();
    assert!(told.contains("new cable") && told.contains(&until), "{told}");
    machine.wait_for("still-fawn", |volume| volume.ready);
    let took = began.elapsed().as_secs_f32();
    assert!((1.0..10.0).contains(&took), "it took {took} s");
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    assert_eq!(machine.ok(&["sledctl", "maintenance", "show"]), "no maintenance: hosts may attach\n");
    assert_eq!(machine.pids(), before);
}

#[test]
fn maintenance_survives_a_restart_and_a_reboot_until_it_is_ended() {
    let mut machine = Layer::small().boot_and_create();
    machine.ok(&["sledctl", "maintenance", "on", "--for", "2h", "--reason", "new cable"]);
    let told = in_maintenance(&machine);
    let same = |machine: &Machine| {
        let now = in_maintenance(machine);
        assert_eq!(cause(&now, "MAINTENANCE"), cause(&told, "MAINTENANCE"));
    };
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    same(&machine);
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    same(&machine);
    machine.reboot();
    same(&machine);
    machine.wait_for("still-fawn", |volume| volume.checks.len() == 1);
    machine.ok(&["sledctl", "maintenance", "off"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// Ends of processes while nobody looked are over.
#[test]
fn maintenance_that_ended_over_a_reboot_is_over() {
    let mut machine = Layer::small().boot_and_create();
    machine.ok(&["sledctl", "maintenance", "on", "--for", "1s"]);
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(machine.sled().maintenance.is_none());
}

/// The sights of a host of a sled that is switched off.
struct Farewell {
    /// How many answers said so.
    told: usize,
    /// Every state of the regions of all volumes that was seen, in order: how many of each
    /// volume's regions did not serve.
    error: std::io::Error,
    took: Duration,
}

/// Asks as fast as it is answered until it is not.
fn farewell(path: &str) -> Farewell {
    let (mut told, mut since) = (0, None);
    loop {
        match ask("GET", path) {
            Ok((503, body)) if body.contains("SLED_STOPPING") => {
                since.get_or_insert_with(Instant::now);
                told += 1;
            }
            Ok((status, body)) => {
                assert!(status == 200 && told == 0, "{status} {body}");
            }
            Err(error) => {
                let took = since.map(|since| since.elapsed()).unwrap_or_default();
                return Farewell { told, error, took };
            }
        }
    }
}

#[test]
fn hosts_are_told_before_a_reboot_and_the_volumes_go_one_after_the_other() {
    let mut machine = Layer::shipped().with("var/log/journal/.keep", "").boot_and_create();
    for name in ["pve", "pumped-piglet", "chief-horse"] {
        machine.wait_for(name, |volume| volume.ready);
    }
    let poller = machine.poller();
    let calm = Calm::begin();
    let asking = std::thread::spawn(move || {
        poller.enter();
        farewell("/v1/volumes/still-fawn")
    });
    machine.reboot();
    let farewell = asking.join().unwrap();
    println!("{} polls were told in {:?}, then: {}", farewell.told, farewell.took, farewell.error);
    assert!(farewell.told > 0, "nobody was told: {}", farewell.error);
    assert_ne!(farewell.error.kind(), ErrorKind::TimedOut);
    let took = calm.elapsed();
    assert!(took < Duration::from_secs(40), "the reboot took {took:?}");
    machine.wait_for("still-fawn", |volume| volume.ready);
    stopped_in_turn(&machine);
}

/// Each volume's regions had ended before the next one's were told to, by what systemd wrote about
/// their units in the boot before.
fn stopped_in_turn(machine: &Machine) {
    let units = "crucible-downstairs@*";
    let journal = machine.ok(&["journalctl", "-b", "-1", "-o", "cat", "--no-pager", "_PID=1", "-u", units]);
    let mut turns: Vec<(&str, usize, usize)> = Vec::new();
    for line in journal.lines() {
        let (told, ended) = (line.contains("Sent signal SIGTERM"), line.contains("Deactivated successfully"));
        let unit = line.strip_prefix("crucible-downstairs@").and_then(|rest| rest.split(".service").next());
        let Some(volume) = unit.and_then(|region| Some(region.rsplit_once('-')?.0)).filter(|_| told || ended) else {
            continue;
        };
        if turns.last().is_none_or(|(last, ..)| *last != volume) {
            turns.push((volume, 0, 0));
        }
        let last = turns.last_mut().unwrap();
        (last.1, last.2) = (last.1 + usize::from(told), last.2 + usize::from(ended));
    }
    let expected = ["chief-horse", "pumped-piglet", "pve", "still-fawn"].map(|volume| (volume, 3, 3));
    assert_eq!(turns, expected, "{journal}");
}
