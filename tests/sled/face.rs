//! The network face of a sled towards those who mean no good, or know no better: a flood, a browser's
//! foreign pages, odd URLs.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Output;
use support::hosts::{EVENT_LIMIT, Host, SLED, read_answer};
use support::layer::Layer;
use support::machine::Machine;

/// How many addresses flood the sled, and with how many connections in all.
const FLOOD: (u8, usize) = (31, 1500);

/// Make one request with these lines in its head: the status.
fn status(host: &Host, method: &str, path: &str, head: &str) -> u16 {
    let request = format!("{method} {path} HTTP/1.1\r\n{head}Connection: close\r\nContent-Length: 0\r\n\r\n");
    host.within(move || {
        let mut stream = TcpStream::connect((SLED, 3800)).unwrap();
        stream.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(stream).unwrap().0
    })
}

/// Make one request with the end behind it: all that is answered.
fn ask_and_say_no_more(host: &Host, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sled\r\nConnection: close\r\n\r\n");
    host.within(move || {
        let mut stream = TcpStream::connect((SLED, 3800)).unwrap();
        stream.set_read_timeout(Some(EVENT_LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

/// `crucible-attach wait` of this host, for so long.
fn wait(host: &Host, time: &str) -> Output {
    let program = support::places::programs().join("crucible-attach");
    host.run(&["timeout", "60", program.to_str().unwrap(), "wait", "still-fawn", "--sled", SLED, "--timeout", time])
}

/// Silent connections from many addresses, which the switch has for it.
fn flood(machine: &Machine) -> Vec<TcpStream> {
    let (addresses, all) = FLOOD;
    let from = move |n: usize| format!("192.168.4.{}", 100 + n % usize::from(addresses));
    for n in 0..usize::from(addresses) {
        machine.outside(&["ip", "address", "add", &format!("{}/24", from(n)), "dev", "switch"]);
    }
    machine.in_outside(move || {
        let to: SocketAddr = format!("{SLED}:3800").parse().unwrap();
        let one = |n| {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            let from: SocketAddr = format!("{}:0", from(n)).parse().unwrap();
            bind(&socket, &from).unwrap();
            // A connection that is hung up on at once has no place.
            connect(&socket, &to).ok().map(|()| TcpStream::from(socket))
        };
        (0..all).filter_map(one).collect()
    })
}

#[test]
fn strangers_lock_out_nobody_and_foreign_pages_get_nothing() {
    let machine = Layer::small().boot_and_create();
    let host = machine.host("192.168.4.17");

    let silent = flood(&machine);
    let waited = wait(&host, "10s");
    assert!(waited.status.success(), "{} connections: {waited:?}", silent.len());
    drop(silent);
    // A host is told about that host.
    let told = |waited: &Output, what: &str| String::from_utf8_lossy(&waited.stderr).contains(what);
    let other = wait(&machine.host("192.168.4.18"), "60s");
    assert!(other.status.code() == Some(1) && told(&other, "does not let 192.168.4.18 attach"), "{other:?}");
    machine.ok(&["sledctl", "volume", "deny", "still-fawn", "192.168.4.17"]);
    let denied = wait(&host, "1s");
    assert!(denied.status.code() == Some(1) && told(&denied, "HOST_DENIED"), "{denied:?}");
    machine.ok(&["sledctl", "volume", "allow", "still-fawn", "192.168.4.17"]);
    assert!(wait(&host, "60s").status.success());

    whoever_says_no_more_is_answered(&machine, &host);
    foreign_pages_get_nothing(&machine, &host);
    every_path_has_its_status(&host);
}

const VOLUME: &str = "/v1/volumes/still-fawn";

fn whoever_says_no_more_is_answered(machine: &Machine, host: &Host) {
    let revision = machine.volume("still-fawn").revision;
    for (held, times) in [(String::new(), 100), (format!("?wait=1&revision={revision}"), 3)] {
        for _ in 0..times {
            let answer = ask_and_say_no_more(host, &format!("{VOLUME}{held}"));
            // Beside what is said to see whether anybody listens.
            assert!(answer.contains("HTTP/1.1 200"), "{held}: {answer:?}");
        }
    }
}

fn foreign_pages_get_nothing(machine: &Machine, host: &Host) {
    let attach = "/v1/volumes/still-fawn/attach";
    for own in ["Host: 192.168.4.189:3800\r\n", "Host: proper-raptor:3800\r\n", "Host: proper-raptor.lan\r\n", ""] {
        assert_eq!(status(host, "GET", VOLUME, own), 200, "{own:?}");
    }
    for foreign in ["Host: evil.example\r\n", "Host: proper-raptor.evil.example:3800\r\n", "Host: localhost:3800\r\n"] {
        assert_eq!(status(host, "GET", VOLUME, foreign), 421, "{foreign:?}");
        assert_eq!(status(host, "POST", attach, foreign), 421, "{foreign:?}");
    }
    for page in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(status(host, "POST", attach, &format!("Host: sled\r\n{page}")), 403, "{page:?}");
    }
    assert_eq!(machine.volume("still-fawn").generation, 0, "a page has won a volume");
}

fn every_path_has_its_status(host: &Host) {
    for (path, expected) in [
        ("/v1/volumes/", 200),
        ("/v1/volumes/still%2Dfawn", 200),
        ("/v1/volumes//", 404),
        ("/v1/volumes/%zz", 400),
        ("/v1/sled?pretty", 200),
        ("/v1/sled?pretty=x", 400),
        ("/healthz?pretty", 400),
        ("/v1/targets", 200),
        ("/v1/volumes?x=1", 400),
        ("/v1/storage?x", 400),
        ("/v1/maintenance?x", 400),
        ("/v1/jobs?x", 400),
        ("/healthz?x", 400),
        ("/v1/volumes/still-fawn?wait=1&wait=2", 400),
    ] {
        assert_eq!(status(host, "GET", path, "Host: sled\r\n"), expected, "{path}");
    }
}
