//! Links and addresses as rtnetlink tells them: what is asked of one. Pure.

use crate::config::{By, Nic};
use crate::decide::facts::PortState;
use crate::kernel::arp::Mac;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, LinkAttribute,
    LinkInfo, LinkMessage, Prop,
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

/// Whether a link is a bridge.
pub fn is_bridge(link: &LinkMessage) -> bool {
    infos(link).any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)))
}

/// The hardware address of a link, in the usual form. One of zeroes is none: loopback has it.
pub fn mac(link: &LinkMessage) -> Option<String> {
    mac_bytes(link).map(|bytes| Mac(bytes).to_string())
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
    use netlink_packet_route::link::LinkFlags;

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
