//! Another host that has the volume, or has had it: what is asked fails at once, and nothing of it is written over.

use crate::{at, block};
use crucible_sled::nbd::transmission::Command;
use support::places::real;
use support::relay::{BLOCK, Host, until};

#[test]
fn when_another_host_has_the_volume_the_error_comes_at_once_and_says_who() {
    let mut host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    client.flush().unwrap();
    client.write(0, &block(0, 2)).unwrap();
    // No server can follow, so the request is held.
    host.sled.tell(|mind| mind.ready = false);
    host.kill_server();
    until(|| host.said().contains("waits for sled-0"));
    let held = client.send(Command::Write, 0, BLOCK, &block(0, 3)).unwrap();
    let more = client.send(Command::Flush, 0, 0, &[]).unwrap();
    host.sled.tell(|mind| {
        mind.granted += 1;
        mind.tells_keeper = true;
        mind.held = true;
    });
    assert_eq!([client.answer().unwrap(), client.answer().unwrap()], [(held, Err(5)), (more, Err(5))]);
    assert_eq!(host.ended().code(), Some(5));
    let said = host.said();
    assert!(said.contains("pumped-piglet (10.0.0.7)") && said.contains("is another host's"), "{said}");
}

/// A server that is cut off says that it waits, and waits for ever: what its sleds say is heard all the same.
#[test]
fn when_another_host_has_the_volume_a_server_that_waits_is_not_waited_for() {
    if real().is_some() {
        eprintln!("skipped: the real server cannot be told to wait");
        return;
    }
    let mut host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    host.fault("hang\ninfo {\"ds_state\": [{\"type\": \"connecting\"}, {\"type\": \"connecting\"}, {\"type\": \"connecting\"}]}\n");
    let held = client.send(Command::Write, at(1), BLOCK, &block(1, 1)).unwrap();
    host.sled.tell(|mind| {
        mind.granted += 1;
        mind.tells_keeper = true;
        mind.held = true;
    });
    assert_eq!(client.answer().unwrap(), (held, Err(5)));
    assert_eq!(host.ended().code(), Some(5));
    let said = host.said();
    assert!(said.contains("pumped-piglet (10.0.0.7)") && said.contains("is another host's"), "{said}");
    until(|| host.server().is_none());
}

/// Another host had the volume between the look and the ticket, and has let go of it again: only the ticket tells.
#[test]
fn what_another_host_had_meanwhile_is_not_written_over() {
    let mut host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    host.sled.tell(|mind| mind.ready = false);
    host.kill_server();
    until(|| host.said().contains("waits for sled-0"));
    host.sled.tell(|mind| {
        mind.granted += 1;
        mind.others = mind.granted;
        mind.ready = true;
    });
    assert_eq!(host.ended().code(), Some(5));
    let said = host.said();
    assert!(said.contains("was another host's meanwhile: sled-0 has granted it"), "{said}");
}

/// Obstacles that waiting may cure are waited for, whatever the sleds call them.
#[test]
fn a_refusal_that_may_pass_is_no_error() {
    let host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    // A host that asks for a ticket is refused for good, as far as that goes.
    host.sled.tell(|mind| mind.attached = true);
    host.kill_server();
    let held = client.send(Command::Write, at(1), BLOCK, &block(1, 1)).unwrap();
    until(|| host.said().contains("is attached elsewhere") && host.said().contains("tries again"));
    host.sled.tell(|mind| mind.attached = false);
    assert_eq!(client.answer().unwrap(), (held, Ok(())));
    assert_eq!(client.read(0, BLOCK).unwrap(), block(0, 1));
}
