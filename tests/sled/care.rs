//! Restarting, holding and releasing regions on request, with hosts and without.

use crucible_sled::protocol::RUOK;
use crucible_sled::wire::{State, Volume};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::hosts::SLED;
use support::layer::Layer;
use support::machine::{Machine, Poller, has, unit};

const REGION: &str = "still-fawn-1";

/// Asks for something that must be refused, and returns the code of the refusal.
fn refused(machine: &Machine, words: &[&str]) -> String {
    let output = machine.run(&[&["sledctl", "--json", "region"], words].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    body[0]["error"]["code"].as_str().unwrap_or_default().to_owned()
}

fn pids(volume: &Volume) -> Vec<Option<u32>> {
    volume.regions.iter().map(|region| region.pid).collect()
}

#[test]
fn a_held_region_stays_down_until_it_is_released() {
    let mut machine = Layer::small().boot_and_create();
    let before = machine.volume("still-fawn");
    machine.ok(&["sledctl", "region", "hold", REGION, "--reason", "the disk is looked at"]);
    let held = |machine: &Machine| {
        let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_HELD"));
        assert!(volume.checks[0].cause.contains("the disk is looked at"), "{volume:#?}");
        assert_eq!((volume.ready, volume.regions[1].state), (false, Some(State::Held)));
        assert_eq!(machine.get("/v1/volumes/still-fawn").0, 503);
        machine.wait_until_stopped(REGION);
    };
    held(&machine);
    assert_eq!(refused(&machine, &["hold", REGION]), "REGION_HELD");
    assert_eq!(refused(&machine, &["restart", REGION]), "REGION_HELD");
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    held(&machine);
    machine.reboot();
    held(&machine);
    // Not even somebody who starts it by hand runs it; whether that is refused or undone.
    machine.run(&["systemctl", "start", &unit(REGION)]);
    held(&machine);
    machine.ok(&["sledctl", "region", "release", REGION]);
    let after = machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    assert_eq!(refused(&machine, &["release", REGION]), "NOT_HELD");
    assert_eq!(after.regions[1].uuid, before.regions[1].uuid);
}

#[test]
fn a_second_region_goes_only_by_force() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["sledctl", "region", "hold", REGION]);
    let before = machine.pids();
    assert_eq!(refused(&machine, &["hold", "still-fawn-2"]), "SIBLING_DOWN");
    assert_eq!(refused(&machine, &["restart", "still-fawn-0"]), "SIBLING_DOWN");
    assert_eq!(machine.pids(), before);
    let first = machine.region("still-fawn-0").pid;
    machine.ok(&["sledctl", "region", "restart", "still-fawn-0", "--force"]);
    assert_ne!(machine.region("still-fawn-0").pid, first);
    machine.ok(&["sledctl", "region", "hold", "still-fawn-2", "--force"]);
    assert!(machine.is_stopped(REGION) && machine.is_stopped("still-fawn-2"));
    machine.ok(&["sledctl", "region", "release", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn a_restarted_region_has_a_new_process_and_the_others_have_not() {
    let machine = Layer::small().boot_and_create();
    let before = pids(&machine.volume("still-fawn"));
    let said = machine.ok(&["sledctl", "region", "restart", REGION]);
    assert!(said.contains("restarted; it was away for") && said.contains("until it was seen to serve ("), "{said}");
    let after = machine.volume("still-fawn");
    assert!(after.ready, "{after:#?}");
    let after = pids(&after);
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert!(after[1].is_some() && after[1] != before[1]);

    // A region that would not start again is not stopped, whoever asks.
    let would_stay_away = |spoil: &str, code: &str, remedy: &str, mend: &str| {
        machine.sh(&format!("cd /crucible/{REGION}; {spoil}"));
        for words in [&["restart", REGION][..], &["restart", REGION, "--force"]] {
            assert_eq!(refused(&machine, words), code, "{spoil}");
        }
        let said = machine.run(&["sledctl", "region", "restart", REGION]);
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("is left as it is") && said.contains(remedy), "{said}");
        let volume = machine.volume("still-fawn");
        assert!(volume.ready && pids(&volume) == after, "{spoil}: {volume:#?}");
        machine.sh(&format!("cd /crucible/{REGION}; {mend}"));
    };
    let program = "/usr/lib/crucible/crucible-downstairs";
    would_stay_away(&format!("chmod a-x {program}"), "PROGRAM_UNUSABLE", program, &format!("chmod a+x {program}"));
    would_stay_away("chmod 000 00/000/001", "REGION_DAMAGED", "chmod -R u+rwX", "chmod 600 00/000/001");
    would_stay_away("mv 00/000/001 /root/", "REGION_DAMAGED", "put back what was moved", "mv /root/001 00/000/");
    would_stay_away("chown root 00/000/001", "REGION_DAMAGED", "chown -R crucible:", "true");
    // Neither is it for another program, nor because its ports have moved.
    let upgrade = machine.run(&["sledctl", "--json", "downstairs", "upgrade"]);
    assert!(String::from_utf8_lossy(&upgrade.stdout).contains("REGION_DAMAGED"), "{upgrade:?}");
    machine.sh("sed -i s/proper-raptor:3831/proper-raptor:3931/ /etc/sled/port-map.toml; sledctl reload --yes");
    machine.sh("until journalctl -b -u sledd -o cat | grep -q 'was not moved: '; do sleep 0.1; done");
    assert_eq!(pids(&machine.volume("still-fawn")), after);
    machine.sh(&format!("chown crucible /crucible/{REGION}/00/000/001; sledctl region restart {REGION}"));
    assert_eq!(machine.wait_for("still-fawn", |volume| volume.ready).regions[1].port, 3931);
}

/// Looks at a volume at every change of it, until told to stop; returns the most regions that did
/// not serve at one time, and how often one went.
fn watch(poller: Poller, name: String, stop: Arc<AtomicBool>) -> JoinHandle<(usize, usize)> {
    std::thread::spawn(move || {
        poller.enter();
        let (mut most, mut went, mut before, mut revision) = (0, 0, 0, 0);
        while !stop.load(Ordering::Relaxed) {
            let (_, body) =
                support::hosts::ask("GET", &format!("/v1/volumes/{name}?wait=1&revision={revision}")).unwrap();
            let volume: Volume = serde_json::from_str(&body).unwrap();
            let away = volume.regions.iter().filter(|region| region.state != Some(State::Serving)).count();
            went += away.saturating_sub(before);
            (most, before, revision) = (most.max(away), away, volume.revision);
        }
        (most, went)
    })
}

#[test]
fn a_rolling_restart_never_takes_two_regions_of_a_volume() {
    let machine = Layer::shipped().boot_and_create();
    let volumes = ["pve", "still-fawn", "pumped-piglet", "chief-horse"];
    for name in volumes {
        machine.wait_for(name, |volume| volume.ready);
    }
    let before: Vec<_> = volumes.iter().flat_map(|name| pids(&machine.volume(name))).collect();
    for words in [&["--rolling"][..], &[]] {
        let stop = Arc::new(AtomicBool::new(false));
        let watching = volumes.map(|name| watch(machine.poller(), name.to_owned(), stop.clone()));
        machine.ok(&[&["sledctl", "region", "restart", "--all"], words].concat());
        stop.store(true, Ordering::Relaxed);
        for (watched, name) in watching.into_iter().zip(volumes) {
            let (most, went) = watched.join().unwrap();
            assert_eq!((most, went), (1, 3), "{name}, {words:?}");
        }
    }
    let after: Vec<_> = volumes.iter().flat_map(|name| pids(&machine.volume(name))).collect();
    assert_eq!(after.len(), 12);
    assert!(
        after.iter().zip(&before).all(|(after, before)| after.is_some() && after != before),
        "{before:?} {after:?}"
    );
}

/// A cable's end at a region, kept up by somebody who comes back when it is cut.
struct Host {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Host {
    /// A host that is connected to these ports, and comes back after a pause.
    fn connect(machine: &Machine, ports: &[u16], pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = ports.iter().map(|&port| {
            let (poller, stop) = (machine.poller(), stop.clone());
            std::thread::spawn(move || {
                poller.enter();
                while !stop.load(Ordering::Relaxed) {
                    stay(port, &stop);
                    std::thread::sleep(pause);
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

/// Asks on one connection whether it is well, until it is cut.
fn stay(port: u16, stop: &AtomicBool) {
    let Ok(mut stream) = TcpStream::connect((SLED, port)) else { return };
    let mut answer = [0; 8];
    while !stop.load(Ordering::Relaxed) {
        if stream.write_all(&RUOK).and_then(|()| stream.read_exact(&mut answer)).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

fn connected(volume: &Volume) -> usize {
    volume.regions.iter().filter(|region| !region.connected.is_empty()).count()
}

/// Seen at every change: one region goes only while the host has the other two.
#[test]
fn the_next_region_waits_until_the_host_is_back_on_the_last() {
    let machine = Layer::small().boot_and_create();
    let _host = Host::connect(&machine, &[3830, 3831, 3832], Duration::from_secs(2));
    let before = pids(&machine.wait_for("still-fawn", |volume| connected(volume) == 3));
    let (poller, stop) = (machine.poller(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let watching = std::thread::spawn(move || {
        poller.enter();
        let (mut fewest, mut revision) = (3, 0);
        while !stopped.load(Ordering::Relaxed) {
            let path = format!("/v1/volumes/still-fawn?wait=1&revision={revision}");
            let volume: Volume = serde_json::from_str(&support::hosts::ask("GET", &path).unwrap().1).unwrap();
            (fewest, revision) = (fewest.min(connected(&volume)), volume.revision);
        }
        fewest
    });
    machine.ok(&["sledctl", "region", "restart", "--all"]);
    // By the kernel's word: what a job has looked at is shown by others a moment later.
    let back = machine.sh("ss -Htn state established 'sport >= :3830 and sport <= :3832' | grep -c 192.168.4.17:");
    assert_eq!(back.trim(), "3");
    stop.store(true, Ordering::Relaxed);
    assert_eq!(watching.join().unwrap(), 2);
    let after = machine.wait_for("still-fawn", |volume| connected(volume) == 3);
    assert!(pids(&after).iter().zip(&before).all(|(after, before)| after != before));
}

/// A host with one of three regions would have none.
#[test]
fn a_host_is_not_left_alone() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    let host = Host::connect(&machine, &[3831], Duration::from_millis(100));
    machine.wait_for("still-fawn", |volume| connected(volume) == 1);
    assert_eq!(refused(&machine, &["restart", REGION]), "HOST_ALONE");
    assert_eq!(machine.pids(), before);
    // A region that it does not use may go.
    machine.ok(&["sledctl", "region", "restart", "still-fawn-0"]);
    machine.ok(&["sledctl", "region", "restart", REGION, "--force"]);
    assert_ne!(machine.pids(), before);
    drop(host);
    machine.wait_for("still-fawn", |volume| volume.ready);
}
