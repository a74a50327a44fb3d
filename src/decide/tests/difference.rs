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
    let peer = Peer { address: "192.168.4.17".parse().unwrap(), port: 4711, host: None };
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
