//! Pauses of a client that writes and flushes all the time: of a server that is killed, beyond what a server takes to
//! start and to become active; and of a sled that was away, from the moment on when it is ready again.

use super::subjects::{self, Alone};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::figures::{is_within, median, ms, rounds, show};
use support::relay::{BLOCK, Host};

/// How many servers are killed, and how often the sled is away.
const KILLS: usize = 15;
const OUTAGES: usize = 5;
/// So much longer than a server's own start a pause may be.
const MOST_EXTRA: Duration = Duration::from_secs(1);
/// So soon after the sled is ready requests go on. A server that lives looks for a replica that was away every 10 s, which
/// the relay does not wait for: it has another one; apart its connection is held by the relay, which sees at once that
/// there is a sled.
const MOST_AFTER: Duration = Duration::from_millis(1500);
/// So many writes are between two flushes.
const UNFLUSHED: u64 = 50;

pub fn pauses(host: &mut Host) -> bool {
    let mut starts: Vec<_> = (0..rounds(KILLS)).map(|_| Alone::begin(host).2).collect();
    starts.sort_unstable();
    subjects::relay(host);
    let (kills, whole, dead) = (kills(host), outages(host, false), outages(host, true));
    host.end("TERM");
    let place = subjects::relay_apart(host);
    let (kills_apart, whole_apart) = (self::kills(host), outages(host, false));
    host.end("TERM");
    drop(place);
    println!("a client that writes all the time, in milliseconds:");
    show("a server's own start, to active", &starts);
    show("the pause when the server is killed", &kills);
    show("  its server apart", &kills_apart);
    show("a sled is ready, and requests go on", &whole);
    show("  its server apart", &whole_apart);
    show("  the server was killed as well", &dead);
    let extra = [&kills, &kills_apart].map(|pauses| median(pauses).saturating_sub(median(&starts)));
    let [killed, apart] = extra.map(|extra| ms(&extra));
    println!("  killed: {killed:.0} ms more than a start (limit {}), apart {apart:.0}", MOST_EXTRA.as_millis());
    let after = [&whole, &whole_apart, &dead].map(|pauses| median(pauses));
    let [alone, apart, dead] = after.map(|after| ms(&after));
    let most = MOST_AFTER.as_millis();
    println!("  ready: after {alone:.0} ms; apart {apart:.0}, with another server {dead:.0} (limit {most})");
    let goes_on = after.iter().all(|after| *after <= MOST_AFTER);
    is_within(goes_on && extra.iter().all(|extra| *extra <= MOST_EXTRA))
}

/// A client's answers: how many there were, and when the last one was.
struct Answers {
    began: Instant,
    count: AtomicU64,
    /// Microseconds since it began.
    last: AtomicU64,
    longest: AtomicU64,
    over: AtomicBool,
}

impl Answers {
    fn new() -> Self {
        let zero = AtomicU64::default;
        Self { began: Instant::now(), count: zero(), last: zero(), longest: zero(), over: AtomicBool::new(false) }
    }

    /// Writes and flushes until it is over.
    fn come(&self, host: &Host) {
        let mut client = host.client();
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            match number % UNFLUSHED {
                0 => client.flush().unwrap(),
                _ => client.write((number % 997) * BLOCK as u64, &[number as u8; BLOCK]).unwrap(),
            }
            let now = self.began.elapsed().as_micros() as u64;
            self.longest.fetch_max(now - self.last.swap(now, Ordering::Relaxed), Ordering::Relaxed);
            self.count.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns when so many more have come.
    fn more(&self, count: u64) {
        let until = self.count.load(Ordering::Acquire) + count;
        while self.count.load(Ordering::Acquire) < until {
            // To be told of each answer would cost more than an answer.
            sleep(Duration::from_micros(200));
        }
    }
}

/// The longest that a client waits for an answer when the server is killed.
fn kills(host: &mut Host) -> Vec<Duration> {
    let answers = Answers::new();
    let mut pauses = Vec::new();
    std::thread::scope(|scope| {
        let host = &*host;
        scope.spawn(|| answers.come(host));
        for _ in 0..rounds(KILLS) {
            answers.more(4 * UNFLUSHED);
            answers.longest.store(0, Ordering::Relaxed);
            let before = host.server();
            host.kill_server();
            support::relay::until(|| host.server().is_some_and(|server| Some(server) != before));
            answers.more(2 * UNFLUSHED);
            pauses.push(Duration::from_micros(answers.longest.load(Ordering::Relaxed)));
        }
        answers.over.store(true, Ordering::Relaxed);
    });
    pauses.sort_unstable();
    pauses
}

/// How soon a flush is answered that waits for the sled, once that is ready; the server may be gone as well.
fn outages(host: &mut Host, kill: bool) -> Vec<Duration> {
    let mut pauses = Vec::new();
    for round in 0..rounds(OUTAGES) {
        let mut client = host.client();
        (0..UNFLUSHED).for_each(|at| client.write(at * BLOCK as u64, &[3; BLOCK]).unwrap());
        host.sled.tell(|mind| mind.ready = false);
        (0..3).for_each(|index| host.kill(index));
        if kill {
            host.kill_server();
        }
        let flushing = std::thread::spawn(move || {
            client.flush().unwrap();
            Instant::now()
        });
        // As long as a machine takes to boot, more or less.
        sleep(support::figures::calm(Duration::from_secs(12) + Duration::from_millis(1700) * round as u32));
        (0..3).for_each(|index| host.start(index));
        let ready = Instant::now();
        host.sled.tell(|mind| mind.ready = true);
        pauses.push(flushing.join().unwrap().saturating_duration_since(ready));
    }
    pauses.sort_unstable();
    pauses
}
