//! Return of a network adapter to its bridge, in a process of its own: one that is in no bridge becomes a port of the
//! configured one, and is switched on. Nothing else is ever changed, and nothing at all if it is a port already, or has
//! an address: it serves something then. The kernel's number alone may be another's by now: the link must be the
//! configured adapter, by its name or its hardware address.

use crate::config::Network;
use crate::kernel::attributes::is_on_usb;
use crate::kernel::links::{ips, is_bridge, is_named, is_wanted, master, name};
use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::LinkUnspec;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use tokio::task::JoinSet;

/// Put the adapter with this number into the configured bridge, unless it is in one.
///
/// # Errors
/// The adapter is gone, is not the configured one or serves something else, the bridge is not there or is down, or the
/// kernel refuses.
pub async fn rejoin(index: u32, wanted: &Network) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
    let addresses: Vec<AddressMessage> =
        handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
    let is_usb = |name: &str| is_on_usb(Path::new("/sys"), name);
    let Some(into) = target(&links, &addresses, index, wanted, is_usb).map_err(io::Error::other)? else {
        return Ok(());
    };
    let message = LinkUnspec::new_with_index(index).controller(into).up().build();
    handle.link().set(message).execute().await.map_err(io::Error::other)
}

/// Find the bridge to put it into; `None`: it is in one.
fn target(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    index: u32,
    wanted: &Network,
    is_usb: impl Fn(&str) -> bool,
) -> Result<Option<u32>, String> {
    let adapter = links.iter().find(|link| link.header.index == index);
    let adapter = adapter.ok_or_else(|| "the adapter is gone again".to_owned())?;
    if !is_wanted(adapter, &wanted.nic, is_usb) {
        let is = name(adapter).map_or("without a name", String::as_str);
        return Err(format!(
            "what has the number {index} is {is}, and by name and hardware address not {}",
            wanted.nic
        ));
    }
    if master(adapter).is_some() {
        return Ok(None);
    }
    let own = addresses.iter().filter(|address| address.header.index == index).filter_map(ips);
    let mut own = own.filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
    if let Some(ip) = own.next() {
        return Err(format!("it has an address of its own, {ip}, and serves something else"));
    }
    let bridge = &wanted.bridge;
    let into = links.iter().find(|link| is_named(link, bridge) && is_bridge(link));
    let into = into.filter(|link| link.header.flags.contains(LinkFlags::Up));
    Ok(Some(into.ok_or_else(|| format!("there is no bridge {bridge} that is up"))?.header.index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::address::AddressAttribute;
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};

    fn link(index: u32, name: &str, more: LinkAttribute) -> LinkMessage {
        let mut link = LinkMessage::default();
        (link.header.index, link.header.flags) = (index, LinkFlags::Up);
        link.attributes = vec![LinkAttribute::IfName(name.into()), more];
        link
    }

    fn address(index: u32, ip: &str) -> AddressMessage {
        let mut address = AddressMessage::default();
        address.header.index = index;
        address.attributes = vec![AddressAttribute::Address(ip.parse().unwrap())];
        address
    }

    fn wanted(nic: &str) -> Network {
        Network::of(nic)
    }

    /// The kernel gives a number again, and what has it by now may be anybody's.
    #[test]
    fn only_the_configured_adapter_is_put_back() {
        let bridge = || link(2, "br0", LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        let other = || link(9, "eth1", LinkAttribute::Address(vec![0, 0xe0, 0x4c, 0xa8, 0x11, 0x10]));
        let put = |nic: &str| target(&[bridge(), other()], &[], 9, &wanted(nic), |_| false);
        let refused = put("enx0").unwrap_err();
        assert!(refused.contains("9 is eth1") && refused.contains("not enx0"), "{refused}");
        assert!(put("enx00e04ca81111").is_err());
        assert_eq!((put("eth1"), put("enx00e04ca81110")), (Ok(Some(2)), Ok(Some(2))), "by its address");
    }

    #[test]
    fn only_one_that_serves_nothing_is_put_back() {
        let bridge = || link(2, "br0", LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        let adapter = || link(9, "enx0", LinkAttribute::Mtu(1500));
        let port = || link(9, "enx0", LinkAttribute::Controller(7));
        let mut down = bridge();
        down.header.flags = LinkFlags::empty();
        let local = [address(9, "fe80::1"), address(2, "10.0.0.1")];
        assert_eq!(target(&[bridge(), adapter()], &local, 9, &wanted("enx0"), |_| false), Ok(Some(2)));
        assert_eq!(target(&[bridge(), port()], &[], 9, &wanted("enx0"), |_| false), Ok(None), "of whichever bridge");
        for (links, addresses, why) in [
            (vec![bridge(), adapter()], vec![address(9, "10.0.0.9")], "serves something else"),
            (vec![bridge()], vec![], "gone again"),
            (vec![adapter(), link(2, "br0", LinkAttribute::Mtu(1))], vec![], "no bridge br0"),
            (vec![adapter(), down], vec![], "no bridge br0"),
        ] {
            let refused = target(&links, &addresses, 9, &wanted("enx0"), |_| false).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
