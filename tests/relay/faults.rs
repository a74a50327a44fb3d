//! A load that verifies, and faults by chance under it: of the server, of the downstairs, of the whole sled, of the
//! relay itself. Whoever asked for something gets it, late at worst, and every block reads as it was written last.
//!
//! `ATTACH_SEED` repeats a run; `ATTACH_FAULTS` is how many faults there are.

use crate::store::Store;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::client::Client;
use support::places::real;
use support::relay::{BLOCK, Host, SIZE, signal, until};

/// Numbers by chance, the same ones for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The sights of a load.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    errors: AtomicU64,
    differ: AtomicU64,
}

/// Writes, flushes and reads what it has written, each block of which it knows.
struct Load {
    socket: PathBuf,
    client: Option<Client>,
    chance: Chance,
    written: Vec<u64>,
    round: u64,
    seen: Arc<Seen>,
}

/// The blocks that are written to.
const BLOCKS: usize = 1024;

impl Load {
    fn new(socket: &Path, seed: u64, seen: Arc<Seen>) -> Self {
        Self { socket: socket.to_owned(), client: None, chance: Chance(seed), written: vec![0; BLOCKS], round: 0, seen }
    }

    /// Does something until it is done: a relay that was killed closes the connection, and is asked again.
    fn ask<T>(&mut self, what: impl Fn(&mut Client) -> io::Result<T>) -> Option<T> {
        self.seen.requests.fetch_add(1, Ordering::Relaxed);
        loop {
            if self.client.is_none() {
                let socket = self.socket.clone();
                let mut client = None;
                until(|| {
                    client = Client::attached(&socket).ok();
                    client.is_some()
                });
                self.client = client;
            }
            match self.client.as_mut().map(&what) {
                Some(Ok(done)) => return Some(done),
                // An error that was answered, and no connection that was closed.
                Some(Err(why)) if matches!(why.raw_os_error(), Some(5 | 22 | 28 | 75 | 108)) => {
                    eprintln!("a request failed: {why}");
                    self.seen.errors.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                _ => self.client = None,
            }
        }
    }

    fn turn(&mut self) {
        let first = self.chance.below(BLOCKS as u64) as usize;
        let count = (1 + self.chance.below(16) as usize).min(BLOCKS - first);
        match self.chance.below(10) {
            0..6 => {
                self.round += 1;
                let data: Vec<u8> = (first..first + count).flat_map(|block| block_of(block, self.round)).collect();
                if self.ask(|client| client.write((first * BLOCK) as u64, &data)).is_some() {
                    self.written[first..first + count].fill(self.round);
                }
            }
            6 => _ = self.ask(Client::flush),
            _ => self.verify(first, count),
        }
    }

    fn verify(&mut self, first: usize, count: usize) {
        let Some(read) = self.ask(|client| client.read((first * BLOCK) as u64, count * BLOCK)) else { return };
        for (index, found) in read.chunks(BLOCK).enumerate() {
            let (block, round) = (first + index, self.written[first + index]);
            let expected = if round == 0 { vec![0; BLOCK] } else { block_of(block, round) };
            if found != expected {
                eprintln!("block {block} is not that of round {round}: it begins with {:?}", &found[..16]);
                self.seen.differ.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A block as it was written in a round.
fn block_of(block: usize, round: u64) -> Vec<u8> {
    let word = ((block as u64) << 40 | round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    word.to_le_bytes().repeat(BLOCK / 8)
}

/// Waits until the relay has a server.
fn server(host: &Host) -> u32 {
    let mut server = None;
    until(|| {
        server = host.server();
        server.is_some()
    });
    server.unwrap()
}

/// What the stand-in is told to do wrong.
const FAULTS: [&str; 9] =
    ["fail write", "fail read", "fail flush", "drop", "lose write", "lose flush", "exit", "die write", "half"];

/// The whole sled is away for a while, as its supervisor says of itself meanwhile; `with` it ends what else is to.
fn is_away(host: &mut Host, time: Duration, with: impl FnOnce()) {
    host.sled.tell(|mind| mind.ready = false);
    with();
    (0..3).for_each(|index| host.kill(index));
    std::thread::sleep(time);
    (0..3).for_each(|index| host.start(index));
    host.sled.tell(|mind| mind.ready = true);
}

/// One fault; what it was.
fn strike(host: &mut Host, store: &Store, chance: &mut Chance) -> &'static str {
    let pause = |most: u64, chance: &mut Chance| std::thread::sleep(Duration::from_millis(chance.below(most)));
    match chance.below(if real().is_some() { 7 } else { 10 }) {
        0 | 1 => {
            signal(server(host), "KILL");
            "the server is killed"
        }
        2 => {
            let server = server(host);
            signal(server, "STOP");
            pause(1000, chance);
            signal(server, "CONT");
            "the server stands still for a while"
        }
        3 => {
            let index = chance.below(3) as usize;
            host.kill(index);
            pause(500, chance);
            host.start(index);
            "a downstairs is killed"
        }
        4 => {
            is_away(host, Duration::from_millis(chance.below(2000)), || ());
            "the whole sled is away"
        }
        5 => {
            // Without a sled none would begin.
            let server = server(host);
            is_away(host, Duration::from_millis(chance.below(2000)), || signal(server, "KILL"));
            "the server is killed, and the whole sled is away"
        }
        6 => {
            host.end("KILL");
            let command = store.with(host.command());
            host.begin_as(command);
            "the relay is killed"
        }
        _ => {
            let fault = FAULTS[chance.below(FAULTS.len() as u64) as usize];
            host.fault(&format!("{fault}\n"));
            until(|| host.faults().trim().is_empty());
            fault
        }
    }
}

#[test]
#[ignore = "a suite of its own: tests/run attach-faults"]
fn faults_by_chance_are_pauses() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (seed, faults) = (number("ATTACH_SEED", u64::from(now.subsec_nanos())), number("ATTACH_FAULTS", 100));
    println!("ATTACH_SEED={seed}");
    let mut host = Host::new();
    assert!(SIZE >= (BLOCKS * BLOCK) as u64);
    let store = Store::open(host.dir.path());
    let command = store.with(host.command());
    host.begin_as(command);
    let (seen, done) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut load = Load::new(&host.socket(), seed, seen.clone());
    let over = done.clone();
    let loading = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            load.turn();
        }
        // Everything, once more, at the end.
        (0..BLOCKS).step_by(16).for_each(|first| load.verify(first, 16));
    });
    let mut chance = Chance(seed ^ 1);
    for _ in 0..faults {
        strike(&mut host, &store, &mut chance);
        // On the way to the next one something is done.
        let (before, more) = (seen.requests.load(Ordering::Relaxed), chance.below(200));
        until(|| seen.requests.load(Ordering::Relaxed) > before + more || loading.is_finished());
    }
    done.store(true, Ordering::Relaxed);
    loading.join().unwrap();
    let [requests, errors, differ] =
        [&seen.requests, &seen.errors, &seen.differ].map(|count| count.load(Ordering::Relaxed));
    println!("{requests} requests; {faults} faults, {errors} errors, {differ} blocks differ");
    assert_eq!((errors, differ), (0, 0));
}
