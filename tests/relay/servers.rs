//! Servers that hang, do not come back to their sled, or fail: each is replaced, and no client hears of it.

use crate::{at, block};
use crucible_sled::nbd::transmission::Command;
use support::places::real;
use support::relay::{BLOCK, Host, signal, until};

/// With its sleds there, a server that says nothing is of no use; nobody has to end it.
#[test]
fn a_server_that_hangs_is_replaced() {
    let host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    let server = host.server().unwrap();
    signal(server, "STOP");
    client.write(at(1), &block(1, 1)).unwrap();
    assert_eq!((client.read(0, BLOCK).unwrap(), client.read(at(1), BLOCK).unwrap()), (block(0, 1), block(1, 1)));
    assert_ne!(host.server(), Some(server));
    assert!(host.said().contains("it has answered nothing for"), "{}", host.said());
}

/// A sled that is back is used at once, and not when a server looks again for its replicas, which upstream's does every
/// ten seconds, and the stand-in here never.
#[test]
fn a_server_that_does_not_come_back_to_its_sled_is_replaced() {
    let mut host = Host::new();
    let mut command = host.command();
    command.env("STAND_IN_RETRY", "1000000000");
    host.begin_as(command);
    until(|| host.said().contains("its server begins"));
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    let server = host.server();
    host.sled.tell(|mind| mind.ready = false);
    (0..3).for_each(|index| host.kill(index));
    let flushing = std::thread::spawn(move || client.flush().map(|()| client.read(0, BLOCK).unwrap()));
    host.until_state(|state| state["relay"]["requests"] != 0);
    (0..3).for_each(|index| host.start(index));
    host.sled.tell(|mind| mind.ready = true);
    assert_eq!(flushing.join().unwrap().unwrap(), block(0, 1));
    // The real one may have looked just then.
    if real().is_none() {
        assert_ne!(host.server(), server);
        assert!(host.said().contains("it has not come back to them"), "{}", host.said());
    }
}

/// A server that hangs and says of itself that all is well, as a stand-in can be told to.
#[test]
fn a_server_that_hangs_and_says_that_it_is_well_is_replaced() {
    if real().is_some() {
        eprintln!("skipped: the real server cannot be told to hang");
        return;
    }
    let host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    let server = host.server();
    host.fault("hang\n");
    let cookie = client.send(Command::Write, at(1), BLOCK, &block(1, 1)).unwrap();
    // Until it is replaced; the next one is to do as it is asked.
    until(|| host.said().contains("it has answered nothing for"));
    host.fault("");
    assert_eq!(client.answer().unwrap(), (cookie, Ok(())));
    assert_eq!((client.read(0, BLOCK).unwrap(), client.read(at(1), BLOCK).unwrap()), (block(0, 1), block(1, 1)));
    assert_ne!(host.server(), server);
}

/// Each of the ways in which a server can fail: no client ever hears of one.
#[test]
fn a_server_that_fails_is_replaced_and_nobody_hears_of_it() {
    if real().is_some() {
        eprintln!("skipped: the real server cannot be told to fail");
        return;
    }
    let host = Host::serving();
    let mut client = host.client();
    let faults = [
        "fail write",
        "fail read",
        "fail flush",
        "drop write",
        "lose write",
        "drop flush",
        "lose flush",
        "exit read",
        "die write",
        "half",
    ];
    for (round, fault) in faults.into_iter().enumerate() {
        let round = round as u8 + 1;
        host.fault(&format!("{fault}\n"));
        for number in 0..40 {
            client.write(at(number), &block(number, round)).unwrap();
            if number % 16 == 15 {
                client.flush().unwrap();
            }
        }
        for number in 0..40 {
            assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, round), "{fault}: block {number}");
        }
        assert_eq!(host.faults().trim(), "", "{fault} has not struck");
    }
}
