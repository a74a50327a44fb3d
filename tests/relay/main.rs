//! The relay with its servers, over real sockets: what a client sees when servers end, fail, and say nothing, when
//! another host takes the volume, and when the relay itself is killed. With `CRUCIBLE_BIN` the same on the real programs,
//! but for the faults that only a stand-in has.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod apart;
mod faults;
mod noise;
mod servers;
mod state;
mod store;
mod takeover;

use crucible_sled::nbd::transmission::Command;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use support::relay::{BLOCK, Host, SIZE, signal, until};

/// A block with something in it that tells which it is, and since when.
fn block(number: usize, round: u8) -> Vec<u8> {
    (0..BLOCK).map(|at| (number as u8).wrapping_mul(31) ^ round ^ (at as u8) | 1).collect()
}

fn at(number: usize) -> u64 {
    (number * BLOCK) as u64
}

fn qemu(host: &Host, commands: &[&str]) -> String {
    let mut io = std::process::Command::new("qemu-io");
    io.args(["-f", "raw", &format!("nbd+unix:///{}?socket={}", host.sled.volume, host.socket().display())]);
    let output = io.args(commands.iter().flat_map(|command| ["-c", command])).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_written_is_read_back_by_us_and_by_qemu() {
    let host = Host::serving();
    let mut client = host.client();
    assert_eq!(client.size, SIZE);
    // Longer than a piece, and not at the beginning of a block.
    let long: Vec<u8> = (0..300_001_u32).map(|at| at as u8 | 1).collect();
    client.write(at(7) + 13, &long).unwrap();
    client.flush().unwrap();
    assert_eq!(client.read(at(7) + 13, long.len()).unwrap(), long);
    assert_eq!(client.read(at(7), 13).unwrap(), [0; 13]);
    let said = qemu(
        &host,
        &[
            "write -P 0x5a 1M 64k",
            "flush",
            "read -P 0x5a 1M 64k",
            "read -P 0 2M 64k",
            "write -P 7 3M 777",
            "read -P 7 3M 777",
        ],
    );
    assert!(!said.contains("failed"), "{said}");
    assert_eq!(client.read(1 << 20, 65536).unwrap(), vec![0x5a; 65536]);
    // A request that lies outside, or is unheard of, is refused, and nothing breaks.
    let refused = client.write(SIZE - 1, &[1, 2]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(28));
    assert_eq!(client.read(SIZE, 1).unwrap_err().raw_os_error(), Some(22));
    client.send(Command::Other(4), 0, BLOCK, &[]).unwrap();
    assert_eq!(client.answer().unwrap().1, Err(22));
    assert!(client.read(0, 0).unwrap().is_empty());
}

#[test]
fn a_block_that_nobody_wrote_reads_as_zeros_whatever_came_before() {
    let host = Host::serving();
    let mut client = host.client();
    for number in 0..16 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    // All of a piece: what was written, and what was not, in turn.
    client.write(at(40), &block(40, 1)).unwrap();
    let read = client.read(at(0), 64 * BLOCK).unwrap();
    for number in 0..64 {
        let expected = if number < 16 || number == 40 { block(number, 1) } else { vec![0; BLOCK] };
        assert_eq!(read[number * BLOCK..][..BLOCK], expected, "block {number}");
    }
    assert_eq!(client.read(at(100) + 100, BLOCK).unwrap(), vec![0; BLOCK]);
}

/// The stand-in loses everything that was not flushed; the real server what no replica has yet.
#[test]
fn no_write_that_was_acknowledged_is_lost_with_a_server() {
    let host = Host::serving();
    let mut client = host.client();
    for number in 0..200 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    host.kill_server();
    for number in 100..300 {
        client.write(at(number), &block(number, 2)).unwrap();
    }
    host.kill_server();
    for number in 0..300 {
        let round = if number < 100 { 1 } else { 2 };
        assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, round), "block {number}");
    }
    client.flush().unwrap();
    let said = host.said();
    assert!(said.contains("requests go on") && said.contains("acknowledged writes"), "{said}");
}

#[test]
fn many_requests_at_once_are_all_answered_though_the_server_ends_among_them() {
    let host = Host::serving();
    let mut client = host.client();
    let mut open = std::collections::BTreeSet::new();
    for number in 0..120 {
        open.insert(client.send(Command::Write, at(number), BLOCK, &block(number, 1)).unwrap());
    }
    open.insert(client.send(Command::Flush, 0, 0, &[]).unwrap());
    host.kill_server();
    while !open.is_empty() {
        let (cookie, result) = client.answer().unwrap();
        assert_eq!((open.remove(&cookie), result), (true, Ok(())));
    }
    for number in 0..120 {
        assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, 1), "block {number}");
    }
}

/// A client that never flushes: the relay does, before the server has more than half of what it can bear.
#[test]
fn more_than_a_server_bears_is_never_left_unflushed() {
    let host = Host::serving();
    let mut client = host.client();
    let data: Vec<u8> = (0..1_u32 << 20).map(|at| (at / 7) as u8 | 1).collect();
    for round in 0..64 {
        client.write((round % 16) << 20, &data).unwrap();
    }
    for number in 0..2000 {
        client.write(at(number % 1000), &block(number % 1000, 3)).unwrap();
    }
    assert_eq!(client.read(at(999), BLOCK).unwrap(), block(999, 3));
}

/// Writes that there is no memory for wait for a flush, which nobody but the relay asks for.
#[test]
fn more_than_can_be_kept_waits_and_is_all_answered() {
    let host = Host::serving();
    let mut clients: Vec<_> = (0..5).map(|_| host.client()).collect();
    clients[0].flush().unwrap();
    let data = |number: usize| vec![number as u8 | 1; 1 << 20];
    let server = host.server().unwrap();
    signal(server, "STOP");
    for (number, client) in clients.iter_mut().enumerate() {
        for _ in 0..8 {
            client.send(Command::Write, at(number * 256), 1 << 20, &data(number)).unwrap();
        }
    }
    // 24 writes, a flush for the one that waits, and that one.
    host.until_state(|state| state["relay"]["requests"] == 26);
    signal(server, "CONT");
    for (number, client) in clients.iter_mut().enumerate() {
        (0..8).for_each(|_| assert_eq!(client.answer().unwrap().1, Ok(())));
        assert!(client.read(at(number * 256), 1 << 20).unwrap() == data(number));
    }
}

#[test]
fn what_has_the_same_name_and_is_something_else_is_not_written_to() {
    let mut host = Host::serving();
    host.client();
    assert_eq!(host.end("TERM").code(), Some(0));
    host.sled.tell(|mind| mind.size *= 2);
    host.begin();
    assert_eq!(host.ended().code(), Some(5));
    let said = host.said();
    assert!(said.contains("is not what this host has attached before") && said.contains("bytes, and had"), "{said}");
}

/// A stop leaves nothing unflushed, and lets go of the volume.
#[test]
fn a_stop_flushes_and_lets_go() {
    let mut host = Host::serving();
    // A server that is older tells of nobody; so the sled has to be told who holds it.
    let mut client = host.client();
    for number in 0..50 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    assert_eq!(host.end("TERM").code(), Some(0));
    let said = host.said();
    assert!(said.contains("is let go of"), "{said}");
    // Nothing was kept for the next one: it was flushed.
    host.begin();
    let mut client = host.client();
    for number in 0..50 {
        assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, 1), "block {number}");
    }
}

/// Killed, with what it keeps left in the descriptor store, as a host that is short of memory does it.
#[test]
fn a_relay_that_is_killed_loses_nothing_that_was_acknowledged() {
    let mut host = Host::new();
    let store = store::Store::open(host.dir.path());
    host.begin_as(store.with(host.command()));
    let mut client = host.client();
    for number in 0..100 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    client.flush().unwrap();
    for number in 50..150 {
        client.write(at(number), &block(number, 2)).unwrap();
    }
    assert_eq!(host.end("KILL").signal(), Some(9));
    host.begin_as(store.with(host.command()));
    let mut client = host.client();
    for number in 0..150 {
        let round = if number < 50 { 1 } else { 2 };
        assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, round), "block {number}");
    }
    assert!(host.said().contains("an earlier relay has left writes"), "{}", host.said());
    // Descriptors in the store already are not put there once more: a place of it would be used up each time.
    assert_eq!(store.sent(), ["kept", "socket"]);
    // While no sled lets it in it comes back all the same: whoever asks waits here, and not for somebody to ask.
    assert_eq!(host.end("KILL").signal(), Some(9));
    host.sled.tell(|mind| mind.ready = false);
    host.begin_as(store.with(host.command()));
    let mut client = host.client();
    let asked = client.send(Command::Read, at(149), BLOCK, &[]).unwrap();
    until(|| host.said().contains("waits for"));
    assert!(!host.said().contains("its server begins"), "{}", host.said());
    host.sled.tell(|mind| mind.ready = true);
    assert_eq!(client.answer().unwrap(), (asked, Ok(())));
    let mut read = vec![0; BLOCK];
    client.stream.read_exact(&mut read).unwrap();
    assert_eq!(read, block(149, 2));
    // Another host has had it meanwhile: what is kept must not be written over what that one wrote.
    client.write(0, &block(0, 7)).unwrap();
    host.end("KILL");
    host.sled.tell(|mind| {
        mind.granted += 1;
        mind.tells_keeper = true;
    });
    host.begin_as(store.with(host.command()));
    assert_eq!(host.ended().code(), Some(5));
    assert!(host.said().contains("is another host's"), "{}", host.said());
}

/// Clients that go wrong harm nobody but themselves.
#[test]
fn clients_that_misbehave_harm_only_themselves() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let host = Host::serving();
    let mut good = host.client();
    good.write(0, &block(0, 1)).unwrap();
    let half: Vec<_> = (0..3).map(|_| UnixStream::connect(host.socket()).unwrap()).collect();
    for noise in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 100], &[]] {
        UnixStream::connect(host.socket()).unwrap().write_all(noise).unwrap();
    }
    // A client that asks and never reads.
    let mut deaf = host.client();
    for _ in 0..500 {
        if deaf.stream.set_nonblocking(true).is_err() || deaf.send(Command::Read, 0, 1 << 20, &[]).is_err() {
            break;
        }
    }
    // A client that leaves in the middle of a write.
    let mut torn = host.client();
    torn.send(Command::Write, 0, BLOCK, &[1; 100]).unwrap();
    drop(torn);
    for round in 0..20 {
        good.write(0, &block(0, round)).unwrap();
        assert_eq!(good.read(0, BLOCK).unwrap(), block(0, round));
    }
    drop(half);
    for _ in 0..1000 {
        drop(UnixStream::connect(host.socket()).unwrap());
    }
    until(|| host.client().read(0, BLOCK).is_ok_and(|read| read == block(0, 19)));
}
