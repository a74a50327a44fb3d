//! The network test: a host and a sled find what goes through between them, and nobody's data is in its way.

use serde_json::Value;
use std::net::TcpStream;
use std::process::{Child, Output, Stdio};
use support::hosts::{Host, SLED};
use support::layer::Layer;
use support::machine::Machine;
use support::places::programs;

/// `sledctl network test` in the machine, once it listens.
fn listening(machine: &Machine, more: &[&str]) -> Child {
    let words = [&["sledctl", "--json", "network", "test"], more].concat();
    let child = machine.enter(&words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    machine.until("ss -Hltn sport = 3799 | grep -q .");
    child
}

/// The host with this address, once its cable leads to the sled: nobody tells when a new one does.
fn host(machine: &Machine, address: &str) -> Host {
    let host = machine.host(address);
    while host.connect(3800).is_err() {}
    host
}

/// `crucible-attach net-test` on a host: slow, so that the test takes little of whoever else is on this machine.
fn asked_by(host: &Host) -> Output {
    let program = programs().join("crucible-attach");
    let program = program.to_str().unwrap();
    host.run(&[program, "--json", "net-test", SLED, "--seconds", "1", "--rate", "20"])
}

#[test]
fn a_host_and_the_sled_are_told_the_same_and_strangers_nothing() {
    let machine = Layer::small().boot_and_create();
    let stranger = host(&machine, "192.168.4.50");
    let nobody = asked_by(&stranger);
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");
    let sled = listening(&machine, &[]);
    let refused = asked_by(&stranger);
    let said: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &said["error"]["code"]), (Some(1), &"NET_TEST_REFUSED".into()), "{said}");
    let asked = asked_by(&host(&machine, "192.168.4.17"));
    let asked_of: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let served = sled.wait_with_output().unwrap();
    let served_of: Value = serde_json::from_slice(&served.stdout).unwrap();
    assert_eq!(asked_of, served_of);
    for way in ["to_sled", "from_sled"] {
        assert!(asked_of[way]["bytes"].as_u64().unwrap() > 0 && asked_of[way]["resent"].is_number(), "{asked_of}");
    }
    // On a machine that others keep busy it may be less than was asked for: both say so then.
    let well = asked_of["shortfalls"].as_array().unwrap().is_empty();
    let code = Some(if well { 0 } else { 3 });
    assert_eq!((asked.status.code(), served.status.code()), (code, code), "{asked_of}");
}

#[test]
fn a_volume_that_is_attached_is_not_disturbed_unless_somebody_says_so() {
    let machine = Layer::small().boot_and_create();
    let _attached = machine.in_outside(|| TcpStream::connect((SLED, 3830)).unwrap());
    machine.wait_for("still-fawn", |volume| !volume.attached.is_empty());
    let refused = machine.run(&["sledctl", "network", "test"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("192.168.4.17 has still-fawn attached") && why.contains("--force"), "{why}");
    let sled = listening(&machine, &["--force", "--from", "192.168.4.50"]);
    let asked = asked_by(&host(&machine, "192.168.4.50"));
    assert!(matches!(asked.status.code(), Some(0 | 3)), "{asked:?}");
    assert!(sled.wait_with_output().unwrap().status.code().is_some_and(|code| code == 0 || code == 3));
}
