//! Tickets: who gets one, with which generation, and what is never granted twice.

use crate::calm::Calm;
use crate::port_map::{MAP, PUMPED_PIGLET, STILL_FAWN, STRANGER, boot};
use crucible_sled::wire::{RefusedTicket, Ticket};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::hosts::{Host, SLED, Space, read_answer};
use support::layer::Layer;
use support::machine::Machine;

/// The path at which a ticket is asked for.
pub const ATTACH: &str = "/v1/volumes/still-fawn/attach";
/// The path at which a host says that it has done with the volume.
pub const RELEASE: &str = "/v1/volumes/still-fawn/release";
/// The longest that a grant may take, with a takeover and all, on a machine that is not busy otherwise.
pub const GRANT_LIMIT: Duration = Duration::from_secs(1);

/// Ask with this body, and be granted.
pub fn granted(host: &Host, body: &str) -> Ticket {
    let (status, answer) = host.ask("POST", ATTACH, body);
    assert_eq!(status, 200, "{answer:#}");
    serde_json::from_value(answer).unwrap()
}

/// Ask with this body, and be refused with this status and code.
pub fn refused(host: &Host, body: &str, status: u16, code: &str) -> RefusedTicket {
    let (answered, answer) = host.ask("POST", ATTACH, body);
    assert_eq!((answered, &answer["error"]["code"]), (status, &code.into()), "{answer:#}");
    let refusal: RefusedTicket = serde_json::from_value(answer).unwrap();
    assert!(!refusal.error.message.is_empty() && !refusal.error.remedy.is_empty());
    refusal
}

/// A host lets go of its ticket.
pub fn let_go(host: &Host) {
    let (status, answer) = host.ask("POST", RELEASE, "");
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["host"], host.address.as_str());
}

fn clock() -> u64 {
    Timestamp::now().as_second().try_into().unwrap()
}

#[test]
fn generations_rise_and_are_no_lower_than_the_clock_and_the_wish() {
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    assert_eq!(machine.volume("still-fawn").generation, 0);
    let mut last = 0;
    for (body, least) in [
        ("", clock()),
        ("{}", clock()),
        ("{\"takeover\": true}", clock()),
        (&*format!("{{\"at_least\": {}}}", clock() + 5000), clock() + 5000),
        ("{\"at_least\": 7}", clock() + 5001),
    ] {
        let ticket = granted(&host, body);
        assert!(ticket.generation > last && ticket.generation >= least - 1, "{ticket:#?} after {last}, {body}");
        last = ticket.generation;
        let volume = machine.volume("still-fawn");
        assert_eq!(volume.generation, last);
        let holder = volume.holder.unwrap();
        assert_eq!((holder.address, holder.generation, holder.host.as_deref()), (host.ip(), last, Some("still-fawn")));
    }
    let ticket = granted(&host, "");
    let volume = machine.volume("still-fawn");
    let targets: Vec<_> = [3830, 3831, 3832].iter().map(|port| format!("{SLED}:{port}").parse().unwrap()).collect();
    assert_eq!((ticket.host, &ticket.targets, &ticket.port_map), (host.ip(), &targets, &volume.port_map));
    assert_eq!((ticket.volume, ticket.sled, ticket.size_bytes), (volume.volume, volume.sled, volume.size_bytes));
    for (region, here) in ticket.regions.iter().zip(&volume.regions) {
        assert_eq!((&region.name, &region.sled, region.uuid), (&here.name, &here.sled, here.uuid));
    }
}

/// A host that has its answer finds in the next one what came of it.
#[test]
fn what_was_answered_is_published() {
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    for _ in 0..20 {
        let ticket = granted(&host, "");
        let holder = machine.volume("still-fawn").holder.expect("nobody holds what was granted");
        assert_eq!((holder.generation, holder.released), (ticket.generation, false));
        let_go(&host);
        assert!(machine.volume("still-fawn").holder.is_none_or(|holder| holder.released));
    }
}

#[test]
fn who_is_not_in_the_map_gets_none_and_who_has_none_changes_nothing() {
    let machine = boot();
    for body in ["", "{\"takeover\": true}", "{\"at_least\": 9000000000}"] {
        let refusal = refused(&machine.host(STRANGER), body, 403, "HOST_NOT_ALLOWED");
        assert!(refusal.error.message.contains(STRANGER), "{refusal:#?}");
    }
    // Whoever asks later why it was not given the volume finds it among the events, and once.
    machine.until("sledctl events | grep -q 'ticket refused.*HOST_NOT_ALLOWED'");
    assert_eq!(machine.ok(&["sledctl", "events"]).matches("ticket refused").count(), 1);
    let (status, answer) = machine.host(STILL_FAWN).ask("POST", "/v1/volumes/pumped-piglet/attach", "");
    assert_eq!((status, &answer["error"]["code"]), (403, &"HOST_NOT_ALLOWED".into()), "{answer:#}");
    let (status, answer) = machine.host(STILL_FAWN).ask("POST", "/v1/volumes/nothing/attach", "");
    assert_eq!((status, &answer["error"]["code"]), (404, &"VOLUME_UNKNOWN".into()), "{answer:#}");
    assert_eq!(machine.host(STILL_FAWN).ask("GET", ATTACH, "").0, 405);
    let volume = machine.volume("still-fawn");
    assert_eq!((volume.generation, volume.holder), (0, None));
    // Neither is it granted while a host had better wait.
    machine.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| !volume.ready);
    refused(&machine.host(STILL_FAWN), "{\"takeover\": true}", 503, "NOT_READY");
    machine.ok(&["sledctl", "region", "release", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    granted(&machine.host(STILL_FAWN), "");
}

/// Sends what comes before a body of this length, and a part of the body.
fn begin(host: &Host, length: usize, body: &[u8]) -> io::Result<TcpStream> {
    let mut stream = host.connect(3800)?;
    write!(stream, "POST {ATTACH} HTTP/1.1\r\nHost: sled\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    Ok(stream)
}

#[test]
fn bodies_that_make_no_sense_are_refused_and_hold_up_nobody() {
    let machine = boot();
    let (host, other) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    let first = granted(&host, "").generation;
    let slow = begin(&host, 100, b"{\"takeover\": tr").unwrap();
    let never = begin(&host, 100, b"").unwrap();
    for body in [
        "{",
        "[]",
        "null",
        "7",
        "\u{fffd}",
        "{\"takeover\": \"yes\"}",
        "{\"at_least\": -1}",
        "{\"at_least\": 1.5}",
        "{\"at_least\": 99999999999999999999}",
        "{\"at_least\": 9223372036854775808}",
        "{\"takover\": true}",
        "{\"at_least\": 1, \"at_least\": 2}",
        "{} {}",
    ] {
        let (status, answer) = host.ask("POST", ATTACH, body);
        assert!((400..500).contains(&status), "{body}: {status} {answer:#}");
        for part in ["code", "message", "remedy"] {
            assert!(answer["error"][part].as_str().is_some_and(|text| !text.is_empty()), "{body}: {answer:#}");
        }
    }
    // A body that is too long need not be read to its end.
    let long = begin(&host, 1 << 20, &vec![b' '; 1 << 20]).and_then(read_answer);
    assert!(long.as_ref().map_or(true, |(status, _)| *status == 413), "{long:?}");
    let long = begin(&host, 1 << 40, b"{").and_then(read_answer).unwrap();
    assert!((400..500).contains(&long.0), "{long:?}");

    // While two bodies have not come, everybody else is answered.
    assert_eq!(other.ask("GET", "/v1/volumes/still-fawn", "").0, 200);
    let second = granted(&host, "").generation;
    assert!(second > first);
    for mut stream in [slow, never] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408") || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert_eq!(machine.volume("still-fawn").generation, second, "a body that never came was granted");
}

#[test]
fn a_thousand_tickets_at_once_are_all_different_and_rise() {
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    let threads = [0; 8].map(|_| {
        let host = host.clone();
        std::thread::spawn(move || (0..125).map(|_| granted(&host, "").generation).collect::<Vec<_>>())
    });
    let each = threads.map(|thread| thread.join().unwrap());
    for one in &each {
        assert!(one.is_sorted_by(|a, b| a < b), "{one:?}");
    }
    let all: BTreeSet<_> = each.iter().flatten().collect();
    assert_eq!(all.len(), 1000);
    let volume = machine.wait_for("still-fawn", |volume| volume.generation >= **all.last().unwrap());
    assert_eq!(volume.generation, **all.last().unwrap());
}

/// Asks all the time until told to stop, whatever becomes of it, and returns what was granted.
fn ask_on(host: &Host, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<u64>> {
    let (host, stop) = (host.clone(), stop.clone());
    std::thread::spawn(move || {
        let mut granted = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            if let Ok((200, body)) = host.ask_at(SLED, "POST", ATTACH, "") {
                granted.push(body["generation"].as_u64().unwrap());
            }
        }
        granted
    })
}

/// The supervisor is killed in the midst of granting, again and again.
#[test]
fn no_generation_comes_twice_though_the_supervisor_is_killed() {
    let mut machine = boot();
    let (host, stop) = (machine.host(STILL_FAWN), Arc::new(AtomicBool::new(false)));
    // Far ahead of the clock, which is then of no help: as if it had been set back by years.
    let first = granted(&host, &format!("{{\"at_least\": {}}}", clock() + 1_000_000_000)).generation;
    let asking = ask_on(&host, &stop);
    for _ in 0..5 {
        let last = machine.volume("still-fawn").generation;
        machine.wait_for("still-fawn", |volume| volume.generation > last + 3);
        machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
        machine.wait_for("still-fawn", |volume| volume.ready);
    }
    stop.store(true, Ordering::Relaxed);
    let all = asking.join().unwrap();
    assert!(all.len() > 15 && all[0] > first && all.is_sorted_by(|a, b| a < b), "after {first}: {all:?}");
    machine.reboot();
    let volume = machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(volume.generation >= *all.last().unwrap());
    assert!(granted(&host, "").generation > volume.generation);
}

/// Both copies of the ledger are gone. What was written with a generation shows it.
#[test]
fn a_lost_ledger_takes_no_generation_back() {
    let machine = boot();
    let host = machine.host(STILL_FAWN);
    let before = granted(&host, "").generation;
    let written = clock() + 500_000_000;
    write_generation(&machine, "still-fawn-1", written);
    machine
        .sh("systemctl stop sledd.service sledd.socket; rm /crucible/.sled/ledger.json*; systemctl start sledd.socket");
    machine.wait_for_check("still-fawn", "LEDGER_UNREADABLE");
    refused(&host, "", 503, "NOT_READY");
    machine.ok(&["sledctl", "region", "adopt", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    let after = granted(&host, "").generation;
    assert!(after > before && after > written, "{after} after {before}, and {written} was written");
}

/// As an upstairs of this generation would have left an extent: in its trailer of 32 bytes, from
/// the second one on.
fn write_generation(machine: &Machine, region: &str, generation: u64) {
    let bytes: String = generation.to_le_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
    machine.ok(&["sledctl", "region", "hold", region]);
    machine.wait_until_stopped(region);
    machine.sh(&format!(
        "file=/crucible/{region}/00/000/002; at=$(($(stat -c %s $file) - 31)); \
         printf '{bytes}' | dd of=$file bs=1 seek=$at conv=notrunc status=none"
    ));
    machine.ok(&["sledctl", "region", "release", region]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// A volume that anyone may attach has tickets, too. It stays open to all that were not cut off.
#[test]
fn an_open_volume_is_granted_to_anyone_and_then_to_one_at_a_time() {
    let map = MAP.replace("[\"still-fawn\", \"pumped-piglet\"]", "[]");
    let machine = Layer::small().with("etc/sled/port-map.toml", &map).boot_and_create();
    let (stranger, other) = (machine.host(STRANGER), machine.host(PUMPED_PIGLET));
    let began = Calm::begin();
    let ticket = granted(&stranger, "");
    assert!(began.elapsed() < GRANT_LIMIT, "{began:?}");
    assert_eq!(ticket.host, stranger.ip());
    let _line = stranger.connect(3830).unwrap();
    machine.wait_for("still-fawn", |volume| !volume.attached.is_empty());
    refused(&other, "", 409, "VOLUME_ATTACHED_ELSEWHERE");
    granted(&other, "{\"takeover\": true}");
    assert!(other.reaches(3830) && !stranger.reaches(3830));
    assert!(machine.host(STILL_FAWN).reaches(3830), "it is closed to somebody who was never there");
    // Nobody is connected any more, and a ticket lets the first one in again once the other has done.
    machine.wait_for("still-fawn", |volume| volume.attached.is_empty());
    refused(&stranger, "", 409, "VOLUME_HELD_ELSEWHERE");
    let_go(&other);
    granted(&stranger, "");
    assert!(stranger.reaches(3830));
    // A sled that connects would never be seen as a host: it gets no ticket, of an open volume neither, and others
    // are granted theirs as if it had not asked.
    let_go(&stranger);
    for sled in [SLED, "192.168.4.190"] {
        let asks = if sled == SLED { inside(&machine) } else { machine.host(sled) };
        for body in ["", "{\"takeover\": true}"] {
            let refusal = refused(&asks, body, 403, "HOST_NOT_ALLOWED");
            assert!(refusal.error.message.contains(sled) && refusal.generation == 0, "{refusal:#?}");
        }
    }
    granted(&other, "");
}

/// The sled itself, as if it were a host.
fn inside(machine: &Machine) -> Host {
    Host { space: Space::of(machine.leader()), address: SLED.to_owned() }
}
