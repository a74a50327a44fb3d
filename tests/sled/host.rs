//! What a host does that the sled sees.

use crate::machine::hosts::is_well;
use crate::machine::{Layer, PATIENCE, SLED};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The frames of the protocol, as a host's probe would send them.
#[test]
fn a_connected_host_is_shown_and_is_answered() {
    let machine = Layer::small().boot_and_create();
    let mut stream = machine.in_outside(|| TcpStream::connect((SLED, 3830)).unwrap());
    stream.write_all(&crucible_sled::protocol::RUOK).unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, crucible_sled::protocol::IMOK);
    let own = stream.local_addr().unwrap();
    // It asks again and again: who is silent for 45 s is hung up on, and a look may be late on a busy machine.
    let stream = RefCell::new(stream);
    let volume = machine.wait_for("still-fawn", |volume| {
        assert!(is_well(&mut stream.borrow_mut()), "it is hung up on");
        !volume.regions[0].connected.is_empty()
    });
    let peer = &volume.regions[0].connected[0];
    assert_eq!((peer.address, peer.port), (own.ip(), own.port()), "{volume:#?}");
    assert!(volume.regions[1].connected.is_empty(), "the supervisor's own probe is shown");
    drop(stream);
    machine.wait_for("still-fawn", |volume| volume.regions[0].connected.is_empty());
}

/// One host that takes every place it can get leaves the others theirs.
#[test]
fn a_greedy_host_does_not_lock_out_another() {
    let machine = Layer::small().boot_and_create();
    // More connections than one address may have that the port map does not name.
    let greedy = machine.host("192.168.4.175");
    let greedy: Vec<_> = greedy.within(|| (0..600).map(|_| TcpStream::connect((SLED, 3800)).unwrap()).collect());
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    let is_hung_up = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Ok(0))
            || matches!(stream.peek(&mut [0]), Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset)
    };
    let hung_up = || greedy.iter().filter(is_hung_up).count();
    // Those that were hung up on may not know it yet.
    let began = Instant::now();
    while hung_up() < 600 - 16 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(hung_up(), 600 - 16);
}
