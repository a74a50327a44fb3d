//! Grants: a ticket that nobody gets costs others nothing. And what a record that was lost, or a holder that is away,
//! does not give away.

use crate::lines::{Line, Siege};
use crate::port_map::{PUMPED_PIGLET, STILL_FAWN, boot, is_let_in, is_shut_out};
use crate::takeover::TAKEOVER;
use crate::tickets::{ATTACH, granted, refused};
use crucible_sled::store::grants::load;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use support::hosts::{EVENT_LIMIT, Host, SLED, is_well};
use support::machine::Machine;

const PORTS: [u16; 3] = [3830, 3831, 3832];

/// How whoever asks goes away before it is answered.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// The asker closes the connection.
    Whole,
    /// The asker says that it sends nothing more, and closes the connection later.
    Later,
}

/// A takeover is asked for while the supervisor cannot hear it, with something sent behind; and then
/// whoever asked goes away.
fn asks_and_leaves(machine: &Machine, host: &Host, behind: &[u8], leaves: Leaves) {
    machine.ok(&["systemctl", "kill", "--signal=STOP", "sledd.service"]);
    let mut line = host.connect(3800).unwrap();
    let length = TAKEOVER.len();
    write!(line, "POST {ATTACH} HTTP/1.1\r\nHost: {SLED}\r\nContent-Length: {length}\r\n\r\n{TAKEOVER}").unwrap();
    line.write_all(behind).unwrap();
    match leaves {
        Leaves::Whole => drop(line),
        Leaves::Later => {
            line.shutdown(Shutdown::Write).unwrap();
            drop(line);
        }
    }
    machine.ok(&["systemctl", "kill", "--signal=CONT", "sledd.service"]);
    // A host that asks after it is answered after it.
    refused(host, "", 409, "VOLUME_ATTACHED_ELSEWHERE");
}

/// Asks for a ticket in this version of HTTP, sends nothing more, and listens: what is answered.
fn asks_and_listens(host: &Host, version: &str, body: &str) -> String {
    let mut line = host.connect(3800).unwrap();
    line.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
    let length = body.len();
    write!(line, "POST {ATTACH} HTTP/{version}\r\nHost: {SLED}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    line.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    answer
}

/// Stops the machine's first process, or lets it go on, which it cannot be asked for itself.
fn systemd(machine: &Machine, signal: &str) {
    assert!(Command::new("kill").args([signal, &machine.leader().to_string()]).status().unwrap().success());
}

#[test]
fn nobody_is_cut_off_and_nobody_is_let_in_for_a_ticket_that_nobody_gets() {
    let mut machine = boot();
    let (asks, holds) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    granted(&holds, "");
    // A reboot is no reason to lose it, though its holder is not back at once.
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready);
    let refusal = refused(&asks, "", 409, "VOLUME_HELD_ELSEWHERE");
    assert!(refusal.error.message.contains(PUMPED_PIGLET), "{refusal:#?}");
    let keeps = machine.volume("still-fawn").holder.and_then(|holder| holder.keeps);
    assert_eq!(keeps, Some(true), "who waits for it is not told for whom");
    is_let_in(&holds, &PORTS);

    let lines = PORTS.map(|port| Line::open(&holds, port));
    let before = machine.volume("still-fawn").holder;
    let siege = Siege::begin(&asks, 3830);
    for behind in [&b""[..], b"\n", b"GET / HTTP/1.1\r\n"] {
        for leaves in [Leaves::Whole, Leaves::Later] {
            asks_and_leaves(&machine, &asks, behind, leaves);
        }
    }
    // A host that listens still is answered, whichever version it speaks: what it may not have, it does not get.
    for version in ["1.1", "1.0"] {
        let answer = asks_and_listens(&asks, version, "");
        assert!(answer.starts_with(&format!("HTTP/{version} 409 ")), "{answer}");
        assert!(answer.contains("VOLUME_ATTACHED_ELSEWHERE"), "{answer}");
    }
    // A ticket that cannot be recorded is known before.
    machine.sh("chattr +i /crucible/.sled/tickets/still-fawn");
    refused(&asks, TAKEOVER, 503, "NOT_RECORDED");
    machine.sh("chattr -i /crucible/.sled/tickets/still-fawn");
    // So is a systemd that does not answer.
    systemd(&machine, "-STOP");
    let refusal = refused(&asks, TAKEOVER, 503, "NOT_FENCED");
    systemd(&machine, "-CONT");
    assert!(refusal.error.message.contains("has not answered"), "{refusal:#?}");
    machine.ok(&["systemctl", "kill", "--signal=STOP", "dbus.service"]);
    let (status, answer) = asks.ask("POST", ATTACH, TAKEOVER);
    machine.ok(&["systemctl", "kill", "--signal=CONT", "dbus.service"]);
    assert_eq!(status, 503, "{answer:#}");

    assert_eq!(siege.end(), None, "it was let in without a ticket");
    assert!(lines.map(Line::close).iter().all(|answers| *answers > 0));
    let after = machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(after.holder, before);
    a_stopped_region_lets_go_of_nobody(&machine, &asks, &holds);
}

/// A region that is stopped still has the old host's connection, and would close it late.
fn a_stopped_region_lets_go_of_nobody(machine: &Machine, asks: &Host, holds: &Host) {
    let mut line = holds.connect(3831).unwrap();
    assert!(is_well(&mut line));
    machine.kill("STOP", "still-fawn-1");
    let refusal = refused(asks, TAKEOVER, 503, "NOT_FENCED");
    for said in ["has not let go of", "one connection was cut", PUMPED_PIGLET, "what it was"] {
        assert!(refusal.error.message.contains(said), "{refusal:#?}");
    }
    is_let_in(holds, &[3830]);
    is_shut_out(asks, &[3830]);
    // However often it is asked.
    assert_eq!(asks.ask("POST", ATTACH, TAKEOVER).0, 503);
    machine.kill("CONT", "still-fawn-1");
    machine.wait_for("still-fawn", |volume| volume.ready);
    for version in ["1.0", "1.1"] {
        let answer = asks_and_listens(asks, version, TAKEOVER);
        assert!(answer.starts_with(&format!("HTTP/{version} 200 ")) && answer.contains("generation"), "{answer}");
    }
    is_shut_out(holds, &[3830]);
}

/// Waits until the machine's disk has a record that can be read.
fn is_recorded(machine: &Machine, generation: u64) {
    let root: PathBuf = Path::new("/proc").join(machine.leader().to_string()).join("root/crucible");
    let began = Instant::now();
    loop {
        let records = load(&root).unwrap();
        match records.get(&"still-fawn".parse().unwrap()) {
            Some(Ok(grant)) if grant.generation == generation => return,
            other => assert!(began.elapsed() < EVENT_LIMIT, "{other:?}"),
        }
        // Nobody tells of it.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Has the disk looked at.
const ASK_FOR_A_LOOK: &str = "sledctl region create still-fawn-0 >&2";
const RECORD: &str = "/crucible/.sled/tickets/still-fawn";

#[test]
fn a_record_that_was_lost_lets_in_nobody_and_one_that_is_known_is_written_anew() {
    let machine = boot();
    let (holds, other) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    let generation = granted(&holds, "").generation;
    // While the supervisor runs it knows what it said.
    for (number, damage) in
        [format!("echo garbage >{RECORD}"), format!("rm {RECORD}; {ASK_FOR_A_LOOK}")].iter().enumerate()
    {
        machine.sh(&format!("{damage}; {ASK_FOR_A_LOOK}"));
        is_recorded(&machine, generation);
        assert!(machine.count("sledd.service", "^TICKETS_DAMAGED: ") > number);
    }
    machine.wait_for("still-fawn", |volume| volume.ready);
    is_shut_out(&other, &[3830]);
    // A record that begins does not.
    for put in [":".to_owned(), format!("mkfifo {RECORD}")] {
        machine.sh(&format!(
            "systemctl stop sledd.service sledd.socket; rm -f {RECORD}; {put}; systemctl start sledd.socket"
        ));
        machine.wait_for_check("still-fawn", "TICKETS_UNREADABLE");
        is_let_in(&holds, &[3830]);
        is_shut_out(&other, &[3830]);
        refused(&other, TAKEOVER, 503, "NOT_READY");
        // To cut one off would let in all others.
        let denied = machine.run(&["sledctl", "volume", "deny", "still-fawn", STILL_FAWN]);
        assert!(!denied.status.success(), "{denied:?}");
        is_shut_out(&other, &[3830]);
    }
    machine.ok(&["sledctl", "volume", "allow", "still-fawn", PUMPED_PIGLET]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    is_let_in(&other, &PORTS);
    is_shut_out(&holds, &[3830]);
    // Nobody's generation comes again, and a takeover waits until it is known that somebody is kept out.
    let line = Line::open(&other, 3830);
    let canaries = machine.count("sledd.service", "^canary: ");
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(granted(&holds, TAKEOVER).generation > generation);
    assert!(machine.count("sledd.service", "^canary: ") > canaries, "nobody knew whether it is enforced");
    assert!(line.is_cut_within(EVENT_LIMIT));
}
