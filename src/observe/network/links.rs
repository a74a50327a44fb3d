//! Links and addresses as rtnetlink tells them: what is asked of one. Pure.

use crate::decide::facts::PortState;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkInfo, LinkMessage, Prop,
};
use std::net::IpAddr;

/// Tell whether a name is a link's own or one of its others (`ip link property`).
pub(super) fn is_named(link: &LinkMessage, wanted: &str) -> bool {
    let others = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::PropList(others) => Some(others),
        _ => None,
    });
    let is_other = |other: &Prop| matches!(other, Prop::AltIfName(other) if other == wanted);
    name(link).is_some_and(|name| name == wanted) || others.flatten().any(is_other)
}

pub(super) fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// Read the state that a bridge gives a link, if that is a port of one.
pub(super) fn port(link: &LinkMessage) -> Option<PortState> {
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

pub(super) fn name(link: &LinkMessage) -> Option<&String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}

pub(super) fn master(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

pub(super) fn is_bridge(link: &LinkMessage) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)))
}

pub(super) fn ips(address: &AddressMessage) -> Option<IpAddr> {
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
