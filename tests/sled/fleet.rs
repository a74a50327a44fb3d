//! Three sleds with one region of a volume each, and hosts that want a majority of them.

mod rebuild;

use crate::calm::Calm;
use crate::sleds::{ADDRESSES, NAMES, Sleds};
use crucible_sled::wire::Volume;
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::hosts::{CONNECT, Host, hang_up, is_well};

const VOLUME: &str = "still-fawn";

#[test]
fn sleds_on_one_switch_are_asked_one_by_one_and_die_one_by_one() {
    let mut sleds = Sleds::boot();
    let hosts = ["192.168.4.17", "192.168.4.175"].map(|address| sleds.host(address));
    for (address, name) in ADDRESSES.into_iter().zip(NAMES) {
        for host in &hosts {
            let (status, body) = host.ask_at(address, "GET", "/v1/volumes/still-fawn", "").unwrap();
            assert_eq!((status, &body["sled"]), (200, &name.into()), "{body:#}");
            host.connect_to(address, 3830).unwrap();
        }
    }
    sleds.kill(0);
    sleds.cut(1);
    let began = Calm::begin();
    for address in &ADDRESSES[..2] {
        assert!(hosts[1].connect_to(address, 3830).is_err());
    }
    assert!(began.elapsed() < 3 * CONNECT, "{began:?}");
    hosts[1].connect_to(ADDRESSES[2], 3830).unwrap();
    sleds.plug(1);
    sleds.sled(1).wait_for("still-fawn", |volume| volume.ready);
    hosts[1].connect_to(ADDRESSES[1], 3830).unwrap();
}

/// Run `crucible-attach` on a host, with all sleds named: its exit code and all it printed.
fn attach(host: &Host, words: &[&str]) -> (Option<i32>, String) {
    let program = support::places::programs().join("crucible-attach");
    let urls = ADDRESSES.map(|address| format!("http://{address}:3800"));
    let mut all = vec!["timeout", "100", program.to_str().unwrap()];
    all.extend(words);
    urls.iter().for_each(|url| all.extend(["--sled", url]));
    let output = host.run(&all);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

/// The generation that a host wins: the clock's seconds have ten digits, and nothing else has.
fn win(host: &Host) -> u64 {
    let (code, said) = attach(host, &["ticket", VOLUME]);
    assert_eq!(code, Some(0), "{said}");
    generation(&said).unwrap_or_else(|| panic!("there is no generation in {said}"))
}

fn generation(said: &str) -> Option<u64> {
    said.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 10)?.parse().ok()
}

/// A host lets go of the volume, at so many sleds; of these others may be dead.
fn let_go(host: &Host, sleds: usize) {
    let (code, said) = attach(host, &["release", VOLUME]);
    assert_eq!(said.matches("let go of").count(), sleds, "{said}");
    assert_eq!(code, Some(if sleds == ADDRESSES.len() { 0 } else { 3 }), "{said}");
}

/// At how many sleds a host gets in.
fn reached(host: &Host) -> usize {
    ADDRESSES.iter().filter(|address| host.reaches_at(address, 3830)).count()
}

#[test]
fn a_ticket_of_three_sleds_has_one_generation() {
    let sleds = Sleds::boot();
    let (first, second) = (sleds.host("192.168.4.17"), sleds.host("192.168.4.175"));
    assert_eq!(attach(&first, &["wait", VOLUME]).0, Some(0));
    assert_eq!((reached(&first), reached(&second)), (3, 3));
    let generation = win(&first);
    let granted: Vec<_> = (0..3)
        .map(|n| {
            let volume = sleds.sled(n).wait_for(VOLUME, |volume| volume.holder.is_some());
            assert_eq!(volume.holder.unwrap().address, first.ip());
            volume.generation
        })
        .collect();
    // A majority grants alike. Between two seconds of the clock, by which they grant, the third one grants less.
    assert!(granted.iter().filter(|one| **one == generation).count() >= 2, "{granted:?}, and won {generation}");
    assert!(granted.iter().all(|one| *one <= generation), "{granted:?}, and won {generation}");
    assert_eq!((reached(&first), reached(&second)), (3, 0));
    let (code, said) = attach(&first, &["status", VOLUME]);
    assert!(code == Some(0) && NAMES.iter().all(|name| said.contains(name)), "{code:?} {said}");

    let (code, said) = attach(&sleds.host("192.168.4.66"), &["ticket", VOLUME]);
    assert!(code == Some(1) && said.contains("192.168.4.66"), "{code:?} {said}");
    // The first one may come back, until it says that it does not.
    let (code, said) = attach(&second, &["ticket", VOLUME]);
    assert!(code == Some(1) && said.contains("held elsewhere") && said.contains("192.168.4.17"), "{code:?} {said}");
    let_go(&first, 3);
    assert!(win(&second) > generation);
    assert_eq!((reached(&first), reached(&second)), (0, 3));
}

#[test]
fn a_host_that_is_connected_to_one_sled_keeps_another_from_winning() {
    let sleds = Sleds::boot();
    let (first, second) = (sleds.host("192.168.4.17"), sleds.host("192.168.4.175"));
    let before = win(&first);
    let mut lines = ADDRESSES.map(|address| first.connect_to(address, 3830).unwrap());
    for n in 0..3 {
        sleds.sled(n).wait_for(VOLUME, |volume| !volume.attached.is_empty());
    }
    let (code, said) = attach(&second, &["ticket", VOLUME]);
    assert!(code == Some(1) && said.contains("192.168.4.17"), "{code:?} {said}");
    assert!(lines.iter_mut().all(is_well));
    let (code, said) = attach(&second, &["ticket", VOLUME, "--takeover"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(generation(&said).unwrap() > before, "{said}");
    assert!(!lines.iter_mut().any(is_well));
    assert_eq!((reached(&first), reached(&second)), (0, 3));
}

#[test]
fn any_two_of_three_sleds_are_enough_and_one_is_not() {
    let mut sleds = Sleds::boot();
    let hosts = ["192.168.4.17", "192.168.4.175"].map(|address| sleds.host(address));
    let mut last = 0;
    for n in 0..3 {
        sleds.cut(n);
        for host in &hosts {
            let generation = win(host);
            assert!(generation > last, "{generation} after {last} without sled {n}");
            last = generation;
            assert_eq!(reached(host), 2);
            let_go(host, 2);
        }
        sleds.plug(n);
        sleds.sled(n).wait_for(VOLUME, |volume| volume.ready);
    }
    // The one that missed some is no hindrance, and learns what it missed.
    let generation = win(&hosts[0]);
    assert!(generation > last);
    assert_eq!((reached(&hosts[0]), reached(&hosts[1])), (3, 0));
    sleds.kill(0);
    let_go(&hosts[0], 2);
    let after = win(&hosts[1]);
    assert!(after > generation);
    assert_eq!((reached(&hosts[0]), reached(&hosts[1])), (0, 2));
    sleds.kill(2);
    let began = Instant::now();
    let (code, said) = attach(&hosts[0], &["ticket", VOLUME]);
    assert!(code.is_some_and(|code| code != 0 && code != 124), "{code:?} after {:?}: {said}", began.elapsed());
}

/// Rounds in which all hosts ask at once. Some may go away with nothing, as each hinders the others. Of
/// those that ask for no takeover one wins at most, and keeps it; what the others were granted they let go of.
#[test]
fn of_hosts_that_compete_the_highest_winner_alone_is_let_in() {
    let sleds = Sleds::boot();
    let hosts = ["192.168.4.17", "192.168.4.175", "192.168.4.19"].map(|address| sleds.host(address));
    let (mut highest, mut decided) = (0, 0);
    for _ in 0..8 {
        let asking =
            hosts.clone().map(|host| std::thread::spawn(move || attach(&host, &["ticket", VOLUME, "--takeover"])));
        let answers = asking.map(|thread| thread.join().unwrap());
        let won = answers.each_ref().map(|(code, said)| generation(said).filter(|_| *code == Some(0)));
        let all: BTreeSet<_> = won.iter().flatten().copied().collect();
        assert_eq!(all.len(), won.iter().flatten().count(), "won twice: {answers:?}");
        assert!(all.first().is_none_or(|lowest| *lowest > highest), "{answers:?} after {highest}");
        highest = all.last().copied().unwrap_or(highest);
        if all.len() < hosts.len() {
            continue;
        }
        decided += 1;
        for (host, generation) in hosts.iter().zip(&won) {
            let there = reached(host);
            assert_eq!(there >= 2, *generation == Some(highest), "{} is at {there} sleds: {answers:?}", host.address);
        }
    }
    assert!(decided > 0, "in no round all of them won");
    let holds = |host: &Host| attach(host, &["release", VOLUME]).1.contains("let go of");
    let mut one = 0;
    for _ in 0..4 {
        hosts.iter().for_each(|host| _ = holds(host));
        let asking = hosts.clone().map(|host| std::thread::spawn(move || attach(&host, &["ticket", VOLUME])));
        let answers = asking.map(|thread| thread.join().unwrap());
        let won: Vec<_> = hosts.iter().zip(&answers).filter(|(_, (code, _))| *code == Some(0)).collect();
        assert!(won.len() <= 1, "{answers:?}");
        one += won.len();
        let there: Vec<_> = hosts.iter().filter(|host| reached(host) > 0).map(|host| &host.address).collect();
        assert_eq!(there, won.iter().map(|(host, _)| &host.address).collect::<Vec<_>>(), "{answers:?}");
    }
    assert!(one > 0, "nobody won in any round");
}

/// A region goes away for a moment only while those of the other sleds serve; and of two that are to go at the same
/// time one waits for the other.
#[test]
fn a_region_goes_only_while_those_of_other_sleds_serve_and_stay() {
    let sleds = Sleds::boot();
    of_two_at_a_time_one_waits(&sleds);
    a_host_that_has_just_left_another_sled_is_not_left_alone(&sleds);
    rebuild::a_region_is_made_anew_only_from_what_the_other_sleds_have(&sleds);
    one_stays_while_another_does_not_serve(&sleds);
    what_nobody_waits_for_waits_for_the_others(&sleds);
    one_that_answers_at_another_port_is_asked_there(&sleds);
}

/// What `sledctl` of the first sled says, and how it ends.
fn ask(sleds: &Sleds, words: &[&str]) -> (Option<i32>, String) {
    let output = sleds.sled(0).run(&[&["sledctl"], words].concat());
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

const RESTART: [&str; 3] = ["region", "restart", "still-fawn-0"];

/// When a sled's region was last away: by the kernel's clock, which the machines have in common.
fn away(sleds: &Sleds, n: usize) -> (u64, u64) {
    let time = |what: &str| -> u64 {
        let unit = format!("crucible-downstairs@still-fawn-{n}");
        let shown = sleds.sled(n).ok(&["systemctl", "show", "--value", "-p", what, &unit]);
        shown.trim().parse().unwrap()
    };
    (time("ActiveExitTimestampMonotonic"), time("ActiveEnterTimestampMonotonic"))
}

fn of_two_at_a_time_one_waits(sleds: &Sleds) {
    for _ in 0..3 {
        let both = [0, 1].map(|n| {
            let words = ["sledctl", "region", "restart", &format!("still-fawn-{n}")];
            sleds.sled(n).enter(&words).stderr(Stdio::piped()).spawn().unwrap()
        });
        for one in both {
            let output = one.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let ((left, back), (other_left, other_back)) = (away(sleds, 0), away(sleds, 1));
        assert!(left < back && other_left < other_back);
        assert!(back < other_left || other_back < left, "{left}..{back} and {other_left}..{other_back}");
    }
}

fn one_stays_while_another_does_not_serve(sleds: &Sleds) {
    let pid = || sleds.sled(0).region("still-fawn-0").pid;
    let before = pid();
    sleds.sled(1).ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    // The same program, and another file.
    sleds.sled(0).sh("cp /usr/lib/crucible/crucible-downstairs /root/new; echo >>/root/new");
    let upgrade = ["downstairs", "upgrade", "/root/new"];
    for words in [&["region", "restart", "still-fawn-0"][..], &["region", "hold", "still-fawn-0"], &upgrade] {
        let (code, said) = ask(sleds, words);
        assert!(code == Some(1) && said.contains("still-fawn-1 on quick-otter does not serve"), "{words:?}: {said}");
    }
    sleds.sled(1).ok(&["sledctl", "region", "release", "still-fawn-1"]);
    sleds.sled(1).wait_for(VOLUME, |volume| volume.ready);
    sleds.cut(1);
    sleds.cut(2);
    let (code, said) = ask(sleds, &RESTART);
    assert!(code == Some(1) && said.contains("cannot be asked") && said.contains("--force"), "{said}");
    assert_eq!(pid(), before);
    assert_eq!(ask(sleds, &[&RESTART[..], &["--force"]].concat()).0, Some(0));
    assert_ne!(pid(), before);
    sleds.plug(1);
    sleds.plug(2);
    for n in [1, 2] {
        sleds.sled(n).wait_for(VOLUME, |volume| volume.ready);
    }
    let (code, said) = ask(sleds, &upgrade);
    assert!(code == Some(0) && said.contains("1 region(s) restarted"), "{said}");
}

/// If somebody says so.
fn one_that_answers_at_another_port_is_asked_there(sleds: &Sleds) {
    let pid = || sleds.sled(0).region("still-fawn-0").pid;
    let listen = "[http]\nlisten = [\"192.168.4.190:3900\"]\n";
    sleds.sled(1).sh(&format!(
        "printf '{listen}' >/etc/sled/sled.toml.d/90-http.toml; systemctl daemon-reload; systemctl stop sledd.service; \
         systemctl restart sledd.socket; systemctl start sledd.service"
    ));
    sleds.sled(1).until("sledctl volume show still-fawn >/dev/null");
    let (code, said) = ask(sleds, &RESTART);
    assert!(code == Some(1) && said.contains("cannot be asked") && said.contains("--sled ADDRESS:PORT"), "{said}");
    let restart_at = |at: &str| ask(sleds, &[&RESTART[..], &["--sled", at]].concat());
    let (code, said) = restart_at("192.168.4.7:3900");
    assert!(code == Some(1) && said.contains("no sled that shares") && said.contains("quick-otter (192.168.4.190)"));
    let before = pid();
    let (code, said) = restart_at("192.168.4.190:3900");
    assert!(code == Some(0) && pid() != before, "{said}");
}

/// What was shown of its connections a moment ago is not believed: it is waited for.
fn a_host_that_has_just_left_another_sled_is_not_left_alone(sleds: &Sleds) {
    let host = sleds.host("192.168.4.17");
    let mut lines = ADDRESSES.map(|address| host.connect_to(address, 3830).unwrap());
    assert!(lines.iter_mut().all(is_well));
    for n in 0..3 {
        sleds.sled(n).wait_for(VOLUME, |volume| volume.attached.len() == 1);
    }
    let (_, shown) = host.ask_at(ADDRESSES[1], "GET", "/v1/volumes/still-fawn/hosts", "").unwrap();
    assert_eq!((&shown["sled"], &shown["attached"][0]["address"]), (&NAMES[1].into(), &"192.168.4.17".into()));
    let before = sleds.sled(0).region("still-fawn-0").pid;
    hang_up(&mut lines[1]);
    let (_, now) = host.ask_at(ADDRESSES[1], "GET", "/v1/volumes/still-fawn/hosts", "").unwrap();
    assert_eq!(now["attached"], serde_json::json!([]));
    let restart = ["sledctl", "region", "restart", "still-fawn-0"];
    let restart = sleds.sled(0).enter(&restart).stderr(Stdio::piped()).spawn().unwrap();
    sleds.sled(0).until("sledctl --json jobs | grep -q '\"asks\": *{'");
    // It is asked about several times a second: no host is left with one region.
    sleds.sled(0).stays(VOLUME, Duration::from_secs(1), |volume| volume.regions[0].pid == before);
    lines[1] = host.connect_to(ADDRESSES[1], 3830).unwrap();
    assert!(is_well(&mut lines[1]));
    let output = restart.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_ne!(sleds.sled(0).region("still-fawn-0").pid, before);
    lines.iter_mut().for_each(hang_up);
}

/// An upgrade that goes on after a crash, and a region that the map has elsewhere: nobody follows these jobs, so
/// the supervisor has the other sleds asked; and as long as one of them is not well, they wait.
fn what_nobody_waits_for_waits_for_the_others(sleds: &Sleds) {
    let (own, other) = (sleds.sled(0), sleds.sled(1));
    let waits = || {
        let check = own.wait_for_check(VOLUME, "TURN_AWAITED");
        assert!(check.cause.contains("still-fawn-1 on quick-otter does not serve"), "{check:#?}");
        assert!(check.remedy.contains("sledctl jobs cancel"), "{check:#?}");
    };
    let goes_on = |wanted: &dyn Fn(&Volume) -> bool| {
        other.ok(&["sledctl", "region", "release", "still-fawn-1"]);
        own.wait_for(VOLUME, |volume| volume.ready && volume.checks.is_empty() && wanted(volume));
    };
    let hold = || other.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    let before = own.region("still-fawn-0").pid;
    hold();
    let roll = r#"{"to": null, "done": [], "force": false, "since": "2026-01-01T00:00:00Z", "back": false}"#;
    let record = "/var/lib/sled/programs.json";
    own.sh(&format!(
        r#"echo '{{"current": null, "rolling": {roll}, "staged": {{}}}}' >{record} && systemctl kill --signal=KILL sledd"#
    ));
    waits();
    assert_eq!(own.region("still-fawn-0").pid, before);
    goes_on(&|volume| volume.regions[0].pid != before);
    own.until(&format!("grep -q '\"rolling\": null' {record}"));

    let (before, host) = (own.region("still-fawn-0").pid, sleds.host("192.168.4.17"));
    hold();
    let mut line = host.connect_to(ADDRESSES[0], 3830).unwrap();
    own.wait_for(VOLUME, |volume| !volume.regions[0].connected.is_empty());
    own.sh("sed -i s/proper-raptor:3830/proper-raptor:3840/ /etc/sled/port-map.toml; until sledctl reload --yes; do sleep 0.1; done");
    waits();
    assert!(is_well(&mut line) && own.run(&["kill", "-0", &before.unwrap().to_string()]).status.success());
    // A host that is connected to this region and to no other would keep it back as well: it is seen where it is.
    let (_, seen) = host.ask_at(ADDRESSES[0], "GET", "/v1/volumes/still-fawn/hosts", "").unwrap();
    assert_eq!(seen["attached"][0]["regions"], serde_json::json!(["still-fawn-0"]), "{seen}");
    drop(line);
    goes_on(&|volume| volume.regions[0].port == 3840 && volume.regions[0].pid != before);
    own.until("test -z \"$(systemctl list-units --no-legend 'sled-follower-*')\"");
}
