//! Remedies of the network that last, in the words of whoever configures it.

use super::*;
use crate::check::Code;
use crate::decide::facts::{Image, Manager, Network, Tagging};
use crate::decide::verdict::judge;

/// What is otherwise, the condition that it leads to, and what networkd and ifupdown are to be told, each in its file.
type Case = (fn(&mut Network), Code, [&'static str; 2]);

const CASES: [Case; 5] = [
    (
        |network| network.nic.as_mut().unwrap().master = None,
        Code::BridgePortMissing,
        ["Bridge=br0 in the .network file of enx00e04ca81110 below", "bridge-ports enx00e04ca81110 below iface br0"],
    ),
    (
        |network| bridge(network).mtu = Some(9000),
        Code::MtuMismatch,
        ["MTUBytes=1500 of [Link] in the .network file of br0 and enx00e04ca81110", "mtu 1500 below iface br0 and enx"],
    ),
    (
        |network| bridge(network).addresses.clear(),
        Code::BridgeAddress,
        [
            "ip address add 192.168.4.189/24 dev br0; that it stays so: Address=192.168.4.189/24 in the .network file of br0",
            "address 192.168.4.189/24 below iface br0",
        ],
    ),
    (
        |network| bridge(network).up = false,
        Code::BridgeAddress,
        ["ip link set br0 up, and see why it is not: networkctl status br0;", "ifup br0; journalctl -b -u networking"],
    ),
    (
        |network| network.unroutable = ["192.168.4.17".parse().unwrap()].into(),
        Code::RouteMissing,
        [
            "[Route] with Destination=192.168.4.17 and Gateway=GATEWAY in the .network file of br0",
            "up ip route add 192.168.4.17 via GATEWAY dev br0 below iface br0",
        ],
    ),
];

fn bridge(network: &mut Network) -> &mut Bridge {
    network.bridge.as_mut().unwrap()
}

/// The remedies of a condition, with this configuration and these facts.
fn remedies(config: &Configuration, code: Code, change: impl Fn(&mut Facts)) -> Vec<String> {
    let mut facts = well(config);
    change(&mut facts);
    let found = judge(config, &facts).findings;
    found.into_iter().filter(|found| found.code == code).map(|found| found.remedy.to_string()).collect()
}

#[test]
fn what_is_to_stay_so_is_told_in_the_words_of_who_configures_it() {
    for (change, code, wanted) in CASES {
        for (by, wanted) in [Manager::Networkd, Manager::Ifupdown].into_iter().zip(wanted) {
            let told = remedies(&config(), code, |facts| {
                let network = facts.network.as_mut().unwrap();
                change(network);
                bridge(network).manager = Some(by);
            });
            assert!(!told.is_empty() && told.iter().all(|told| told.contains(wanted)), "{code} {by:?}: {told:#?}");
        }
    }
}

/// Of a network that has none its name in the other's words would be a section that is read for something else.
#[test]
fn a_vlan_has_each_setting_in_the_file_that_it_is_read_from() {
    let mut config = config();
    config.sled.network.vlan = "7".parse().ok();
    let told = remedies(&config, Code::BridgeVlan, |facts| {
        let network = facts.network.as_mut().unwrap();
        network.tagging = Some(Tagging::default());
        bridge(network).manager = Some(Manager::Networkd);
    });
    let wanted = "VLANFiltering=yes and DefaultPVID=none of [Bridge] in the .netdev file of br0, [BridgeVLAN] with VLAN=7 in \
                  the .network file of enx00e04ca81110, and with VLAN=7, PVID=7 and EgressUntagged=7 in the .network file \
                  of br0 below";
    assert!(told[0].contains(wanted), "{told:#?}");
}

/// Nobody knows who has not made it, but on the image.
#[test]
fn a_bridge_that_is_not_there_is_told_with_who_may_make_it() {
    let told = |image: bool| {
        remedies(&config(), Code::BridgeMissing, |facts| {
            facts.network.as_mut().unwrap().bridge = None;
            facts.image = image.then(Image::default);
        })
        .remove(0)
    };
    assert!(told(false).contains("systemd-networkd: networkctl status br0; ifupdown: ifup br0;"), "{}", told(false));
    assert!(told(true).contains("see why it is not: networkctl status br0;"), "{}", told(true));
}
