//! State of a relay, and what is made of it: on its control socket.

use crate::{at, block};
use std::os::unix::fs::PermissionsExt;
use support::relay::{BLOCK, Host, SIZE, signal, until};

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
    assert!(state["ticket"]["identity"].is_string(), "{state}");
    let record = std::fs::read(host.dir.path().join("state/still-fawn.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["identity"].as_str().map(str::len), Some(16));
    assert_eq!(state["ticket"]["identity"], record["identity"]);
    // No device was connected, which is another thing than that nobody has looked.
    assert_eq!((&state["device"]["state"], &state["mount"]["state"]), (&"none".into(), &"none".into()));
    it_tells_of_its_requests_and_servers(&host);
    for (request, status, code) in
        [("POST /v1/relay", 405, "METHOD_NOT_ALLOWED"), ("GET /v1/volumes", 404, "NOT_FOUND")]
    {
        let (answered, body) = host.control(request).unwrap();
        assert_eq!((answered, &body["error"]["code"]), (status, &code.into()));
    }
}

fn it_tells_of_its_requests_and_servers(host: &Host) {
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

/// A screen, a line and metrics of a relay that serves, and of one that is killed.
#[test]
fn status_and_check_show_a_relay_that_serves_and_one_that_is_gone() {
    let mut host = Host::new();
    let etc = host.dir.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let (code, said) = host.asked(&["check"]);
    assert!(code == 3 && said.starts_with("CRUCIBLE UNKNOWN - no volume"), "{code} {said}");
    std::fs::write(etc.join("still-fawn.conf"), "CRUCIBLE_SLEDS=127.7.0.1\n").unwrap();
    let (code, said) = host.asked(&["check"]);
    assert!(code == 2 && said.contains("still-fawn: RELAY_DOWN: "), "{code} {said}");
    host.begin();
    host.until_state(|state| state["relay"]["serves"] == true);
    host.client().write(0, &block(0, 1)).unwrap();

    // Which sleds it has is known from its configuration.
    let (code, said) = host.asked(&["status", "still-fawn"]);
    assert_eq!(code, 0, "{said}");
    let generation = host.sled.mind.lock().unwrap().granted;
    for part in ["still-fawn: ready", "this host: served", "1 writes of 500, 4 KiB of 32 MiB", "device    none"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(&format!("generation {generation}, won ")), "{said}");
    let (code, said) = host.asked(&["status", "still-fawn", "--json"]);
    let bodies: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &bodies[0]["sled"], &bodies[1]["ready"]), (0, &"sled-0".into(), &true.into()));
    assert_eq!(bodies[1]["host"]["relay"]["relay"]["kept_writes"], 1);
    let (code, said) = host.asked(&["status"]);
    assert!(code == 0 && said.lines().any(|line| line.starts_with("still-fawn  served  active  ")), "{code} {said}");
    let (code, said) = host.asked(&["check", "still-fawn"]);
    assert!(code == 0 && said.starts_with("CRUCIBLE OK - still-fawn: served, its server is active"), "{code} {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let out = host.dir.path().to_str().unwrap();
    assert_eq!(host.asked(&["check", "--textfile", out]).0, 0);
    let metrics = std::fs::read_to_string(host.dir.path().join("crucible_attach.prom")).unwrap();
    for part in
        ["crucible_attach_serves{volume=\"still-fawn\"} 1\n", "_sled_ready{volume=\"still-fawn\",sled=\"sled-0\"} 1\n"]
    {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    a_sled_that_is_not_ready_and_a_relay_that_is_gone_are_told(&mut host);
}

/// What is served goes on, and somebody should look.
fn a_sled_that_is_not_ready_and_a_relay_that_is_gone_are_told(host: &mut Host) {
    host.sled.tell(|mind| mind.ready = false);
    let (code, said) = host.asked(&["check", "still-fawn"]);
    assert!(code == 1 && said.contains("VOLUME_NOT_READY: REGION_DOWN: it ended"), "{code} {said}");
    let (code, said) = host.asked(&["status", "still-fawn"]);
    assert!(code == 3 && said.contains("not ready") && said.contains("this host: served"), "{code} {said}");
    host.kill_server();
    host.until_state(|state| state["relay"]["held"]["seconds"].as_f64() > Some(5.0));
    let (code, said) = host.asked(&["check", "--json"]);
    let body: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &body["state"], &body["volumes"][0]["state"]), (2, &"critical".into(), &"critical".into()));
    assert_eq!(body["volumes"][0]["findings"][0]["code"], "REQUESTS_HELD");
    let (code, said) = host.asked(&["status", "still-fawn"]);
    assert!(code == 3 && said.contains("the server was lost: ") && said.contains("REQUESTS_HELD"), "{code} {said}");
    host.end("KILL");
    let (code, said) = host.asked(&["status", "still-fawn"]);
    assert!(code == 3 && said.contains("this host: no relay serves it"), "{code} {said}");
}

/// A sled asks for the volume to be detached: the relay hears of it, each wish once, and says what hinders it.
#[test]
fn a_wish_that_it_be_detached_is_heard_and_answered() {
    let host = Host::serving();
    host.until_state(|state| state["relay"]["serves"] == true);
    let drained = || host.sled.mind.lock().unwrap().drained.clone();
    // Its service is not installed where this runs, so that nothing is begun.
    for (count, id) in [7, 8].into_iter().enumerate() {
        host.sled.tell(|mind| mind.drain = Some(id));
        until(|| drained().len() > count);
        let said = &drained()[count];
        assert_eq!((&said["id"], &said["state"]), (&id.into(), &"failed".into()));
        assert!(
            said["message"].as_str().unwrap().starts_with("crucible-detach@still-fawn.service cannot be started: ")
        );
        // The same wish, told again with whatever else changes.
        host.sled.tell(|mind| mind.clock += 1);
    }
    assert_eq!(host.said().matches("asks for still-fawn to be detached").count(), 2, "{}", host.said());
    assert_eq!(host.client().read(0, BLOCK).unwrap(), vec![0; BLOCK]);
}
