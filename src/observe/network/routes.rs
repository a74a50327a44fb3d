//! Routes of the machine, as rtnetlink tells of them: whether there is a way out, and to which hosts there is none.

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteHeader, RouteType};
use rtnetlink::{Error, Handle, IpVersion, RouteMessageBuilder};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kernel's words for an address to which no route leads: `ENETUNREACH`, and `EHOSTUNREACH` of a route that says so.
const UNREACHABLE: [i32; 2] = [-nix::libc::ENETUNREACH, -nix::libc::EHOSTUNREACH];

/// Find the hosts to which no route leads. The kernel is asked by which one it would send; what it does not say is not
/// known, and no host is told of for it.
pub(super) async fn unroutable(handle: &Handle, hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for host in hosts {
        let question = match host {
            IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(*ip, 32).build(),
            IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(*ip, 128).build(),
        };
        let answer: Result<Vec<_>, _> = handle.route().get(question).execute().try_collect().await;
        if let Err(Error::NetlinkError(why)) = answer
            && UNREACHABLE.contains(&why.raw_code())
        {
            found.insert(*host);
        }
    }
    found
}

/// Tell whether there is a default route of this kind. A machine that does not have IPv6 at all has
/// none.
pub(super) async fn has_default(handle: &Handle, version: IpVersion) -> Result<bool, Error> {
    let (any, family) = match version {
        IpVersion::V4 => (RouteMessageBuilder::<Ipv4Addr>::new().build(), AddressFamily::Inet),
        IpVersion::V6 => (RouteMessageBuilder::<Ipv6Addr>::new().build(), AddressFamily::Inet6),
    };
    let mut routes = handle.route().get(any).execute();
    let mut found = false;
    // To the end: the next question is on the same socket.
    while let Some(route) = routes.try_next().await? {
        let header = &route.header;
        // Without IPv6 it is IPv4's routes that are told.
        found |= header.address_family == family
            && header.destination_prefix_length == 0
            && header.table == RouteHeader::RT_TABLE_MAIN
            && header.kind == RouteType::Unicast;
    }
    Ok(found)
}
