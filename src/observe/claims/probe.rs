//! Question on the bridge who else has the sled's address, in a process of its own: it may hear packets of a link, and the
//! supervisor may not. Says what it found on standard output, and changes nothing.

use crate::kernel::arp::{Mac, other_owner};
use crate::kernel::links::{is_bridge, is_named, mac_bytes};
use futures_util::TryStreamExt;
use netlink_packet_route::link::LinkMessage;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::Ipv4Addr;
use tokio::task::JoinSet;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The hardware address of another machine that has the address.
    pub(super) other: Option<String>,
}

/// Ask on this bridge who else has this address, and say it on standard output.
///
/// # Errors
/// The bridge is not there, or nobody can be asked.
pub fn report(bridge: &str, address: Ipv4Addr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (link, own) = runtime.block_on(places(bridge))?;
    let other = other_owner(link, &own, address)?.map(|mac| mac.to_string());
    serde_json::to_writer(io::stdout(), &Report { other }).map_err(io::Error::other)
}

/// Find the bridge's number and the hardware addresses of this machine, the bridge's first. A machine answers on each of
/// its links for every address that it has.
async fn places(bridge: &str) -> io::Result<(u32, Vec<Mac>)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
    let link = links.iter().find(|link| is_named(link, bridge) && is_bridge(link));
    let link = link.ok_or_else(|| io::Error::other(format!("there is no bridge {bridge}")))?;
    let own = mac_bytes(link).into_iter().chain(links.iter().filter_map(mac_bytes)).map(Mac).collect();
    Ok((link.header.index, own))
}
