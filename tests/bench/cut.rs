//! How soon a host is out that is cut off: seen by the host, which asks its regions all the time
//! whether they are well, and by whoever had it cut off, who is answered when the regions have
//! closed its connections.

use super::{ATTACH, PUMPED_PIGLET, STILL_FAWN, post};
use std::os::unix::net::UnixStream;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use support::figures::{is_within, median, ms, rounds, show, sorted};
use support::hosts::{Host, is_well};
use support::machine::Machine;

/// How many hosts are cut off, either way.
const ROUNDS: usize = 30;
/// So long after an operator's word a host may be answered yet.
const CUT_LIMIT: Duration = Duration::from_millis(50);
/// How long a host waits until it asks again.
const RHYTHM: Duration = Duration::from_micros(200);
/// When that long no answer has come, none will.
const SILENCE: Duration = Duration::from_millis(500);
const TAKEOVER: &str = "{\"takeover\": true}";

/// A host that was cut off: when its last question was answered, and when the request was,
/// counted from the request.
struct Cut {
    heard: Duration,
    answered: Duration,
}

/// Hosts with a connection to each region, which they lose.
pub fn cut(machine: &Machine) -> bool {
    let (one, other) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    post(&mut one.connect(3800).unwrap(), ATTACH, TAKEOVER);
    let denied: Vec<_> = (0..rounds(ROUNDS)).map(|_| denied(machine, &one)).collect();
    let turn = |number| if number % 2 == 0 { (&other, &one) } else { (&one, &other) };
    post(&mut one.connect(3800).unwrap(), ATTACH, TAKEOVER);
    let taken: Vec<_> = (0..rounds(ROUNDS)).map(turn).map(|(to, from)| taken_over(to, from)).collect();
    let heard = tell("an operator cuts a host off", &denied);
    tell("a host takes a volume over", &taken);
    println!("  cut off by an operator: {:.2} ms (limit {})", ms(&heard), CUT_LIMIT.as_millis());
    is_within(heard <= CUT_LIMIT)
}

/// Prints how soon it was over; the median.
fn tell(what: &str, cuts: &[Cut]) -> Duration {
    let (heard, answered) = (sorted(cuts, |cut| cut.heard), sorted(cuts, |cut| cut.answered));
    println!("{what}, {} times, in milliseconds:", cuts.len());
    show("its last question is answered", &heard);
    show("its connections are closed, and told so", &answered);
    median(&heard)
}

/// An operator lets a host in, and cuts it off again.
fn denied(machine: &Machine, host: &Host) -> Cut {
    let socket = format!("/proc/{}/root/run/sled/admin.sock", machine.leader());
    let mut admin = UnixStream::connect(socket).unwrap();
    let path = |word: &str| format!("/v1/volumes/still-fawn/{word}?host={}", host.address);
    post(&mut admin, &path("allow"), "");
    during(host, || post(&mut admin, &path("deny"), ""))
}

/// A host takes the volume over from another.
fn taken_over(to: &Host, from: &Host) -> Cut {
    let mut line = to.connect(3800).unwrap();
    during(from, || post(&mut line, ATTACH, TAKEOVER))
}

/// The fate of a host's connections by this request.
fn during(host: &Host, request: impl FnOnce() -> Duration) -> Cut {
    let lines = [3830, 3831, 3832].map(|port| ask_on(host, port));
    let began = Instant::now();
    let answered = request();
    let last = lines.map(|line| line.join().unwrap()).into_iter().max().unwrap();
    Cut { heard: last.saturating_duration_since(began), answered }
}

/// Asks a region until it does not answer any more, and returns when it last did.
fn ask_on(host: &Host, port: u16) -> JoinHandle<Instant> {
    let mut stream = host.connect(port).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(is_well(&mut stream), "{} is not answered at {port}", host.address);
    spawn(move || {
        let mut last = Instant::now();
        while is_well(&mut stream) {
            last = Instant::now();
            sleep(RHYTHM);
        }
        last
    })
}
