//! Another downstairs program: stand-ins that state another version, or that are no good.

use crucible_sled::check::Severity;
use crucible_sled::wire::{Job, JobKind, JobState, State, Volume};
use std::net::TcpStream;
use support::hosts::SLED;
use support::layer::Layer;
use support::machine::Machine;

const STEADY: (&str, &str) = ("etc/sled/sled.toml.d/60-steady.toml", "[downstairs]\nsteady_after = \"1s\"\n");
/// The shipped program, stating another version.
const NEWER: &str =
    "sed 's/0\\.0\\.1 stand-in for/0.0.2 stand-in for/' /usr/lib/crucible/crucible-downstairs >/root/new";

/// A program that states version 0.0.9 and does this when it is to serve.
fn program(machine: &Machine, run: &str) {
    let text = format!(
        "#!/bin/sh\\nif [ \"$1\" = version ]; then echo 'Crucible Version: 0.0.9'; \
         echo 'Message Version: 13'; exit; fi\\n{run}\\n"
    );
    machine.sh(&format!("printf '%b' '{}' >/root/bad", text.replace('\'', "'\\''")));
}

fn versions(volume: &Volume) -> Vec<&str> {
    volume.regions.iter().map(|region| region.version.as_deref().unwrap_or_default()).collect()
}

fn pids(machine: &Machine) -> Vec<Option<u32>> {
    machine.volume("still-fawn").regions.iter().map(|region| region.pid).collect()
}

fn boot() -> Machine {
    let machine = Layer::small().with(STEADY.0, STEADY.1).boot_and_create();
    machine.wait_for("still-fawn", |volume| versions(volume).iter().all(|version| version.starts_with("0.0.1")));
    machine
}

#[test]
fn a_new_program_is_rolled_over_every_region_and_stays() {
    let mut machine = boot();
    let before = pids(&machine);
    let said = machine.sh(&format!("{NEWER}; sledctl downstairs upgrade /root/new; rm /root/new"));
    assert!(said.contains("3 region(s) restarted; all run 0.0.2"), "{said}");
    let newer = |volume: &Volume| volume.ready && versions(volume).iter().all(|version| version.starts_with("0.0.2"));
    machine.wait_for("still-fawn", newer);
    assert!(pids(&machine).iter().all(|pid| !before.contains(pid)));
    assert!(machine.sh("sledctl downstairs").contains("0.0.2"));
    // The same once more: nothing is restarted, and nothing watched.
    let same = pids(&machine);
    let said = machine.sh(&format!("{NEWER}; sledctl downstairs upgrade /root/new; rm /root/new"));
    assert!(said.contains("nothing was restarted: all regions run 0.0.2"), "{said}");
    assert_eq!(pids(&machine), same);
    // The record of it is damaged: by its copy systemd gives the units the same program still, and what another
    // configuration brings is started.
    let record = "/var/lib/sled/programs.json";
    machine.sh(&format!("echo '{{' > {record} && systemctl daemon-reload"));
    assert!(machine.sh("systemctl cat crucible-downstairs@still-fawn-0").contains("/var/lib/sled/programs/"));
    machine.sh("mkdir -p /etc/sled/sled.toml.d && printf '[downstairs]\\nhung_after = \"6s\"\\n' > /etc/sled/sled.toml.d/90.toml");
    machine.ok(&["sledctl", "reload", "--yes"]);
    machine.until(&format!("test -s {record}.damaged && grep -q current {record}"));
    machine.sh("systemctl kill --signal=KILL crucible-downstairs@still-fawn-0");
    machine.wait_for("still-fawn", |volume| newer(volume) && volume.regions[0].pid != same[0]);
    machine.reboot();
    machine.wait_for("still-fawn", newer);
    // And back to the one of sled.toml; what was staged goes.
    machine.ok(&["sledctl", "downstairs", "upgrade"]);
    machine.wait_for("still-fawn", |volume| versions(volume).iter().all(|version| version.starts_with("0.0.1")));
    assert_eq!(machine.sh("ls /var/lib/sled/programs"), "");
}

/// As long as nobody is connected a region is watched for a while, here for longer than any test: meanwhile
/// others do not wait, how far it is can be seen, and it can be ended.
#[test]
fn an_upgrade_lets_others_go_first_and_can_be_cancelled() {
    let machine = Layer::small().with(STEADY.0, "[downstairs]\nsteady_after = \"1h\"\n").boot_and_create();
    machine.wait_for("still-fawn", |volume| versions(volume).iter().all(|version| version.starts_with("0.0.1")));
    machine.sh(&format!("{NEWER}; sledctl downstairs upgrade /root/new >/root/said 2>&1 & true"));
    let upgrade = || {
        let jobs: Vec<Job> = serde_json::from_value(machine.get("/v1/jobs").1).unwrap();
        jobs.into_iter().find(|job| job.kind == JobKind::Upgrade)
    };
    let watches = |job: &Job| job.step.contains("still-fawn-0: watching it for 3600 s");
    let job = std::iter::repeat_with(upgrade).flatten().find(watches).unwrap();
    assert!(job.progress.is_some_and(|progress| progress.total == 3) && job.cancellable, "{job:#?}");
    // Another region.
    machine.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    machine.ok(&["sledctl", "region", "release", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    // A region that somebody restarts is watched anew.
    machine.ok(&["sledctl", "region", "restart", "still-fawn-0"]);
    machine.wait_for("still-fawn", |volume| volume.ready && versions(volume)[0].starts_with("0.0.2"));
    // A region that is deleted has nothing to do with the program any more, and the next one gets it.
    let step = |what: &str| {
        let at_it = |job: &Job| {
            assert_eq!(job.state, JobState::Running, "{job:#?}");
            job.step.contains(what)
        };
        std::iter::repeat_with(upgrade).flatten().find(at_it).unwrap()
    };
    machine.ok(&["sledctl", "region", "delete", "still-fawn-0", "--yes-destroy", "still-fawn-0"]);
    step("still-fawn-1: its turn is waited for");
    machine.ok(&["sledctl", "region", "restore", "still-fawn-0"]);
    step("still-fawn-1: watching it for 3600 s");
    machine.ok(&["sledctl", "jobs", "cancel", &job.id.to_string()]);
    std::iter::repeat_with(upgrade).flatten().find(|job| job.state == JobState::Cancelled).unwrap();
    machine.wait_for("still-fawn", |volume| {
        volume.ready && volume.checks.is_empty() && versions(volume).iter().all(|version| version.starts_with("0.0.1"))
    });
    assert_eq!(machine.sh("ls /var/lib/sled/programs"), "");
}

#[test]
fn a_program_that_does_not_serve_is_taken_back_by_itself() {
    let machine = boot();
    let before = pids(&machine);
    for run in [
        "echo \"Error: no such luck\" >&2; exit 1",
        "echo \"Error: open of 00/000/000 failed\" >&2; exit 1",
        // Serves for a moment.
        "exec timeout 0.7 /usr/lib/crucible/crucible-downstairs \"$@\"",
    ] {
        program(&machine, run);
        let failed = machine.run(&["sledctl", "--json", "downstairs", "upgrade", "/root/bad"]);
        let said = String::from_utf8_lossy(&failed.stdout);
        assert_eq!(failed.status.code(), Some(1), "{said}");
        assert!(said.contains("every region runs what it ran before"), "{run}: {said}");
        let volume = machine.wait_for("still-fawn", |volume| volume.ready && volume.checks.is_empty());
        assert!(volume.regions.iter().all(|region| region.state == Some(State::Serving)));
    }
    // Only the first region was ever touched.
    assert_eq!(pids(&machine)[1..], before[1..]);
    machine.wait_for("still-fawn", |volume| versions(volume).iter().all(|version| version.starts_with("0.0.1")));
}

#[test]
fn what_is_no_downstairs_or_speaks_otherwise_is_refused() {
    let machine = boot();
    let before = pids(&machine);
    let refused = |program: &str| {
        let refused = machine.run(&["sledctl", "downstairs", "upgrade", program]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    assert!(refused("/bin/true").contains("does not state its version"));
    assert!(refused("/root/none").contains("No such file"));
    let host = machine.in_outside(|| TcpStream::connect((SLED, 3831)).unwrap());
    machine.wait_for("still-fawn", |volume| !volume.regions[1].connected.is_empty());
    machine.sh(r"printf '#!/bin/sh\necho Crucible Version: 0.0.9\necho Message Version: 14\n' >/root/other");
    assert!(refused("/root/other").contains("the hosts that are connected speak 13"));
    assert_eq!(machine.sh("ls /var/lib/sled/programs"), "");
    drop(host);
    machine.sh("echo exit no >/crucible/still-fawn-1/stand-in-fault; sledctl region hold still-fawn-1; rm /crucible/still-fawn-1/stand-in-fault");
    machine.sh(
        "systemctl stop crucible-downstairs@still-fawn-0; systemctl mask --runtime crucible-downstairs@still-fawn-0",
    );
    machine.wait_for("still-fawn", |volume| volume.regions[0].state != Some(State::Serving));
    assert!(refused("/bin/true").contains("still-fawn-0 does not serve"));
    assert_eq!(pids(&machine)[2], before[2]);
}

#[test]
fn a_roll_that_a_crash_cut_short_goes_on_by_itself() {
    let machine = boot();
    let before = pids(&machine);
    machine.sh(&format!("{NEWER}; sledctl downstairs upgrade /root/new >/dev/null 2>&1 & true"));
    machine.wait_for("still-fawn", |volume| versions(volume)[0].starts_with("0.0.2"));
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| {
        volume.ready && versions(volume).iter().all(|version| version.starts_with("0.0.2"))
    });
    assert!(pids(&machine).iter().all(|pid| !before.contains(pid)));
    machine.sh("until ! grep -q '\"rolling\": {' /var/lib/sled/programs.json; do sleep 0.1; done");
    let checks = machine.sled().checks;
    assert!(checks.iter().all(|check| check.severity == Severity::Information), "{checks:#?}");
}

/// A region that comes back with neither program: the way back stops there, puts no other region at risk, says so,
/// and goes on when that is mended.
#[test]
fn a_way_back_stops_at_one_that_does_not_come_back() {
    let machine = boot();
    machine.sh(&format!("{NEWER}; echo exit no such luck >/crucible/still-fawn-1/stand-in-fault"));
    let failed = machine.run(&["sledctl", "downstairs", "upgrade", "/root/new"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("taking it back has stopped"), "{said}");
    let check = machine.wait_for_check("still-fawn", "UPGRADE_UNFINISHED");
    assert_eq!(check.subject, "downstairs");
    let volume = machine.volume("still-fawn");
    let serving = |index: usize| volume.regions[index].state == Some(State::Serving);
    assert!(serving(0) && serving(2), "{volume:#?}");
    machine.sh("rm /crucible/still-fawn-1/stand-in-fault; systemctl restart sledd");
    machine.wait_for("still-fawn", |volume| {
        volume.ready && volume.checks.is_empty() && versions(volume).iter().all(|version| version.starts_with("0.0.1"))
    });
    // Another one that stops so: whoever begins anew finds nothing to restart, and nothing of it is left.
    machine.sh("echo exit no such luck >/crucible/still-fawn-0/stand-in-fault");
    let failed = machine.run(&["sledctl", "downstairs", "upgrade", "/root/new"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("taking it back has stopped"), "{said}");
    machine.sh(
        "rm /crucible/still-fawn-0/stand-in-fault; until sledctl region list; do sledctl region release --all; done",
    );
    let said = machine.ok(&["sledctl", "downstairs", "upgrade"]);
    assert!(said.contains("nothing was restarted"), "{said}");
    assert_eq!(machine.sh("ls /var/lib/sled/programs"), "");
    machine.wait_for("still-fawn", |volume| volume.ready && volume.checks.is_empty());
}
