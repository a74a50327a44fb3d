//! VLAN of the bridge: whether it looks at tags, and which of its ports, and itself, are members of one.

use crate::decide::facts::Tagging;
use crate::kernel::links::{filters_vlans, member};
use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkExtentMask, LinkMessage};
use rtnetlink::Handle;

/// Ask how a bridge deals with a VLAN at its port, and itself. `None` if the kernel does not tell.
pub(super) async fn tagging(
    handle: &Handle,
    bridge: &LinkMessage,
    port: Option<&LinkMessage>,
    vlan: u16,
) -> Option<Tagging> {
    let asked = handle.link().get().set_filter_mask(AddressFamily::Bridge, vec![LinkExtentMask::Brvlan]);
    let told: Vec<LinkMessage> = asked.execute().try_collect().await.ok()?;
    let of = |index: u32| told.iter().filter(|link| link.header.index == index).find_map(|link| member(link, vlan));
    Some(Tagging {
        filtering: filters_vlans(bridge),
        own: of(bridge.header.index),
        port: port.and_then(|port| of(port.header.index)),
    })
}
