//! A new port map takes effect while everything runs: what it does not concern goes on.

use crate::calm::Calm;
use crate::lines::Line;
use crate::port_map::{MAP, PUMPED_PIGLET, STILL_FAWN, boot, is_let_in, is_shut_out};
use crate::tickets::{GRANT_LIMIT, granted};
use crucible_sled::wire::{State, Volume};
use std::cell::Cell;
use support::machine::{Machine, has};

/// Replaces the map, and does not tell anybody.
fn put(machine: &Machine, map: &str) {
    machine.sh(&format!(
        "cat >/etc/sled/port-map.toml.new <<'MAP'\n{map}\nMAP\ncd /etc/sled; mv port-map.toml.new port-map.toml"
    ));
}

/// [`MAP`] with the first volume for one host only.
fn without_pumped_piglet() -> String {
    MAP.replace("[\"still-fawn\", \"pumped-piglet\"]", "[\"still-fawn\"]")
}

/// The ways to have a new map taken.
const WAYS: [&[&str]; 3] = [
    &["sledctl", "reload", "--yes"],
    &["systemctl", "kill", "--kill-whom=main", "--signal=HUP", "sledd.service"],
    &["systemctl", "reload", "sledd.service"],
];

fn supervisor(machine: &Machine) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property=MainPID", "sledd.service"])
}

#[test]
fn a_host_that_left_the_map_is_cut_off_and_nobody_else_notices() {
    let machine = boot();
    let (before, sledd) = (machine.pids(), supervisor(&machine));
    let (stays, goes) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    let whole = [3830, 3831, 3832].map(|port| Line::open(&stays, port));
    let elsewhere = Line::open(&goes, 3840);
    for way in WAYS {
        let cut = [3830, 3831, 3832].map(|port| Line::open(&goes, port));
        put(&machine, &without_pumped_piglet());
        let diff = machine.run(&["sledctl", "config", "diff"]);
        let said = String::from_utf8_lossy(&diff.stdout).into_owned();
        assert!(
            said.contains("still-fawn") && said.contains("192.168.4.175") || said.contains("pumped-piglet"),
            "{said}"
        );
        // A host that has come a moment ago is seen before anything is promised.
        let refused = machine.run(&["sledctl", "reload"]);
        let why = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && why.contains("cut off: 192.168.4.175"), "{refused:?}");
        assert_eq!(diff.status.code(), Some(3));
        assert!(!cut.iter().any(Line::is_cut), "it was only to be shown");
        let began = Calm::begin();
        machine.ok(way);
        for line in cut {
            assert!(line.is_cut_within(GRANT_LIMIT), "{way:?}");
        }
        assert!(began.elapsed() < 3 * GRANT_LIMIT, "{way:?}");
        is_shut_out(&goes, &[3830, 3831, 7832]);
        put(&machine, MAP);
        machine.ok(way);
        machine.wait_for("still-fawn", |volume| volume.hosts.len() == 2);
        is_let_in(&goes, &[3830, 3832]);
    }
    assert!(whole.map(Line::close).iter().all(|answers| *answers > 100));
    elsewhere.close();
    assert_eq!((machine.pids(), supervisor(&machine)), (before, sledd), "something was restarted");
}

#[test]
fn a_map_with_a_fault_changes_nothing_and_says_what_is_wrong() {
    let machine = boot();
    let (before, digest) = (machine.pids(), machine.sled().port_map);
    let host = machine.host(PUMPED_PIGLET);
    let lines = [3830, 3840].map(|port| Line::open(&host, port));
    for (what, with, word) in [
        ("proper-raptor:3841", "proper-raptor:3840", "3840"),
        ("[\"still-fawn\", \"pumped-piglet\"]", "[\"stil-fawn\"]", "stil-fawn"),
        ("[volumes.still-fawn]", "[volumes.still-fawn", "port-map.toml"),
        ("extent_count = 4", "extent_count = 0", "extent_count"),
    ] {
        put(&machine, &MAP.replace(what, with));
        let refused = machine.run(&["sledctl", "reload"]);
        let said = format!("{}{}", String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(word) && said.contains("port-map.toml"), "{word:?} is not in {said}");
        assert_ne!(machine.run(&["systemctl", "reload", "sledd.service"]).status.code(), Some(0));
        machine.ok(&["systemctl", "is-active", "--quiet", "sledd.service"]);
        assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200, "{word}");
    }
    assert_eq!((machine.pids(), machine.sled().port_map), (before.clone(), digest));
    granted(&host, "{\"takeover\": true}");
    put(&machine, &without_pumped_piglet().replace("[\"still-fawn\"]", "[\"pumped-piglet\"]"));
    machine.ok(&["sledctl", "reload"]);
    assert!(lines.map(Line::close).iter().all(|answers| *answers > 0));
    is_shut_out(&machine.host(STILL_FAWN), &[3830]);
    assert_eq!(machine.pids(), before);
}

/// The most regions of the volume that did not serve at one time until it is as wanted, seen at
/// every change of it.
fn most_away(machine: &Machine, wanted: impl Fn(&Volume) -> bool) -> usize {
    let most = Cell::new(0);
    machine.wait_for("still-fawn", |volume| {
        // Those that have not moved yet serve whoever is connected, where the map has no ports for them.
        let away = volume.regions.iter().filter(|region| region.pid.is_none()).count();
        most.set(most.get().max(away));
        wanted(volume)
    });
    most.get()
}

#[test]
fn regions_whose_ports_moved_go_there_one_after_the_other() {
    let machine = boot();
    let before = machine.volume("still-fawn");
    let others = machine.volume("pumped-piglet").regions.iter().map(|region| region.pid).collect::<Vec<_>>();
    put(&machine, &MAP.replace(":383", ":385"));
    machine.ok(&["sledctl", "reload"]);
    let host = machine.host(STILL_FAWN);
    let moved = |volume: &Volume| {
        volume.ready
            && volume
                .regions
                .iter()
                .zip(&before.regions)
                .all(|(now, then)| now.port == then.port + 20 && now.pid != then.pid)
    };
    assert_eq!(most_away(&machine, moved), 1);
    for port in [3850, 3851, 3852] {
        assert!(host.reaches(port));
    }
    is_shut_out(&host, &[3830, 3831, 7832]);
    assert_eq!(machine.sh("ss -Htln 'sport >= :3830 and sport <= :3832'"), "");
    let after = machine.volume("pumped-piglet").regions.iter().map(|region| region.pid).collect::<Vec<_>>();
    assert_eq!(others, after, "nothing was said of them");
    let after = machine.volume("still-fawn");
    let uuids = |volume: &Volume| volume.regions.iter().map(|region| region.uuid).collect::<Vec<_>>();
    assert_eq!(uuids(&before), uuids(&after));
}

#[test]
fn regions_that_want_each_others_ports_all_get_them() {
    let machine = boot();
    let ports = |map: &str, wanted: [u16; 3]| {
        put(&machine, map);
        machine.ok(&["sledctl", "reload"]);
        machine.wait_for("still-fawn", |volume| {
            volume.ready && volume.regions.iter().map(|region| region.port).eq(wanted)
        });
        // The last one may still be watched for a moment.
        machine.sh("until ! sledctl jobs | grep -q running; do sleep 0.1; done");
    };
    // Each is to have the port of the next one.
    let shifted = MAP.replace(":3832", ":3833").replace(":3831", ":3832").replace(":3830", ":3831");
    ports(&shifted, [3831, 3832, 3833]);
    // Two are to swap.
    let swapped = shifted.replace(":3831", ":x").replace(":3832", ":3831").replace(":x", ":3832");
    ports(&swapped, [3832, 3831, 3833]);
    let host = machine.host(STILL_FAWN);
    assert!([3831, 3832, 3833].into_iter().all(|port| host.reaches(port)));
}

#[test]
fn a_volume_that_left_the_map_is_stopped_and_kept_and_comes_back_with_it() {
    let machine = boot();
    let sum =
        "cd /crucible; find pumped-piglet-* -type f | sort | xargs sha256sum; stat -c '%n %U %a %i' pumped-piglet-*";
    let (kept, before) = (machine.sh(sum), machine.volume("pumped-piglet"));
    let host = machine.host(STILL_FAWN);
    let line = Line::open(&host, 3830);
    put(&machine, MAP.split("[volumes.pumped-piglet]").next().unwrap());
    // A map that was cut off is not one that was meant; and nobody can be asked by a signal.
    for way in [&["sledctl", "reload"][..], &["systemctl", "reload", "sledd"]] {
        assert_eq!(machine.run(way).status.code(), Some(1));
    }
    let refused = machine.run(&["sledctl", "reload"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    for region in ["pumped-piglet-0", "pumped-piglet-1", "pumped-piglet-2"] {
        assert!(why.contains(&format!("region {region}: it is stopped")), "{why}");
    }
    assert!(machine.volume("pumped-piglet").ready);
    machine.ok(&["sledctl", "reload", "--yes"]);
    for region in ["pumped-piglet-0", "pumped-piglet-1", "pumped-piglet-2"] {
        machine.wait_until_stopped(region);
    }
    assert_eq!(machine.get("/v1/volumes/pumped-piglet").0, 404);
    machine.sh("until sledctl --json checks | grep -q REGION_UNMAPPED; do sleep 0.1; done");
    let unmapped = machine.sled().checks.into_iter().filter(|check| check.code.as_str() == "REGION_UNMAPPED").count();
    assert_eq!(unmapped, 3);
    assert_eq!(machine.sh("ss -Htln 'sport >= :3840 and sport <= :3842'"), "");
    assert_eq!(machine.sh(sum), kept);

    put(&machine, MAP);
    machine.ok(&["sledctl", "reload"]);
    let after = machine.wait_for("pumped-piglet", |volume| volume.ready);
    assert!(!has(&after, "REGION_UNMAPPED"), "{after:#?}");
    assert!(before.regions.iter().zip(&after.regions).all(|(then, now)| then.uuid == now.uuid && then.pid != now.pid));
    assert_eq!(machine.sh(sum), kept);
    assert!(machine.host(PUMPED_PIGLET).reaches(3841));
    line.close();
}

#[test]
fn a_new_volume_is_there_at_once_and_its_regions_when_they_are_created() {
    let machine = boot();
    let before = machine.pids();
    let new = "[volumes.chief-horse]\nhosts = [\"chief-horse\"]\n\
               regions = [\"proper-raptor:3860\", \"proper-raptor:3861\", \"proper-raptor:3862\"]\n";
    put(&machine, &format!("{MAP}{new}"));
    machine.ok(&["sledctl", "reload"]);
    let volume = machine.wait_for("chief-horse", |volume| has(volume, "REGION_MISSING"));
    assert!(volume.regions.iter().all(|region| region.state == Some(State::Missing)), "{volume:#?}");
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine.wait_for("chief-horse", |volume| volume.ready);
    assert!(machine.host(crate::port_map::CHIEF_HORSE).reaches(3861));
    is_shut_out(&machine.host(STILL_FAWN), &[3861]);
    let after = machine.pids();
    assert!(before.iter().all(|line| after.contains(line)), "{before:?} {after:?}");
}

/// A holder of a ticket goes on holding it.
#[test]
fn a_new_map_takes_no_ticket_back() {
    let machine = boot();
    let (holder, other) = (machine.host(STILL_FAWN), machine.host(PUMPED_PIGLET));
    let ticket = granted(&holder, "");
    let line = Line::open(&holder, 3831);
    put(&machine, &MAP.replace(":384", ":386"));
    machine.ok(&["sledctl", "reload"]);
    machine.wait_for("pumped-piglet", |volume| volume.ready && volume.regions[2].port == 3862);
    is_shut_out(&other, &[3830, 3831]);
    let volume = machine.volume("still-fawn");
    let kept = volume.holder.unwrap();
    assert_eq!((kept.address, kept.generation, volume.generation), (holder.ip(), ticket.generation, ticket.generation));
    line.close();
    assert!(granted(&holder, "").generation > ticket.generation);
}

/// Whatever would be the worse for it is said before, by what is so at this moment, and wants a word more.
#[test]
fn what_a_configuration_would_do_harm_to_is_told_and_refused() {
    let machine = boot();
    let before = machine.pids();
    let fragment = |text: &str| machine.sh(&format!("cat >/etc/sled/sled.toml.d/90-test.toml <<'END'\n{text}\nEND"));
    let refused = |code: &str, words: &[&str]| {
        let shown = machine.run(&["sledctl", "config", "diff"]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert_eq!(shown.status.code(), Some(3), "{text}");
        let said = machine.run(&["sledctl", "--json", "reload"]);
        let error: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!((said.status.code(), error["error"]["code"].as_str()), (Some(1), Some(code)), "{error}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
            assert!(error.to_string().contains(word), "{word:?} is not in {error}");
        }
        assert_eq!(machine.pids(), before);
        assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    };
    fragment("[network]\nnic = \"enx000000000000\"");
    refused("NEEDS_YES", &["NIC_MISSING", "volume still-fawn", "volume pumped-piglet"]);
    // A maintenance hides nothing.
    machine.run(&["sledctl", "maintenance", "on"]);
    let said = machine.run(&["sledctl", "reload"]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    machine.ok(&["sledctl", "maintenance", "off"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    let tls =
        "[tls]\ncert = \"/etc/sled/tls/c.pem\"\nkey = \"/etc/sled/tls/k.pem\"\nroot_cert = \"/etc/sled/tls/r.pem\"";
    fragment(tls);
    refused("NEEDS_YES", &["TLS_UNUSABLE", "volume still-fawn"]);
    // Meant all the same, it is in force, no region is restarted into nothing, and taking it back says so.
    machine.ok(&["sledctl", "reload", "--yes"]);
    machine.sh("rm /etc/sled/sled.toml.d/90-test.toml");
    let back = machine.ok(&["sledctl", "reload"]);
    assert!(back.contains("no region is restarted") && !back.contains("these are restarted"), "{back}");
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.pids(), before);
    put(&machine, &MAP.replace("extent_count = 4", "extent_count = 5"));
    refused("NEEDS_YES", &["REGION_IDENTITY", "volume still-fawn"]);
    put(&machine, MAP);
    fragment("[downstairs]\nprogram = \"/usr/lib/crucible/none\"");
    refused("NEEDS_YES", &["/usr/lib/crucible/none cannot be run"]);
    what_is_kept_after_its_deletion_is_named_before_it_goes(&machine);
}

fn what_is_kept_after_its_deletion_is_named_before_it_goes(machine: &Machine) {
    machine.ok(&["sledctl", "region", "delete", "pumped-piglet-0", "--yes-destroy", "pumped-piglet-0"]);
    let kept = machine.sh("ls /crucible/.trash").trim().to_owned();
    assert!(kept.starts_with("pumped-piglet-0."), "{kept}");
    let before = machine.pids();
    machine.sh("printf '[storage]\\nkeep_deleted = \"0h\"\\n' >/etc/sled/sled.toml.d/90-test.toml");
    for way in [&["sledctl", "reload"][..], &["systemctl", "reload", "sledd"]] {
        assert_eq!(machine.run(way).status.code(), Some(1), "{way:?}");
    }
    let why = String::from_utf8(machine.run(&["sledctl", "reload"]).stderr).unwrap();
    assert!(why.contains(&format!("deleted region {kept}: it is destroyed for good")), "{why}");
    assert_eq!(machine.sh("ls /crucible/.trash").trim(), kept);
    assert_eq!(machine.pids(), before);
    machine.ok(&["sledctl", "reload", "--yes"]);
    machine.until("[ -z \"$(ls -A /crucible/.trash)\" ]");
    let history = machine.ok(&["sledctl", "config", "history"]);
    assert!(history.contains("now, in force") && history.contains("sledctl reload, by root"), "{history}");
}
