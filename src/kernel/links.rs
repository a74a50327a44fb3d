//! Links and addresses as rtnetlink tells them: what is asked of one. Pure.

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
