//! What the relay has in memory when as much waits for a flush as may: there is no sled, so that nothing lasts, and a
//! client writes until no more is acknowledged.

use super::figures::is_within;
use super::host::{BLOCK, Host, SIZE};
use super::subjects;
use crucible_sled::nbd::transmission::{Command, Request};
use procfs::process::Process;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// What the relay may have in memory, in MiB.
const MOST: f64 = 45.0;
const MIB: usize = 1 << 20;
/// So many MiB are asked for. Some 13 are acknowledged: 250 pieces of 60 KiB, behind which the relay has sent a flush.
const ASKED: usize = 40;
/// When nothing was acknowledged for so long, nothing more will be.
const CALM: Duration = Duration::from_secs(2);

pub fn memory(host: &mut Host) -> bool {
    subjects::relay(host);
    let mut client = host.client();
    client.write(0, &[1; BLOCK]).unwrap();
    client.flush().unwrap();
    host.sled.tell(|mind| mind.ready = false);
    (0..3).for_each(|index| host.kill(index));
    let asks = client.stream.try_clone().unwrap();
    let asking = spawn(move || ask(asks));
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let answering = spawn(move || {
        for _ in 0..ASKED {
            assert_eq!(client.answer().unwrap().1, Ok(()));
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let relay = Process::new(host.relay().unwrap().cast_signed()).unwrap();
    let mut most = 0.0_f64;
    let mut look = || most = most.max(relay.status().unwrap().vmrss.unwrap() as f64 / 1024.0);
    let (mut acknowledged, mut since) = (0, Instant::now());
    while since.elapsed() < CALM {
        look();
        let now = answered.load(Ordering::Relaxed);
        if now > acknowledged {
            (acknowledged, since) = (now, Instant::now());
        }
        sleep(Duration::from_millis(2));
    }
    (0..3).for_each(|index| host.start(index));
    host.sled.tell(|mind| mind.ready = true);
    asking.join().unwrap();
    answering.join().unwrap();
    host.end("TERM");
    println!(
        "{acknowledged} MiB are acknowledged and do not last: the relay has {most:.1} MiB of memory (limit {MOST})"
    );
    is_within(most <= MOST)
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
