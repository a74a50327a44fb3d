//! How fast regions are created, against what people do by hand, as ratios within one run:
//! twelve regions against the runbook's loop over `create`, and a thick region against
//! `fallocate` of the same files by itself.
//!
//! The two sides take turns; shown are the median, the smallest and the largest. Machines are
//! shared and noisy: the ratio of the medians is what counts.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use support::figures::rounds;
use support::layer::Layer;
use support::machine::Machine;

/// How often each side has its turn.
const ROUNDS: usize = 7;
/// The geometry of the runbook: 12.5 GiB.
const GEOMETRY: &str = "--block-size 4096 --extent-size 32768 --extent-count 100";
const LOOP: &str = "n=0; for host in pve still-fawn pumped-piglet chief-horse; do for i in 0 1 2; do n=$((n + 1))
    /usr/lib/crucible/crucible-downstairs create -d /crucible/vm-$host-$i \
    -u 5a11fa40-0000-4000-8000-0000000000$(printf %02d $n) GEOMETRY >/dev/null 2>&1; done; done";
const FALLOCATE: &str = "for n in $(seq 100); do fallocate --keep-size --length 137367584 /crucible/files/$n; done";
const FILES: &str =
    "mkdir /crucible/files; for n in $(seq 100); do truncate -s 137367584 /crucible/files/$n; done; sync";
/// As at first boot. The supervisor ends first: until it has, it starts what it has just created, and a pattern
/// stands for the units that there are when it is read.
const ANEW: &str = "systemctl stop sledd.service sledd.socket; systemctl stop 'crucible-downstairs@*'
    rm -rf /crucible/* /crucible/.sled /crucible/.incoming /crucible/.trash /var/lib/sled/*; sync
    systemctl start sledd.socket; sledctl storage init >/dev/null";

fn main() {
    let machine = Layer::shipped().boot();
    let create = "sledctl region create --all >/dev/null";
    let (by_hand, ours) = turns(&machine, "", &LOOP.replace("GEOMETRY", GEOMETRY), create);
    compare("twelve regions", "the runbook's loop", &by_hand, "sledctl region create --all", &ours);

    let one = "sledctl region create pve-0 >/dev/null";
    let (_, thin) = turns(&machine, "", "true", one);
    machine.sh("printf '[storage]\\nprovisioning = \"thick\"\\n' >/etc/sled/sled.toml.d/60-thick.toml");
    let (by_itself, thick) = turns(&machine, FILES, FALLOCATE, one);
    compare("one thick region", "fallocate by itself", &by_itself, "thick create", &thick);
    let more: Vec<_> = thick.iter().zip(&thin).map(|(thick, thin)| thick.saturating_sub(*thin)).collect();
    compare("what thick adds", "fallocate by itself", &by_itself, "thick less thin create", &more);
}

/// Both sides in turns, each on a fresh disk, in milliseconds.
fn turns(machine: &Machine, prepare: &str, by_hand: &str, ours: &str) -> (Vec<u64>, Vec<u64>) {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..rounds(ROUNDS) {
        machine.sh(&format!("{ANEW}\n{prepare}"));
        times.0.push(timed(machine, by_hand));
        machine.sh(ANEW);
        times.1.push(timed(machine, ours));
    }
    times
}

/// How long a script takes in the machine, by the machine's clock.
fn timed(machine: &Machine, script: &str) -> u64 {
    let spent = machine.sh(&format!("from=$(date +%s%N)\n{script}\necho $((($(date +%s%N) - from) / 1000000))"));
    spent.trim().lines().last().unwrap().parse().unwrap()
}

fn compare(what: &str, one: &str, ones: &[u64], other: &str, others: &[u64]) {
    let of = |times: &[u64]| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
    };
    println!("{what}:");
    for (name, (median, least, most)) in [(one, of(ones)), (other, of(others))] {
        println!("  {name:<30} {median:>6} ms  ({least} to {most})");
    }
    println!("  ratio {:.2}", of(others).0 as f64 / of(ones).0.max(1) as f64);
}
