//! Host's doings that the sled sees.

use crucible_sled::check::Code;
use crucible_sled::wire::Volume;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;
use support::hosts::{EVENT_LIMIT, SLED, is_well};
use support::layer::Layer;
use support::machine::{Machine, has};

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
    // The host asks again and again: who is silent for 45 s is hung up on, and a look may be late on a busy machine.
    let stream = RefCell::new(stream);
    let volume = machine.wait_for("still-fawn", |volume| {
        assert!(is_well(&mut stream.borrow_mut()), "it is hung up on");
        !volume.regions[0].connected.is_empty()
    });
    let peer = &volume.regions[0].connected[0];
    assert_eq!((peer.address, peer.port), (own.ip(), own.port()), "{volume:#?}");
    assert!(volume.regions[1].connected.is_empty(), "the supervisor's own probe is shown");

    // With two of three regions for long, what it lacks is told, and why that matters; it goes on all the same.
    let connect = |port| machine.in_outside(move || TcpStream::connect((SLED, port)).unwrap());
    let mut streams = vec![stream.into_inner(), connect(3831)];
    let degraded = |volume: &Volume| has(volume, "VOLUME_DEGRADED");
    let volume = ask_until(&machine, &mut streams, degraded);
    let check = volume.checks.iter().find(|check| check.code == Code::VolumeDegraded).unwrap();
    for words in [
        "192.168.4.17 is connected to still-fawn-0 and still-fawn-1 and has not been to still-fawn-2 for more than a minute",
        "2 of 3 regions here",
    ] {
        assert!(check.cause.contains(words), "{words:?} is not in {check:#?}");
    }
    assert!(volume.ready && check.subject == "volume still-fawn of 192.168.4.17", "{volume:#?}");
    assert!(check.remedy.contains("sledctl region restart still-fawn-2"), "{check:#?}");
    assert_eq!(machine.run(&["sledctl", "status"]).status.code(), Some(0), "a warning");
    streams.push(connect(3832));
    ask_until(&machine, &mut streams, |volume| !degraded(volume));
    drop(streams);
    machine.wait_for("still-fawn", |volume| volume.regions.iter().all(|region| region.connected.is_empty()));
}

/// Waits until the volume is as wanted. It asks on each connection again and again, as who is silent for 45 s is
/// hung up on.
fn ask_until(machine: &Machine, streams: &mut [TcpStream], wanted: impl Fn(&Volume) -> bool) -> Volume {
    let began = Instant::now();
    let mut volume = machine.volume("still-fawn");
    while !wanted(&volume) {
        assert!(began.elapsed() < 5 * EVENT_LIMIT, "waited in vain; the last was {volume:#?}");
        assert!(streams.iter_mut().all(is_well), "it is hung up on");
        let path = format!("/v1/volumes/still-fawn?wait=20&revision={}", volume.revision);
        volume = serde_json::from_value(machine.get(&path).1).unwrap();
    }
    volume
}

/// A host that takes every place it can get leaves the others theirs.
#[test]
fn a_greedy_host_does_not_lock_out_another() {
    let machine = Layer::small().boot_and_create();
    // More connections than one address may have that the port map does not name.
    let greedy = machine.host("192.168.4.175");
    let greedy: Vec<_> = greedy.within(|| (0..600).map(|_| TcpStream::connect((SLED, 3800)).unwrap()).collect());
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    let is_hung_up = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Ok(0))
            || matches!(stream.peek(&mut [0]), Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset)
    };
    // Those that were hung up on may not know it yet.
    let (mut kept, limit) = (greedy, Timespec::try_from(EVENT_LIMIT).unwrap());
    while kept.len() > 16 {
        let mut news: Vec<_> = kept.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        assert_ne!(poll(&mut news, Some(&limit)).unwrap(), 0, "{} are not hung up on", kept.len());
        kept.retain(|stream| !is_hung_up(stream));
    }
    assert_eq!(kept.len(), 16);
}
