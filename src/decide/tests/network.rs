//! Network's facts, one cause at a time.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::facts::{Between, Bond, Image, MacChange, Manager, Member, Rejoined, Tagging, Through};
use crate::decide::finding::{Finding, Scope};
use crate::decide::plan::{Action, plan};
use crate::decide::verdict::judge;
use crate::wire::{Peer, State};

fn network(facts: &mut Facts) -> (&mut Nic, &mut Bridge) {
    let network = facts.network.as_mut().unwrap();
    (network.nic.as_mut().unwrap(), network.bridge.as_mut().unwrap())
}

fn found(change: impl Fn(&mut Facts)) -> Vec<Finding> {
    let mut facts = well(&config());
    change(&mut facts);
    judge(&config(), &facts).findings
}

/// The one finding that a change leads to.
fn only(change: impl Fn(&mut Facts)) -> Finding {
    let found = found(change);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn what_the_bridge_lets_nothing_through_blocks() {
    for (state, words, remedy) in [
        (PortState::Disabled, "is disabled", "bridge link set dev enx00e04ca81110 state 3"),
        (PortState::Blocking, "to break a loop", "second cable"),
        (PortState::Waiting, "looks for loops", "wait"),
    ] {
        let found = only(|facts| network(facts).0.port = Some(state));
        assert!(found.code == Code::BridgePortBlocked && found.code.severity() == Severity::Blocking, "{found:?}");
        assert!(found.cause.contains(words) && found.remedy.contains(remedy), "{found:?}");
    }
    // Without a link, that is the cause; and one that is no port of the bridge is told as that.
    let unplugged =
        only(|facts| (network(facts).0.carrier, network(facts).0.port) = (false, Some(PortState::Disabled)));
    assert_eq!(unplugged.code, Code::NicNoCarrier);
    let down = only(|facts| {
        network(facts).0.port = Some(PortState::Disabled);
        network(facts).1.up = false;
    });
    assert_eq!(down.code, Code::BridgeAddress);
    let elsewhere = only(|facts| {
        let nic = network(facts).0;
        (nic.master, nic.port, nic.mtu) = (Some("br7".into()), Some(PortState::Disabled), Some(9000));
    });
    assert_eq!(elsewhere.code, Code::BridgePortMissing);
}

#[test]
fn different_lengths_are_told_with_the_one_that_both_take() {
    for (bridge, nic, words) in [(9000, 1500, "a connection hangs"), (1500, 9000, "that arrive")] {
        let found = only(|facts| {
            network(facts).0.mtu = Some(nic);
            network(facts).1.mtu = Some(bridge);
        });
        assert!(found.code == Code::MtuMismatch && found.code.severity() == Severity::Warning, "{found:?}");
        assert!(found.cause.contains(words) && found.remedy.contains("br0 mtu 1500"), "{found:?}");
    }
}

#[test]
fn a_network_of_one_address_is_odd_everywhere_and_another_than_configured_on_the_image() {
    let of = |length: u8, image: bool| {
        found(move |facts| {
            network(facts).1.prefixes = [(config().address, length)].into();
            facts.image = image.then(Image::default);
        })
    };
    assert_eq!(of(24, true), []);
    // Set up by hand, it is as it was meant.
    assert_eq!(of(16, false), []);
    for (length, image) in [(32, false), (32, true), (16, true)] {
        let found = of(length, image);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].code == Code::AddressPrefix && found[0].cause.contains(&format!("/{length}")), "{found:?}");
        assert!(found[0].remedy.contains("ip address add 192.168.4.189/24 dev br0"), "{found:?}");
    }
}

#[test]
fn a_gateway_that_no_route_leads_to_is_told_on_the_image() {
    let without = |facts: &mut Facts| facts.network.as_mut().unwrap().default_v4 = false;
    assert_eq!(found(without), []);
    let told = only(|facts| {
        without(facts);
        facts.image = Some(Image::default());
    });
    assert!(told.code == Code::NoDefaultRoute && told.remedy.contains("via 192.168.4.1 dev br0"), "{told:?}");
}

/// Hosts know the address of the map alone: another one is as bad as none, and both say what the server is to do.
#[test]
fn an_address_by_dhcp_that_is_not_the_maps_blocks_and_names_the_reservation() {
    let mut by_dhcp = config();
    by_dhcp.sled.network.address = crate::config::Addressing::Dhcp;
    let of = |addresses: &[&str], prefix: u8| {
        let mut facts = well(&by_dhcp);
        facts.image = Some(Image::default());
        let bridge = network(&mut facts).1;
        bridge.addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        bridge.prefixes = bridge.addresses.iter().map(|ip| (*ip, prefix)).collect();
        bridge.mac = Some("02:00:00:00:00:07".into());
        let verdict = judge(&by_dhcp, &facts);
        let found = verdict.findings.into_iter().filter(|found| found.subject == "bridge br0");
        found.collect::<Vec<_>>()
    };
    for (given, words) in [(&["192.168.4.77"][..], "192.168.4.77 by DHCP"), (&[], "no DHCP server")] {
        let found = of(given, 24);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].code == Code::BridgeAddress && found[0].code.severity() == Severity::Blocking, "{found:?}");
        assert!(found[0].cause.contains(words), "{found:?}");
        assert!(found[0].remedy.contains("give the sled 192.168.4.189 in the DHCP server"), "{found:?}");
        assert!(found[0].remedy.contains("the hardware address 02:00:00:00:00:07"), "{found:?}");
    }
    assert_eq!(of(&["192.168.4.189", "192.168.4.77"], 23), [], "the size of the network is the server's");
    let alone = of(&["192.168.4.189"], 32);
    assert!(alone[0].code == Code::AddressPrefix && alone[0].remedy.contains("subnet mask"), "{alone:?}");
}

/// What is known of the two and of their bond, what is told, and with which words.
type OfSpare = (fn(&mut Network), Option<(Code, &'static str)>);

const SPARES: [OfSpare; 8] = [
    (|_| {}, None),
    (
        |network| {
            network.nic.as_mut().unwrap().carrier = false;
            network.bond.as_mut().unwrap().active = Some(4);
        },
        Some((Code::NicSpareInUse, "has no link: the spare eno1 carries, at 1000 Mbit/s")),
    ),
    (
        |network| (network.nic, network.bond.as_mut().unwrap().active) = (None, Some(4)),
        Some((Code::NicSpareInUse, "there is no network interface enx00e04ca81110: the spare eno1 carries")),
    ),
    (
        |network| network.bond.as_mut().unwrap().active = Some(4),
        Some((Code::NicSpareInUse, "has a link, and the spare eno1 carries all the same")),
    ),
    (|network| network.spare = None, Some((Code::NicSpareDown, "there is no network interface eno1"))),
    (
        |network| network.spare.as_mut().unwrap().carrier = false,
        Some((Code::NicSpareDown, "the spare eno1 has no link: nothing takes over")),
    ),
    (
        |network| network.spare.as_mut().unwrap().through.clear(),
        Some((Code::NicSpareDown, "eno1 is in no bond with enx00e04ca81110")),
    ),
    (
        |network| network.bond.as_mut().unwrap().active_backup = false,
        Some((Code::NicSpareDown, "no bond of which one carries")),
    ),
];

/// What is known of a network in which everything is well with a spare.
fn bonded(with_spare: &Configuration) -> Facts {
    let mut facts = well(with_spare);
    let network = facts.network.as_mut().unwrap();
    let first = network.nic.as_mut().unwrap();
    (first.index, first.through) = (3, vec![Through { name: "bond0".into(), kind: Between::Bond }]);
    let spare = Nic { index: 4, name: Some("eno1".into()), link_mbps: Some(1000), usb: None, ..first.clone() };
    network.spare = Some(spare);
    network.bond = Some(Bond { name: "bond0".into(), active_backup: true, active: Some(3) });
    facts
}

#[test]
fn a_spare_that_carries_or_could_not_is_a_warning_and_no_fault_of_the_first_blocks_then() {
    let mut with_spare = config();
    with_spare.sled.network.spare =
        crate::config::Nic::new(vec![("eno1".into(), crate::config::By::Name("eno1".into()))]);
    for (change, told) in SPARES {
        let mut facts = bonded(&with_spare);
        change(facts.network.as_mut().unwrap());
        let verdict = judge(&with_spare, &facts);
        assert!(verdict.ready(&volume()), "{told:?}: {:#?}", verdict.findings);
        let found: Vec<_> = verdict.findings.iter().map(|found| (found.code, found.cause.as_str())).collect();
        assert!(found.len() == usize::from(told.is_some()), "{told:?}: {found:#?}");
        assert!(
            told.is_none_or(|(code, words)| found[0].0 == code && found[0].1.contains(words)),
            "{told:?}: {found:#?}"
        );
    }
    // With neither it is as without a spare.
    let mut facts = bonded(&with_spare);
    let network = facts.network.as_mut().unwrap();
    (network.nic.as_mut().unwrap().carrier, network.spare.as_mut().unwrap().carrier) = (false, false);
    network.bond.as_mut().unwrap().active = None;
    let verdict = judge(&with_spare, &facts);
    assert!(!verdict.ready(&volume()) && verdict.findings.iter().any(|found| found.code == Code::NicNoCarrier));
}

/// Whichever of the two ways it is set up, and each thing that can be missing of it.
#[test]
fn a_vlan_that_packets_do_not_have_blocks() {
    let mut with_vlan = config();
    with_vlan.sled.network.vlan = "5".parse().ok();
    let of = |tagging: Option<Tagging>, through: Option<u16>| {
        let mut facts = well(&with_vlan);
        facts.network.as_mut().unwrap().tagging = tagging;
        let upon = |id| Through { name: format!("enx0.{id}"), kind: Between::Vlan(id) };
        network(&mut facts).0.through = through.map(upon).into_iter().collect();
        judge(&with_vlan, &facts).findings
    };
    let (tagged, untagged) = (Some(Member::default()), Some(Member { pvid: true, untagged: true }));
    let right = Tagging { filtering: true, own: untagged, port: tagged };
    assert_eq!((of(Some(right), None), of(None, None)), (vec![], vec![]), "what is not known is no fault");
    assert_eq!(of(Some(Tagging::default()), Some(5)), [], "by an interface of its own");
    for (tagging, through, words) in [
        (Tagging { filtering: false, ..right }, None, "does not look at VLANs"),
        (Tagging { port: None, ..right }, None, "no member of VLAN 5 as a port"),
        (Tagging { port: untagged, ..right }, None, "leave enx00e04ca81110 without its tag"),
        (Tagging { own: None, ..right }, None, "br0 itself is not in VLAN 5"),
        (Tagging { own: tagged, ..right }, None, "br0 itself is not in VLAN 5"),
        (right, Some(6), "enx0.6 in br0 has VLAN 6"),
    ] {
        let found = of(Some(tagging), through);
        assert_eq!(found.len(), 1, "{words}: {found:#?}");
        assert!(found[0].code == Code::BridgeVlan && found[0].code.severity() == Severity::Blocking, "{found:?}");
        assert!(found[0].cause.contains(words), "{words}: {found:?}");
    }
    let told = of(Some(Tagging::default()), None);
    assert!(told[0].remedy.contains("bridge vlan add dev enx00e04ca81110 vid 5"), "{told:?}");
    // One that is plugged in again would be a port through which nothing goes.
    let mut facts = well(&with_vlan);
    let nic = network(&mut facts).0;
    (nic.came_back, nic.master) = (true, None);
    assert!(!plan(&with_vlan, &facts).iter().any(|action| matches!(action, Action::Rejoin(_))));
    // The port is what lies upon the adapter: it is named, and not the adapter.
    let found = only(|facts| {
        let nic = network(facts).0;
        nic.through = vec![Through { name: "enx0.5".into(), kind: Between::Vlan(5) }];
        nic.port = Some(PortState::Disabled);
    });
    assert!(found.remedy.contains("bridge link set dev enx0.5 state 3"), "{found:?}");
}

/// The kernel goes on to use an IPv4 address that another machine has, and so do the regions.
#[test]
fn an_ipv4_address_that_another_machine_says_it_has_blocks_and_names_that_machine() {
    let told = only(|facts| facts.claimed_by = Some("00:e0:4c:a8:11:10".into()));
    assert!(told.code == Code::AddressDuplicate && told.code.severity() == Severity::Blocking, "{told:?}");
    assert!(told.cause.contains("00:e0:4c:a8:11:10") && told.cause.contains("192.168.4.189"), "{told:?}");
    // Without the address here, that is what is wrong.
    let told = only(|facts| {
        facts.claimed_by = Some("00:e0:4c:a8:11:10".into());
        network(facts).1.addresses.clear();
    });
    assert_eq!(told.code, Code::BridgeAddress);
}

/// Twelve regions that wait for the address say nothing: one check says why there is none.
#[test]
fn an_address_that_another_machine_has_is_one_check() {
    let waiting = |facts: &mut Facts| {
        let bridge = network(facts).1;
        bridge.duplicates = std::mem::take(&mut bridge.addresses);
        for local in config().local_regions() {
            let region = facts.regions.get_mut(&local.name).unwrap();
            region.unit = Some(unit(Active::Inactive));
            let sockets = region.sockets.as_mut().unwrap();
            (sockets.pid, sockets.data, sockets.repair) = (None, Holder::Nobody, Holder::Nobody);
            region.pulse = None;
        }
    };
    let told = only(waiting);
    assert!(told.code == Code::AddressDuplicate && told.code.severity() == Severity::Blocking, "{told:?}");
    assert!(told.cause.contains("another machine has the sled's address 192.168.4.189"), "{told:?}");
    let mut facts = well(&config());
    waiting(&mut facts);
    let verdict = judge(&config(), &facts);
    assert!(!verdict.ready(&volume()) && verdict.states.values().all(|state| *state == State::Stopped));
    assert!(!plan(&config(), &facts).iter().any(|action| matches!(action, Action::Start(_))));
    // As long as it is looked at, that is said.
    let looked_at = found(|facts| {
        let bridge = network(facts).1;
        bridge.tentative = std::mem::take(&mut bridge.addresses);
    });
    assert!(looked_at.iter().any(|found| found.code == Code::BridgeAddress && found.cause.contains("yet")));
}

/// What is otherwise with the bridge, the condition that it leads to, what its cause and its remedy say, and what
/// networkd and ifupdown are to be told.
type OfBridge = (fn(&mut Bridge), Code, Severity, &'static str, &'static str, [&'static str; 2]);

#[test]
fn a_bridge_that_waits_or_has_another_address_is_told_with_the_words_of_who_configures_it() {
    let cases: [OfBridge; 3] = [
        (
            |bridge| (bridge.stp, bridge.forward_delay) = (true, 1500),
            Code::BridgeStp,
            Severity::Warning,
            "nothing goes through it for 30 s",
            "ip link set br0 type bridge stp_state 0",
            ["STP=no of [Bridge] in the .netdev file of br0", "bridge-stp off below iface br0"],
        ),
        (
            |bridge| bridge.forward_delay = 1500,
            Code::BridgeDelay,
            Severity::Information,
            "the forward delay of br0 is 15 s",
            "ip link set br0 type bridge forward_delay 0",
            ["ForwardDelaySec=0 of [Bridge] in the .netdev file", "bridge-fd 0 below iface br0"],
        ),
        (
            |bridge| {
                bridge.mac = Some("02:00:00:00:00:02".into());
                bridge.mac_change = Some(MacChange { from: "02:00:00:00:00:01".into(), at: Timestamp::UNIX_EPOCH });
            },
            Code::BridgeMacChanged,
            Severity::Warning,
            "02:00:00:00:00:02 and not 02:00:00:00:00:01",
            "ip link set br0 address 02:00:00:00:00:01",
            ["MACAddress=02:00:00:00:00:01 of [NetDev] in the .netdev file", "hwaddress ether 02:00:00:00:00:01"],
        ),
    ];
    for (change, code, severity, cause, remedy, lasting) in cases {
        for (by, lasting) in [Manager::Networkd, Manager::Ifupdown].into_iter().zip(lasting) {
            let found = only(|facts| {
                change(network(facts).1);
                network(facts).1.manager = Some(by);
            });
            assert_eq!((found.code, found.code.severity(), &found.scope), (code, severity, &Scope::Sled), "{found:?}");
            assert!(found.cause.contains(cause) && found.remedy.contains(remedy), "{found:?}");
            assert!(found.remedy.contains(lasting), "{by:?}: {found:?}");
        }
        let found = only(|facts| change(network(facts).1));
        assert!(found.remedy.ends_with("the same where br0 is configured"), "{found:?}");
    }
}

const HOST: &str = "192.168.4.17";

fn host_of(facts: &mut Facts, attached: bool) {
    let peer = Peer { address: HOST.parse().unwrap(), port: 1, host: None };
    if attached {
        facts.regions.values_mut().for_each(|seen| seen.sockets.as_mut().unwrap().connected.push(peer.clone()));
    }
}

#[test]
fn a_host_that_is_not_reached_is_told_of_its_volumes() {
    let unroutable = |facts: &mut Facts| {
        facts.network.as_mut().unwrap().unroutable = [HOST.parse().unwrap(), "10.9.9.9".parse().unwrap()].into();
    };
    let told = only(unroutable);
    assert_eq!(
        (told.code, told.code.severity(), &told.scope),
        (Code::RouteMissing, Severity::Warning, &Scope::Volume(volume()))
    );
    assert!(told.cause.contains(HOST) && told.remedy.contains("ip route get 192.168.4.17"), "{told:?}");
    let silent = |attached: bool| {
        found(move |facts| {
            host_of(facts, attached);
            facts.network.as_mut().unwrap().unanswering = [HOST.parse().unwrap()].into();
        })
    };
    assert_eq!(silent(false), [], "one that is not attached may be switched off");
    let told = silent(true);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        (told[0].code, told[0].code.severity(), &told[0].scope),
        (Code::NeighbourMissing, Severity::Warning, &Scope::Volume(volume()))
    );
    assert!(told[0].cause.contains("192.168.4.17 is attached, and does not answer"), "{told:?}");
    // Without the address, or in a network of one, that is why.
    let told = only(|facts| {
        unroutable(facts);
        network(facts).1.prefixes = [(config().address, 32)].into();
    });
    assert_eq!(told.code, Code::AddressPrefix);
    let told = found(|facts| {
        unroutable(facts);
        network(facts).1.up = false;
    });
    assert!(told.iter().all(|found| found.code != Code::RouteMissing), "{told:?}");
}

/// What is said to be done is done by the name that the adapter has.
#[test]
fn an_adapter_with_another_name_is_put_back_by_that() {
    let found = found(|facts| {
        let nic = network(facts).0;
        (nic.renamed, nic.master) = (Some("eth7".into()), None);
    });
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), [Code::BridgePortMissing, Code::NicRenamed]);
    assert!(found[0].remedy.starts_with("ip link set eth7 master br0"), "{found:?}");
}

#[test]
fn one_that_could_not_be_put_back_is_told_with_the_reason() {
    let why = |index| {
        let told = found(|facts| {
            let ended = Rejoined { index, nic: "x".into(), bridge: "br0".into(), failure: Some("because".into()) };
            facts.rejoin.ended = Some(ended);
            (network(facts).0.index, network(facts).0.master) = (9, None);
        });
        assert_eq!(told.iter().map(|found| found.code).collect::<Vec<_>>(), [Code::BridgePortMissing]);
        told[0].cause.contains("and could not be put back: because")
    };
    assert!(why(9) && !why(8), "another one");
}
