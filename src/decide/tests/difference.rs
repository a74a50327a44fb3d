//! What a changed configuration would change.

use super::*;
use crate::decide::difference::{difference, gone, moved};
use crate::wire::{Change, Peer};

fn changed(edits: &[(&str, &str)]) -> Configuration {
    let mut map = MAP.to_owned();
    let mut sled = include_str!("../../../etc/sled.toml").to_owned();
    for (from, to) in edits {
        assert!(map.contains(from) || sled.contains(from), "{from:?} is nowhere");
        map = map.replace(from, to);
        sled = sled.replace(from, to);
    }
    let source = |text: String| Source { file: "f".into(), text: Ok(text) };
    config::read(&Sources { sled: vec![source(sled)], port_map: source(map), ephemeral: 32768..=60999 }).unwrap()
}

fn changes(edits: &[(&str, &str)], facts: &Facts) -> Vec<Change> {
    difference(&config(), &changed(edits), facts).changes
}

/// A host is connected to the first region.
fn attached(facts: &mut Facts) {
    connected(facts, "192.168.4.17");
}

fn connected(facts: &mut Facts, address: &str) {
    let peer = Peer { address: address.parse().unwrap(), port: 4711, host: None };
    region(facts).sockets.as_mut().unwrap().connected = vec![peer];
}

#[test]
fn the_same_is_no_change() {
    assert_eq!(changes(&[], &well(&config())), []);
}

#[test]
fn every_change_says_what_is_done_about_it() {
    let facts = well(&config());
    for (edit, subject, what, effect) in [
        (("3831", "3841"), "region still-fawn-1", "port: 3831 -> 3841", "restarted"),
        (("\"192.168.4.17\"", "\"192.168.4.18\""), "volume still-fawn", "192.168.4.17 -> 192.168.4.18", "nobody"),
        (("[\"192.168.4.17\"]", "[]"), "volume still-fawn", "192.168.4.17 -> anyone", "nobody"),
        (("extent_count = 4", "extent_count = 5"), "region still-fawn-0", "size", "stays as it was made"),
        (("[defaults]", "[sleds.new]\naddress = \"10.0.0.9\"\n[defaults]"), "sled new", "10.0.0.9", "let in"),
        (("#crashes = 5", "crashes = 6"), "sled.toml", "downstairs.crashes: 5 -> 6", "at once"),
        (("reserve = \"5%\"", "reserve = \"6%\""), "sled.toml", "storage.reserve", "at once"),
        (("nic = \"enx00e04ca81110\"", "nic = \"eth0\""), "sled.toml", "-> eth0", "at once"),
    ] {
        let found = changes(&[edit], &facts);
        let hit = found.iter().find(|change| change.subject == subject && change.what.contains(what));
        assert!(hit.is_some_and(|change| change.effect.contains(effect)), "{edit:?}: {found:#?}");
        assert!(found.iter().all(|change| !change.interrupts && !change.needs_restart), "{found:#?}");
    }
}

#[test]
fn what_a_running_supervisor_cannot_take_over_needs_a_restart() {
    let facts = well(&config());
    for edit in [
        ("root = \"/crucible\"", "root = \"/srv\""),
        ("#require_mount = true", "require_mount = false"),
        ("address = \"192.168.4.189\"", "address = \"192.168.4.190\""),
        ("#listen = [\"192.168.4.189:3800\"]", "listen = [\"192.168.4.189:3801\"]"),
    ] {
        let found = changes(&[edit], &facts);
        assert!(found.iter().any(|change| change.needs_restart && change.effect.contains("systemctl")), "{found:#?}");
    }
}

#[test]
fn whoever_is_connected_is_named_before_he_is_cut_off() {
    let mut facts = well(&config());
    attached(&mut facts);
    let cut = changes(&[("\"192.168.4.17\"", "\"192.168.4.18\"")], &facts);
    assert!(cut[0].interrupts && cut[0].effect.contains("cut off: 192.168.4.17"), "{cut:#?}");
    // Another beside him does him nothing.
    let beside = changes(&[("\"192.168.4.17\"", "\"192.168.4.17\", \"192.168.4.18\"")], &facts);
    assert!(!beside[0].interrupts, "{beside:#?}");
    let port = changes(&[("3830", "3840")], &facts);
    assert!(port[0].interrupts, "{port:#?}");
    let other = changes(&[("3831", "3841")], &facts);
    assert!(!other[0].interrupts, "{other:#?}");
}

#[test]
fn regions_that_go_are_stopped_and_those_that_move_are_restarted() {
    let (old, mut facts) = (config(), well(&config()));
    attached(&mut facts);
    let volume = "[volumes.still-fawn]";
    let new = changed(&[(volume, "[volumes.other]")]);
    assert_eq!(gone(&old, &new).len(), 3);
    assert!(moved(&old, &new).is_empty());
    let found = difference(&old, &new, &facts).changes;
    assert_eq!(found.len(), 6, "{found:#?}");
    let first = found.iter().find(|change| change.subject == "region still-fawn-0").unwrap();
    assert!(first.interrupts && first.effect.contains("its data stays"), "{first:?}");
    let ports: Vec<_> = moved(&old, &changed(&[("3831", "3841")])).into_iter().map(|local| local.port).collect();
    assert_eq!(ports, [3841]);
}

#[test]
fn tls_restarts_the_regions_only_when_it_is_switched() {
    const ON: [(&str, &str); 3] =
        [("# cert = ", "cert = "), ("# key = ", "key = "), ("# root_cert = ", "root_cert = ")];
    let with = |edits: &[(&str, &str)]| changed(&[&ON, edits].concat());
    let (off, on) = (config(), with(&[]));
    let mut facts = well(&on);
    attached(&mut facts);
    for (edit, what, effect) in [
        (("#expires_warning = \"30d\"", "expires_warning = \"7d\""), "tls.expires_warning: 30 d -> 7 d", "at once"),
        (("/etc/sled/tls/cert.pem", "/etc/sled/tls/new.pem"), "the files of tls are others", "--all --rolling"),
    ] {
        let new = with(&[edit]);
        let found = difference(&on, &new, &facts).changes;
        assert!(found.len() == 1 && found[0].what == what && found[0].effect.contains(effect), "{found:#?}");
        assert!(!found[0].interrupts && !found[0].needs_restart && moved(&on, &new).is_empty(), "{found:#?}");
    }
    for (old, new) in [(&off, &on), (&on, &off)] {
        let found = difference(old, new, &facts).changes;
        assert!(found.len() == 1 && found[0].interrupts && found[0].effect.contains("restarted"), "{found:#?}");
        assert_eq!(moved(old, new).len(), 3);
        assert!(!difference(old, new, &well(old)).interrupts());
    }
}

#[test]
fn a_sled_that_is_connected_is_not_cut_off_unsaid() {
    let sled = |address: &str| format!("[sleds.new]\naddress = \"{address}\"\n[defaults]");
    let at =
        |address: &str, edits: &[(&str, &str)]| changed(&[&[("[defaults]", sled(address).as_str())], edits].concat());
    let open = [("hosts = [\"192.168.4.17\"]", "hosts = []")];
    let old = at("10.0.0.9", &[]);
    let mut facts = well(&old);
    connected(&mut facts, "10.0.0.9");
    for new in [config(), at("10.0.0.10", &[])] {
        let found = difference(&old, &new, &facts).changes;
        assert!(found.len() == 1 && found[0].subject == "sled new" && found[0].interrupts, "{found:#?}");
        assert!(!difference(&old, &new, &well(&old)).interrupts());
    }
    // To a volume without hosts it stays connected.
    assert!(!difference(&at("10.0.0.9", &open), &changed(&open), &facts).interrupts());
}
