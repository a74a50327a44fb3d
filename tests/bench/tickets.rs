//! How long a host waits for a ticket, and how soon one is out that is cut off: figures with a
//! limit each. Over a limit is a failure.
//!
//! ```text
//! cargo bench --bench tickets [-- PART]
//! ```
//!
//! | part | figure |
//! |---|---|
//! | `ticket` | a ticket for the host that holds the last one, against one `fsync` of the same disk |
//! | `cut` | a host is cut off, by an operator and by a takeover: when its connections are dead |
//!
//! A ticket is durable before it is answered, by one `fdatasync` in place: less than that it cannot
//! cost, and more than two `fsync` nobody need wait. Both are shown.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod cut;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::figures::{calm, is_within, median, rounds, show, sorted};
use support::hosts::EVENT_LIMIT;
use support::layer::Layer;
use support::machine::Machine;

/// A part: whether it kept within its limits.
type Part = fn(&Machine) -> bool;
const PARTS: [(&str, Part); 2] = [("ticket", ticket), ("cut", cut::cut)];

/// The map of a volume of the runbook's size, for two hosts.
const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[hosts.still-fawn]
address = "192.168.4.17"
[hosts.pumped-piglet]
address = "192.168.4.175"
[defaults]
block_size = 4096
extent_size = 32768
extent_count = 100
[volumes.still-fawn]
hosts = ["still-fawn", "pumped-piglet"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
"#;
const STILL_FAWN: &str = "192.168.4.17";
const PUMPED_PIGLET: &str = "192.168.4.175";
const ATTACH: &str = "/v1/volumes/still-fawn/attach";

/// How many tickets.
const ROUNDS: usize = 300;
/// So many come before, which are not counted.
const FIRST: usize = 20;
/// A ticket may take so many times what one `fsync` takes.
const MOST_RATIO: f64 = 2.0;
/// The bytes that are written before each of them; a ticket's record has two such slots.
const SLOT: usize = 4096;
/// After this what was just created has settled.
const CALM: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // Cargo passes options of its own.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = PARTS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
    let machine = Layer::shipped().with("etc/sled/port-map.toml", MAP).boot_and_create();
    sleep(calm(CALM));
    let within: Vec<_> = chosen.map(|(_, part)| part(&machine)).collect();
    if !within.is_empty() && within.iter().all(|within| *within) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A round: a ticket, and one write each that is made durable by `fdatasync` and by `fsync`.
struct Round {
    ticket: Duration,
    data: Duration,
    whole: Duration,
}

/// Tickets on one connection, for the host that has the volume already, in turns with writes to a
/// file of the same file system.
fn ticket(machine: &Machine) -> bool {
    let file = prepared(machine);
    let mut line = machine.host(STILL_FAWN).connect(3800).unwrap();
    line.set_nodelay(true).unwrap();
    let mut round = |number: usize| Round {
        data: durable(&file, number, File::sync_data),
        whole: durable(&file, number, File::sync_all),
        ticket: post(&mut line, ATTACH, ""),
    };
    (0..rounds(FIRST)).for_each(|number| _ = round(number));
    let rounds: Vec<_> = (0..rounds(ROUNDS)).map(&mut round).collect();
    let (data, whole) = (sorted(&rounds, |round| round.data), sorted(&rounds, |round| round.whole));
    let tickets = sorted(&rounds, |round| round.ticket);
    let of = |syncs| median(&tickets).as_secs_f64() / median(syncs).as_secs_f64();
    let ratio = of(&whole);
    println!("a ticket for the holder, {} times, in milliseconds:", rounds.len());
    show("4096 bytes in place and fdatasync", &data);
    show("4096 bytes in place and fsync", &whole);
    show("a ticket", &tickets);
    println!("  ratio {ratio:.2} of fsync (limit {MOST_RATIO}), {:.2} of fdatasync", of(&data));
    is_within(ratio <= MOST_RATIO)
}

/// A file on the machine's data disk, of its full length.
fn prepared(machine: &Machine) -> File {
    let path = format!("/proc/{}/root/crucible/.sled/bench", machine.leader());
    let file = File::create(path).unwrap();
    file.write_all_at(&[0; 2 * SLOT], 0).unwrap();
    file.sync_all().unwrap();
    file
}

/// How long one of the file's slots takes to be written, durably.
fn durable(file: &File, number: usize, sync: fn(&File) -> io::Result<()>) -> Duration {
    let began = Instant::now();
    file.write_all_at(&[number as u8; SLOT], (number % 2 * SLOT) as u64).unwrap();
    sync(file).unwrap();
    began.elapsed()
}

/// How long a request takes on a connection that stays open; it must be granted.
fn post(line: &mut (impl Read + Write), path: &str, body: &str) -> Duration {
    let request = format!("POST {path} HTTP/1.1\r\nHost: sled\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut answer, mut some) = (Vec::new(), [0; SLOT]);
    let began = Instant::now();
    line.write_all(request.as_bytes()).unwrap();
    while !is_whole(&answer) {
        let length = line.read(&mut some).unwrap();
        assert!(length > 0 && began.elapsed() < EVENT_LIMIT, "no answer to {path}");
        answer.extend_from_slice(&some[..length]);
    }
    let time = began.elapsed();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path}: {}", String::from_utf8_lossy(&answer));
    time
}

/// Whether an answer has come to its end.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| length.parse() == Ok(body.len()))
}
