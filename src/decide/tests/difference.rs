//! Differences of a changed configuration.

use super::*;
use crate::decide::difference::{difference, gone, moved_elsewhere, started_anew};
use crate::decide::facts::{Fresh, Stranger};
use crate::decide::prospect::prospect;
use crate::decide::turns::Asks;
use crate::region::Tombstone;
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

/// Two sleds whose regions of a volume both move would wait for each other in vain.
#[test]
fn what_moves_on_other_sleds_is_told_from_what_moves_here() {
    let map = |regions: [&str; 3]| {
        let regions = regions.map(|region| format!("\"{region}\"")).join(", ");
        let other = "[sleds.other]\naddress = \"192.168.4.190\"\n";
        config_of(
            &format!("{other}{MAP}")
                .replace("\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"", &regions),
        )
    };
    let old = map(["proper-raptor:3830", "other:3830", "other:3831"]);
    for (new, elsewhere, left) in [
        (["proper-raptor:3830", "other:3830", "other:3831"], [false, false, false], true),
        (["proper-raptor:3840", "other:3830", "other:3831"], [false, false, false], true),
        // The other one has to serve all the same: a host may have that and this one alone.
        (["proper-raptor:3840", "other:3830", "other:3841"], [false, false, true], true),
        (["proper-raptor:3840", "other:3840", "other:3841"], [false, true, true], false),
    ] {
        let config = map(new);
        assert_eq!(moved_elsewhere(&old, &config, &volume()), elsewhere, "{new:?}");
        let asks = Asks::Unmoved(elsewhere);
        assert_eq!(asks.anybody(&config, &first()), left, "{new:?}");
        let out = asks.left_out(&volume()).iter().map(|name| usize::from(name.index())).collect::<Vec<_>>();
        assert_eq!(out, (0..3).filter(|index| elsewhere[*index]).collect::<Vec<_>>());
    }
    assert!(!Asks::Nobody.anybody(&old, &first()) && Asks::Patiently.anybody(&old, &first()));
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
    assert!(started_anew(&old, &new, &facts).is_empty());
    let found = difference(&old, &new, &facts).changes;
    assert_eq!(found.len(), 6, "{found:#?}");
    let first = found.iter().find(|change| change.subject == "region still-fawn-0").unwrap();
    assert!(first.interrupts && first.effect.contains("its data stays"), "{first:?}");
    let ports: Vec<_> =
        started_anew(&old, &changed(&[("3831", "3841")]), &facts).into_iter().map(|local| local.port).collect();
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
        assert!(
            !found[0].interrupts && !found[0].needs_restart && started_anew(&on, &new, &facts).is_empty(),
            "{found:#?}"
        );
    }
    for (old, new) in [(&off, &on), (&on, &off)] {
        let found = difference(old, new, &facts).changes;
        assert!(found.len() == 1 && found[0].interrupts && found[0].effect.contains("restarted"), "{found:#?}");
        assert_eq!(started_anew(old, new, &facts).len(), 3);
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

/// Deleted regions are told one by one, and only if they go earlier than they were to.
#[test]
fn what_cannot_be_had_back_is_named_before_it_goes() {
    let mut facts = well(&config());
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let record = ledger.regions.values().next().unwrap().clone();
    let stone = |second: i64, removing: bool| Tombstone {
        region: first(),
        record: record.clone(),
        deleted: Timestamp::from_second(second).unwrap(),
        buried: None,
        moved: true,
        removing,
    };
    ledger.tombstones = vec![stone(7, false), stone(8, true), stone(9, false)];
    let shorter = changes(&[("#keep_deleted = \"7d\"", "keep_deleted = \"0h\"")], &facts);
    let named: Vec<_> =
        shorter.iter().filter(|change| change.needs_yes).map(|change| change.subject.as_str()).collect();
    assert_eq!(named, ["deleted region still-fawn-0.7", "deleted region still-fawn-0.9"], "{shorter:#?}");
    let longer = changes(&[("#keep_deleted = \"7d\"", "keep_deleted = \"8d\"")], &facts);
    assert!(longer.iter().all(|change| !change.needs_yes), "{longer:#?}");
}

#[test]
fn a_volume_that_could_not_be_attached_any_more_is_told_with_the_reason() {
    let (old, facts) = (config(), well(&config()));
    let fresh = Fresh { network: facts.network.clone(), disk: facts.disk.clone(), ..Fresh::default() };
    let same = prospect(&old, &old, &facts, &fresh);
    assert_eq!((same.changes, same.come, same.go, same.unattachable), (vec![], vec![], vec![], vec![]));
    let told = |new: &Configuration, facts: &Facts, fresh: &Fresh| {
        let found = prospect(&old, new, facts, fresh);
        let codes: Vec<_> = found.come.iter().map(|condition| condition.code.as_str()).collect();
        let lost: Vec<_> =
            found.unattachable.iter().map(|lost| lost.why.split(':').next().unwrap().to_owned()).collect();
        (codes, lost)
    };
    let none = Fresh { network: Some(Network { nic: None, ..facts.network.clone().unwrap() }), ..fresh.clone() };
    let nic = changed(&[("nic = \"enx00e04ca81110\"", "nic = \"eth0\"")]);
    assert_eq!(told(&nic, &facts, &none), (vec!["NIC_MISSING"], vec!["NIC_MISSING".to_owned()]));
    // That hosts are asked to wait hides nothing.
    let since = Timestamp::UNIX_EPOCH;
    let at_work =
        Facts { maintenance: Some(crate::wire::Maintenance { reason: None, since, until: None }), ..facts.clone() };
    assert_eq!(told(&nic, &at_work, &none).1, ["NIC_MISSING"]);
    // A thing that could not be looked at is not taken to be as it was for another.
    let unseen = Fresh { network: None, ..fresh.clone() };
    assert_eq!(told(&old, &facts, &unseen), (vec![], vec![]));
    let (codes, lost) = told(&changed(&[("extent_count = 4", "extent_count = 5")]), &facts, &fresh);
    assert!(codes.iter().all(|code| *code == "REGION_IDENTITY") && codes.len() == 3 && lost == ["REGION_IDENTITY"]);
    // At its other port it would serve, unless somebody has that.
    let moved = changed(&[("3831", "3841")]);
    assert_eq!(told(&moved, &facts, &fresh), (vec![], vec![]));
    let stranger = Stranger { pid: Some(4711), command: "other".into(), unit: None };
    let taken = Fresh { taken: [("still-fawn-1".parse().unwrap(), stranger)].into(), ..fresh.clone() };
    assert_eq!(told(&moved, &facts, &taken), (vec!["PORT_TAKEN"], vec!["PORT_TAKEN".to_owned()]));
    // A new volume was never attachable; one that goes is told as regions that stop.
    let gone = prospect(&old, &changed(&[("[volumes.still-fawn]", "[volumes.other]")]), &facts, &fresh);
    assert!(gone.unattachable.is_empty() && gone.changes.iter().filter(|change| change.needs_yes).count() == 3);
}

/// The hosts that are connected are taken from the look that the promise is made of, and not from an older one.
#[test]
fn whoever_has_come_a_moment_ago_is_seen() {
    let (old, facts) = (config(), well(&config()));
    let new = changed(&[("\"192.168.4.17\"", "\"192.168.4.18\"")]);
    let peer = Peer { address: "192.168.4.17".parse().unwrap(), port: 0, host: None };
    let fresh = Fresh { disk: facts.disk.clone(), connected: [(first(), vec![peer])].into(), ..Fresh::default() };
    assert!(!difference(&old, &new, &facts).interrupts());
    assert!(prospect(&old, &new, &facts, &fresh).interrupts());
    let mut before = facts.clone();
    attached(&mut before);
    let left = Fresh { connected: [(first(), vec![])].into(), ..fresh };
    assert!(!prospect(&old, &new, &before, &left).interrupts());
}

/// A region that runs with what it was started with is not restarted for what is written.
#[test]
fn tls_that_was_never_spoken_is_taken_back_without_a_restart() {
    const ON: [(&str, &str); 3] =
        [("# cert = ", "cert = "), ("# key = ", "key = "), ("# root_cert = ", "root_cert = ")];
    let (off, on) = (config(), changed(&ON));
    let mut facts = well(&on);
    attached(&mut facts);
    facts.regions.values_mut().for_each(|region| region.speaks_tls = Some(false));
    let back = difference(&on, &off, &facts).changes;
    assert!(back[0].effect.contains("no region is restarted") && !back[0].interrupts, "{back:#?}");
    assert!(started_anew(&on, &off, &facts).is_empty());
    region(&mut facts).speaks_tls = Some(true);
    let back = difference(&on, &off, &facts).changes;
    assert!(back[0].effect.ends_with("too: still-fawn-0") || back[0].effect.ends_with(": still-fawn-0"), "{back:#?}");
    assert!(back[0].interrupts && started_anew(&on, &off, &facts).len() == 1);
}
