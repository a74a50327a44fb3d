//! Links and addresses as rtnetlink tells them: what is asked of one. Pure.

use crate::config::{By, Nic};
use crate::decide::facts::{Member, PortState};
use crate::kernel::arp::Mac;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecBridge, BondMode, BridgePortState, BridgeStpState, BridgeVlanInfoFlags, InfoBond, InfoBondPort, InfoBridge,
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, Prop,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use std::net::IpAddr;

/// Tell whether a name is a link's own or one of its others (`ip link property`).
pub fn is_named(link: &LinkMessage, wanted: &str) -> bool {
    let others = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::PropList(others) => Some(others),
        _ => None,
    });
    let is_other = |other: &Prop| matches!(other, Prop::AltIfName(other) if other == wanted);
    name(link).is_some_and(|name| name == wanted) || others.flatten().any(is_other)
}

/// The longest packet that a link takes, in bytes.
pub fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// Read the state that a bridge gives a link, if that is a port of one.
pub fn port(link: &LinkMessage) -> Option<PortState> {
    let of_bridge = |info: &LinkInfo| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(settings)) => settings.iter().find_map(|setting| match setting {
            InfoBridgePort::State(state) => Some(*state),
            _ => None,
        }),
        _ => None,
    };
    let state = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(of_bridge),
        _ => None,
    });
    match state? {
        BridgePortState::Disabled => Some(PortState::Disabled),
        BridgePortState::Blocking => Some(PortState::Blocking),
        BridgePortState::Listening | BridgePortState::Learning => Some(PortState::Waiting),
        BridgePortState::Forwarding => Some(PortState::Forwarding),
        _ => None,
    }
}

/// The name of a link.
pub fn name(link: &LinkMessage) -> Option<&String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}

/// The link that a link is a port of, by the kernel's number.
pub fn master(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

/// Tell whether a link is the adapter that is configured by this name: it has the name, or the hardware address that the
/// name is made of (`enx` and the address).
pub fn is_configured(link: &LinkMessage, wanted: &str) -> bool {
    let digits = wanted.strip_prefix("enx").filter(|digits| digits.len() == 12);
    let of_address = || digits.is_some_and(|digits| mac(link).is_some_and(|mac| mac.replace(':', "") == digits));
    is_named(link, wanted) || is_adapter(link) && of_address()
}

/// Find the adapter that is wanted, if it is there: of several the one that is wanted most; of several on the USB, of which
/// `is_usb` tells by the name, the one that is a port of the `bridge` already, or else the first.
pub fn wanted<'a>(
    links: &'a [LinkMessage],
    nic: &Nic,
    bridge: Option<u32>,
    is_usb: impl Fn(&str) -> bool,
) -> Option<&'a LinkMessage> {
    let adapters = || links.iter().filter(|link| is_adapter(link));
    nic.all().iter().find_map(|by| match by {
        By::Name(wanted) => links.iter().find(|link| is_named(link, wanted)),
        By::Address(wanted) => adapters().find(|link| mac(link).as_ref() == Some(wanted)),
        By::Usb => {
            let joined = |link: &&LinkMessage| bridge.is_some() && master(link) == bridge;
            let on_usb = adapters().filter(|link| name(link).is_some_and(|name| is_usb(name)));
            on_usb.min_by_key(|link| (!joined(link), link.header.index))
        }
    })
}

/// Tell whether a link is an adapter that is wanted; one by its name also by the hardware address that the name is made of.
pub fn is_wanted(link: &LinkMessage, nic: &Nic, is_usb: impl Fn(&str) -> bool) -> bool {
    nic.all().iter().any(|by| match by {
        By::Name(wanted) => is_configured(link, wanted),
        By::Address(wanted) => is_adapter(link) && mac(link).as_ref() == Some(wanted),
        By::Usb => is_adapter(link) && name(link).is_some_and(|name| is_usb(name)),
    })
}

/// The VLAN of a link that is a VLAN interface, and the kernel's number of the link that it lies upon.
pub fn vlan(link: &LinkMessage) -> Option<(u16, u32)> {
    let id = infos(link).find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(settings)) => settings.iter().find_map(|setting| match setting {
            InfoVlan::Id(id) => Some(*id),
            _ => None,
        }),
        _ => None,
    });
    let below = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    });
    id.zip(below)
}

/// The links that lie upon an adapter and lead to a bridge, from the cable on; none if it is a port itself. Of several
/// VLAN interfaces it is the one that is a port of the bridge `wanted`, or else of any.
pub fn way<'a>(from: &LinkMessage, links: &'a [LinkMessage], wanted: Option<u32>) -> Vec<&'a LinkMessage> {
    let mut way = Vec::new();
    let mut last = (from.header.index, master(from));
    // Nobody lays more upon each other.
    while way.len() < 4 {
        let bond = links.iter().find(|link| Some(link.header.index) == last.1 && bond(link).is_some());
        if let Some(bond) = bond {
            way.push(bond);
            last = (bond.header.index, master(bond));
            continue;
        }
        if last.1.is_some() {
            break;
        }
        let upon = links.iter().filter(|link| vlan(link).is_some_and(|(_, below)| below == last.0));
        let upon = upon.filter(|link| master(link).is_some());
        let Some(next) = upon.min_by_key(|link| (wanted.is_none() || master(link) != wanted, link.header.index)) else {
            break;
        };
        way.push(next);
        last = (next.header.index, master(next));
    }
    way
}

/// Read of a link that is a bond whether one of its ports carries and the others wait, and the one that carries, by the
/// kernel's number.
pub fn bond(link: &LinkMessage) -> Option<(bool, Option<u32>)> {
    infos(link).find(|info| matches!(info, LinkInfo::Kind(InfoKind::Bond)))?;
    let settings = infos(link).filter_map(|info| match info {
        LinkInfo::Data(InfoData::Bond(settings)) => Some(settings),
        _ => None,
    });
    let mut told = (false, None);
    for setting in settings.flatten() {
        match setting {
            InfoBond::Mode(mode) => told.0 = *mode == BondMode::ActiveBackup,
            InfoBond::ActivePort(index) => told.1 = Some(*index).filter(|index| *index != 0),
            _ => {}
        }
    }
    Some(told)
}

/// Whether a bridge looks at the tags of VLANs.
pub fn filters_vlans(bridge: &LinkMessage) -> bool {
    let settings = infos(bridge).filter_map(|info| match info {
        LinkInfo::Data(InfoData::Bridge(settings)) => Some(settings),
        _ => None,
    });
    settings.flatten().any(|setting| matches!(setting, InfoBridge::VlanFiltering(true)))
}

/// Read the membership of a link in a VLAN from what a bridge tells of its ports and of itself.
pub fn member(of: &LinkMessage, id: u16) -> Option<Member> {
    let told = of.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(told) => Some(told),
        _ => None,
    });
    told.flatten().find_map(|told| match told {
        AfSpecBridge::VlanInfo(info) if info.vid == id => Some(Member {
            pvid: info.flags.contains(BridgeVlanInfoFlags::Pvid),
            untagged: info.flags.contains(BridgeVlanInfoFlags::Untagged),
        }),
        _ => None,
    })
}

/// Whether a link is a bridge.
pub fn is_bridge(link: &LinkMessage) -> bool {
    infos(link).any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)))
}

/// The hardware address of a link, in the usual form. One of zeroes is none: loopback has it.
pub fn mac(link: &LinkMessage) -> Option<String> {
    // A port of a bond has the address of the bond, and keeps its own.
    let own = infos(link).find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BondPort(settings)) => settings.iter().find_map(|setting| match setting {
            InfoBondPort::PermHwaddr(bytes) => bytes[..].try_into().ok(),
            _ => None,
        }),
        _ => None,
    });
    own.or_else(|| mac_bytes(link)).map(|bytes| Mac(bytes).to_string())
}

/// The hardware address of a link, in bytes.
pub fn mac_bytes(link: &LinkMessage) -> Option<[u8; 6]> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes[..].try_into().ok().filter(|mac: &[u8; 6]| *mac != [0; 6]),
        _ => None,
    })
}

/// Whether a link is an adapter, or the end of a cable that stands for one: it has a hardware address of its own, where
/// bridges and what lies upon links have that of a port.
pub fn is_adapter(link: &LinkMessage) -> bool {
    infos(link).all(|info| !matches!(info, LinkInfo::Kind(kind) if *kind != InfoKind::Veth))
}

/// Whether a bridge looks for loops, and how long its ports wait meanwhile, twice, in hundredths of a second.
pub fn stp(link: &LinkMessage) -> (bool, u32) {
    let settings = infos(link).filter_map(|info| match info {
        LinkInfo::Data(InfoData::Bridge(settings)) => Some(settings),
        _ => None,
    });
    let (mut stp, mut delay) = (false, 0);
    for setting in settings.flatten() {
        match setting {
            InfoBridge::StpState(state) => stp = *state != BridgeStpState::Disabled,
            InfoBridge::ForwardDelay(hundredths) => delay = *hundredths,
            _ => {}
        }
    }
    (stp, delay)
}

fn infos(link: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    let all = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    all.flatten()
}

/// The address of a neighbour on this link that was asked for its hardware address in vain, if this is one.
pub fn unanswering(neighbour: &NeighbourMessage, link: u32) -> Option<IpAddr> {
    answering(neighbour, link).and_then(|(ip, answers)| (!answers).then_some(ip))
}

/// The address of a neighbour on this link, and whether it has answered when it was asked for its hardware address. `None`
/// if it is on another link, or has none: that is what bridges tell of the hardware addresses that they have learned.
pub fn answering(neighbour: &NeighbourMessage, link: u32) -> Option<(IpAddr, bool)> {
    let header = &neighbour.header;
    if header.ifindex != link {
        return None;
    }
    let ip = neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    });
    Some((ip?, header.state != NeighbourState::Failed))
}

/// The address that is told.
pub fn ips(address: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| address.attributes.iter().find_map(wanted);
    // IFA_LOCAL is the own address; IFA_ADDRESS the peer's on a point-to-point link.
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::link::{BridgeVlanInfo, InfoPortKind, LinkFlags};
    use rtnetlink::packet_core::{Emitable, Parseable};

    fn link(index: u32, name: &str, mac: u8, more: Option<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        (link.header.index, link.header.flags) = (index, LinkFlags::Up);
        let named = [LinkAttribute::IfName(name.into()), LinkAttribute::Address(vec![0, 0xe0, 0x4c, 0, 0, mac])];
        link.attributes = named.into_iter().chain(more).collect();
        link
    }

    fn nic(of: &[By]) -> Nic {
        Nic::new(of.iter().map(|by| (format!("{by:?}"), by.clone())).collect()).unwrap()
    }

    /// As the kernel's messages have it, for which no module is needed: made, written and read again.
    #[test]
    fn a_vlan_is_found_upon_the_adapter_and_in_what_the_bridge_tells() {
        let of = |id: u16, below: u32| {
            let kind = LinkInfo::Kind(InfoKind::Vlan);
            let data = LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)]));
            [LinkAttribute::LinkInfo(vec![kind, data]), LinkAttribute::Link(below)]
        };
        let upon = |index: u32, name: &str, id: u16, into: Option<u32>| {
            let mut link = link(index, name, 3, into.map(LinkAttribute::Controller));
            link.attributes.extend(of(id, 3));
            again(&link)
        };
        let links = [
            link(3, "enx3", 3, None),
            upon(4, "enx3.4", 4, None),
            upon(5, "enx3.5", 5, Some(8)),
            upon(6, "enx3.6", 6, Some(9)),
        ];
        let found =
            |wanted| way(&links[0], &links, wanted).into_iter().map(|link| vlan(link).unwrap()).collect::<Vec<_>>();
        assert_eq!((found(Some(9)), found(Some(8)), found(None)), (vec![(6, 3)], vec![(5, 3)], vec![(5, 3)]));
        assert!(way(&links[3], &links, Some(9)).is_empty(), "it is a port itself");
        assert!(!is_adapter(&links[3]));

        let info = |vid, flags| AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid });
        let both = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let mut told = link(9, "br0", 9, None);
        told.header.interface_family = AddressFamily::Bridge;
        told.attributes.push(LinkAttribute::AfSpecBridge(vec![info(5, BridgeVlanInfoFlags::empty()), info(6, both)]));
        let told = again(&told);
        assert_eq!(member(&told, 5), Some(Member::default()));
        assert_eq!(member(&told, 6), Some(Member { pvid: true, untagged: true }));
        assert_eq!(member(&told, 7), None);
        let settings = |on| LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(on)]));
        let bridge = |on| {
            let infos = vec![LinkInfo::Kind(InfoKind::Bridge), settings(on)];
            again(&link(9, "br0", 9, Some(LinkAttribute::LinkInfo(infos))))
        };
        assert!(filters_vlans(&bridge(true)) && !filters_vlans(&bridge(false)));
    }

    /// Both adapters have the bond's hardware address, and are known by their own.
    #[test]
    fn a_bond_is_found_upon_its_ports_and_says_which_carries() {
        let port = |index: u32, name: &str, own: u8| {
            let of_bond = vec![InfoBondPort::PermHwaddr(vec![0, 0xe0, 0x4c, 0, 0, own])];
            let infos =
                vec![LinkInfo::PortKind(InfoPortKind::Bond), LinkInfo::PortData(InfoPortData::BondPort(of_bond))];
            let mut link = link(index, name, 7, Some(LinkAttribute::Controller(7)));
            link.attributes.push(LinkAttribute::LinkInfo(infos));
            again(&link)
        };
        let settings = vec![InfoBond::Mode(BondMode::ActiveBackup), InfoBond::ActivePort(4)];
        let infos = vec![LinkInfo::Kind(InfoKind::Bond), LinkInfo::Data(InfoData::Bond(settings))];
        let mut bond_link = link(7, "bond0", 7, Some(LinkAttribute::Controller(9)));
        bond_link.attributes.push(LinkAttribute::LinkInfo(infos));
        let links = [port(3, "enx3", 3), port(4, "eno1", 4), again(&bond_link)];
        assert_eq!(bond(&links[2]), Some((true, Some(4))));
        assert_eq!(bond(&links[0]), None);
        let through: Vec<_> = way(&links[0], &links, Some(9)).into_iter().filter_map(name).collect();
        assert_eq!(through, ["bond0"]);
        let by_address = |own: &str| wanted(&links, &nic(&[By::Address(own.into())]), None, |_| false).and_then(name);
        assert_eq!(by_address("00:e0:4c:00:00:04").map(String::as_str), Some("eno1"));
        assert_eq!(by_address("00:e0:4c:00:00:07"), None, "that is the bond's");
        assert!(is_adapter(&links[0]) && !is_adapter(&links[2]));
    }

    /// A link by way of the kernel's own form of it.
    fn again(link: &LinkMessage) -> LinkMessage {
        let mut bytes = vec![0; link.buffer_len()];
        link.emit(&mut bytes);
        LinkMessage::parse(&bytes).unwrap()
    }

    /// A list names the one that is wanted most first; whichever is on the USB is any of these, and stays the same one.
    #[test]
    fn the_adapter_that_is_wanted_most_is_found() {
        let other = LinkAttribute::PropList(vec![Prop::AltIfName("rack-1".into())]);
        let bridge = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]);
        let links = [
            link(2, "eth0", 2, Some(other)),
            link(3, "enx3", 3, None),
            link(4, "enx4", 4, Some(LinkAttribute::Controller(9))),
            link(9, "br0", 4, Some(bridge)),
        ];
        let is_usb = |name: &str| name.starts_with("enx");
        let found = |of: &[By], bridge| wanted(&links, &nic(of), bridge, is_usb).and_then(name).map(String::as_str);
        let name_of = |name: &str| By::Name(name.into());
        assert_eq!(found(&[name_of("eth0")], None), Some("eth0"));
        assert_eq!(found(&[name_of("rack-1")], None), Some("eth0"), "by another name");
        assert_eq!(found(&[By::Address("00:e0:4c:00:00:04".into())], None), Some("enx4"), "and not the bridge");
        assert_eq!((found(&[By::Usb], None), found(&[By::Usb], Some(9))), (Some("enx3"), Some("enx4")));
        assert_eq!(found(&[name_of("enx7"), By::Usb, name_of("eth0")], Some(9)), Some("enx4"));
        assert_eq!(found(&[name_of("enx7")], None), None);
        assert!(is_wanted(&links[1], &nic(&[By::Usb]), is_usb) && !is_wanted(&links[0], &nic(&[By::Usb]), is_usb));
        assert!(!is_wanted(&links[3], &nic(&[By::Address("00:e0:4c:00:00:04".into())]), is_usb));
        assert!(is_wanted(&links[1], &nic(&[name_of("enx00e04c000003")]), is_usb));
    }
}
