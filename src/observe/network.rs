//! The network interface and the bridge: rtnetlink says what is there and when it changes,
//! sysfs says how fast it is.

use super::backoff::Backoff;
use super::rhythm::Rhythm;
use super::{NobodyListens, Observation, Publisher, publish};
use crate::broker::{self, Wanted};
use crate::config;
use crate::decide::facts::{Bridge, Network, Nic};
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};
use rtnetlink::{Handle, MulticastGroup};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

/// How often to look when the kernel has told of no change: the speed of a link can change
/// without an event.
pub const SLOW_LOOK: Duration = Duration::from_secs(60);

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

/// One netlink socket, as long as it lasts. `Ok` when nobody listens any more.
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
        if let Err(gone) = publish(to, Observation::Network(seen)).await {
            return Ok(gone);
        }
        if !more {
            return Err(rtnetlink::Error::RequestFailed);
        }
    }
}

/// A netlink socket of the machine's network that is told of changes to interfaces and addresses.
#[expect(unsafe_code, reason = "netlink-sys has no safe way to take a socket over")]
fn socket() -> io::Result<TokioSocket> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let mask = groups.into_iter().fold(0, |mask, group| mask | 1 << (group as u32 - 1));
    let given = broker::open(Wanted::Route)?;
    // SAFETY: the descriptor is open, nobody else has it, and the socket owns it from here on.
    let mut socket = unsafe { TokioSocket::from_raw_fd(given.into_raw_fd()) };
    socket.socket_mut().bind(&SocketAddr::new(0, mask))?;
    Ok(socket)
}

/// One look, for who asks about another interface or bridge than those that are watched.
///
/// # Errors
/// The kernel does not tell.
pub async fn look_once(wanted: &config::Network, sysfs: &Path) -> Result<Network, rtnetlink::Error> {
    let socket = socket().map_err(|why| rtnetlink::Error::NamespaceError(why.to_string()))?;
    let (connection, handle, _changes) = rtnetlink::from_socket(socket);
    let driver = tokio::spawn(connection);
    let seen = look(&handle, wanted, sysfs).await;
    driver.abort();
    seen
}

async fn look(handle: &Handle, wanted: &config::Network, sysfs: &Path) -> Result<Network, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    // An adapter that is failing can take its time to tell its speed.
    let (tree, device) = (sysfs.to_owned(), wanted.nic.clone());
    let speeds = tokio::task::spawn_blocking(move || (link_speed(&tree, &device), usb_speed(&tree, &device)));
    let (link_mbps, usb_mbps) = speeds.await.unwrap_or_default();
    let nic = links.iter().find(|link| name(link) == Some(&wanted.nic)).map(|link| Nic {
        up: link.header.flags.contains(LinkFlags::Up),
        carrier: link.header.flags.contains(LinkFlags::LowerUp),
        master: master(link).and_then(|index| links.iter().find(|l| l.header.index == index)).and_then(name).cloned(),
        link_mbps,
        usb_mbps,
    });
    let bridge = links.iter().find(|link| name(link) == Some(&wanted.bridge) && is_bridge(link));
    let bridge = bridge.map(|link| Bridge {
        up: link.header.flags.contains(LinkFlags::Up),
        addresses: addresses.iter().filter(|a| a.header.index == link.header.index).flat_map(ips).collect(),
    });
    Ok(Network { nic, bridge })
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

/// The negotiated speed in Mbit/s. sysfs has -1, or an error, while there is no link.
fn link_speed(sysfs: &Path, nic: &str) -> Option<u32> {
    number(&sysfs.join("class/net").join(nic).join("speed"))
}

/// The speed of the USB device behind an interface in Mbit/s; `None` if it is no USB device.
/// `device` leads to the USB *interface*; its parent is the device, which has the speed.
fn usb_speed(sysfs: &Path, nic: &str) -> Option<u32> {
    let interface = sysfs.join("class/net").join(nic).join("device");
    let subsystem = fs::read_link(interface.join("subsystem")).ok()?;
    if subsystem.file_name()? != "usb" {
        return None;
    }
    number(&fs::canonicalize(interface).ok()?.parent()?.join("speed"))
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
        symlink(&net, root.path().join("class/net/enx00e04ca81110")).unwrap();
        root
    }

    #[test]
    fn speeds_are_read_from_sysfs() {
        let tree = sysfs("2500", "5000");
        assert_eq!(link_speed(tree.path(), "enx00e04ca81110"), Some(2500));
        assert_eq!(usb_speed(tree.path(), "enx00e04ca81110"), Some(5000));
    }

    #[test]
    fn no_link_and_no_usb_are_no_speed() {
        let tree = sysfs("-1", "480");
        assert_eq!(link_speed(tree.path(), "enx00e04ca81110"), None);
        assert_eq!(usb_speed(tree.path(), "enx00e04ca81110"), Some(480));
        assert_eq!(usb_speed(tree.path(), "eth0"), None);
        assert_eq!(usb_speed(Path::new("/sys"), "lo"), None);
    }
}
