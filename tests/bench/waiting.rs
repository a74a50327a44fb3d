//! Polls that wait, ten thousand of them: by the HTTP face itself, in a process of its own without a supervisor, so that
//! its memory is the polls' alone. It is told when something has changed.

use bytes::Bytes;
use crucible_sled::desk::Handle;
use crucible_sled::desk::body::Body;
use crucible_sled::desk::bulletin::{Bulletin, Page};
use crucible_sled::desk::pulse::LoopPulse;
use crucible_sled::http::{self, Limits, Sockets};
use nix::sys::resource::{Resource, setrlimit};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::figures::{is_short, is_within, ms};
use support::hosts::EVENT_LIMIT;
use tokio::sync::{mpsc, watch};

/// The word by which this program is the server.
pub const SERVE: &str = "serve-polls";
/// How many polls wait, from how many addresses.
const POLLS: usize = 10_000;
const ADDRESSES: usize = 200;
/// Each may take so much memory, in KiB, and all are answered so soon after a change.
const MOST_MEMORY: f64 = 6.0;
const MOST_TIME: Duration = Duration::from_millis(100);
/// As long as the body of a volume with three regions.
const BODY: usize = 3000;

fn bulletin(revision: u64) -> Option<Arc<Bulletin>> {
    let text = format!("{{\"revision\": {revision}, \"filling\": \"{}\"}}\n", "x".repeat(BODY));
    let page = Page { ready: true, revision, body: Body::of(move || Bytes::from(text)) };
    let volumes = [("still-fawn".parse().unwrap(), page)].into();
    Some(Arc::new(Bulletin { volumes, ..Bulletin::default() }))
}

fn with_descriptors() {
    let most = POLLS as u64 + 1000;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// Answers polls at a port, which is printed, until standard input ends; each line of it is a change.
pub fn serve() {
    with_descriptors();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let (publish, bulletins) = watch::channel(bulletin(1));
    let pulse = LoopPulse::new(Duration::from_secs(3600));
    let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse, events: Default::default() };
    let limits = Limits { connections: POLLS + 500 };
    let sockets = Sockets { http: vec![listener], limits, ..Sockets::default() };
    std::thread::spawn(move || {
        for (changes, line) in std::io::stdin().lines().enumerate() {
            line.unwrap();
            publish.send_replace(bulletin(changes as u64 + 2));
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(http::serve(sockets, handle, || {}, std::future::pending())).unwrap();
}

/// The memory that a process has, in KiB.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn connect(port: u16, number: usize) -> TcpStream {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let own = Ipv4Addr::new(127, 0, 1, (number % ADDRESSES) as u8 + 1);
    bind(&socket, &SocketAddrV4::new(own, 0)).unwrap();
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, query: &str) {
    write!(stream, "GET /v1/volumes/still-fawn{query} HTTP/1.1\r\nHost: sled\r\n\r\n").unwrap();
}

fn hear(stream: &mut TcpStream) {
    let mut answer = [0; BODY];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// Polls from many addresses that wait for a change, and the change.
pub fn waiting() -> bool {
    with_descriptors();
    let count = if is_short() { POLLS / 20 } else { POLLS };
    let mut server = Command::new(std::env::current_exe().unwrap());
    let mut server = server.arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let port = port.trim().parse().unwrap();
    let answered = |number| {
        let mut stream = connect(port, number);
        ask(&mut stream, "");
        hear(&mut stream);
    };
    (0..ADDRESSES).for_each(answered);
    let before = memory(server.id());
    let mut polls: Vec<_> = (0..count)
        .map(|number| {
            let mut stream = connect(port, number);
            ask(&mut stream, "?wait=60&revision=1");
            stream
        })
        .collect();
    // Whoever asks later is answered when these wait.
    (0..ADDRESSES).for_each(answered);
    let each = (memory(server.id()) - before) / count as f64;
    let began = Instant::now();
    server.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    polls.iter_mut().for_each(hear);
    let last = began.elapsed();
    drop(server.stdin.take());
    server.wait().unwrap();
    println!(
        "{count} polls that wait: {each:.1} KiB each (limit {MOST_MEMORY}); all answered {:.1} ms after a change (limit {})",
        ms(&last),
        ms(&MOST_TIME)
    );
    is_within(each <= MOST_MEMORY && last <= MOST_TIME)
}
