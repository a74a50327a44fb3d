//! The network interface and the bridge: rtnetlink says what is there and when it changes,
//! sysfs says how fast it is.

mod adapter;
mod cable;
mod history;
mod routes;
mod spares;
mod vlans;

use crate::backoff::Backoff;
use crate::config::{self, Configuration};
use crate::decide::facts::{Bridge, Facts, Manager, Network, Nic};
use crate::kernel::attributes::is_on_usb;
use crate::kernel::broker::{self, Wanted};
use crate::kernel::links::{
    answering, ips, is_adapter, is_bridge, is_configured, is_named, mac, mtu, name, stp, unanswering, wanted as chosen,
    way,
};
use crate::observe::observer::{Begin, Kernel, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, claims, publish};
use crate::times;
use cable::{carrier, master_of, nic_by_link, refresh};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use history::{Counters, History};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};
use rtnetlink::{Handle, IpVersion, MulticastGroup};
use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Time between looks when the kernel has told of no change: the speed of a link can change without
/// an event.
const SLOW_LOOK: Duration = Duration::from_secs(60);

/// Time in which those who wait hear of a cable before everything is looked at; what the kernel tells meanwhile is for that
/// look.
const HEARING: Duration = Duration::from_millis(5);

/// The network interface and the bridge.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "network";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = Some("network");
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let sought = Sought::of(&ground.config);
        let came = ground.looks.heard_by::<claims::Watch>();
        Some(watch(sought, ground.kernel.clone(), ground.rhythm.clone(), came, to).boxed())
    });
    type Fact = Network;

    fn tell(network: Self::Fact) -> Observation {
        Observation::known(|facts| facts.network = Some(network))
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        facts.network.is_some()
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        if Sought::of(by.old) != Sought::of(by.new) {
            facts.network.clone_from(&by.fresh.network);
        }
    }
}

/// Watches until nobody listens any more; rings when a cable or an address has come.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    sought: Sought,
    kernel: Kernel,
    rhythm: Rhythm,
    came: Arc<Notify>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let mut history = History::default();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        match session(&sought, &kernel, &mut history, (&rhythm, &came), &to).await {
            Ok(gone) => return Err(gone),
            Err(why) => tracing::warn!("netlink does not tell of the network: {why}"),
        }
        backoff.pause().await;
    }
}

/// Watch by one netlink socket, as long as it lasts. `Ok` when nobody listens any more.
async fn session(
    sought: &Sought,
    kernel: &Kernel,
    history: &mut History,
    (rhythm, came): (&Rhythm, &Notify),
    to: &Publisher,
) -> Result<NobodyListens, rtnetlink::Error> {
    let socket = socket().map_err(|why| rtnetlink::Error::NamespaceError(why.to_string()))?;
    let (connection, handle, mut changes) = rtnetlink::from_socket(socket);
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut slow = rhythm.every(SLOW_LOOK);
    let mut last = None;
    loop {
        // Cancel-safe: a beat or a message that is not taken stays, and a time that has come has come.
        let (change, more, in_time) = tokio::select! {
            _ = slow.next() => (None, true, true),
            () = until(history.due(Instant::now())) => (None, true, false),
            change = changes.next() => {
                let more = change.is_some();
                (change, more, false)
            }
        };
        // A cable that is pulled sends several messages; one look covers those already here.
        let (mut told, mut news, mut next) = (false, change.is_none(), change);
        while let Some((message, _)) = next {
            told |= carrier(&mut last, &message);
            news |= is_news(last.as_ref(), sought, &message);
            next = changes.try_recv().ok();
        }
        if !news {
            continue;
        }
        // Hosts wait for a cable: they hear of it before everything is looked at, and that lets them hear first.
        if let Some(network) = last.as_mut().filter(|_| told) {
            if network.nic.as_ref().is_some_and(|nic| nic.carrier) {
                refresh(network, &links(&handle).await?, &sought.network);
            }
            if let Err(gone) = publish::<Watch>(to, network.clone()).await {
                return Ok(gone);
            }
            sleep(HEARING).await;
        }
        let seen = look(&handle, sought, kernel, history, in_time).await?;
        if last.as_ref().is_some_and(|last| has_come(last, told, &seen)) {
            came.notify_one();
        }
        last = Some(seen.clone());
        if let Err(gone) = publish::<Watch>(to, seen).await {
            return Ok(gone);
        }
        if !more {
            return Err(rtnetlink::Error::RequestFailed);
        }
    }
}

/// Tell whether a message is a reason for a look. Of neighbours the kernel tells much that is nobody's concern here: only
/// that a host of the map does not answer any more, or that this is over.
fn is_news(last: Option<&Network>, sought: &Sought, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    let (neighbour, there) = match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)) => (neighbour, true),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(neighbour)) => (neighbour, false),
        _ => return true,
    };
    let bridge = last.and_then(|network| Some((network, network.bridge.as_ref()?.index)));
    bridge.is_some_and(|(network, link)| {
        answering(neighbour, link).is_some_and(|(ip, answers)| {
            sought.hosts.contains(&ip) && (there && !answers) != network.unanswering.contains(&ip)
        })
    })
}

/// Tell whether there is a cable that was not there, or an address: `told` if the cable's message has been taken over.
fn has_come(last: &Network, told: bool, now: &Network) -> bool {
    let carrier = |network: &Network| network.nic.iter().chain(&network.spare).any(|nic| nic.carrier);
    let addresses =
        |network: &Network| network.bridge.as_ref().map(|bridge| bridge.addresses.clone()).unwrap_or_default();
    let before = addresses(last);
    carrier(now) && (told || !carrier(last)) || addresses(now).iter().any(|address| !before.contains(address))
}

/// Waits until then, or for ever. Cancel-safe.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => pending().await,
    }
}

/// A netlink socket of the machine's network that is told of changes to interfaces, neighbours, addresses and
/// routes.
#[expect(unsafe_code, reason = "netlink-sys has no safe way to take a socket over")]
fn socket() -> io::Result<TokioSocket> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
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
pub async fn look_once(config: &Configuration, kernel: &Kernel) -> Result<Network, rtnetlink::Error> {
    let socket = socket().map_err(|why| rtnetlink::Error::NamespaceError(why.to_string()))?;
    let (connection, handle, _changes) = rtnetlink::from_socket(socket);
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    look(&handle, &Sought::of(config), kernel, &mut History::default(), false).await
}

/// What is wanted of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The adapter and the bridge.
    network: config::Network,
    /// The hosts that are to be reached: those of this sled's volumes.
    hosts: BTreeSet<IpAddr>,
}

impl Sought {
    /// Read it from the configuration.
    pub fn of(config: &Configuration) -> Self {
        let here = config.local_regions();
        let volumes =
            config.map.volumes.iter().filter(|(name, _)| here.iter().any(|local| local.name.volume() == *name));
        let hosts = volumes.flat_map(|(_, volume)| volume.hosts.iter().copied()).collect();
        Self { network: config.sled.network.clone(), hosts }
    }
}

/// Look at everything; in its time also at what a driver has to be asked for, which may take an adapter that fails long:
/// nobody who waits for a change is to wait for that.
async fn look(
    handle: &Handle,
    sought: &Sought,
    kernel: &Kernel,
    history: &mut History,
    in_time: bool,
) -> Result<Network, rtnetlink::Error> {
    let links = links(handle).await?;
    let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    let (default_v4, default_v6) =
        (routes::has_default(handle, IpVersion::V4).await?, routes::has_default(handle, IpVersion::V6).await?);
    let wanted = &sought.network;
    let link = links.iter().find(|link| is_named(link, &wanted.bridge) && is_bridge(link));
    let is_usb = |name: &str| is_on_usb(&kernel.sysfs, name);
    let chosen = chosen(&links, &wanted.nic, link.map(|link| link.header.index), is_usb);
    let nic = chosen.or_else(|| by_address(&links, &wanted.nic, history));
    history.remember(chosen.and_then(mac));
    let spare = spares::find(&links, wanted, nic, is_usb);
    let bond = spares::bond(nic.or(spare), &links);
    let spare = match spare {
        Some(spare) => Some(spares::spare(spare, &links, wanted, kernel).await),
        None => None,
    };
    let (told, manager, release) = told(kernel, nic, link, in_time).await;
    let nic = nic.map(|link| nic_of(link, &links, wanted, told, history));
    let bridge = link.map(|link| Bridge { manager, ..bridge_of(link, &addresses, history) });
    let tagging = match (link, wanted.vlan) {
        (Some(link), Some(vlan)) => {
            let port = chosen.map(|nic| way(nic, &links, Some(link.header.index)).last().copied().unwrap_or(nic));
            vlans::tagging(handle, link, port, vlan.id()).await
        }
        _ => None,
    };
    let unanswering = match link {
        Some(link) => neighbours(handle, link.header.index, &sought.hosts).await,
        None => BTreeSet::new(),
    };
    let unroutable = routes::unroutable(handle, &sought.hosts).await;
    Ok(Network { nic, spare, bond, bridge, tagging, default_v4, default_v6, unroutable, unanswering, kernel: release })
}

/// List the links of the machine.
async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, rtnetlink::Error> {
    handle.link().get().execute().try_collect().await
}

/// What files tell of an adapter.
type Told = (Nic, Counters);

/// Read what files tell: of the adapter, of who configures the bridge, and of the kernel. An adapter that is failing can
/// take its time to tell its speed.
async fn told(
    kernel: &Kernel,
    nic: Option<&LinkMessage>,
    bridge: Option<&LinkMessage>,
    in_time: bool,
) -> (Told, Option<Manager>, Option<String>) {
    // sysfs knows an adapter by one name only.
    let (places, nic) = (kernel.clone(), nic.and_then(name).cloned());
    let bridge = bridge.and_then(|link| Some((link.header.index, name(link)?.clone())));
    let look = move || {
        let of_nic =
            nic.map(|nic| (adapter::told(&places.sysfs, &nic), adapter::counters(&places.sysfs, &nic, in_time)));
        let manager = bridge.and_then(|(index, name)| adapter::manager(Path::new("/"), index, &name));
        (of_nic.unwrap_or_default(), manager, adapter::release(&places.proc))
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Find the adapter that has lost the configured name by its hardware address: the one that the name is made of, or the
/// one that it had.
fn by_address<'a>(links: &'a [LinkMessage], wanted: &config::Nic, history: &History) -> Option<&'a LinkMessage> {
    let before = |link: &LinkMessage| history.mac().is_some() && mac(link).as_ref() == history.mac();
    let configured = |link: &LinkMessage| wanted.names().any(|name| is_configured(link, name));
    links.iter().filter(|link| is_adapter(link)).find(|link| before(link) || configured(link))
}

fn nic_of(
    link: &LinkMessage,
    links: &[LinkMessage],
    wanted: &config::Network,
    (told, counters): Told,
    history: &mut History,
) -> Nic {
    let master = master_of(link, links);
    let own = mac(link);
    let twin = |other: &&LinkMessage| {
        other.header.index != link.header.index && is_adapter(other) && own.is_some() && mac(other) == own
    };
    let (faults, losses) = history.count(link.header.index, counters, Instant::now());
    let joined = master.is_some_and(|master| is_named(master, &wanted.bridge));
    let came_back = history.came_back(link.header.index, joined, master.is_none(), Instant::now());
    let nic = Nic {
        index: link.header.index,
        renamed: name(link).filter(|_| wanted.nic.is_named() && !is_named(link, &wanted.nic)).cloned(),
        name: name(link).filter(|_| !wanted.nic.is_named()).cloned(),
        twins: links.iter().filter(twin).filter_map(name).cloned().collect(),
        mac: own,
        faults,
        losses,
        came_back,
        ..told
    };
    nic_by_link(nic, link, links, wanted)
}

fn bridge_of(link: &LinkMessage, addresses: &[AddressMessage], history: &mut History) -> Bridge {
    let (stp, forward_delay) = stp(link);
    let mac_change = history.bridge(mac(link), Instant::now(), times::in_seconds(times::now()));
    let up = link.header.flags.contains(LinkFlags::Up);
    let index = link.header.index;
    let mut bridge =
        Bridge { index, up, mtu: mtu(link), mac: mac(link), mac_change, stp, forward_delay, ..Bridge::default() };
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

/// The hosts that do not answer on this link. A kernel that does not tell of neighbours tells of none.
async fn neighbours(handle: &Handle, link: u32, hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    if hosts.is_empty() {
        return BTreeSet::new();
    }
    let all: Vec<_> = handle.neighbours().get().execute().try_collect().await.unwrap_or_default();
    all.iter().filter_map(|neighbour| unanswering(neighbour, link)).filter(|host| hosts.contains(host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
    use std::net::Ipv4Addr;

    #[test]
    fn of_neighbours_only_a_host_that_falls_silent_or_does_so_no_more_is_news() {
        let host = |last: u8| Ipv4Addr::new(192, 168, 4, last);
        let network = config::Network::of("enx0");
        let sought = Sought { network, hosts: [17, 18].map(host).map(IpAddr::V4).into() };
        let bridge = Some(Bridge { index: 2, ..Bridge::default() });
        let unanswering = [IpAddr::V4(host(18))].into();
        let last = Network { bridge, unanswering, ..Network::default() };
        let message = |link: u32, of: u8, state: NeighbourState| {
            let mut neighbour = NeighbourMessage::default();
            (neighbour.header.ifindex, neighbour.header.state) = (link, state);
            neighbour.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(host(of)))];
            neighbour
        };
        let news = |message| is_news(Some(&last), &sought, &NetlinkMessage::from(message));
        for (link, of, state, wanted) in [
            (2, 17, NeighbourState::Failed, true),
            (2, 17, NeighbourState::Stale, false),
            (2, 18, NeighbourState::Reachable, true),
            (2, 18, NeighbourState::Failed, false),
            (2, 19, NeighbourState::Failed, false),
            (3, 17, NeighbourState::Failed, false),
        ] {
            let told = news(RouteNetlinkMessage::NewNeighbour(message(link, of, state)));
            assert_eq!(told, wanted, "{link} {of} {state:?}");
        }
        assert!(news(RouteNetlinkMessage::DelNeighbour(message(2, 18, NeighbourState::Failed))), "it is forgotten");
        assert!(!news(RouteNetlinkMessage::DelNeighbour(message(2, 17, NeighbourState::Stale))));
        let link = NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        assert!(is_news(None, &sought, &link), "every change of a link is news");
    }
}
