//! The stand-in server, and with `CRUCIBLE_BIN` the real one, held to the manners that a client of
//! either has to cope with. What only the stand-in does is in `on_demand`; `verifier` holds a scrub to upstream's own
//! verifier, on what the real programs wrote, and `scrubs` has one beside them while they write.
//!
//! Needs root, for networks of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod client;
mod on_demand;
mod parts;
mod scrubs;
mod verifier;

use client::{ADDRESS, Client, EIO, ENOSYS, EXPORT_NAME, FLAGS, FLUSH, READ, TRIM, WRITE, WRITE_ZEROES};
use parts::{BLOCK, CONTROL, SIZE, Volume, until};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use support::certificates::{Authority, NAMES};

const ABORTED: (Option<i32>, Option<i32>) = (None, Some(6));
const FAILED: (Option<i32>, Option<i32>) = (Some(1), None);
/// More than the server takes in one piece.
const LONG: usize = 128 << 10;

/// How a server ends that was started like this, with what words.
fn ends(volume: &Volume, command: &mut Command, end: (Option<i32>, Option<i32>), words: &str) {
    let (status, said) = volume.started(command).end();
    assert_eq!((status.code(), status.signal()), end, "{said}");
    assert!(said.contains(words), "{said}");
}

#[test]
fn it_listens_once_all_three_targets_have_answered() {
    let mut volume = Volume::new(2);
    let server = volume.server(1);
    until("two have answered", || {
        server.replicas() == ["new wait_quorum", "new wait_quorum", "new start"].map(str::to_owned)
    });
    assert_eq!(server.info()["state"], "initializing");
    assert!(TcpStream::connect(ADDRESS).is_err());
    volume.start(2);
    assert_eq!(volume.client().size, SIZE);
    assert_eq!(server.info()["state"], "active");
    assert_eq!(server.replicas(), ["active", "active", "active"]);
}

#[test]
fn what_it_is_started_with_is_looked_at() {
    let mut volume = Volume::new(0);
    let two = |volume: &Volume| {
        let mut command = volume.command(1);
        command.args(["--target", "127.0.0.1:9999"]);
        command
    };
    ends(&volume, &mut two(&volume), ABORTED, "bad targets [");
    ends(&volume, volume.command(1).args(["--key", "!!"]), ABORTED, "could not base64 decode key!");
    ends(&volume, volume.command(1).args(["--key", "AAAA"]), ABORTED, "Key length must be 32 bytes!");
    ends(&volume, volume.command(1).arg("--address=127.0.0.1"), (Some(2), None), "unexpected argument '--address'");
    (0..3).for_each(|replica| volume.start(replica));
    ends(&volume, &mut volume.command(0), FAILED, "Error: Negotiation error: Generation 0 is illegal");
}

#[test]
fn a_generation_must_be_higher_than_any_that_was_flushed() {
    let volume = Volume::new(3);
    let mut server = volume.server(6);
    let mut client = volume.client();
    assert_eq!((client.write(0, &[1; BLOCK]).unwrap(), client.flush().unwrap()), (0, 0));
    server.kill();
    let words = "Error: Negotiation error: Generation number is too low: requested 6, found 7";
    ends(&volume, &mut volume.command(6), FAILED, words);
    // A server that has flushed nothing is not remembered.
    for _ in 0..2 {
        let mut server = volume.server(7);
        assert_eq!(volume.client().read(0, BLOCK).unwrap(), [1; BLOCK]);
        server.kill();
    }
}

#[test]
fn a_second_server_takes_the_volume_over_and_then_finds_the_port_taken() {
    let volume = Volume::new(3);
    let mut first = volume.server(1);
    let mut client = volume.client();
    assert_eq!((client.write(0, &[1; BLOCK]).unwrap(), client.flush().unwrap()), (0, 0));
    ends(&volume, &mut volume.command(2), ABORTED, "Address already in use");
    // The first has nothing to hand on, so it lives.
    assert_eq!(client.write(0, &[2; BLOCK]).unwrap(), EIO);
    assert_eq!(client.read(0, BLOCK).unwrap_err().raw_os_error(), Some(EIO as i32));
    client.send(FLUSH, 0, 0, b"").unwrap();
    assert!(client.is_dropped());
    assert!(first.is_alive());
    first.kill();
    let _third = volume.server(3);
    assert_eq!(volume.client().read(0, BLOCK).unwrap(), [1; BLOCK]);
}

#[test]
fn a_client_chooses_the_export_by_its_name() {
    let volume = Volume::new(3);
    let _server = volume.server(1);
    volume.client();
    // With zeroes and without.
    for (flags, zeroes) in [(1, 124), (FLAGS, 0)] {
        let mut client = Client::greeted(flags).unwrap();
        client.option(EXPORT_NAME, b"any name").unwrap();
        let answer = client.bytes(10 + zeroes).unwrap();
        assert_eq!(answer, [&SIZE.to_be_bytes()[..], &[0, 0b101], &vec![0; zeroes]].concat());
        assert_eq!(client.read(1, 1).unwrap(), [0]);
    }
    let mut client = Client::greeted(FLAGS).unwrap();
    // INFO, GO, STRUCTURED_REPLY and EXTENDED_HEADERS.
    for option in [6, 7, 8, 11] {
        client.option(option, &[0; 6]).unwrap();
        assert_eq!(client.option_answer(option).unwrap(), (0x8000_0001, vec![]), "{option}");
    }
    client.option(3, b"").unwrap();
    assert_eq!(client.option_answer(3).unwrap(), (2, b"\0\0\0\x07rustnbd".to_vec()));
    assert_eq!(client.option_answer(3).unwrap(), (1, vec![]));
    client.option(2, b"").unwrap();
    assert_eq!(client.option_answer(2).unwrap(), (1, vec![]));
    assert!(client.is_dropped());
    // STARTTLS, SET_META_CONTEXT, and what nobody knows.
    for option in [5, 10, 99] {
        let mut client = Client::greeted(FLAGS).unwrap();
        client.option(option, b"").unwrap();
        assert!(client.is_dropped(), "{option}");
    }
}

#[test]
fn it_serves_one_client_at_a_time() {
    let volume = Volume::new(3);
    let _server = volume.server(1);
    let mut first = volume.client();
    let mut second = Client::connect().unwrap();
    assert_eq!(first.write(0, &[1; BLOCK]).unwrap(), 0);
    assert!(second.is_silent());
    drop(first);
    assert_eq!(second.bytes(18).unwrap(), b"NBDMAGICIHAVEOPT\0\x03");
}

#[test]
fn requests_have_answers_of_which_some_are_none() {
    let volume = Volume::new(3);
    let mut server = volume.server(1);
    let mut client = volume.client();
    let long: Vec<u8> = (0..LONG + 1000).map(|at| (at / 7) as u8).collect();
    assert_eq!(client.write(100, &long).unwrap(), 0);
    assert_eq!(client.flush().unwrap(), 0);
    assert_eq!(client.read(100, long.len()).unwrap(), long);
    assert_eq!(client.ask(TRIM, 0, BLOCK).unwrap(), ENOSYS);
    assert_eq!(client.ask(WRITE_ZEROES, 0, BLOCK).unwrap(), ENOSYS);
    for (offset, length) in [(SIZE, BLOCK), (SIZE - 1, 2), (1 << 63, BLOCK)] {
        assert_eq!(client.ask(READ, offset, length).unwrap(), EIO, "{offset}");
    }
    assert_eq!(client.write(SIZE, &[1; BLOCK]).unwrap(), EIO);
    // A read of nothing is passed over, and a write of nothing waits for what comes next.
    client.send(READ, 1, 0, b"").unwrap();
    assert_eq!(client.read(100, 10).unwrap(), long[..10]);
    client.send(WRITE, 0, 0, b"").unwrap();
    client.stream.write_all(&[0]).unwrap();
    assert_eq!(client.answer().unwrap(), 0);
    // At the edge of a block the read is the end.
    let mut client = {
        drop(client);
        volume.client()
    };
    client.send(READ, BLOCK as u64, 0, b"").unwrap();
    let (status, said) = server.end();
    assert_eq!((status.code(), status.signal()), ABORTED, "{said}");
    assert!(said.contains("index out of bounds: the len is 0"), "{said}");
}

#[test]
fn a_request_it_does_not_know_ends_the_connection() {
    let volume = Volume::new(3);
    let _server = volume.server(1);
    let mut client = volume.client();
    client.send(7, 0, BLOCK, b"").unwrap();
    assert!(client.is_dropped());
    let mut client = volume.client();
    client.stream.write_all(&[0; 28]).unwrap();
    assert!(client.is_dropped());
    volume.client();
}

#[test]
fn a_block_never_written_reads_as_what_went_before() {
    let volume = Volume::new(3);
    let _server = volume.server(1);
    let mut client = volume.client();
    assert_eq!(client.read(0, BLOCK).unwrap(), [0; BLOCK]);
    assert_eq!(client.write(BLOCK as u64, &[7; BLOCK]).unwrap(), 0);
    assert_eq!(client.read(0, BLOCK).unwrap(), [7; BLOCK]);
    // A part of it is right, and so is a block of which a part was written.
    assert_eq!(client.read(0, BLOCK - 1).unwrap(), [0; BLOCK - 1]);
    assert_eq!(client.read(1, BLOCK - 1).unwrap(), [0; BLOCK - 1]);
    assert_eq!(client.write(8192 + 10, &[8; 10]).unwrap(), 0);
    let block = client.read(8192, BLOCK).unwrap();
    assert_eq!((&block[..10], &block[10..20], &block[20..]), (&[0; 10][..], &[8; 10][..], &[0; BLOCK - 20][..]));
    // The fault is the connection's: the next one starts anew.
    drop(client);
    assert_eq!(volume.client().read(0, BLOCK).unwrap(), [0; BLOCK]);
}

#[test]
fn an_error_in_a_payload_is_answered_before_the_rest_is_read() {
    let volume = Volume::new(3);
    let _server = volume.server(1);
    let mut client = volume.client();
    client.send(WRITE, SIZE, 2 * LONG, &[1; BLOCK]).unwrap();
    assert_eq!(client.answer().unwrap(), EIO);
    // The rest is a request now, and no good one.
    client.stream.write_all(&[1; BLOCK]).unwrap();
    assert!(client.is_dropped());
}

#[test]
fn a_read_that_fails_after_its_first_piece_ends_the_connection() {
    let volume = Volume::new(3);
    let _server = volume.server(1);
    let mut client = volume.client();
    assert_eq!(client.ask(READ, SIZE - LONG as u64 / 2, LONG).unwrap(), 0);
    assert_eq!(client.bytes(LONG / 2).unwrap().len(), LONG / 2);
    assert!(client.is_dropped());
}

#[test]
fn without_two_replicas_writes_go_on_and_a_flush_waits() {
    let mut volume = Volume::new(3);
    let server = volume.server(1);
    let mut client = volume.client();
    volume.kill(0);
    assert_eq!((client.write(0, &[1; BLOCK]).unwrap(), client.flush().unwrap()), (0, 0));
    volume.kill(1);
    until("two are away", || server.replicas() == ["offline start", "offline start", "active"].map(str::to_owned));
    assert_eq!(client.write(0, &[2; BLOCK]).unwrap(), 0);
    assert_eq!(client.read(0, BLOCK).unwrap(), [2; BLOCK]);
    client.send(FLUSH, 0, 0, b"").unwrap();
    volume.kill(2);
    until("all are away", || server.replicas().iter().all(|replica| replica == "offline start"));
    assert!(client.is_silent());
    volume.start(0);
    until("one is back", || server.replicas()[0] == "active");
    assert!(client.is_silent());
    volume.start(1);
    assert_eq!(client.answer().unwrap(), 0);
    assert_eq!(client.read(0, BLOCK).unwrap(), [2; BLOCK]);
}

/// All are given up, and with them what they were to get: it was acknowledged, and is gone.
fn given_up(piece: usize, acknowledged: usize) {
    let mut volume = Volume::new(3);
    let server = volume.server(1);
    let mut client = volume.client();
    assert_eq!((client.write(0, &[1; BLOCK]).unwrap(), client.flush().unwrap()), (0, 0));
    (0..3).for_each(|replica| volume.kill(replica));
    until("all are away", || server.replicas().iter().all(|replica| replica == "offline start"));
    for number in 0..acknowledged {
        assert_eq!(client.write(0, &vec![2; piece]).unwrap(), 0, "{number}");
    }
    assert_eq!(client.write(0, &vec![2; piece]).unwrap(), EIO);
    assert_eq!(client.ask(READ, 0, BLOCK).unwrap(), EIO);
    assert_eq!(server.replicas(), ["faulted start", "faulted start", "faulted start"]);
    client.send(FLUSH, 0, 0, b"").unwrap();
    assert!(client.is_dropped());
    (0..3).for_each(|replica| volume.start(replica));
    until("all are back", || server.replicas().iter().all(|replica| replica == "active"));
    let mut client = volume.client();
    assert_eq!(client.read(0, BLOCK).unwrap(), [1; BLOCK]);
    assert_eq!((client.write(0, &[3; BLOCK]).unwrap(), client.flush().unwrap()), (0, 0));
    assert_eq!(client.read(0, BLOCK).unwrap(), [3; BLOCK]);
}

#[test]
fn after_a_thousand_requests_without_replicas_writes_fail_at_once() {
    given_up(BLOCK, 1001);
}

/// Each of a length that arrives in one piece.
#[test]
fn after_fifty_mebibytes_without_replicas_writes_fail_at_once() {
    given_up(15 * BLOCK, (50 << 20) / (15 * BLOCK) + 1);
}

#[test]
fn with_one_replica_left_nothing_is_lost_when_the_others_are_given_up() {
    let mut volume = Volume::new(3);
    let server = volume.server(1);
    let mut client = volume.client();
    (0..2).for_each(|replica| volume.kill(replica));
    until("two are away", || server.replicas() == ["offline start", "offline start", "active"].map(str::to_owned));
    for number in 0..1001 {
        assert_eq!(client.write(0, &[2; BLOCK]).unwrap(), 0, "{number}");
    }
    assert_eq!(client.write(0, &[3; BLOCK]).unwrap(), EIO);
    assert_eq!(client.read(0, BLOCK).unwrap(), [2; BLOCK]);
    (0..2).for_each(|replica| volume.start(replica));
    until("all are back", || server.replicas().iter().all(|replica| replica == "active"));
    assert_eq!(client.flush().unwrap(), 0);
    assert_eq!(client.read(0, BLOCK).unwrap(), [2; BLOCK]);
}

/// Without an end to it: this holds the connection to the real one's bad habit, 44 ms a request.
#[test]
fn answers_in_small_writes_wait_for_the_client() {
    let volume = Volume::new(3);
    let _server = volume.started(volume.command(1).env("STAND_IN_NAGLE", "1"));
    let mut client = volume.client();
    let mut took: Vec<_> = (0..30)
        .map(|_| {
            let began = std::time::Instant::now();
            assert_eq!(client.write(0, &[1; BLOCK]).unwrap(), 0);
            began.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[15].as_millis() >= 30, "{took:?}");
}

/// A root, with what it has issued: the sled's and the host's certificates, and one by another name.
fn authority(volume: &Volume) -> Authority {
    let made = Authority::new(volume.dir.path(), 9);
    made.issue("sled", 9, NAMES).issue("host", 9, "subjectAltName=DNS:host");
    made.issue("other", 9, "subjectAltName=DNS:other");
    made
}

#[test]
fn by_tls_it_ends_with_the_first_handshake_that_fails() {
    let mut volume = Volume::new(0);
    let made = authority(&volume);
    let tls = |command: &mut Command, cert: &str, key: &str| {
        let flags = [("--cert-pem", cert), ("--key-pem", key), ("--root-cert-pem", "root.pem")];
        flags.iter().for_each(|(flag, file)| _ = command.arg(flag).arg(made.path(file)));
    };
    let by = |volume: &Volume, cert: &str, key: &str| {
        let mut command = volume.command(1);
        tls(&mut command, cert, key);
        command
    };
    let unread = "Error: IO error\n\nCaused by:\n    No such file or directory";
    ends(&volume, &mut by(&volume, "nowhere", "host.key"), FAILED, unread);
    let one = "called `Option::unwrap()` on a `None` value";
    ends(&volume, volume.command(1).arg("--cert-pem").arg(made.path("host.pem")), ABORTED, one);
    (0..3).for_each(|replica| volume.start_as(replica, |command| tls(command, "sled.pem", "sled.key")));
    ends(&volume, &mut by(&volume, "host.pem", "sled.key"), ABORTED, "KeyMismatch");
    let server = volume.started(by(&volume, "host.pem", "host.key").args(["--control", CONTROL]));
    assert_eq!(volume.client().write(0, &[1; BLOCK]).unwrap(), 0);
    assert_eq!(server.replicas(), ["active", "active", "active"]);
    drop(server);
    volume.kill(1);
    volume.start_as(1, |command| tls(command, "other.pem", "other.key"));
    ends(&volume, &mut by(&volume, "host.pem", "host.key"), ABORTED, "NotValidForNameContext");
}
