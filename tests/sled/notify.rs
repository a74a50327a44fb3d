//! Who is told of a sled's checks: a webhook and a program, by an operator's try and by a check.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use support::hosts::EVENT_LIMIT;
use support::layer::Layer;
use support::machine::Machine;

const PORT: u16 = 8099;
const NOTIFY: &str = "[notify]\nprogram = [\"/usr/local/bin/tell\"]\nwebhook = \"http://192.168.4.17:8099/sled\"\n\
                      delay = \"0s\"\n";
/// A program that says what it was told of.
const TELL: &str = "#!/bin/sh\nread -r told || [ \"$told\" ] || exit 1\n\
                    case $told in *'\"occasion\":\"test\"'*) echo \"heard a test, as $(id -u)\";; esac\n";

/// Hear what is posted there from now on.
fn listen(machine: &Machine) -> Receiver<Value> {
    let listener = machine.host("192.168.4.17").within(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap());
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut heard, mut part) = (stream.unwrap(), Vec::new(), [0; 4096]);
            stream.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
            let body = loop {
                let size = stream.read(&mut part).unwrap();
                heard.extend_from_slice(&part[..size]);
                let text = String::from_utf8_lossy(&heard);
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
                match body {
                    Some(body) => break body,
                    None => assert!(size > 0, "{text}"),
                }
            };
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            if tell.send(body).is_err() {
                return;
            }
        }
    });
    told
}

#[test]
fn checks_are_told_and_a_webhook_that_is_dead_is_a_check_itself() {
    let machine = Layer::small().with_script("usr/local/bin/tell", TELL).boot_and_create();
    let unset = machine.run(&["sledctl", "notify", "test"]);
    assert!(unset.status.code() == Some(1) && String::from_utf8_lossy(&unset.stderr).contains("[notify]"), "{unset:?}");
    machine.sh(&format!(
        "mkdir -p /etc/sled/sled.toml.d; printf '{NOTIFY}' > /etc/sled/sled.toml.d/50-notify.toml; sledctl reload"
    ));

    let dead = machine.run(&["sledctl", "notify", "test"]);
    let said = String::from_utf8_lossy(&dead.stdout);
    assert_eq!(dead.status.code(), Some(3), "{dead:?}");
    assert!(said.contains("webhook to 192.168.4.17:8099: NOT DELIVERED: it cannot be reached"), "{said}");
    assert!(said.contains("program to /usr/local/bin/tell: heard a test, as 6"), "{said}");
    machine.sh("until sledctl checks | grep -q NOTIFY_FAILED; do sleep 0.1; done");
    assert!(machine.volume("still-fawn").ready);

    let told = listen(&machine);
    let hear = || told.recv_timeout(EVENT_LIMIT).unwrap();
    let said = machine.ok(&["sledctl", "notify", "test"]);
    assert!(said.contains("webhook to 192.168.4.17:8099: 204 No Content"), "{said}");
    assert_eq!(hear()["occasion"], "test");
    machine.sh("until ! sledctl checks | grep -q NOTIFY_FAILED; do sleep 0.1; done");

    machine.ok(&["sledctl", "maintenance", "on", "--reason", "another switch"]);
    let raised = hear();
    assert_eq!((&raised["sled"], &raised["occasion"]), (&"proper-raptor".into(), &"raised".into()));
    assert_eq!((&raised["check"]["code"], &raised["left_out"]), (&"MAINTENANCE".into(), &0.into()));
    machine.ok(&["sledctl", "maintenance", "off"]);
    let over = hear();
    assert_eq!((&over["check"]["code"], &over["occasion"]), (&"MAINTENANCE".into(), &"over".into()));
    let told = machine.ok(&["journalctl", "-b", "-u", "sledd", "-o", "cat", "--grep", "NOTIFY_FAILED"]);
    assert!(!told.contains("8099/sled"), "the URL's path is nobody's to read: {told}");
}
