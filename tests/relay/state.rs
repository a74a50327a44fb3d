//! What a relay says of itself, and what is made of it: on its control socket.

use crate::host::{BLOCK, Host, SIZE, signal, until};
use crate::{at, block};
use std::os::unix::fs::PermissionsExt;

/// From before it has won anything until a server was replaced.
#[test]
fn a_relay_tells_how_it_is_at_any_time() {
    let mut host = Host::new();
    host.sled.tell(|mind| mind.ready = false);
    host.begin();
    let state = host.state();
    assert_eq!((&state["volume"], &state["ticket"], &state["relay"]), (&"still-fawn".into(), &().into(), &().into()));
    let socket = host.dir.path().join("still-fawn.control");
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    host.sled.tell(|mind| mind.ready = true);
    let state = host.until_state(|state| state["relay"]["serves"] == true);
    assert_eq!(state["ticket"]["size_bytes"], SIZE);
    assert_eq!(state["ticket"]["generation"], host.sled.mind.lock().unwrap().granted);
    assert_eq!(state["server"]["pid"], host.server().unwrap());
    assert_eq!(state["server"]["activity"]["is"], "active");
    assert_eq!(state["relay"]["last_pause"]["why"], "it has only begun");
    // No device was connected, which is another thing than that nobody has looked.
    assert_eq!((&state["device"]["state"], &state["mount"]["state"]), (&"none".into(), &"none".into()));

    let mut client = host.client();
    for number in 0..10 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    client.read(0, BLOCK).unwrap();
    let relay = &host.state()["relay"];
    assert_eq!((&relay["kept_writes"], &relay["kept_bytes"]), (&10.into(), &(10 * BLOCK).into()));
    assert_eq!((&relay["most_kept_writes"], &relay["most_kept_bytes"]), (&500.into(), &(32 << 20).into()));
    let took = &relay["latency"];
    assert_eq!((&took["write"]["requests"], &took["read"]["requests"]), (&10.into(), &1.into()));
    assert!(took["flush"].is_null() && took["write"]["median_seconds"].as_f64() > Some(0.0), "{took}");

    let before = host.server();
    host.kill_server();
    let state = host.until_state(|state| state["relay"]["replays"] == 1 && state["relay"]["serves"] == true);
    let relay = &state["relay"];
    assert_ne!(host.server(), before);
    assert_eq!(
        (&relay["replayed_writes"], &relay["servers"], &relay["kept_writes"]),
        (&10.into(), &2.into(), &0.into())
    );
    let why = relay["last_pause"]["why"].as_str().unwrap();
    assert!(why.starts_with("the server was lost: "), "{why}");
    assert!(relay["last_pause"]["seconds"].as_f64() > Some(0.0) && relay["held"].is_null(), "{relay}");
    // The journal says the same, with how long it was.
    until(|| host.said().contains(&format!(" s: {why}")));
    assert!(host.said().contains("requests go on; they were held for "), "{}", host.said());

    for (request, status, code) in
        [("POST /v1/relay", 405, "METHOD_NOT_ALLOWED"), ("GET /v1/volumes", 404, "NOT_FOUND")]
    {
        let (answered, body) = host.control(request).unwrap();
        assert_eq!((answered, &body["error"]["code"]), (status, &code.into()));
    }
}

/// Requests wait, and it is known for how long and why, though the server itself is not lost: it is waited for.
#[test]
fn a_server_that_waits_for_its_sleds_is_no_server_lost_and_is_told() {
    let host = Host::serving();
    let mut client = host.client();
    client.write(0, &block(0, 1)).unwrap();
    let server = host.server().unwrap();
    // As if its replicas were away: it says nothing, and the sleds say why.
    host.sled.tell(|mind| mind.ready = false);
    signal(server, "STOP");
    let flush = client.send(crucible_sled::nbd::transmission::Command::Flush, 0, 0, &[]).unwrap();
    let state = host.until_state(|state| !state["relay"]["held"].is_null());
    let why = state["relay"]["held"]["why"].as_str().unwrap();
    assert!(why.contains("the server answered nothing: "), "{why}");
    assert!(state["relay"]["oldest_request_seconds"].as_f64() > Some(10.0), "{state}");
    assert_eq!((&state["relay"]["servers"], &state["server"]["activity"]), (&1.into(), &().into()));
    assert!(state["server"]["silent"].is_string(), "{state}");
    assert!(host.said().contains("and is waited for: "), "{}", host.said());
    signal(server, "CONT");
    assert_eq!(client.answer().unwrap(), (flush, Ok(())));
    let state = host.until_state(|state| state["relay"]["held"].is_null());
    assert!(state["relay"]["last_pause"]["seconds"].as_f64() > Some(10.0), "{state}");
    assert_eq!(host.server(), Some(server));
}
