//! A sled whose downstairs are killed at random, while hosts ask without pause: every kill must be
//! noticed, and every question answered. A suite of its own: tests/run kills.
//!
//! `KILLS_SEED` repeats a run, as far as the order of the kills goes.

use crucible_sled::wire::{State, Volume};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::hosts::{EVENT_LIMIT, ask};
use support::layer::Layer;
use support::machine::{Machine, Poller};

const KILLS: usize = 200;
const VOLUMES: [&str; 4] = ["pve", "still-fawn", "pumped-piglet", "chief-horse"];
/// However often one is killed, it is not held, and the next restart comes soon.
const PATIENT: &str = "[downstairs]\ncrashes = 1000\nsteady_after = \"1s\"\n";
/// For one that is killed before it was well systemd's pauses would grow to half a minute.
const RESTART_AT_ONCE: &str = "[Service]\nRestartSteps=0\nRestartMaxDelaySec=infinity\n";

/// Numbers that look random (xorshift64), the same for the same seed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
        let seed = std::env::var("KILLS_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("KILLS_SEED={seed}");
        // Zero would stay zero.
        Self(seed | 1 << 63)
    }

    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    /// Mostly as the kernel kills; now and then as a program that fails does.
    fn signal(&mut self) -> &'static str {
        ["KILL", "KILL", "ABRT", "SEGV"][self.throw(4)]
    }
}

/// Ask for a volume as one host until it is told to stop. That a volume is not ready is an answer; returns what was
/// none.
fn ask_on(
    poller: Poller,
    volume: &'static str,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        poller.enter();
        // All that is left of the processors: they ask without pause, and a kill is to have its turn.
        rustix::process::setpriority_process(None, 10).unwrap();
        let mut failed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            asked.fetch_add(1, Ordering::Relaxed);
            match ask("GET", &format!("/v1/volumes/{volume}")) {
                Ok((200 | 503, body)) if serde_json::from_str::<Volume>(&body).is_ok() => {}
                other => failed.push(format!("{other:?}")),
            }
        }
        failed
    })
}

/// Chooses a region that serves, and its process. Waits for one if there is none.
fn victim(machine: &Machine, dice: &mut Dice) -> (&'static str, usize, u32) {
    loop {
        let first = dice.throw(12);
        let all = (0..12).map(|next| (first + next) % 12);
        for (name, index) in all.map(|number| (VOLUMES[number / 3], number % 3)) {
            let region = &machine.volume(name).regions[index];
            if region.state == Some(State::Serving) {
                return (name, index, region.pid.unwrap());
            }
        }
    }
}

/// Kills a region that serves. Returns how long it took until its volume showed that, if it did: the
/// region does not serve, or is another process already.
fn kill_one(machine: &Machine, dice: &mut Dice) -> Option<Duration> {
    let (name, index, pid) = victim(machine, dice);
    let began = Instant::now();
    // Rust's runtime takes the first SIGSEGV for a stack that overflowed, and goes on if none did.
    machine.sh(&format!("while kill -{} {pid} 2>/dev/null; do :; done", dice.signal()));
    let mut volume = machine.volume(name);
    while began.elapsed() < EVENT_LIMIT {
        let region = &volume.regions[index];
        if region.state != Some(State::Serving) || region.pid != Some(pid) {
            return Some(began.elapsed());
        }
        let path = format!("/v1/volumes/{name}?wait=20&revision={}", volume.revision);
        volume = serde_json::from_value(machine.get(&path).1).unwrap();
    }
    println!("{name}-{index}: that process {pid} was killed is not seen");
    None
}

#[test]
#[ignore = "a suite of its own: tests/run kills"]
fn two_hundred_random_kills() {
    let layer = Layer::shipped().with("etc/sled/sled.toml.d/60-x.toml", PATIENT);
    let layer = layer.with("etc/systemd/system/crucible-downstairs@.service.d/60-soon.conf", RESTART_AT_ONCE);
    let machine = layer.boot_and_create();
    let all_serve = || VOLUMES.iter().for_each(|name| _ = machine.wait_for(name, |volume| volume.ready));
    all_serve();
    let mut dice = Dice::new();
    let (stop, asked) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
    let hosts = VOLUMES.map(|name| ask_on(machine.poller(), name, stop.clone(), asked.clone()));
    let noticed: Vec<_> = (0..KILLS).filter_map(|_| kill_one(&machine, &mut dice)).collect();
    all_serve();
    stop.store(true, Ordering::Relaxed);
    let failed: Vec<_> = hosts.into_iter().flat_map(|host| host.join().unwrap()).collect();
    failed.iter().take(5).for_each(|failed| println!("failed: {failed}"));
    let (asked, slowest) = (asked.load(Ordering::Relaxed), noticed.iter().max().unwrap());
    println!("{asked} polls; the last kill to be noticed took {} ms", slowest.as_millis());
    println!("{KILLS} kills, {} noticed, {} polls failed", noticed.len(), failed.len());
    assert_eq!((noticed.len(), failed.len()), (KILLS, 0));
}
