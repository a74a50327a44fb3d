//! The supervisor and the processes that it does not hold.

use crate::polls::Polls;
use crucible_sled::check::Severity;
use crucible_sled::wire::State;
use std::time::{Duration, Instant};
use support::hosts::ask;
use support::layer::Layer;
use support::machine::{Machine, has};

#[test]
fn a_killed_supervisor_fails_no_poll_and_restarts_no_downstairs() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    let polls = Polls::start(&machine, 4);
    for _ in 0..100 {
        let started = machine.sled().started;
        // Forgiven the restarts, systemd starts the next one at once.
        machine.sh("systemctl kill --signal=KILL sledd.service; systemctl reset-failed sledd.service");
        // The socket holds the question until a supervisor answers.
        while machine.sled().started == started {}
    }
    let (answered, cut, failed) = polls.end();
    println!("{answered} polls answered, {cut} of them at the second asking, {} failed", failed.len());
    assert_eq!(failed, Vec::<String>::new(), "{} of {} polls failed", failed.len(), answered + failed.len());
    assert!(answered > 100, "only {answered} polls were answered");
    // At most what was under way at each kill.
    assert!(cut <= 100 * 4, "{cut} of {answered} polls were cut");
    assert_eq!(machine.pids(), before);
}

/// Told to end, the supervisor finishes its answers: nobody has to ask twice, not even a host
/// whose answer was being held.
#[test]
fn a_restarted_supervisor_cuts_no_poll() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    let revision = machine.volume("still-fawn").revision;
    let poller = machine.poller();
    let held = std::thread::spawn(move || {
        poller.enter();
        ask("GET", &format!("/v1/volumes/still-fawn?wait=50&revision={revision}")).unwrap().0
    });
    let polls = Polls::start(&machine, 4);
    for _ in 0..20 {
        machine.ok(&["systemctl", "restart", "sledd.service"]);
    }
    let (answered, cut, failed) = polls.end();
    assert_eq!((cut, failed), (0, Vec::<String>::new()), "of {answered} polls");
    assert_eq!(held.join().unwrap(), 200);
    assert_eq!(machine.pids(), before);
}

#[test]
fn a_killed_downstairs_is_down_by_name_and_comes_back() {
    let machine = Layer::small().boot_and_create();
    let before = machine.region("still-fawn-1");
    machine.ok(&["kill", "-KILL", &before.pid.unwrap().to_string()]);
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_DOWN"));
    assert!(!volume.ready);
    let check = volume.checks.iter().find(|check| check.code.as_str() == "REGION_DOWN").unwrap();
    assert_eq!(check.subject, "region still-fawn-1");
    let volume = machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    let after = &volume.regions[1];
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.uuid, before.uuid);
}

#[test]
fn a_port_taken_before_the_start_is_named_by_pid_and_command() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemctl stop sledd.service sledd.socket && systemctl stop crucible-downstairs@still-fawn-2");
    machine.ok(&["systemd-run", "--unit=stranger", "systemd-socket-activate", "-l", "192.168.4.189:7832", "true"]);
    machine.sh("until ss -tln | grep -q :7832; do sleep 0.1; done; systemctl start sledd.socket");
    let check = machine.wait_for_check("still-fawn", "PORT_TAKEN");
    let pid = machine.sh("systemctl show --value --property=MainPID stranger").trim().to_owned();
    assert_eq!(check.subject, "port 7832");
    for word in [format!("process {pid} "), "systemd-socket-activate".into(), "stranger.service".into()] {
        assert!(check.cause.contains(&word), "{word:?} is not in {check:#?}");
    }
    assert_eq!(machine.region("still-fawn-2").state, Some(State::Stopped));
    let shown = machine.run(&["sledctl", "ports"]);
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.code() == Some(3) && said.contains(&format!("stranger {pid}: stranger.service")), "{said}");
    machine.ok(&["systemctl", "stop", "stranger"]);
    assert!(machine.wait_for("still-fawn", |volume| volume.ready).checks.is_empty());
    // All three are its own again, in both ports; and each takes something of the machine.
    let (status, body) = machine.get("/v1/ports");
    assert_eq!((status, body.to_string().matches("\"who\":\"region\"").count()), (200, 6), "{body:#}");
    machine.ok(&["sledctl", "ports"]);
    let top: serde_json::Value =
        serde_json::from_str(&machine.ok(&["sledctl", "top", "--once", "-o", "json"])).unwrap();
    let regions = top["regions"].as_array().unwrap();
    assert!(regions.len() == 3 && regions.iter().all(|one| one["memory_bytes"].as_u64() > Some(0)), "{top:#}");
    let log = machine.ok(&["sledctl", "logs", "still-fawn-2"]);
    assert!(log.contains("crucible-downstairs@still-fawn-2.service"), "{log}");
}

#[test]
fn a_port_taken_before_the_create_refuses_it() {
    let machine = Layer::small().boot();
    machine.ok(&["systemd-run", "--unit=stranger", "systemd-socket-activate", "-l", "192.168.4.189:3830", "true"]);
    machine.sh("until ss -tln | grep -q :3830; do sleep 0.1; done; systemctl restart sledd");
    let refused = machine.run(&["sledctl", "--json", "region", "create", "still-fawn-0"]);
    let body: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &body[0]["error"]["code"]), (Some(1), &"PORT_TAKEN".into()));
}

/// Stopped, the loop cannot feed its watchdog, and systemd starts another supervisor.
#[test]
fn a_stuck_supervisor_is_restarted_by_its_watchdog() {
    let machine = Layer::small().with("etc/systemd/system/sledd.service.d/test.conf", "[Service]\nWatchdogSec=2\n");
    let machine = machine.boot_and_create();
    let (before, started) = (machine.pids(), machine.sled().started);
    machine.ok(&["systemctl", "kill", "--signal=STOP", "sledd.service"]);
    while machine.sled().started == started {}
    assert_eq!(machine.get("/v1/volumes/still-fawn?wait=10").0, 200);
    assert_eq!(machine.pids(), before);
    let journal = machine.ok(&["journalctl", "-b", "-u", "sledd", "-o", "cat"]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

/// A slip of the pen that nobody notices: the sled is run by what was in force before, says so from the
/// moment on that the file was written, and goes on doing so over a restart and a reboot.
#[test]
fn a_fault_that_was_left_in_the_files_is_told_and_takes_nothing_down() {
    let mut machine = Layer::small().boot_and_create();
    let before = machine.pids();
    assert!(machine.sled().checks.iter().all(|check| !check.code.as_str().starts_with("CONFIG")));
    machine.sh("sed -i s/proper-raptor:3832/proper-raptor:3932/ /etc/sled/port-map.toml");
    let pending = told(&machine, "CONFIG_PENDING");
    assert_eq!(pending.matches("sha256:").count(), 2, "{pending}");
    machine.sh("sed -i 's/proper-raptor:3932/proper-raptor:3832/; s/proper-raptor:3831/proper-raptor:3830/' \
                /etc/sled/port-map.toml");
    let said = told(&machine, "CONFIG_INVALID");
    assert!(said.contains("port-map.toml:12: the data port 3830") && said.contains("what is in force since"), "{said}");
    let check = machine.run(&["sledctl", "config", "check"]);
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(machine.run(&["sledctl", "status"]).status.code(), Some(0));
    machine.ok(&["systemctl", "restart", "sledd"]);
    assert_eq!(machine.get("/v1/volumes/still-fawn?wait=10").0, 200);
    told(&machine, "CONFIG_INVALID");
    assert_eq!(machine.pids(), before);
    // A reading of its units by systemd does not take their values away: a region that is killed now comes back.
    machine.ok(&["systemctl", "daemon-reload"]);
    let pid = machine.sh("systemctl show --value --property=MainPID crucible-downstairs@still-fawn-1");
    machine.ok(&["kill", "-KILL", pid.trim()]);
    machine.sh("until systemctl show -P NRestarts crucible-downstairs@still-fawn-1 | grep -q 1; do sleep 0.1; done");
    machine.wait_for("still-fawn", |volume| volume.ready);

    machine.reboot();
    let volume = machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(volume.regions.iter().map(|region| region.port).collect::<Vec<_>>(), [3830, 3831, 3832]);
    told(&machine, "CONFIG_INVALID");
    assert!(machine.sh("systemctl cat sledd.socket").contains("ListenStream=192.168.4.189:3800"));
    what_was_in_force_comes_back_by_its_number(&machine);
}

/// The cause of a condition that blocks nothing.
fn told(machine: &Machine, code: &str) -> String {
    machine.until(&format!("sledctl --json checks | grep -q {code}"));
    let check = machine.sled().checks.into_iter().find(|check| check.code.as_str() == code).unwrap();
    assert_ne!(check.severity, Severity::Blocking);
    check.cause
}

/// The faulty file stays beside it.
fn what_was_in_force_comes_back_by_its_number(machine: &Machine) {
    let before = machine.pids();
    let history = machine.ok(&["sledctl", "--json", "config", "history"]);
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let number = history["in_force"].to_string();
    assert_eq!(history["kept"].as_array().unwrap().len(), 1, "{history}");
    machine.ok(&["sledctl", "config", "restore", &number]);
    machine.sh("until ! sledctl --json checks | grep -q CONFIG_; do sleep 0.1; done; \
                grep -q 'proper-raptor:3830\", \"proper-raptor:3830' /etc/sled/port-map.toml.replaced");
    assert_eq!(machine.run(&["sledctl", "config", "diff"]).status.code(), Some(0));
    assert_eq!(machine.pids(), before);
    // With a memory that cannot be written to nothing is taken over that would not outlast a power cut.
    machine.sh("mount --bind -o ro /var/lib/sled /var/lib/sled; nsenter -t $(systemctl show -P MainPID sledd) -m \
                mount --bind -o ro /var/lib/sled /var/lib/sled");
    machine.sh("echo '# x' >>/etc/sled/port-map.toml");
    let refused = machine.run(&["sledctl", "reload"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("could not be kept"), "{refused:?}");
}

#[test]
fn the_admin_socket_is_for_root_and_the_group() {
    let machine = Layer::small().boot();
    let as_nobody = ["setpriv", "--reuid=nobody", "--clear-groups", "sledctl", "status"];
    let refused = machine.run(&as_nobody);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("adduser NAME sled"));
    let as_member = ["setpriv", "--reuid=nobody", "--regid=sled", "--clear-groups", "sledctl", "volume", "list"];
    let told = machine.run(&as_member);
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    // With the socket open to all, the kernel's word on who asks still decides.
    machine.ok(&["chmod", "0666", "/run/sled/admin.sock"]);
    let refused = machine.run(&as_nobody);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("only root and members of the group sled"));
}

/// Started with the values of one port map and judged by those of the next.
#[test]
fn a_port_that_moved_is_told_and_a_restart_moves_it() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    machine.sh("sed -i s/proper-raptor:3832/proper-raptor:3932/ /etc/sled/port-map.toml; systemctl restart sledd");
    let volume = machine.wait_for("still-fawn", |volume| {
        volume.checks.iter().any(|check| {
            check
                .cause
                .contains("listens on 192.168.4.189:3832 and 192.168.4.189:7832, and the port map says 3932 and 7932")
        })
    });
    assert!(!volume.ready);
    assert_eq!(machine.pids(), before, "a host's region was restarted unasked");
    machine.ok(&["systemctl", "restart", "crucible-downstairs@still-fawn-2"]);
    assert_eq!(machine.wait_for("still-fawn", |volume| volume.ready).regions[2].port, 3932);
}

/// systemd reads the units again before anything is started with their old values.
#[test]
fn a_port_that_moved_while_the_region_was_stopped_is_the_one_it_starts_on() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-2; \
         sed -i s/proper-raptor:3832/proper-raptor:3932/ /etc/sled/port-map.toml; systemctl start sledd.socket");
    assert_eq!(machine.wait_for("still-fawn", |volume| volume.ready).regions[2].port, 3932);
    let journal = machine.ok(&["journalctl", "-b", "-u", "crucible-downstairs@still-fawn-2", "-o", "cat"]);
    assert_eq!(journal.matches("downstairs listening on").count(), 2, "{journal}");
}

/// A machine that boots with a fault in its configuration tells hosts so; once it is mended they
/// poll where they are to, also after the supervisor has started anew.
#[test]
fn a_faulty_configuration_at_boot_is_told_to_hosts_until_it_is_mended() {
    let faulty = support::layer::SMALL.replace("3831", "3830");
    let machine = Layer::small().with("etc/sled/port-map.toml", &faulty).boot();
    let (status, body) = machine.get("/v1/volumes/still-fawn");
    assert_eq!((status, &body["error"]["code"]), (503, &"CONFIG_INVALID".into()), "{body}");

    // The remedy is done to the files as they are then, and not to the old fault.
    let another = support::layer::SMALL.replace("extent_count = 4", "extent_count = 0");
    machine.sh(&format!("cat >/etc/sled/port-map.toml <<'MAP'\n{another}\nMAP"));
    for way in [&["sledctl", "config", "diff"][..], &["sledctl", "reload"], &["systemctl", "reload", "sledd"]] {
        let refused = machine.run(way);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(way[0] == "systemctl" || (said.contains("extent_count") && !said.contains("3830")), "{said}");
    }
    // Files that editors and others leave among the fragments are no part of it.
    let map = support::layer::SMALL;
    machine.sh(&format!(
        "cd /etc/sled/sled.toml.d; printf '\\0\\5\\26\\7' >._x.toml; ln -s nowhere .#x.toml; mkdir old.toml; \
         cat >/etc/sled/port-map.toml <<'MAP'\n{map}\nMAP"
    ));
    let check = machine.ok(&["sledctl", "config", "check"]);
    assert!(
        ["._x.toml: ignored", ".#x.toml: ignored", "old.toml: ignored"].iter().all(|w| check.contains(w)),
        "{check}"
    );
    assert_eq!(machine.run(&["sledctl", "config", "diff"]).status.code(), Some(0));
    let (began, sledd) = (Instant::now(), machine.ok(&["systemctl", "show", "-P", "NRestarts", "sledd"]));
    machine.ok(&["systemctl", "reload", "sledd"]);
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for somebody's patience to end");
    assert_eq!(machine.ok(&["systemctl", "show", "-P", "NRestarts", "sledd"]), sledd, "it was not told, but killed");
    machine.until("ss -Hltn 'sport = :3800' | grep -q 192.168.4.189:3800");
    machine.wait_for("still-fawn", |volume| !volume.checks.is_empty());
    for _ in 0..2 {
        machine.sh("systemctl restart sledd");
        machine.wait_for("still-fawn", |volume| !volume.checks.is_empty());
    }
    assert_eq!(machine.sh("ss -Hltn 'sport = :3800' | wc -l").trim(), "1", "and nowhere else");
}

/// A stop by somebody else than the supervisor has a trace; and since when things are so is known over a restart of
/// the supervisor.
#[test]
fn what_systemctl_stops_leaves_a_trace_and_times_outlive_the_supervisor() {
    let machine = Layer::small().boot_and_create();
    let stopped = |name: &str| machine.region(name).stopped_outside;
    let unit = |index: usize| format!("crucible-downstairs@still-fawn-{index}");
    let anew = |index: usize, before: Option<u32>| {
        machine.wait_for("still-fawn", move |volume| {
            let region = &volume.regions[index];
            region.state == Some(State::Serving) && region.pid.is_some() && region.pid != before
        });
    };
    for (index, verb) in [(0, "stop"), (2, "restart")] {
        let before = machine.region(&format!("still-fawn-{index}")).pid;
        machine.ok(&["systemctl", verb, &unit(index)]);
        anew(index, before);
        let name = format!("still-fawn-{index}");
        assert!(stopped(&name).is_some(), "{verb}");
        assert!(machine.ok(&["sledctl", "region", "show", &name]).contains("by systemctl"));
        machine.sh(&format!("journalctl -u sledd -o cat | grep -Eq '{name} was (stopped|restarted) by systemctl'"));
    }
    // The supervisor's own doings, and what ends by itself, are nobody else's.
    let before = machine.region("still-fawn-1").pid;
    machine.ok(&["sledctl", "region", "restart", "still-fawn-1"]);
    anew(1, before);
    let before = machine.region("still-fawn-1").pid;
    machine.ok(&["kill", "-KILL", &before.unwrap().to_string()]);
    anew(1, before);
    machine.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    machine.ok(&["sledctl", "region", "release", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(stopped("still-fawn-1"), None);

    machine.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    let held = |machine: &Machine| {
        let since = machine.wait_for_check("still-fawn", "REGION_HELD").since;
        (since, machine.region("still-fawn-1").since, machine.region("still-fawn-0").stopped_outside)
    };
    let before = held(&machine);
    let started = machine.sled().started;
    machine.sh("until grep -q REGION_HELD /var/lib/sled/since.json; do sleep 0.02; done; systemctl kill -s KILL sledd");
    while machine.sled().started == started {}
    assert_eq!(held(&machine), before);
}
