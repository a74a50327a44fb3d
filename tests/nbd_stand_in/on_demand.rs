//! Faults that only the stand-in has: it loses all that it may lose, and goes wrong when it is told to.

use crate::client::{Client, EIO, FLUSH, READ, WRITE};
use crate::parts::{BLOCK, Volume, until};
use serde_json::json;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};
use support::places::real;

/// A volume, unless the programs are the real ones, which do none of this.
fn stand_in() -> Option<Volume> {
    let volume = real().is_none().then(|| Volume::new(3));
    if volume.is_none() {
        eprintln!("skipped: it needs the stand-in");
    }
    volume
}

#[test]
fn what_was_not_flushed_is_lost_with_the_process() {
    let Some(volume) = stand_in() else { return };
    let mut server = volume.server(1);
    let mut client = volume.client();
    let at = |block: usize| (block * BLOCK) as u64;
    for block in 0..100 {
        assert_eq!(client.write(at(block), &[1; BLOCK]).unwrap(), 0);
    }
    assert_eq!(client.flush().unwrap(), 0);
    for block in 50..200 {
        assert_eq!(client.write(at(block), &[2; BLOCK]).unwrap(), 0);
    }
    assert_eq!(client.read(at(60), BLOCK).unwrap(), [2; BLOCK]);
    server.kill();
    let _server = volume.server(2);
    let mut client = volume.client();
    for block in 0..100 {
        assert_eq!(client.read(at(block), BLOCK).unwrap(), [1; BLOCK], "{block}");
    }
    // Not even that they were written is known.
    for block in 100..200 {
        assert_eq!(client.read(at(block), 1).unwrap(), [0], "{block}");
    }
}

#[test]
fn a_server_that_loses_its_volume_with_something_unflushed_ends() {
    let Some(volume) = stand_in() else { return };
    let mut first = volume.server(1);
    let mut client = volume.client();
    assert_eq!(client.write(0, &[1; BLOCK]).unwrap(), 0);
    volume.started(&mut volume.command(2)).end();
    assert_eq!(client.write(0, &[2; BLOCK]).unwrap(), EIO);
    assert!(first.end().1.contains("enqueue should not be called"));
}

#[test]
fn a_lower_generation_waits_for_the_end_of_a_higher_one() {
    let Some(volume) = stand_in() else { return };
    let mut first = volume.server(5);
    let mut client = volume.client();
    let mut second = volume.started(&mut volume.command(4));
    assert_eq!(client.write(0, &[1; BLOCK]).unwrap(), 0);
    assert!(second.is_alive());
    first.kill();
    assert_eq!(volume.client().read(0, 1).unwrap(), [0]);
    assert!(second.is_alive());
}

#[test]
fn it_hangs_and_goes_on() {
    let Some(volume) = stand_in() else { return };
    let server = volume.server(1);
    let mut client = volume.client();
    volume.fault("hang");
    client.send(WRITE, 0, BLOCK, &[1; BLOCK]).unwrap();
    assert_eq!(server.replicas(), ["active", "active", "active"]);
    assert!(client.is_silent());
    volume.fault("");
    assert_eq!(client.answer().unwrap(), 0);
}

#[test]
fn it_is_slow() {
    let Some(volume) = stand_in() else { return };
    let _server = volume.server(1);
    let mut client = volume.client();
    volume.fault("slow 50");
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.write(0, &[1; BLOCK]).unwrap(), 0);
    }
    assert!(began.elapsed() >= Duration::from_millis(150));
}

/// Sends one request of each kind, of which the last strikes.
fn struck(volume: &Volume, client: &mut Client, fault: &str) {
    volume.fault(fault);
    let (kind, payload) = match fault.split_once(' ').unwrap().1 {
        "read" => (READ, &[][..]),
        "write" => (WRITE, &[9; BLOCK][..]),
        _ => (FLUSH, &[][..]),
    };
    let length = if kind == FLUSH { 0 } else { BLOCK };
    client.send(kind, 0, length, payload).unwrap();
}

#[test]
fn a_request_fails_once() {
    let Some(volume) = stand_in() else { return };
    let _server = volume.server(1);
    let mut client = volume.client();
    assert_eq!(client.write(0, &[1; BLOCK]).unwrap(), 0);
    // The strike takes its own kind, and leaves what else there is.
    volume.fault("fail write\nslow 1");
    assert_eq!(client.read(0, BLOCK).unwrap(), [1; BLOCK]);
    assert_eq!(client.write(0, &[2; BLOCK]).unwrap(), EIO);
    assert_eq!(volume.faults(), "slow 1\n");
    assert_eq!(client.read(0, BLOCK).unwrap(), [1; BLOCK]);
    struck(&volume, &mut client, "fail read");
    assert_eq!(client.answer().unwrap(), EIO);
    struck(&volume, &mut client, "fail flush");
    assert!(client.is_dropped());
    assert_eq!(volume.client().flush().unwrap(), 0);
}

#[test]
fn a_connection_is_dropped_before_a_request_is_done_or_after() {
    let Some(volume) = stand_in() else { return };
    let _server = volume.server(1);
    let mut client = volume.client();
    for (fault, found) in [("drop write", 0), ("lose write", 9), ("drop read", 9), ("lose flush", 9)] {
        struck(&volume, &mut client, fault);
        assert!(client.is_dropped(), "{fault}");
        assert_eq!(volume.faults(), "", "{fault}");
        client = volume.client();
        assert_eq!(client.read(0, 1).unwrap(), [found], "{fault}");
    }
}

#[test]
fn a_connection_is_dropped_in_the_middle_of_an_answer() {
    let Some(volume) = stand_in() else { return };
    let _server = volume.server(1);
    let mut client = volume.client();
    for (fault, bytes) in [("cut write", 8), ("cut read", 16 + BLOCK / 2), ("cut flush", 8)] {
        struck(&volume, &mut client, fault);
        assert_eq!(client.bytes(bytes).unwrap().len(), bytes, "{fault}");
        assert!(client.is_dropped(), "{fault}");
        client = volume.client();
    }
    assert_eq!(client.read(0, 1).unwrap(), [9]);
}

#[test]
fn the_control_port_says_what_it_is_told_to_or_nothing() {
    let Some(volume) = stand_in() else { return };
    let server = volume.server(1);
    volume.client();
    volume.fault(r#"info {"state":"initializing","reconcile_done":3,"reconcile_needed":10}"#);
    let info = server.info();
    assert_eq!(
        [&info["state"], &info["reconcile_done"], &info["up_jobs"]],
        [&json!("initializing"), &json!(3), &json!(0)]
    );
    volume.fault("mute");
    let mut asked = server.ask();
    // Its answer would come by the time a client has one.
    assert_eq!(volume.client().flush().unwrap(), 0);
    asked.set_nonblocking(true).unwrap();
    assert_eq!(asked.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    asked.set_nonblocking(false).unwrap();
    volume.fault("");
    assert_eq!(asked.read(&mut [0]).unwrap(), 1);
}

#[test]
fn it_ends_before_a_flush_is_done_or_after_or_halfway() {
    let Some(volume) = stand_in() else { return };
    for (generation, fault, kept) in [(1, "exit flush", [0, 0]), (2, "half flush", [2, 0]), (3, "die flush", [3, 3])] {
        let mut server = volume.server(generation);
        let mut client = volume.client();
        assert_eq!(client.write(0, &[generation as u8; 2 * BLOCK]).unwrap(), 0);
        struck(&volume, &mut client, fault);
        assert!(client.is_dropped(), "{fault}");
        assert_eq!(server.end().0.code(), Some(1), "{fault}");
        let mut server = volume.server(generation + 1);
        let mut client = volume.client();
        let found = [client.read(0, 1).unwrap()[0], client.read(BLOCK as u64, 1).unwrap()[0]];
        assert_eq!(found, kept, "{fault}");
        server.kill();
    }
}

#[test]
fn it_does_not_become_active() {
    let Some(volume) = stand_in() else { return };
    volume.fault("refuse Negotiation error: because");
    let (status, said) = volume.server(1).end();
    assert_eq!((status.code(), said.as_str()), (Some(1), "Error: Negotiation error: because\n"));
    volume.fault("stuck");
    let server = volume.server(1);
    until("all have answered", || server.replicas().iter().all(|replica| replica == "new wait_quorum"));
    assert_eq!(server.info()["state"], "initializing");
    volume.fault("");
    volume.client();
}

#[test]
fn targets_seem_away() {
    let Some(volume) = stand_in() else { return };
    let server = volume.server(1);
    let mut client = volume.client();
    volume.fault("away 2");
    assert_eq!(server.replicas(), ["offline start", "offline start", "active"]);
    assert_eq!(client.write(0, &[1; BLOCK]).unwrap(), 0);
    client.send(FLUSH, 0, 0, b"").unwrap();
    assert!(client.is_silent());
    volume.fault("");
    assert_eq!(client.answer().unwrap(), 0);
}

#[test]
fn a_fault_that_nobody_knows_ends_it() {
    let Some(volume) = stand_in() else { return };
    volume.fault("hnag");
    assert!(volume.server(1).end().1.contains("no stand-in fault: \"hnag\""));
}
