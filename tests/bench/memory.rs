//! Memory of the relay when as much waits for a flush as may, and a client asks for as much more as is heard: there
//! is no sled, so that nothing lasts.

use super::subjects;
use crucible_sled::nbd::transmission::{Command, Request};
use procfs::process::{FDTarget, Process};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::thread::spawn;
use support::figures::is_within;
use support::relay::{Host, SIZE};

/// The memory that the relay may take, in MiB.
const MEMORY_LIMIT_MIB: f64 = 45.0;
const MIB: usize = 1 << 20;
/// As long as a write that the relay hands on in one piece, and how many of them it acknowledges until it must
/// know that they last.
const PIECE: usize = 60 * 1024;
const PIECES: usize = 250;
/// So many MiB are asked for beyond that, of which a client's room is some.
const ASKED: usize = 40;
const ROOM: u64 = 8;

pub fn memory(host: &mut Host) -> bool {
    subjects::relay(host);
    let mut client = host.client();
    client.flush().unwrap();
    host.sled.tell(|mind| mind.ready = false);
    (0..3).for_each(|index| host.kill(index));
    for number in 0..PIECES {
        client.write((number * PIECE) as u64, &[1; PIECE]).unwrap();
    }
    let asks = client.stream.try_clone().unwrap();
    let asking = spawn(move || ask(asks));
    let state = host.until_state(|state| state["relay"]["requests"].as_u64().unwrap() >= ROOM);
    let (kept, requests) = (state["relay"]["kept_bytes"].as_u64().unwrap(), &state["relay"]["requests"]);
    assert_eq!(kept, (PIECES * PIECE) as u64);
    let relay = Process::new(host.relay().unwrap().cast_signed()).unwrap();
    let most = relay.status().unwrap().vmhwm.unwrap() as f64 / 1024.0;
    let file = mib(memory_files(&relay));
    (0..3).for_each(|index| host.start(index));
    host.sled.tell(|mind| mind.ready = true);
    for _ in 0..ASKED {
        assert_eq!(client.answer().unwrap().1, Ok(()));
    }
    asking.join().unwrap();
    host.end("TERM");
    println!(
        "{:.1} MiB are acknowledged and do not last, and {requests} requests of 1 MiB wait behind them:",
        mib(kept)
    );
    println!(
        "  the relay takes {:.1} MiB at most: {most:.1} of its own, {file:.1} of what is kept (limit {MEMORY_LIMIT_MIB})",
        most + file
    );
    is_within(most + file <= MEMORY_LIMIT_MIB)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// The bytes of the file that the relay keeps writes in.
fn memory_files(process: &Process) -> u64 {
    let kept = |target: &FDTarget| matches!(target, FDTarget::MemFD(name) if name.starts_with("crucible-kept"));
    let files = process.fd().unwrap().flatten().filter(|file| kept(&file.target));
    let taken = |fd: i32| fs::metadata(format!("/proc/{}/fd/{fd}", process.pid())).unwrap().blocks() * 512;
    files.map(|file| taken(file.fd)).max().unwrap()
}

fn ask(mut to: UnixStream) {
    let data = vec![7; MIB];
    for number in 0..ASKED {
        let (offset, cookie) = ((number * MIB) as u64 % SIZE, 1000 + number as u64);
        let request = Request { command: Command::Write, flags: 0, cookie, offset, length: MIB as u32 };
        to.write_all(&request.written()).unwrap();
        to.write_all(&data).unwrap();
    }
}
