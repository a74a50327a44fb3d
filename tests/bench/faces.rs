//! What the faces cost: figures with a limit each, within one run. Over a limit is a failure.
//!
//! ```text
//! cargo bench --bench faces [-- PART]
//! ```
//!
//! | part | figure |
//! |---|---|
//! | `metrics` | `/metrics` against a file of its size from nginx, in the same machine |
//! | `polls` | `/v1/volumes/V` against such a file, while 50 others hear of events |
//! | `status` | `sledctl status` from its start to its end; and the supervisor's memory, by its own word |
//! | `waiting` | 10,000 polls that wait: the memory for each, and how soon all of them are answered |
//!
//! Machines are shared and noisy: the two sides take turns, round by round, and the ratio is the median of the rounds'.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod waiting;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::figures::{is_within, median, ms, rounds, show, sorted};
use support::hosts::{EVENT_LIMIT, SLED, Space};
use support::layer::Layer;
use support::machine::Machine;
use tempfile::TempDir;

/// A part of the sled's machine: whether it kept within its limits.
type Part = fn(&Machine) -> bool;
const PARTS: [(&str, Part); 3] = [("metrics", metrics), ("polls", polls), ("status", status)];

/// How often each side has its turn, and with how many requests.
const ROUNDS: usize = 60;
const REQUESTS: usize = 40;
/// A page of metrics may take so many times what a file of its size takes.
const MOST_METRICS: f64 = 1.5;
/// A poll is answered at least so many times as fast as with a file, whoever else listens.
const LEAST_POLLS: f64 = 1.1;
/// So many hear of events meanwhile.
const STREAMS: usize = 50;
/// `sledctl status` may take so long, so many times, and the supervisor so much memory after all that.
const MOST_STATUS: Duration = Duration::from_millis(15);
const STATUS_ROUNDS: usize = 40;
const MOST_MEMORY: f64 = 10.0;
/// The processor of both servers, and that of who asks them: left to themselves they share one or not, as it happens, and
/// a request takes a quarter or four times as long by that alone.
const SERVER: usize = 1;
const ASKER: usize = 0;
/// The port at which nginx answers in the sled's machine.
const PORT: u16 = 8088;
const POLL: &str = "/v1/volumes/still-fawn";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == waiting::SERVE) {
        waiting::serve();
        return ExitCode::SUCCESS;
    }
    // Cargo passes options of its own.
    let wanted = arguments.into_iter().find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let chosen: Vec<_> = PARTS.iter().filter(|(name, _)| is_wanted(name)).collect();
    let mut within = Vec::new();
    if !chosen.is_empty() {
        let machine = Layer::shipped().boot_and_create();
        within.extend(chosen.iter().map(|(_, part)| part(&machine)));
    }
    within.extend(is_wanted("waiting").then(waiting::waiting));
    if !within.is_empty() && within.iter().all(|within| *within) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A connection that stays open, and the request that is made on it.
struct Line {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Line {
    fn open(machine: &Machine, port: u16, path: &str) -> Self {
        let stream = machine.in_outside(move || TcpStream::connect((SLED, port)).unwrap());
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: sled\r\nAccept: */*\r\n\r\n").into_bytes();
        Self { stream, request, answer: Vec::new() }
    }

    /// Asks, and waits for the whole answer: how long that took.
    fn ask(&mut self) -> Duration {
        self.answer.clear();
        let (began, mut some) = (Instant::now(), [0; 16384]);
        self.stream.write_all(&self.request).unwrap();
        while self.body().is_none_or(|(body, length)| body.len() < length) {
            let read = self.stream.read(&mut some).unwrap();
            assert!(read > 0, "hung up on {}", String::from_utf8_lossy(&self.request));
            self.answer.extend_from_slice(&some[..read]);
        }
        began.elapsed()
    }

    /// The body as far as it has come, and its length.
    fn body(&self) -> Option<(&[u8], usize)> {
        let end = self.answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.answer[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        Some((&self.answer[end + 4..], length?))
    }
}

/// nginx in the network of the sled's machine, with a file that it answers.
struct Nginx {
    child: Child,
    _dir: TempDir,
}

impl Nginx {
    fn start(machine: &Machine, file: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        fs::write(dir.path().join("file"), file).unwrap();
        let settings = format!(
            "user root; worker_processes 1; daemon off; pid {path}/pid; error_log {path}/errors;\nevents {{ }}\n\
             http {{ access_log off; keepalive_requests 1000000; default_type text/plain; sendfile on; tcp_nopush on;\n\
             server {{ listen {SLED}:{PORT}; root {path}; open_file_cache max=10; }} }}\n"
        );
        fs::write(dir.path().join("nginx.conf"), settings).unwrap();
        let conf = format!("{path}/nginx.conf");
        // It names the space by a descriptor, which has to be there until it has begun.
        let space = Space::of(machine.leader());
        let mut command = space.command(&["nginx", "-p", &path.to_string(), "-c", &conf]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, _dir: dir };
        let began = Instant::now();
        // That somebody listens is told to nobody.
        while machine.in_outside(|| TcpStream::connect((SLED, PORT))).is_err() {
            assert!(began.elapsed() < EVENT_LIMIT, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        nginx
    }
}

impl Nginx {
    /// The process that answers.
    fn worker(&self) -> i32 {
        let all = procfs::process::all_processes().unwrap().flatten();
        let mut stats = all.filter_map(|process| process.stat().ok());
        stats.find(|stat| stat.ppid == self.child.id().cast_signed()).unwrap().pid
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// A round: the median of each side's requests.
struct Round {
    sled: Duration,
    nginx: Duration,
}

/// Keeps a thread on some of the processors that there are.
fn keep(thread: i32, processors: &[usize]) {
    let mut kept = CpuSet::new();
    for processor in processors {
        kept.set(*processor).unwrap();
    }
    // Where there is no second one, all are on the first as it is.
    _ = sched_setaffinity(Pid::from_raw(thread), &kept);
}

/// Both sides in turns: a path of the sled's, and a file of its size from nginx.
fn against_nginx(machine: &Machine, path: &str) -> Vec<Round> {
    let mut line = Line::open(machine, 3800, path);
    line.ask();
    let body = line.body().unwrap().0.to_vec();
    let nginx = Nginx::start(machine, &body);
    let threads = [(0, ASKER), (machine.sledd().pid, SERVER), (nginx.worker(), SERVER)];
    threads.iter().for_each(|(thread, processor)| keep(*thread, &[*processor]));
    let side = |port, path| {
        let mut line = Line::open(machine, port, path);
        line.ask();
        let mut times: Vec<_> = (0..rounds(REQUESTS)).map(|_| line.ask()).collect();
        times.sort_unstable();
        median(&times)
    };
    let round = |number| {
        let (sled, nginx) = (|| side(3800, path), || side(PORT, "/file"));
        if number % 2 == 0 {
            let sled = sled();
            Round { sled, nginx: nginx() }
        } else {
            let nginx = nginx();
            Round { sled: sled(), nginx }
        }
    };
    let all: Vec<_> = (0..rounds(ROUNDS)).map(round).collect();
    threads.iter().for_each(|(thread, _)| keep(*thread, &[ASKER, SERVER]));
    println!("{path}, {} bytes, {} rounds of {} requests, in milliseconds:", body.len(), all.len(), rounds(REQUESTS));
    show("a file of its size from nginx", &sorted(&all, |round| round.nginx));
    show("the sled", &sorted(&all, |round| round.sled));
    all
}

/// The median of the rounds' ratios, the smallest and the largest.
fn ratios(all: &[Round], of: impl Fn(&Round) -> f64) -> [f64; 3] {
    let mut ratios: Vec<_> = all.iter().map(of).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    [ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1]]
}

fn metrics(machine: &Machine) -> bool {
    let all = against_nginx(machine, "/metrics");
    let [ratio, least, most] = ratios(&all, |round| round.sled.as_secs_f64() / round.nginx.as_secs_f64());
    println!("  ratio {ratio:.2} of nginx (limit {MOST_METRICS}); {least:.2} to {most:.2}");
    is_within(ratio <= MOST_METRICS)
}

fn polls(machine: &Machine) -> bool {
    let streams = streams(machine);
    println!("{} hear of events meanwhile", streams.len());
    let all = against_nginx(machine, POLL);
    let [ratio, least, most] = ratios(&all, |round| round.nginx.as_secs_f64() / round.sled.as_secs_f64());
    println!("  {ratio:.2} times as fast as nginx (limit {LEAST_POLLS}); {least:.2} to {most:.2}");
    is_within(ratio >= LEAST_POLLS)
}

/// Streams of events that are open, if there are such.
fn streams(machine: &Machine) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = machine.in_outside(|| TcpStream::connect((SLED, 3800)).unwrap());
        stream.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
        let request = "GET /v1/events HTTP/1.1\r\nHost: sled\r\nAccept: text/event-stream\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (&status == b"HTTP/1.1 200").then_some(stream)
    };
    (0..STREAMS).filter_map(open).collect()
}

fn status(machine: &Machine) -> bool {
    let script = format!(
        "for n in $(seq {}); do began=${{EPOCHREALTIME/./}}; sledctl status >/dev/null || [ $? = 3 ]
         echo $((${{EPOCHREALTIME/./}} - began)); done",
        rounds(STATUS_ROUNDS)
    );
    let mut times: Vec<_> = machine
        .ok(&["bash", "-euc", &script])
        .lines()
        .map(|line| Duration::from_micros(line.parse().unwrap()))
        .collect();
    times.sort_unstable();
    println!("sledctl, {} times, in milliseconds:", times.len());
    show("sledctl status", &times);
    let mut line = Line::open(machine, 3800, "/metrics");
    line.ask();
    let page = String::from_utf8(line.body().unwrap().0.to_vec()).unwrap();
    let memory = page.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    let memory = memory.parse::<f64>().unwrap() / f64::from(1 << 20);
    let whole = median(&times);
    println!(
        "  {:.1} ms (limit {}); the supervisor has {memory:.1} MiB (limit {MOST_MEMORY})",
        ms(&whole),
        ms(&MOST_STATUS)
    );
    is_within(whole <= MOST_STATUS && memory <= MOST_MEMORY)
}
