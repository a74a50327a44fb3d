//! The network interface and the bridge: rtnetlink says what is there and when it changes,
//! sysfs says how fast it is.

use crate::backoff::Backoff;
use crate::clean;
use crate::config::{self, Configuration};
use crate::decide::facts::{Bridge, Facts, Network, Nic, PortState};
use crate::kernel::broker::{self, Wanted};
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop,
};
use netlink_packet_route::route::{RouteHeader, RouteType};
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};
use rtnetlink::{Handle, IpVersion, MulticastGroup, RouteMessageBuilder};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::{Path, PathBuf};
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
        Some(watch(wanted, ground.sysfs.clone(), ground.rhythm.clone(), to).boxed())
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

/// Watches until nobody listens any more. `sysfs` is where sysfs is mounted.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    wanted: config::Network,
    sysfs: PathBuf,
    rhythm: Rhythm,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        match session(&wanted, &sysfs, &rhythm, &to).await {
            Ok(gone) => return Err(gone),
            Err(why) => tracing::warn!("netlink does not tell of the network: {why}"),
        }
        backoff.pause().await;
    }
}

/// Watch by one netlink socket, as long as it lasts. `Ok` when nobody listens any more.
async fn session(
    wanted: &config::Network,
    sysfs: &Path,
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
        let seen = look(&handle, wanted, sysfs).await?;
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
pub async fn look_once(wanted: &config::Network, sysfs: &Path) -> Result<Network, rtnetlink::Error> {
    let socket = socket().map_err(|why| rtnetlink::Error::NamespaceError(why.to_string()))?;
    let (connection, handle, _changes) = rtnetlink::from_socket(socket);
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    look(&handle, wanted, sysfs).await
}

async fn look(handle: &Handle, wanted: &config::Network, sysfs: &Path) -> Result<Network, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    let (default_v4, default_v6) =
        (has_default(handle, IpVersion::V4).await?, has_default(handle, IpVersion::V6).await?);
    let nic = links.iter().find(|link| is_named(link, &wanted.nic));
    // An adapter that is failing can take its time to tell its speed. sysfs knows it by one name only.
    let (tree, device) = (sysfs.to_owned(), nic.and_then(name).unwrap_or(&wanted.nic).clone());
    let told = tokio::task::spawn_blocking(move || told(&tree, &device)).await.unwrap_or_default();
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
    Ok(Network { nic, bridge, default_v4, default_v6 })
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

/// Tell whether a name is a link's own or one of its others (`ip link property`).
fn is_named(link: &LinkMessage, wanted: &str) -> bool {
    let others = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::PropList(others) => Some(others),
        _ => None,
    });
    let is_other = |other: &Prop| matches!(other, Prop::AltIfName(other) if other == wanted);
    name(link).is_some_and(|name| name == wanted) || others.flatten().any(is_other)
}

fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// Read the state that a bridge gives a link, if that is a port of one.
fn port(link: &LinkMessage) -> Option<PortState> {
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

fn name(link: &LinkMessage) -> Option<&String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}

fn master(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

fn is_bridge(link: &LinkMessage) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)))
}

fn ips(address: &AddressMessage) -> Option<IpAddr> {
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

/// Read all that sysfs tells of an interface.
fn told(sysfs: &Path, nic: &str) -> Nic {
    let usb = usb_device(sysfs, nic);
    Nic {
        link_mbps: link_speed(sysfs, nic),
        usb_mbps: usb.as_ref().and_then(|device| number(&device.join("speed"))),
        usb_path: usb.as_ref().and_then(|device| file_name(device)),
        driver: fs::read_link(sysfs.join("class/net").join(nic).join("device/driver"))
            .ok()
            .and_then(|it| file_name(&it)),
        ..Nic::default()
    }
}

fn file_name(path: &Path) -> Option<String> {
    Some(clean::line(path.file_name()?.to_str()?).into_owned())
}

/// The negotiated speed in Mbit/s. sysfs has -1, or an error, while there is no link.
fn link_speed(sysfs: &Path, nic: &str) -> Option<u32> {
    number(&sysfs.join("class/net").join(nic).join("speed"))
}

/// The USB device behind an interface; `None` if it is none. `device` leads to the USB *interface*; its parent is the
/// device, which has the speed.
fn usb_device(sysfs: &Path, nic: &str) -> Option<PathBuf> {
    let interface = sysfs.join("class/net").join(nic).join("device");
    let subsystem = fs::read_link(interface.join("subsystem")).ok()?;
    if subsystem.file_name()? != "usb" {
        return None;
    }
    Some(fs::canonicalize(interface).ok()?.parent()?.to_owned())
}

fn number(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A tree as the kernel lays it out for a USB adapter.
    fn sysfs(link: &str, usb: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("devices/usb2/2-1");
        let net = device.join("2-1:1.0/net/enx00e04ca81110");
        fs::create_dir_all(&net).unwrap();
        fs::create_dir_all(root.path().join("bus/usb")).unwrap();
        fs::create_dir_all(root.path().join("class/net")).unwrap();
        fs::write(device.join("speed"), format!("{usb}\n")).unwrap();
        fs::write(net.join("speed"), format!("{link}\n")).unwrap();
        symlink("../../../../../bus/usb", device.join("2-1:1.0/subsystem")).unwrap();
        symlink("../..", net.join("device")).unwrap();
        symlink("../../../../../bus/usb/drivers/r8152", device.join("2-1:1.0/driver")).unwrap();
        symlink(&net, root.path().join("class/net/enx00e04ca81110")).unwrap();
        root
    }

    #[test]
    fn speeds_driver_and_place_are_read_from_sysfs() {
        let tree = sysfs("2500", "5000");
        let told = told(tree.path(), "enx00e04ca81110");
        assert_eq!((told.link_mbps, told.usb_mbps), (Some(2500), Some(5000)));
        assert_eq!((told.driver.as_deref(), told.usb_path.as_deref()), (Some("r8152"), Some("2-1")));
    }

    #[test]
    fn no_link_and_no_usb_are_no_speed() {
        let tree = sysfs("-1", "480");
        let usb = told(tree.path(), "enx00e04ca81110");
        assert_eq!((usb.link_mbps, usb.usb_mbps), (None, Some(480)));
        assert_eq!(told(tree.path(), "eth0"), Nic::default());
        assert_eq!(told(Path::new("/sys"), "lo").usb_path, None);
    }
}
