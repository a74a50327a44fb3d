//! Cost and worth of a host's relay, against upstream's server by itself: figures with a limit each, within one run.
//! Over a limit is a failure.
//!
//! ```text
//! cargo bench --bench attach [-- PART]
//! ```
//!
//! | part | figure |
//! |---|---|
//! | `latency` | 4 KiB writes and reads, and flushes, one at a time |
//! | `throughput` | 1 MiB writes one after the other; 4 KiB writes and reads, 16 at a time |
//! | `memory` | the relay's, when as much waits for a flush as may |
//! | `pauses` | what a client sees of a server that is killed, and of a sled that was away |
//!
//! With `CRUCIBLE_BIN` the programs are the real ones, else the stand-ins, told to answer as slowly on a loopback that
//! nobody touched. All of them run here, on one machine: the sled's disk is this one's. The subjects take turns; shown
//! are the median, the smallest and the largest. `qemu-nbd` of a local file is there for orientation, if it is
//! installed.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod memory;
mod pauses;
mod subjects;

use crucible_sled::nbd::transmission::Command;
use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use subjects::{Client, Processes, Subject};
use support::figures::{is_within, median, ms, rounds, show};
use support::relay::{BLOCK, Host, SIZE};

/// A part: whether it kept within its limits.
type Part = fn(&mut Host) -> bool;
const PARTS: [(&str, Part); 4] =
    [("latency", latency), ("throughput", throughput), ("memory", memory::memory), ("pauses", pauses::pauses)];

/// How often each subject has its turn.
const ROUNDS: usize = 6;
/// So many requests of a kind in a turn, one at a time; of what takes 44 ms each, and of flushes, fewer.
const REQUESTS: usize = 200;
const FEWER: usize = 20;
/// A write of 4 KiB through the relay takes at most this, and at most so much of what it takes without.
const MOST_WRITE: Duration = Duration::from_micros(300);
const MOST_RATIO: f64 = 1.0 / 50.0;
/// A write or a read takes at most so much longer than by the server alone, asked by who acknowledges at once.
const MOST_MORE: Duration = Duration::from_micros(60);
/// And in a network apart so much longer than that.
const MOST_APART: Duration = Duration::from_micros(150);
/// So many writes of 1 MiB, and so many requests of 4 KiB of which 16 are under way.
const LONG: usize = 64;
const SHORT: usize = 2000;
const DEPTH: usize = 16;
/// The relay does at least so much of what the server alone does.
const LEAST: f64 = 1.0;

fn main() -> ExitCode {
    // Cargo passes options of its own.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = PARTS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
    let mut host = Host::new();
    println!("the programs are {}", if support::places::real().is_some() { "the real ones" } else { "stand-ins" });
    let within: Vec<_> = chosen.map(|(_, part)| part(&mut host)).collect();
    if !within.is_empty() && within.iter().all(|within| *within) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The times of each kind of request.
type Times = [Vec<Duration>; 3];
const KINDS: [&str; 3] = ["write", "read", "flush"];

/// Measure the latency of one request at a time.
fn latency(host: &mut Host) -> bool {
    let mut all: BTreeMap<Subject, Times> = BTreeMap::new();
    for round in 0..rounds(ROUNDS) {
        subjects::each(host, &Subject::ALL, |subject, client, _, _| {
            let requests = if subject == Subject::Untouched { FEWER } else { REQUESTS };
            one_at_a_time(client, rounds(requests), round, all.entry(subject).or_default());
        });
    }
    println!("4 KiB, one request at a time, in milliseconds:");
    let mut medians = BTreeMap::new();
    for (index, kind) in KINDS.into_iter().enumerate() {
        for (subject, times) in &mut all {
            let times = &mut times[index];
            times.sort_unstable();
            show(&format!("{kind}: {}", subject.name()), times);
            medians.insert((kind, *subject), median(times));
        }
    }
    is_within(are_within(&medians))
}

fn are_within(medians: &BTreeMap<(&str, Subject), Duration>) -> bool {
    let of = |kind, subject| medians[&(kind, subject)];
    let write = of("write", Subject::Relay);
    let ratio = write.as_secs_f64() / of("write", Subject::Untouched).as_secs_f64();
    let (most, part) = (ms(&MOST_WRITE), 1.0 / ratio);
    println!("  a write: {:.3} ms (limit {most}), 1/{part:.0} of the untouched (limit 1/50)", ms(&write));
    let mut within = write <= MOST_WRITE && ratio <= MOST_RATIO;
    for kind in KINDS {
        let more = |than, what| of(kind, what).saturating_sub(of(kind, than)).as_micros();
        let (relay, apart) = (more(Subject::Quick, Subject::Relay), more(Subject::Relay, Subject::Apart));
        let limits = [MOST_MORE, MOST_APART].map(|limit| limit.as_micros());
        print!("  a {kind}: {relay} µs more than with quickack (limit {}); ", limits[0]);
        println!("apart {apart} µs more than that (limit {})", limits[1]);
        // The time of a flush is the disk's, and no two are alike.
        within &= kind == "flush" || (relay <= limits[0] && apart <= limits[1]);
    }
    within
}

fn one_at_a_time(client: &mut Client, requests: usize, round: usize, [writes, reads, flushes]: &mut Times) {
    let timed = |what: &mut dyn FnMut()| {
        let began = Instant::now();
        what();
        began.elapsed()
    };
    // Here and there.
    let places: Vec<_> = (0..requests).map(|number| ((number * 37 + round * 11) % 997 * BLOCK) as u64).collect();
    let block = vec![round as u8 | 1; BLOCK];
    for at in &places {
        writes.push(timed(&mut || client.write(*at, &block).unwrap()));
    }
    for at in &places {
        reads.push(timed(&mut || assert!(client.read(*at, BLOCK).unwrap() == block)));
    }
    for at in places.iter().take(FEWER) {
        client.write(*at, &block).unwrap();
        flushes.push(timed(&mut || client.flush().unwrap()));
    }
}

/// Something that is done, and how much of it that was.
type Load = fn(&mut Client) -> usize;

/// How much was done in a second, and how long the relay and the server ran for each, in µs.
struct Rate {
    rate: f64,
    relay: f64,
    server: f64,
}

/// The median, by which they are in their order then.
fn middle_of(rates: &mut [Rate], of: impl Fn(&Rate) -> f64) -> f64 {
    rates.sort_unstable_by(|one, other| of(one).total_cmp(&of(other)));
    of(&rates[rates.len() / 2])
}

/// As much as goes.
fn throughput(host: &mut Host) -> bool {
    let kinds: [(&str, &str, Load); 3] = [
        ("1 MiB writes, one after the other", "MiB", long_writes),
        ("4 KiB writes, 16 at a time", "requests", |client| short(client, Command::Write)),
        ("4 KiB reads, 16 at a time", "requests", |client| short(client, Command::Read)),
    ];
    let subjects = [Subject::Quick, Subject::Relay, Subject::Apart, Subject::Qemu];
    let mut all: BTreeMap<(&str, Subject), Vec<Rate>> = BTreeMap::new();
    for _ in 0..rounds(ROUNDS) {
        subjects::each(host, &subjects, |subject, client, relay, server| {
            for (kind, _, load) in kinds {
                let (before, began) = ([relay, server].map(Processes::spent), Instant::now());
                let count = load(client) as f64;
                let (rate, [relay, server]) =
                    (count / began.elapsed().as_secs_f64(), [relay, server].map(Processes::spent));
                let each = |spent: Duration, before: Duration| ms(&(spent - before)) * 1000.0 / count;
                let rate = Rate { rate, relay: each(relay, before[0]), server: each(server, before[1]) };
                all.entry((kind, subject)).or_default().push(rate);
            }
        });
    }
    let mut within = true;
    for (kind, unit, _) in kinds {
        println!("{kind}, and a flush at the end, in {unit} a second; and µs of a processor for each:");
        let mut middle = BTreeMap::new();
        for subject in subjects {
            let Some(rates) = all.get_mut(&(kind, subject)) else { continue };
            let [relay, server] = [|rate: &Rate| rate.relay, |rate: &Rate| rate.server].map(|of| middle_of(rates, of));
            middle.insert(subject, middle_of(rates, |rate| rate.rate));
            let (least, most) = (rates[0].rate, rates[rates.len() - 1].rate);
            print!("  {:<38} {:>8.0}  ({least:.0} to {most:.0})", subject.name(), middle[&subject]);
            println!("  relay {relay:.0}, server {server:.0}");
        }
        let of = |subject| middle[&subject] / middle[&Subject::Quick];
        let (relay, apart) = (of(Subject::Relay), of(Subject::Apart));
        println!("  ratio {relay:.2} of the server alone (limit {LEAST:.1}); apart {apart:.2}");
        within &= relay >= LEAST;
    }
    is_within(within)
}

fn long_writes(client: &mut Client) -> usize {
    let (data, count) = (vec![0x5a; 1 << 20], rounds(LONG));
    for number in 0..count {
        client.write((number << 20) as u64 % SIZE, &data).unwrap();
    }
    client.flush().unwrap();
    count
}

fn short(client: &mut Client, command: Command) -> usize {
    let data = if command == Command::Write { vec![0xa5; BLOCK] } else { Vec::new() };
    let (count, mut read) = (rounds(SHORT).max(2 * DEPTH), vec![0; BLOCK]);
    let mut sent = 0;
    let mut send = |client: &mut Client| {
        client.send(command, (sent * 37 % 997 * BLOCK) as u64, BLOCK, &data).unwrap();
        sent += 1;
    };
    (0..DEPTH).for_each(|_| send(client));
    for answered in 1..=count {
        assert_eq!(client.answer().unwrap().1, Ok(()));
        if command == Command::Read {
            client.stream.read_exact(&mut read).unwrap();
        }
        if answered + DEPTH <= count {
            send(client);
        }
    }
    client.flush().unwrap();
    count
}
