//! The network interface and the bridge: rtnetlink says what is there and when it changes,
//! sysfs says how fast it is.

mod adapter;
mod links;

use crate::backoff::Backoff;
use crate::config::{self, Configuration};
use crate::decide::facts::{Bridge, Facts, Network, Nic};
use crate::kernel::broker::{self, Wanted};
use crate::observe::observer::{Begin, Kernel, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use adapter::{release, told};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use links::{ips, is_bridge, is_named, master, mtu, name, port};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteHeader, RouteType};
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};
use rtnetlink::{Handle, IpVersion, MulticastGroup, RouteMessageBuilder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::time::Duration;
use tokio::task::JoinSet;

/// Time between looks when the kernel has told of no change: the speed of a link can change without
/// an event.
const SLOW_LOOK: Duration = Duration::from_secs(60);

/// The network interface and the bridge.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "network";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = Some("network");
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let wanted = ground.config.sled.network.clone();
        Some(watch(wanted, ground.kernel.clone(), ground.rhythm.clone(), to).boxed())
    });
    type Fact = Network;

    fn tell(network: Self::Fact) -> Observation {
        Observation::known(|facts| facts.network = Some(network))
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        facts.network.is_some()
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        if by.old.sled.network != by.new.sled.network {
            facts.network.clone_from(&by.fresh.network);
        }
    }
}

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    wanted: config::Network,
    kernel: Kernel,
    rhythm: Rhythm,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        match session(&wanted, &kernel, &rhythm, &to).await {
            Ok(gone) => return Err(gone),
            Err(why) => tracing::warn!("netlink does not tell of the network: {why}"),
        }
        backoff.pause().await;
    }
}

/// Watch by one netlink socket, as long as it lasts. `Ok` when nobody listens any more.
async fn session(
    wanted: &config::Network,
    kernel: &Kernel,
    rhythm: &Rhythm,
    to: &Publisher,
) -> Result<NobodyListens, rtnetlink::Error> {
    let socket = socket().map_err(|why| rtnetlink::Error::NamespaceError(why.to_string()))?;
    let (connection, handle, mut changes) = rtnetlink::from_socket(socket);
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut slow = rhythm.every(SLOW_LOOK);
    loop {
        // Cancel-safe: a beat or a message that is not taken stays.
        let more = tokio::select! {
            _ = slow.next() => true,
            change = changes.next() => change.is_some(),
        };
        // A cable that is pulled sends several messages; one look covers those already here.
        while let Ok(change) = changes.try_recv() {
            drop(change);
        }
        let seen = look(&handle, wanted, kernel).await?;
        if let Err(gone) = publish::<Watch>(to, seen).await {
            return Ok(gone);
        }
        if !more {
            return Err(rtnetlink::Error::RequestFailed);
        }
    }
}

/// A netlink socket of the machine's network that is told of changes to interfaces, addresses and
/// routes.
#[expect(unsafe_code, reason = "netlink-sys has no safe way to take a socket over")]
fn socket() -> io::Result<TokioSocket> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let mask = groups.into_iter().fold(0, |mask, group| mask | 1 << (group as u32 - 1));
    let given = broker::open(Wanted::Route)?;
    // SAFETY: the descriptor is open, nobody else has it, and the socket owns it from here on.
    let mut socket = unsafe { TokioSocket::from_raw_fd(given.into_raw_fd()) };
    socket.socket_mut().bind(&SocketAddr::new(0, mask))?;
    Ok(socket)
}

/// Look once, for who asks about another interface or bridge than those that are watched.
///
/// # Errors
/// The kernel does not tell.
pub async fn look_once(wanted: &config::Network, kernel: &Kernel) -> Result<Network, rtnetlink::Error> {
    let socket = socket().map_err(|why| rtnetlink::Error::NamespaceError(why.to_string()))?;
    let (connection, handle, _changes) = rtnetlink::from_socket(socket);
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    look(&handle, wanted, kernel).await
}

async fn look(handle: &Handle, wanted: &config::Network, kernel: &Kernel) -> Result<Network, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    let (default_v4, default_v6) =
        (has_default(handle, IpVersion::V4).await?, has_default(handle, IpVersion::V6).await?);
    let nic = links.iter().find(|link| is_named(link, &wanted.nic));
    // An adapter that is failing can take its time to tell its speed. sysfs knows it by one name only.
    let (places, device) = (kernel.clone(), nic.and_then(name).unwrap_or(&wanted.nic).clone());
    let told = tokio::task::spawn_blocking(move || (told(&places.sysfs, &device), release(&places.proc)));
    let (told, kernel) = told.await.unwrap_or_default();
    let master = |link| master(link).and_then(|index| links.iter().find(|l| l.header.index == index));
    let nic = nic.map(|link| Nic {
        up: link.header.flags.contains(LinkFlags::Up),
        carrier: link.header.flags.contains(LinkFlags::LowerUp),
        master: master(link).and_then(|master| {
            if is_named(master, &wanted.bridge) { Some(wanted.bridge.clone()) } else { name(master).cloned() }
        }),
        mtu: mtu(link),
        port: port(link),
        ..told
    });
    let bridge = links.iter().find(|link| is_named(link, &wanted.bridge) && is_bridge(link));
    let bridge = bridge.map(|link| bridge_of(link, &addresses));
    Ok(Network { nic, bridge, default_v4, default_v6, kernel })
}

fn bridge_of(link: &LinkMessage, addresses: &[AddressMessage]) -> Bridge {
    let up = link.header.flags.contains(LinkFlags::Up);
    let mut bridge = Bridge { up, mtu: mtu(link), ..Bridge::default() };
    let own = addresses.iter().filter(|address| address.header.index == link.header.index);
    for (address, ip) in own.filter_map(|address| Some((address, ips(address)?))) {
        bridge.prefixes.insert(ip, address.header.prefix_len);
        let flags = &address.header.flags;
        let fit = if flags.contains(AddressHeaderFlags::Dadfailed) {
            &mut bridge.duplicates
        } else if flags.contains(AddressHeaderFlags::Tentative) && !flags.contains(AddressHeaderFlags::Optimistic) {
            &mut bridge.tentative
        } else {
            &mut bridge.addresses
        };
        fit.push(ip);
    }
    bridge
}

/// Tell whether there is a default route of this kind. A machine that does not have IPv6 at all has
/// none.
async fn has_default(handle: &Handle, version: IpVersion) -> Result<bool, rtnetlink::Error> {
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
