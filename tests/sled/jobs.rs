//! Long work: listed while it runs and after it, with how far it is, and cancelled without a
//! trace.

use crucible_sled::wire::{Job, JobState};
use support::layer::Layer;
use support::machine::Machine;

/// A `create` that takes until it is told to go on.
fn slow_create() -> Layer {
    let script = "#!/bin/sh\n[ \"$1\" != create ] || while [ ! -e /run/go-on ]; do sleep 0.05; done\n\
                  exec /usr/lib/crucible/real \"$@\"\n";
    Layer::small().with_script("usr/lib/crucible/wrapper", script)
}

fn boot(layer: Layer) -> Machine {
    let machine = layer.boot();
    machine.sh("mv /usr/lib/crucible/crucible-downstairs /usr/lib/crucible/real; \
         mv /usr/lib/crucible/wrapper /usr/lib/crucible/crucible-downstairs");
    machine
}

fn jobs(machine: &Machine) -> Vec<Job> {
    serde_json::from_slice(&machine.run(&["sledctl", "--json", "jobs"]).stdout).unwrap()
}

#[test]
fn a_creation_is_followed_and_cancelled_without_a_trace() {
    let machine = boot(slow_create());
    machine.sh("systemd-run -q --unit=asked sledctl region create still-fawn-0");
    machine.sh("until systemctl -q is-active crucible-create-still-fawn-0 || \
                [ \"$(systemctl show -P ActiveState crucible-create-still-fawn-0)\" = activating ]; do sleep 0.02; done");
    // The program that makes a region opens no socket to a network, and writes in its directory alone.
    let sandbox = machine.ok(&[
        "systemctl",
        "show",
        "-P",
        "RestrictAddressFamilies",
        "-P",
        "ProtectSystem",
        "crucible-create-still-fawn-0",
    ]);
    assert!(sandbox.contains("AF_UNIX") && !sandbox.contains("AF_INET") && sandbox.contains("strict"), "{sandbox}");
    let job = jobs(&machine).pop().unwrap();
    assert!(job.state == JobState::Running && job.cancellable, "{job:#?}");
    let id = job.id.to_string();
    machine.ok(&["sledctl", "jobs", "cancel", &id]);
    machine.until("! systemctl -q is-active asked");
    let job = jobs(&machine).pop().unwrap();
    assert_eq!((job.state, job.cancellable), (JobState::Cancelled, false), "{job:#?}");
    assert_eq!(machine.sh("ls -A /crucible/.incoming; systemctl list-units --no-legend 'crucible-create-*'"), "");
    let again = machine.run(&["sledctl", "jobs", "cancel", &id]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("has ended"), "{again:?}");
    let unknown = machine.run(&["sledctl", "jobs", "show", "7"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no job 7"), "{unknown:?}");

    machine.sh("touch /run/go-on");
    machine.ok(&["sledctl", "region", "create", "still-fawn-0"]);
    let listed = machine.ok(&["sledctl", "jobs"]);
    assert!(listed.contains("cancelled") && listed.contains("done"), "{listed}");
    // They are numbered from 1, and outlive the supervisor.
    assert_eq!(jobs(&machine).iter().map(|job| job.id).collect::<Vec<_>>(), [1, 2]);
    machine.sh(
        "until grep -q '\"id\":2,.*\"done\"' /var/lib/sled/jobs.json; do sleep 0.02; done; systemctl restart sledd",
    );
    assert_eq!(machine.ok(&["sledctl", "jobs"]).matches("still-fawn-0").count(), 2);
    machine.ok(&["sledctl", "region", "create", "still-fawn-1"]);
    assert_eq!(jobs(&machine).last().unwrap().id, 3);
}

/// The supervisor is killed while `create` runs: what it was making is stopped and removed by
/// the next one, and nothing else is.
#[test]
fn a_creation_whose_supervisor_was_killed_is_swept() {
    let machine = boot(slow_create());
    machine.sh("mkdir -p /crucible/.incoming/precious; systemd-run -q --unit=asked sledctl region create still-fawn-0");
    machine.sh("until ls -d /crucible/.incoming/still-fawn-0.* >/dev/null 2>&1; do sleep 0.02; done; \
                systemctl kill -s KILL --kill-whom=main sledd; rm -f /run/go-on");
    machine.until("[ \"$(ls -A /crucible/.incoming)\" = precious ]");
    assert_eq!(machine.sh("systemctl list-units --no-legend 'crucible-create-*'"), "");
    machine.sh("touch /run/go-on");
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}
