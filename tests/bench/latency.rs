//! How soon a death is noticed, and how soon it is over: the supervisor against the least that
//! anybody could need, in one and the same run.

use crucible_sled::wire::Volume;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::figures::{is_within, median, rounds, show, sorted};
use support::hosts::SLED;
use support::layer::Layer;
use support::machine::Machine;

/// How many deaths.
const ROUNDS: usize = 30;
/// The poll may take so many times what the bare watcher takes.
const MOST_RATIO: f64 = 2.0;
/// A region may be away for so much longer than its unit takes to start: of that systemd waits
/// 0.1 s, so that what must not be started again is stopped in time.
const MOST_EXTRA: Duration = Duration::from_millis(150);
/// The port at which the bare watcher tells what it saw.
const WATCHERS_PORT: u16 = 9999;
const SETTINGS: &str = "[downstairs]\ncrashes = 1000\nsteady_after = \"1s\"\n";

/// A death: when each of the three things was seen, counted from the kill.
struct Death {
    watcher: Duration,
    poll: Duration,
    back: Duration,
}

/// Deaths of regions, seen by a host that waits for a change and by a bare watcher of a pidfd.
pub fn deaths() -> bool {
    let machine = Layer::small().with("etc/sled/sled.toml.d/60-bench.toml", SETTINGS).boot_and_create();
    let deaths: Vec<_> = (0..rounds(ROUNDS)).map(|round| death(&machine, round % 3)).collect();
    let of = |what: fn(&Death) -> Duration| sorted(&deaths, what);
    let (watcher, poll, back) = (of(|d| d.watcher), of(|d| d.poll), of(|d| d.back));
    let mut starts: Vec<_> = (0..rounds(ROUNDS)).map(|_| start()).collect();
    starts.sort_unstable();
    let units = unit_starts(&machine);
    println!("a region is killed, {} times, in milliseconds:", rounds(ROUNDS));
    show("a bare watcher writes a socket", &watcher);
    show("a waiting poll is answered 503", &poll);
    show("it serves again", &back);
    show("its unit's start, to listening", &units);
    show("its program by itself, to listening", &starts);
    let ratio = median(&poll).as_secs_f64() / median(&watcher).as_secs_f64();
    let extra = median(&back).saturating_sub(median(&units));
    let alone = median(&back).saturating_sub(median(&starts));
    println!("  noticed: ratio {ratio:.2} (limit {MOST_RATIO})");
    println!(
        "  back: {} ms more than its unit takes to start (limit {}); {} ms more than its program without the unit's sandbox",
        extra.as_millis(),
        MOST_EXTRA.as_millis(),
        alone.as_millis()
    );
    is_within(ratio <= MOST_RATIO && extra <= MOST_EXTRA)
}

/// Kills a region that has been well for long enough for its next restart to come at once.
fn death(machine: &Machine, index: usize) -> Death {
    let unit = format!("crucible-downstairs@still-fawn-{index}");
    machine.sh(&format!("until [ $(systemctl show --value -p NRestarts {unit}) = 0 ]; do sleep 0.1; done"));
    // Nothing more is to come that would answer the poll before the death does.
    let known = |volume: &Volume| volume.ready && volume.regions.iter().all(|region| region.version.is_some());
    let volume = machine.wait_for("still-fawn", known);
    let pid = machine.outside_pid(volume.regions[index].pid.unwrap()).unwrap();
    let (watching, polling) = (watch(machine, pid), wait(machine, volume.revision));
    let began = Instant::now();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let (watcher, poll) = (watching.recv().unwrap() - began, polling.recv().unwrap() - began);
    machine.wait_for("still-fawn", |volume| volume.ready);
    Death { watcher, poll, back: began.elapsed() }
}

/// A thread in the machine's network that writes to a socket when the process has ended. When the
/// host has read it comes over the channel; this returns when all of it waits.
fn watch(machine: &Machine, pid: u32) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    let listener = machine.in_outside(|| TcpListener::bind(("192.168.4.17", WATCHERS_PORT)).unwrap());
    let inside = File::open(format!("/proc/{}/ns/net", machine.leader())).unwrap();
    let (ready, waits) = mpsc::channel();
    std::thread::spawn(move || {
        setns(inside, CloneFlags::CLONE_NEWNET).unwrap();
        let mut out = TcpStream::connect(("192.168.4.17", WATCHERS_PORT)).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        ready.send(()).unwrap();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        out.write_all(b"x").unwrap();
    });
    let (mut heard, _) = listener.accept().unwrap();
    waits.recv().unwrap();
    std::thread::spawn(move || {
        heard.read_exact(&mut [0]).unwrap();
        tell.send(Instant::now()).unwrap();
    });
    told
}

/// A host whose poll waits for a change: when it was answered comes over the channel.
fn wait(machine: &Machine, revision: u64) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    let mut stream = machine.in_outside(|| TcpStream::connect((SLED, 3800)).unwrap());
    write!(stream, "GET /v1/volumes/still-fawn?wait=60&revision={revision} HTTP/1.1\r\nHost: sled\r\n\r\n").unwrap();
    // An answer to another question means that this one is being waited on.
    _ = machine.volume("still-fawn");
    std::thread::spawn(move || {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        let now = Instant::now();
        assert_eq!(&status, b"HTTP/1.1 503");
        tell.send(now).unwrap();
    });
    told
}

/// How long systemd takes from the beginning of a start to a program that listens, by the journal:
/// the sandbox, and the program in it. Of every start of this run but the first ones.
fn unit_starts(machine: &Machine) -> Vec<Duration> {
    let journal = machine.sh("journalctl -b -o json --output-fields=MESSAGE,UNIT,_SYSTEMD_UNIT --no-pager \
         SYSLOG_IDENTIFIER=systemd + _COMM=crucible-downst");
    let entries = journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let (mut began, mut starts) = (BTreeMap::new(), Vec::new());
    for entry in entries {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let (message, at) = (text("MESSAGE"), text("__MONOTONIC_TIMESTAMP").parse().unwrap());
        if message.starts_with("Starting crucible-downstairs@") {
            began.insert(text("UNIT"), Duration::from_micros(at));
        } else if message.contains("downstairs listening on") {
            let from = began.remove(&text("_SYSTEMD_UNIT"));
            starts.extend(from.map(|from| Duration::from_micros(at).saturating_sub(from)));
        }
    }
    starts.drain(..starts.len().min(3));
    starts.sort_unstable();
    assert!(starts.len() >= rounds(ROUNDS), "the journal tells of {} starts", starts.len());
    starts
}

/// How long the program takes by itself from its start until it listens.
fn start() -> Duration {
    let program = support::places::crucible().join("crucible-downstairs");
    let dir = tempfile::tempdir().unwrap();
    let region = dir.path().join("region");
    let create = ["--uuid", "5a11fa40-0000-4000-8000-000000000001", "--block-size", "512"];
    let geometry = ["--extent-size", "64", "--extent-count", "4"];
    let made =
        Command::new(&program).arg("create").arg("-d").arg(&region).args(create).args(geometry).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let began = Instant::now();
    let mut run = Command::new(&program);
    run.arg("run").arg("-d").arg(&region).args(["-p", "13839", "-a", "127.0.0.1"]);
    let mut child = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while TcpStream::connect(("127.0.0.1", 13839)).is_err() {
        // That somebody listens is told to nobody.
        std::thread::sleep(Duration::from_micros(200));
    }
    let time = began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    time
}
