//! `crucible-attach` against sleds that are none, over real sockets: what it asks, what it wins,
//! what it becomes, and what it says and ends with otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod server;

use serde_json::Value;
use server::server;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use support::fleet::{Manner, Mind, Sled, VOLUME, fleet};

fn attach(words: &[&str], sled: &Sled) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crucible-attach"));
    let (first, rest) = words.split_first().unwrap();
    command.env_remove("CRUCIBLE_SLEDS").args([first, VOLUME]).arg("--sled").arg(sled.address.to_string()).args(rest);
    command
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn done(words: &[&str], sled: &Sled) -> (i32, String, String) {
    said(&attach(words, sled).output().unwrap())
}

/// A ticket as JSON.
fn ticket(sled: &Sled) -> Value {
    let (code, out, err) = done(&["ticket", "--json"], sled);
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

fn all_live(sleds: &[Arc<Sled>]) {
    sleds.iter().for_each(Sled::lives);
}

#[test]
fn one_sled_grants_by_itself() {
    let sleds = fleet(71, 1);
    all_live(&sleds);
    let won = ticket(&sleds[0]);
    assert_eq!((&won["generation"], &won["granted_by"][0]), (&1000.into(), &"sled-0".into()));
    assert_eq!(won["targets"][2], "127.71.0.1:3832");
    assert_eq!(ticket(&sleds[0])["generation"], 1001);
    let (code, out, _) = done(&["ticket"], &sleds[0]);
    assert!(code == 0 && out.contains("generation  1002") && out.contains("127.71.0.1:3830"), "{out}");
}

#[test]
fn of_three_sleds_any_one_may_be_dead() {
    for dead in 0..3 {
        let sleds = fleet(72 + dead, 3);
        let live: Vec<_> = sleds.iter().filter(|sled| sled.name != format!("sled-{dead}")).collect();
        live.iter().for_each(|sled| sled.lives());
        let won = ticket(live[0]);
        let generation = won["generation"].as_u64().unwrap();
        assert!(live.iter().all(|sled| sled.mind.lock().unwrap().granted == generation), "{won}");
        assert_eq!(won["missing"], serde_json::json!([format!("sled-{dead}")]));
    }
}

#[test]
fn who_is_attached_elsewhere_is_named_and_can_be_taken_over() {
    let sleds = fleet(75, 3);
    all_live(&sleds);
    sleds.iter().for_each(|sled| sled.tell(|mind| mind.attached = true));
    let (code, _, err) = done(&["ticket"], &sleds[1]);
    assert_eq!(code, 1);
    for wanted in ["pumped-piglet (10.0.0.7) since 2026-01-25T00:00:00Z", "--takeover"] {
        assert!(err.contains(wanted), "{err}");
    }
    // The host gave up at once.
    assert_eq!(sleds[0].mind.lock().unwrap().asked.len(), 1);
    assert_eq!(done(&["ticket", "--takeover"], &sleds[1]).0, 0);
    // A sled's word beforehand is heeded before any is asked.
    let asked = sleds[2].mind.lock().unwrap().asked.len();
    sleds[0].tell(|mind| mind.tells = true);
    let (code, _, err) = done(&["ticket"], &sleds[1]);
    assert!(code == 1 && err.contains("pumped-piglet (10.0.0.7) since"), "{code} {err}");
    assert_eq!(sleds[2].mind.lock().unwrap().asked.len(), asked);
    sleds[0].tell(|mind| mind.tells = false);
    // A sled that refuses is no majority; but nothing becomes active without it.
    sleds[1..].iter().for_each(|sled| sled.tell(|mind| mind.attached = false));
    assert_eq!(ticket(&sleds[1])["missing"], serde_json::json!(["sled-0"]));
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = said(&server(dir.path(), &sleds[1], &[]).output().unwrap());
    assert!(code == 1 && err.contains("pumped-piglet"), "{code} {err}");
}

/// Another host that is not connected may come back. Who asks loses, and lets go of what the others granted;
/// who runs waits, and says for whom.
#[test]
fn who_loses_lets_go_and_who_waits_says_for_whom() {
    let sleds = fleet(87, 3);
    all_live(&sleds);
    sleds[..2].iter().for_each(|sled| sled.tell(|mind| mind.held = true));
    let (code, out, _) = done(&["ticket", "--json"], &sleds[1]);
    assert!(code == 1 && out.contains("VOLUME_HELD_ELSEWHERE") && out.contains("pumped-piglet"), "{code} {out}");
    let released = |sled: &Sled| sled.mind.lock().unwrap().released.clone();
    let granted = sleds[2].mind.lock().unwrap().granted;
    assert_eq!(released(&sleds[2]), [granted]);
    assert!(sleds[..2].iter().all(|sled| released(sled).is_empty()));

    let dir = tempfile::tempdir().unwrap();
    let mut child = server(dir.path(), &sleds[1], &[]).spawn().unwrap();
    let line = lines(&mut child).find(|line| line.contains("pumped-piglet")).unwrap();
    assert!(line.contains("is held elsewhere") && line.contains("tries again"), "{line}");
    sleds[..2].iter().for_each(|sled| sled.tell(|mind| mind.held = false));
    let mut out = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut out).unwrap();
    assert!(out.contains("--gen"), "{out}");
    drop(child.stdin.take());
    child.wait().unwrap();
    // Of a volume that is won nothing is let go.
    assert!(released(&sleds[0]).is_empty());
    assert_eq!(done(&["release"], &sleds[0]).0, 0);
}

#[test]
fn what_a_sled_babbles_does_not_count() {
    let sleds = fleet(76, 3);
    all_live(&sleds);
    for manner in [Manner::Hangs, Manner::Floods, Manner::Babbles("{}"), Manner::Babbles("\u{1b}[2J{\"a\":[[[[")] {
        sleds[2].tell(|mind| mind.manner = manner);
        assert_eq!(ticket(&sleds[0])["missing"], serde_json::json!(["sled-2"]), "{manner:?}");
    }
    // The only one that is asked.
    let sleds = fleet(77, 1);
    all_live(&sleds);
    sleds[0].tell(|mind| mind.manner = Manner::Babbles("\u{1b}[2J"));
    for words in [&["ticket"][..], &["status"], &["wait", "--timeout", "1s"]] {
        let (code, _, err) = done(words, &sleds[0]);
        assert!(code == 1 && !err.contains('\u{1b}'), "{code} {err}");
    }
}

#[test]
fn a_competitor_raises_the_generation_and_it_is_asked_for_more() {
    let sleds = fleet(78, 3);
    all_live(&sleds);
    sleds[0].tell(|mind| mind.competitor = 2);
    let won = ticket(&sleds[0]);
    let asked = sleds[0].mind.lock().unwrap().asked.clone();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(won["generation"], asked.last().unwrap()["at_least"]);
    // The competition never ends.
    sleds[0].tell(|mind| mind.competitor = u32::MAX);
    sleds[1].tell(|mind| mind.attached = true);
    let (code, _, err) = done(&["ticket"], &sleds[0]);
    assert!(code == 1 && err.contains("not won"), "{code} {err}");
}

#[test]
fn sleds_that_put_regions_elsewhere_are_both_named() {
    let sleds = fleet(79, 3);
    all_live(&sleds);
    sleds[2].tell(|mind| (mind.first_port, mind.port_map) = (3840, "sha256:two"));
    let (code, _, err) = done(&["ticket"], &sleds[0]);
    assert!(code == 1 && err.contains("sled-2") && err.contains("do not agree on where the regions are"), "{err}");
    assert!(err.contains("sledctl reload"), "{err}");
    let (code, _, err) = done(&["wait"], &sleds[0]);
    assert!(code == 0 && err.contains("warning: the port map of sled-0 is not that of sled-2"), "{err}");
}

/// The lines of a process's standard error, as they come.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok)
}

#[test]
fn it_waits_and_says_why() {
    let sleds = fleet(80, 3);
    sleds[..2].iter().for_each(Sled::lives);
    sleds[1].tell(|mind| mind.ready = false);
    let mut child =
        attach(&["wait", "--json"], &sleds[0]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = lines(&mut child);
    let mut seen = Vec::new();
    let mut until = |wanted: &str| {
        while !seen.iter().any(|line: &String| line.contains(wanted)) {
            seen.push(told.next().expect(wanted));
        }
    };
    until("sled-1: REGION_DOWN region still-fawn-0: it ended");
    until("127.80.0.3:3800: UNREACHABLE");
    sleds[1].tell(|mind| mind.ready = true);
    sleds[2].lives();
    assert_eq!(told.next(), None);
    assert_eq!(seen.len(), 2, "{seen:?}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let bodies: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(bodies.len() == 3 && bodies.iter().all(|body| body["ready"] == true), "{bodies:?}");
}

#[test]
fn the_end_of_a_wait_is_told_by_its_code() {
    let sleds = fleet(81, 1);
    let (code, _, err) = done(&["wait", "--timeout", "1s"], &sleds[0]);
    assert!(code == 4 && err.contains("127.81.0.1:3800"), "{code} {err}");
    assert_eq!(done(&["status"], &sleds[0]).0, 4);
    all_live(&sleds);
    sleds[0].tell(|mind| (mind.ready, mind.manner) = (false, Manner::Hasty));
    let (code, _, err) = done(&["wait", "--timeout", "3s"], &sleds[0]);
    assert!(code == 1 && err.contains("REGION_DOWN"), "{code} {err}");
    assert_eq!(err.matches("waits for").count(), 1, "{err}");
    // The sled did not hold its answers, and was not asked without pause.
    let looks = sleds[0].mind.lock().unwrap().looks;
    assert!((2..20).contains(&looks), "{looks} polls in 3 s");
    let (code, out, _) = done(&["status"], &sleds[0]);
    assert!(code == 3 && out.contains("not ready") && out.contains("REGION_DOWN"), "{code} {out}");
    sleds[0].tell(|mind| mind.ready = true);
    let (code, out, _) = done(&["status"], &sleds[0]);
    assert!(code == 0 && out.contains("still-fawn-2") && out.contains("serving"), "{code} {out}");
    let mut other = Command::new(env!("CARGO_BIN_EXE_crucible-attach"));
    let output = other.args(["wait", "pve"]).env("CRUCIBLE_SLEDS", "http://127.81.0.1:3800, 127.81.0.1").output();
    let (code, _, err) = said(&output.unwrap());
    assert!(code == 1 && err.contains("no such volume"), "{code} {err}");
}

/// A host is told about that host: a volume that is ready for others is not for one whom the map does not name, or
/// who was cut off.
#[test]
fn who_is_not_let_in_is_told_so_whatever_the_volume_is() {
    let sleds = fleet(70, 2);
    all_live(&sleds);
    sleds.iter().for_each(|sled| sled.tell(|mind| mind.hosts = vec!["10.0.0.7", "127.0.0.1"]));
    assert_eq!(done(&["wait"], &sleds[0]).0, 0);
    // The command does not wait for what does not come.
    sleds.iter().for_each(|sled| sled.tell(|mind| mind.hosts = vec!["10.0.0.7"]));
    for words in [&["wait", "--timeout", "1h"][..], &["wait", "--timeout", "0s"]] {
        let (code, out, err) = done(words, &sleds[0]);
        assert!(
            code == 1 && out.is_empty() && err.contains("does not let 127.0.0.1 attach still-fawn"),
            "{code} {err}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = said(&server(dir.path(), &sleds[0], &["--timeout", "1h"]).output().unwrap());
    assert!(code == 1 && err.contains("does not let 127.0.0.1 attach still-fawn"), "{code} {err}");
    let (code, out, _) = done(&["status"], &sleds[0]);
    assert!(code == 3 && out.contains("not ready") && out.contains("does not let 127.0.0.1"), "{code} {out}");
    // A sled whose map is not rolled out yet.
    sleds[1].tell(|mind| mind.hosts = Vec::new());
    let mut child = attach(&["wait"], &sleds[0]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let told = lines(&mut child).find(|line| line.contains("HOST_NOT_ALLOWED")).unwrap();
    assert!(told.contains("still-fawn waits for sled-0"), "{told}");
    sleds[0].tell(|mind| mind.hosts = vec!["127.0.0.1"]);
    assert!(child.wait().unwrap().success());

    // A host that was cut off waits until it is allowed, and has no need to if it wants a ticket.
    sleds[1].tell(|mind| mind.denied = vec!["127.0.0.1"]);
    let (code, _, err) = done(&["wait", "--timeout", "1s"], &sleds[0]);
    assert!(code == 1 && err.contains("sled-1: HOST_DENIED") && err.contains("ticket of its own"), "{code} {err}");
    let (code, out, _) = done(&["status"], &sleds[0]);
    assert!(code == 0 && out.contains("127.0.0.1 was cut off"), "{code} {out}");
    assert_eq!(done(&["ticket"], &sleds[0]).0, 0);
    sleds[1].tell(|mind| mind.denied = Vec::new());
    assert_eq!(done(&["wait"], &sleds[0]).0, 0);
}

/// A volume that is ready is not for one who would be refused a ticket, because another host is attached, or
/// away and expected back; whoever waits for it hears for whom, and of its end.
#[test]
fn who_would_have_to_take_it_over_is_told_for_whom_he_waits() {
    let sleds = fleet(69, 2);
    all_live(&sleds);
    for (code, change) in [
        ("VOLUME_HELD_ELSEWHERE", (|mind, on| (mind.held, mind.tells_keeper) = (on, true)) as fn(&mut Mind, bool)),
        ("VOLUME_ATTACHED_ELSEWHERE", |mind, on| (mind.attached, mind.tells) = (on, on)),
    ] {
        sleds[1].tell(|mind| change(mind, true));
        let (exit, out, err) = done(&["wait", "--timeout", "0s"], &sleds[0]);
        assert!(exit == 1 && out.is_empty() && err.contains(code), "{exit} {out}{err}");
        // The answer is what it is told of.
        let (exit, out, _) = done(&["ticket", "--json"], &sleds[0]);
        assert!(exit == 1 && out.contains(code), "{exit} {out}");
        let mut child = attach(&["wait"], &sleds[0]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told = lines(&mut child).find(|line| line.contains(code)).unwrap();
        assert!(told.contains("waits for sled-1") && told.contains("pumped-piglet (10.0.0.7)"), "{told}");
        // The volume itself is ready, and whoever takes it over need not wait.
        assert_eq!(done(&["status"], &sleds[0]).0, 0);
        assert_eq!(done(&["ticket", "--takeover"], &sleds[0]).0, 0);
        sleds[1].tell(|mind| change(mind, false));
        assert!(child.wait().unwrap().success(), "{code}");
    }
}

#[test]
fn without_time_to_wait_one_look_tells() {
    let sleds = fleet(97, 1);
    all_live(&sleds);
    assert_eq!(done(&["wait", "--timeout", "0s"], &sleds[0]).0, 0);
    sleds[0].tell(|mind| mind.ready = false);
    let (code, _, err) = done(&["wait", "--timeout", "0s"], &sleds[0]);
    assert!(code == 1 && err.contains("REGION_DOWN"), "{code} {err}");
}
