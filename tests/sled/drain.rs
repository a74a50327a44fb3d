//! A volume that is drained: the host that has it is asked, by the answer that it waits for; nobody else gets a ticket;
//! and what the host says to it is shown to whoever has asked.

use crate::port_map::{PUMPED_PIGLET, STILL_FAWN, boot};
use crate::tickets::{granted, let_go, refused};
use serde_json::{Value, json};
use support::hosts::Host;
use support::machine::Machine;

const DRAINED: &str = "/v1/volumes/still-fawn/drained";

#[test]
fn a_volume_is_drained_by_whoever_has_it_and_no_ticket_is_granted_until_that_is_ended() {
    let machine = boot();
    let (host, other) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    granted(&host, "");
    let before = machine.wait_for("still-fawn", |volume| volume.holder.is_some()).revision;
    machine.ok(&["sledctl", "volume", "drain", "still-fawn", "--no-wait", "--reason", "a new disk"]);
    // A host that waits for a change hears of it.
    let look = |query: &str| host.ask("GET", &format!("/v1/volumes/still-fawn{query}"), "");
    let (status, volume) = look(&format!("?wait=30&revision={before}"));
    assert_eq!((status, &volume["drain"]["reason"]), (503, &json!("a new disk")), "{volume:#}");
    let first = volume["drain"]["id"].as_u64().unwrap();
    let codes: Vec<_> = volume["checks"].as_array().unwrap().iter().map(|check| check["code"].clone()).collect();
    assert!(codes.contains(&json!("VOLUME_DRAINING")), "{codes:?}");

    // The holder may need another server to detach it; nobody else gets anything, by a takeover neither.
    granted(&host, "");
    for body in ["", "{\"takeover\": true}"] {
        let refusal = refused(&other, body, 503, "VOLUME_DRAINING");
        assert!(refusal.error.remedy.contains("sledctl volume drain still-fawn --end"), "{refusal:?}");
    }

    what_makes_no_sense_is_nothing(&host, &other, first);
    whoever_asks_anew_is_told_what_uses_it(&machine, &host, first);
    refused(&other, "", 503, "VOLUME_DRAINING");
    it_is_free_once_the_host_lets_go(&machine, &host, &other);
}

fn says(host: &Host, body: Value) -> (u16, Value) {
    host.ask("POST", DRAINED, &body.to_string())
}

fn detached(id: u64) -> Value {
    json!({"id": id, "state": "detached"})
}

/// Nor is what somebody else says, or what is said of an earlier wish.
fn what_makes_no_sense_is_nothing(host: &Host, other: &Host, first: u64) {
    let code =
        |(status, answer): (u16, Value)| (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned());
    assert_eq!(code(says(other, detached(first))), (409, "NOT_HELD".into()));
    assert_eq!(code(says(host, detached(first - 1))), (409, "NOT_DRAINING".into()));
    assert_eq!(code(says(host, json!({"id": first, "state": "gone"}))), (400, "BAD_BODY".into()));
    assert_eq!(code(host.ask("POST", DRAINED, "")), (400, "BAD_BODY".into()));
}

/// It is in use there.
fn whoever_asks_anew_is_told_what_uses_it(machine: &Machine, host: &Host, first: u64) {
    let waiting = machine.enter(&["sledctl", "volume", "drain", "still-fawn", "--timeout", "60s"]);
    let waiting =
        { waiting }.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let asked = machine.wait_for("still-fawn", |volume| volume.drain.as_ref().is_some_and(|drain| drain.id > first));
    let id = asked.drain.unwrap().id;
    let (status, _) = says(host, json!({"id": id, "state": "detaching"}));
    assert_eq!(status, 200);
    let users = ["process 7 (qemu\u{1b}[2J)", "swap (/dev/nbd0)"];
    let (status, _) = says(host, json!({"id": id, "state": "in_use", "users": users, "message": "/mnt/a is in use"}));
    assert_eq!(status, 200);
    let output = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = said.contains("has not detached still-fawn: /mnt/a is in use") && said.contains("  swap (/dev/nbd0)\n");
    assert!(told && said.contains("process 7 (qemu") && !said.contains('\u{1b}'), "{said}");

    // The drain is on record: another supervisor knows it.
    machine.ok(&["systemctl", "restart", "sledd"]);
    let volume = machine.wait_for("still-fawn", |volume| volume.drain.as_ref().is_some_and(|drain| drain.id == id));
    assert_eq!(volume.drain.unwrap().said.unwrap().users.len(), 2);
}

/// It stays so until that is ended.
fn it_is_free_once_the_host_lets_go(machine: &Machine, host: &Host, other: &Host) {
    // Nobody answers: that is told after the time.
    let late = machine.run(&["sledctl", "volume", "drain", "still-fawn", "--timeout", "1s"]);
    assert_eq!(late.status.code(), Some(3), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stdout).contains("has said nothing within 1 s"), "{late:?}");
    // It lets go, and says so.
    let id = machine.volume("still-fawn").drain.unwrap().id;
    let_go(host);
    assert_eq!(says(host, detached(id)).0, 200);
    machine.wait_for("still-fawn", |volume| volume.holder.as_ref().is_some_and(|holder| holder.released));
    let done = machine.ok(&["sledctl", "volume", "drain", "still-fawn"]);
    assert!(done.contains("no host has still-fawn"), "{done}");
    refused(host, "", 503, "VOLUME_DRAINING");
    machine.ok(&["sledctl", "volume", "drain", "still-fawn", "--end"]);
    machine.wait_for("still-fawn", |volume| volume.drain.is_none() && volume.ready);
    granted(other, "");
    assert_eq!(machine.run(&["sledctl", "volume", "drain", "nothing", "--end"]).status.code(), Some(1));
    assert_eq!(machine.run(&["sledctl", "volume", "drain", "still-fawn", "--end", "--no-wait"]).status.code(), Some(2));
}
