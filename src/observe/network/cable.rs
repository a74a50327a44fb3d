//! The cable: what a message of the kernel's, or its list of links, tells of the adapter at once. Hosts wait for that; what
//! files and routes tell comes later. Asks nobody.

use crate::config;
use crate::decide::facts::{Between, Network, Nic, Through};
use crate::kernel::links::{is_bridge, is_named, master, mtu, name, port, vlan, way};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};

/// Takes over what a message itself tells of the adapter that was last seen: whether it is up, and has a carrier. True when
/// that is another than before.
pub(super) fn carrier(last: &mut Option<Network>, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = &message.payload else { return false };
    let mut adapters = last.iter_mut().flat_map(|network| network.nic.iter_mut().chain(&mut network.spare));
    let Some(nic) = adapters.find(|nic| nic.index == link.header.index) else { return false };
    let told = (link.header.flags.contains(LinkFlags::Up), link.header.flags.contains(LinkFlags::LowerUp));
    let changed = (nic.up, nic.carrier) != told;
    (nic.up, nic.carrier) = told;
    changed
}

/// Takes over what the links themselves tell of the adapter and the bridge that were last seen: with its carrier an
/// adapter gets its place in its bridge again.
pub(super) fn refresh(last: &mut Network, links: &[LinkMessage], wanted: &config::Network) {
    let of = |index: u32| links.iter().find(|link| link.header.index == index);
    if let Some((nic, link)) = last.nic.take().and_then(|nic| of(nic.index).map(|link| (nic, link))) {
        last.nic = Some(nic_by_link(nic, link, links, wanted));
    }
    let bridge = links.iter().find(|link| is_named(link, &wanted.bridge) && is_bridge(link));
    if let Some((bridge, link)) = last.bridge.as_mut().zip(bridge) {
        bridge.up = link.header.flags.contains(LinkFlags::Up);
    }
}

/// What the links alone tell of an adapter, in place of what was known of that.
pub(super) fn nic_by_link(nic: Nic, link: &LinkMessage, links: &[LinkMessage], wanted: &config::Network) -> Nic {
    let bridge = links.iter().find(|link| is_named(link, &wanted.bridge) && is_bridge(link));
    let way = way(link, links, bridge.map(|bridge| bridge.header.index));
    let last = way.last().copied().unwrap_or(link);
    let master = master_of(last, links);
    Nic {
        through: way.iter().filter_map(|link| through(link)).collect(),
        up: link.header.flags.contains(LinkFlags::Up),
        carrier: link.header.flags.contains(LinkFlags::LowerUp),
        master: master.and_then(|master| {
            if is_named(master, &wanted.bridge) { Some(wanted.bridge.clone()) } else { name(master).cloned() }
        }),
        mtu: mtu(last),
        port: port(last),
        ..nic
    }
}

fn through(link: &LinkMessage) -> Option<Through> {
    let kind = vlan(link).map_or(Between::Bond, |(id, _)| Between::Vlan(id));
    Some(Through { name: name(link)?.clone(), kind })
}

/// Find the link of which an adapter is a port.
pub(super) fn master_of<'a>(link: &LinkMessage, links: &'a [LinkMessage]) -> Option<&'a LinkMessage> {
    master(link).and_then(|index| links.iter().find(|other| other.header.index == index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Bridge;
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};

    fn told(index: u32, flags: LinkFlags) -> NetlinkMessage<RouteNetlinkMessage> {
        let mut link = LinkMessage::default();
        (link.header.index, link.header.flags) = (index, flags);
        NetlinkMessage::from(RouteNetlinkMessage::NewLink(link))
    }

    #[test]
    fn the_message_itself_tells_of_the_cable_of_the_adapter_that_was_seen() {
        let nic = Nic { index: 3, up: true, carrier: true, ..Nic::default() };
        let mut last = Some(Network { nic: Some(nic), ..Network::default() });
        let seen =
            |last: &Option<Network>| last.as_ref().and_then(|seen| seen.nic.clone()).map(|nic| (nic.up, nic.carrier));

        assert!(!carrier(&mut last, &told(3, LinkFlags::Up | LinkFlags::LowerUp)), "nothing has changed");
        assert!(!carrier(&mut last, &told(4, LinkFlags::Up)), "another link");
        assert!(carrier(&mut last, &told(3, LinkFlags::Up)));
        assert_eq!(seen(&last), Some((true, false)));
        assert!(carrier(&mut last, &told(3, LinkFlags::empty())));
        assert_eq!(seen(&last), Some((false, false)));
        assert!(!carrier(&mut None, &told(3, LinkFlags::Up)), "nothing was seen before");
    }

    /// With the carrier the bridge has taken it up again, of which the message that tells of the carrier says nothing.
    #[test]
    fn with_its_carrier_an_adapter_is_what_the_links_tell_now_and_all_else_stays() {
        let wanted = config::Network::of("enx0");
        let link = |index: u32, name: &str, more: LinkAttribute| {
            let mut link = LinkMessage::default();
            (link.header.index, link.header.flags) = (index, LinkFlags::Up | LinkFlags::LowerUp);
            link.attributes = vec![LinkAttribute::IfName(name.into()), more];
            link
        };
        let bridge = link(2, "br0", LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        let links = [bridge, link(3, "enx0", LinkAttribute::Controller(2))];
        let nic = Nic { index: 3, link_mbps: Some(2500), ..Nic::default() };
        let mut last = Network { nic: Some(nic), bridge: Some(Bridge::default()), ..Network::default() };
        refresh(&mut last, &links, &wanted);
        let nic = last.nic.clone().unwrap();
        assert_eq!((nic.up, nic.carrier, nic.master.as_deref(), nic.link_mbps), (true, true, Some("br0"), Some(2500)));
        assert!(last.bridge.as_ref().unwrap().up);
        refresh(&mut last, &links[..1], &wanted);
        assert_eq!(last.nic, None, "it is gone");
    }
}
