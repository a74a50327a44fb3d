//! From nothing to attachable, and back after a reboot.

use crucible_sled::wire::State;
use std::collections::BTreeSet;
use support::hosts::ask;
use support::layer::Layer;

const VOLUMES: [&str; 4] = ["pve", "still-fawn", "pumped-piglet", "chief-horse"];

/// The main job, at its full geometry: four volumes of three regions, 12.5 GiB each.
#[test]
fn twelve_regions_from_nothing_to_200() {
    let machine = Layer::shipped().boot();
    for volume in VOLUMES {
        let (status, body) = machine.get(&format!("/v1/volumes/{volume}"));
        assert_eq!(status, 503, "{body}");
        assert_eq!(body["regions"][0]["state"], "missing");
        assert_eq!(body["checks"][0]["code"], "REGION_MISSING");
    }
    // The room for what is deleted is made beside the answers.
    machine.until("[ -d /crucible/.trash ]");
    assert_eq!(machine.sh("ls -A /crucible"), ".sled\n.trash\nlost+found\n", "something was made unasked");

    let said = machine.ok(&["sledctl", "region", "create", "--all"]);
    assert_eq!(said.lines().filter(|line| line.contains(": created in ")).count(), 12, "{said}");

    let mut uuids = BTreeSet::new();
    for name in VOLUMES {
        let (status, _) = machine.get(&format!("/v1/volumes/{name}?wait=60"));
        let volume = machine.volume(name);
        assert_eq!((status, volume.ready, volume.size_bytes), (200, true, 13_421_772_800), "{volume:#?}");
        assert_eq!(volume.fault_tolerance, 0);
        assert!(volume.regions.iter().all(|region| region.state == Some(State::Serving)));
        uuids.extend(volume.regions.iter().map(|region| region.uuid.unwrap()));
    }
    assert_eq!(uuids.len(), 12, "every region has its own UUID");

    let status = machine.run(&["sledctl", "status"]);
    assert_eq!(status.status.code(), Some(0));
    assert!(machine.sled().well);
}

/// The unit of a region: its values are visible, it runs as the service user with the sled's address, enough
/// descriptors, the journal for stdout, and a lock on the directory.
#[test]
fn a_region_runs_as_its_unit_says() {
    let machine = Layer::small().boot_and_create();
    let unit = machine.ok(&["systemctl", "cat", "crucible-downstairs@still-fawn-1"]);
    assert!(unit.contains("--data /crucible/still-fawn-1 --port 3831 --address 192.168.4.189"), "{unit}");

    let pid = machine.region("still-fawn-1").pid.unwrap();
    let of = |what: &str| machine.sh(&format!("cat /proc/{pid}/{what} | tr '\\0' ' '"));
    assert!(of("cmdline").contains("run --data /crucible/still-fawn-1 --port 3831 --address 192.168.4.189"));
    assert!(of("cmdline").starts_with("/usr/lib/crucible/crucible-downstairs"), "{}", of("cmdline"));
    let limit = of("limits").lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
    let limit: u64 = limit.split_whitespace().nth(4).unwrap().parse().unwrap();
    assert!(limit >= 4 * 4 + 13, "{limit}");
    assert_eq!(machine.sh(&format!("ps -o user= -p {pid}")).trim(), "crucible");
    assert!(machine.sh(&format!("readlink /proc/{pid}/fd/1")).starts_with("socket:"));
    assert_eq!(machine.sh("stat -c %U /crucible/still-fawn-1"), "crucible\n");

    let locked = machine.run(&["flock", "--nonblock", "/crucible/still-fawn-1", "true"]);
    assert_eq!(locked.status.code(), Some(1), "the running downstairs does not hold the lock");
    let journal = machine.ok(&["journalctl", "-u", "crucible-downstairs@still-fawn-1", "-o", "cat"]);
    assert!(journal.contains("downstairs listening on 192.168.4.189:3831"), "{journal}");
}

#[test]
fn a_second_create_changes_nothing() {
    let machine = Layer::small().boot_and_create();
    // The program of each is told a moment after it serves.
    let told = machine.wait_for("still-fawn", |volume| volume.regions.iter().all(|region| region.version.is_some()));
    let before = (told.regions, machine.pids());
    let said = machine.ok(&["sledctl", "region", "create", "--all"]);
    assert_eq!(said.lines().filter(|line| line.contains("exists already, as ")).count(), 3, "{said}");
    assert_eq!((machine.volume("still-fawn").regions, machine.pids()), before);
}

#[test]
fn a_directory_in_the_way_is_reported_and_left_alone() {
    let machine = Layer::small().boot();
    machine.sh("mkdir /crucible/still-fawn-2 && echo precious >/crucible/still-fawn-2/file");
    let refused = machine.run(&["sledctl", "region", "create", "--all"]);
    assert_eq!(refused.status.code(), Some(1));
    machine.wait_for("still-fawn", |volume| volume.regions[..2].iter().all(|r| r.state == Some(State::Serving)));
    let check = machine.wait_for_check("still-fawn", "REGION_UNRECORDED");
    assert_eq!(check.subject, "region still-fawn-2");
    assert_eq!(machine.sh("cat /crucible/still-fawn-2/file"), "precious\n");
    assert_eq!(machine.sh("ls -A /crucible/.incoming"), "", "an attempt was left behind");
}

#[test]
fn a_reboot_brings_everything_back_without_a_hand() {
    let mut machine = Layer::small().boot_and_create();
    let uuids = |machine: &support::machine::Machine| {
        machine.volume("still-fawn").regions.iter().map(|region| region.uuid).collect::<Vec<_>>()
    };
    let before = uuids(&machine);
    machine.reboot();
    assert_eq!(machine.get("/v1/volumes/still-fawn?wait=60").0, 200);
    assert_eq!(uuids(&machine), before);
}

#[test]
fn create_that_fails_says_what_the_program_said_and_leaves_nothing() {
    let script = "#!/bin/sh\ntouch \"$3/region.json\"\necho 'Error: the extents are on strike' >&2\nexit 1\n";
    let machine = Layer::small().with_script("usr/lib/crucible/crucible-downstairs", script).boot();
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("still-fawn-0 was not created: create failed: the extents are on strike"), "{said}");
    assert_eq!(machine.sh("ls -A /crucible/.incoming"), "");
    assert!(machine.run(&["test", "-e", "/crucible/still-fawn-0"]).status.code() == Some(1));
    assert_eq!(machine.region("still-fawn-0").state, Some(State::Missing));
}

/// `create` that is killed half way leaves files that look like a region.
#[test]
fn what_create_made_is_checked_before_it_is_a_region() {
    let script = "#!/bin/sh\n/usr/lib/crucible/real \"$@\" || exit\n\
                  if [ \"$1\" = create ]; then truncate -s -1 \"$3/00/000/003\"; fi\n";
    let layer = Layer::small().with_script("usr/lib/crucible/wrapper", script);
    std::fs::rename(
        layer.path().join("usr/lib/crucible/crucible-downstairs"),
        layer.path().join("usr/lib/crucible/real"),
    )
    .unwrap();
    let machine = layer
        .with("etc/sled/sled.toml.d/60-program.toml", "[downstairs]\nprogram = \"/usr/lib/crucible/wrapper\"\n")
        .boot();
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("extent 3 (00/000/003): it has 38951 bytes, and 38952 are right"), "{said}");
    assert_eq!(machine.sh("ls -A /crucible/.incoming"), "");
    assert!(machine.run(&["test", "-e", "/crucible/still-fawn-0"]).status.code() == Some(1));
}

/// Questions of a host, and their answers.
#[test]
fn the_http_endpoint_answers_as_designed() {
    let machine = Layer::small().boot();
    assert_eq!(machine.get("/healthz"), (200, "ok\n".into()));
    let (status, body) = machine.get("/v1/volumes/nothing");
    assert_eq!((status, &body["error"]["code"]), (404, &"VOLUME_UNKNOWN".into()));
    let (status, body) = machine.get("/v1/volumes/far");
    assert_eq!((status, &body["error"]["code"]), (404, &"VOLUME_ELSEWHERE".into()));
    assert_eq!(body["error"]["remedy"], "ask other");
    let (status, body) = machine.get("/v1/regions/still-fawn-0");
    assert_eq!((status, &body["name"]), (200, &"still-fawn-0".into()));
    let (status, body) = machine.get("/v1/regions/far-0");
    assert_eq!((status, &body["error"]["code"]), (404, &"REGION_UNKNOWN".into()));
    let (status, body) = machine.get("/v1/volumes/still-fawn?wait=61");
    assert_eq!((status, &body["error"]["code"]), (400, &"BAD_QUERY".into()));
    assert_eq!(machine.get("/v1/nothing").0, 404);
    // A wait that is over without a change answers what is so.
    let (status, body) = machine.get("/v1/volumes/still-fawn?wait=0.2");
    assert_eq!((status, &body["ready"]), (503, &false.into()));
    // Reading only over TCP: what changes something is not there.
    let post = machine.in_outside(|| ask("POST", "/v1/regions/still-fawn-0/restart").unwrap());
    assert_eq!(post.0, 404, "{}", post.1);
    assert_eq!(machine.in_outside(|| ask("POST", "/v1/regions/still-fawn-0").unwrap()).0, 405);
    assert_eq!(machine.in_outside(|| ask("POST", "/v1/volumes").unwrap()).0, 405);
    assert_eq!(machine.in_outside(|| ask("HEAD", "/v1/sled").unwrap()), (200, String::new()));
    let (status, body) = machine.get("/v1/sled");
    assert_eq!((status, &body["sled"]), (200, &"proper-raptor".into()));
    let (_, body) = machine.get("/v1/volumes");
    assert_eq!(body["volumes"].as_array().unwrap().len(), 1);
}
