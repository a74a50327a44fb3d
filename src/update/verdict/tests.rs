use super::*;
use crate::check::Code;
use crate::wire;
use jiff::Timestamp;

const VOLUME: &str = include_str!("../../attach/tests/volume.json");

/// A sled with the volume still-fawn: these of its regions serve, and these conditions hold.
fn sled(serving: [bool; 3], codes: &[Code]) -> Sled {
    let mut volume: wire::Volume = serde_json::from_str(VOLUME).unwrap();
    for (region, serves) in volume.regions.iter_mut().zip(serving) {
        region.state = Some(if serves { State::Serving } else { State::Starting });
    }
    volume.checks = codes
        .iter()
        .map(|code| Check {
            code: *code,
            severity: code.severity(),
            subject: String::new(),
            cause: String::new(),
            remedy: String::new(),
            since: Timestamp::UNIX_EPOCH,
        })
        .collect();
    volume.ready = serving == [true; 3] && codes.iter().all(|code| code.severity() != Severity::Blocking);
    let checks = volume.checks.clone();
    Sled {
        sled: volume.sled.clone(),
        version: String::new(),
        as_of: volume.as_of,
        started: volume.as_of,
        settled_ms: None,
        address: volume.regions[0].address,
        port_map: String::new(),
        well: volume.ready,
        maintenance: None,
        network: wire::Network {
            nic: "nic".into(),
            carrier: None,
            link_mbps: None,
            usb_mbps: None,
            bridge: "br0".into(),
            addresses: None,
        },
        storage: wire::Storage {
            root: String::new(),
            mounted: true,
            capacity_bytes: 0,
            free_bytes: 0,
            promised_bytes: 0,
            used_bytes: 0,
        },
        volumes: vec![volume],
        checks,
    }
}

const ALL: [bool; 3] = [true; 3];

/// The verdict after so many seconds on a sled on which all served before.
fn after(seconds: u64, sled: &Sled, change: impl FnOnce(&mut Seen<'_>)) -> Verdict {
    let before = Before { ssh: true, gateway: true, ..Before::of(&self::sled(ALL, &[]), String::new()) };
    against(&before, seconds, sled, change)
}

fn against(before: &Before, seconds: u64, sled: &Sled, change: impl FnOnce(&mut Seen<'_>)) -> Verdict {
    let mut seen = Seen {
        sled: Ok(sled),
        restarts: 0,
        waited: Duration::from_secs(seconds),
        same_config: true,
        adapter_plugged: false,
        data_partition: false,
        ssh: None,
        gateway: None,
    };
    change(&mut seen);
    judge(before, &seen)
}

fn said(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Wait(why) | Verdict::Good(why) | Verdict::Bad(why) => why,
    }
}

#[test]
fn what_served_before_serves_again_at_once() {
    assert!(matches!(after(0, &sled(ALL, &[Code::DiskLow]), |_| ()), Verdict::Good(_)));
}

#[test]
fn what_does_not_serve_is_waited_for_and_then_speaks_against_it() {
    let late = sled([true, false, true], &[Code::RegionStarting]);
    assert!(matches!(after(599, &late, |_| ()), Verdict::Wait(_)));
    let bad = after(600, &late, |_| ());
    assert!(matches!(bad, Verdict::Bad(_)));
    assert_eq!(said(&bad), "still-fawn-1 of still-fawn served before and does not now (REGION_STARTING)");
}

#[test]
fn a_pulled_cable_and_a_lost_disk_excuse_after_a_second_look() {
    for codes in [
        &[Code::NicMissing, Code::BridgePortMissing][..],
        &[Code::NicNoCarrier],
        &[Code::DataNotMounted, Code::RegionMissing],
    ] {
        let trouble = sled(if codes.contains(&Code::DataNotMounted) { [false; 3] } else { ALL }, codes);
        assert!(matches!(after(44, &trouble, |_| ()), Verdict::Wait(_)), "{codes:?}");
        assert!(matches!(after(45, &trouble, |_| ()), Verdict::Good(_)), "{codes:?}");
    }
}

/// A sled that updates by itself asks hosts to wait, before what serves is remembered and until the boot was judged.
#[test]
fn maintenance_hides_neither_what_was_well_nor_what_is_not() {
    let marked = Before::of(&sled(ALL, &[Code::Maintenance]), String::new());
    assert_eq!(marked.ready, Before::of(&sled(ALL, &[]), String::new()).ready);
    let blocked = [Code::Maintenance, Code::TicketsUnreadable];
    for (codes, seconds, verdict) in [
        (&[Code::Maintenance][..], 0, "everything that served before serves again"),
        (&blocked, 600, "still-fawn of still-fawn served before and does not now (TICKETS_UNREADABLE)"),
    ] {
        assert_eq!(said(&against(&marked, seconds, &sled(ALL, codes), |_| ())), verdict);
    }
    assert!(matches!(against(&marked, 600, &sled(ALL, &blocked), |_| ()), Verdict::Bad(_)));
    assert!(Before::of(&sled(ALL, &blocked), String::new()).ready.is_empty(), "it could not be attached before");
}

#[test]
fn an_adapter_that_is_plugged_in_and_not_driven_is_no_excuse() {
    let trouble = sled(ALL, &[Code::NicMissing, Code::BridgePortMissing]);
    let bad = after(600, &trouble, |seen| seen.adapter_plugged = true);
    assert!(matches!(bad, Verdict::Bad(_)));
    assert!(said(&bad).contains("NIC_MISSING"), "{bad:?}");
}

#[test]
fn one_excuse_does_not_cover_for_what_has_none() {
    let both = sled([false, true, true], &[Code::NicNoCarrier, Code::RegionBroken]);
    assert!(matches!(after(100, &both, |_| ()), Verdict::Wait(_)));
    let bad = after(600, &both, |_| ());
    assert!(matches!(bad, Verdict::Bad(_)) && said(&bad).ends_with("(REGION_BROKEN)"), "{bad:?}");
}

#[test]
fn a_supervisor_that_ends_or_says_nothing_is_bad() {
    let silent = |seconds, restarts| {
        after(seconds, &sled(ALL, &[]), |seen| (seen.sled, seen.restarts) = (Err(Silence::Unreachable), restarts))
    };
    assert!(matches!(silent(0, 0), Verdict::Wait(_)));
    assert!(matches!(silent(1, 5), Verdict::Bad(_)));
    assert!(matches!(silent(120, 0), Verdict::Bad(_)));
}

#[test]
fn a_configuration_that_only_this_version_refuses_is_bad() {
    let faulty = |same| after(0, &sled(ALL, &[]), |seen| (seen.sled, seen.same_config) = (Err(Silence::Faults), same));
    assert!(matches!(faulty(true), Verdict::Bad(_)));
    assert!(matches!(faulty(false), Verdict::Good(_)));
}

#[test]
fn what_did_not_serve_before_need_not_serve_now() {
    let before = Before::of(&sled([true, true, false], &[Code::RegionBroken]), String::new());
    let now = sled([true, true, false], &[Code::RegionBroken]);
    let seen = Seen {
        sled: Ok(&now),
        restarts: 0,
        waited: Duration::ZERO,
        same_config: true,
        adapter_plugged: true,
        data_partition: true,
        ssh: None,
        gateway: None,
    };
    assert!(matches!(judge(&before, &seen), Verdict::Good(_)));
    assert!(matches!(judge(&Before::default(), &seen), Verdict::Good(_)), "and of a sled that remembers nothing");
}

#[test]
fn a_data_partition_that_is_there_and_not_mounted_is_no_excuse() {
    let trouble = sled([false; 3], &[Code::DataNotMounted, Code::RegionMissing]);
    assert!(matches!(after(600, &trouble, |seen| seen.data_partition = true), Verdict::Bad(_)));
    let foreign = sled([false; 3], &[Code::DataForeign]);
    assert!(matches!(after(600, &foreign, |_| ()), Verdict::Bad(_)));
}

#[test]
fn a_volume_that_the_same_configuration_does_not_have_any_more_is_missed() {
    let mut none = sled(ALL, &[]);
    none.volumes.clear();
    assert!(matches!(after(600, &none, |_| ()), Verdict::Bad(_)));
    assert!(matches!(after(0, &none, |seen| seen.same_config = false), Verdict::Good(_)), "somebody took it away");
}

/// A new version that nobody can log in to any more, or that has lost its way out.
#[test]
fn ssh_and_the_gateway_answer_again_if_they_did() {
    let well = sled(ALL, &[]);
    for (part, silent) in [("ssh", [Some(false), Some(true)]), ("the gateway", [Some(true), Some(false)])] {
        let trouble = |seconds| after(seconds, &well, |seen| [seen.ssh, seen.gateway] = silent);
        assert!(matches!(trouble(599), Verdict::Wait(_)));
        assert_eq!(trouble(600), Verdict::Bad(format!("{part} answered before and does not now")));
    }
    assert!(matches!(after(0, &well, |seen| [seen.ssh, seen.gateway] = [Some(true); 2]), Verdict::Good(_)));
    assert!(matches!(after(0, &well, |_| ()), Verdict::Good(_)), "the keys and the gateway were taken away");
    let none = |seen: &mut Seen<'_>| [seen.ssh, seen.gateway] = [Some(false); 2];
    let seen = |seen: &mut Seen<'_>| {
        none(seen);
        seen.same_config = false;
    };
    assert_eq!(said(&after(600, &well, seen)), "ssh answered before and does not now", "another network");
}

#[test]
fn a_gateway_is_not_missed_without_a_cable_or_by_who_has_hosts() {
    let mute = |seen: &mut Seen<'_>| seen.gateway = Some(false);
    let pulled = sled(ALL, &[Code::NicNoCarrier]);
    assert!(matches!(after(45, &pulled, mute), Verdict::Good(_)));
    let plugged = sled(ALL, &[Code::NicMissing]);
    let driven = |seen: &mut Seen<'_>| (seen.gateway, seen.adapter_plugged) = (Some(false), true);
    assert!(matches!(after(600, &plugged, driven), Verdict::Bad(_)));
    let mut busy = sled(ALL, &[]);
    let peer = wire::Peer { address: "192.168.4.17".parse().unwrap(), port: 1, host: None };
    busy.volumes[0].regions[0].connected.push(peer);
    assert!(matches!(after(0, &busy, mute), Verdict::Good(_)), "the router alone is off");
}
