//! The fence around a region: whom its unit lets in, changed while it runs, and the end of the
//! connections of those that are not let in any more. Who that is is decided elsewhere.
//!
//! systemd drops the packets of those that its unit does not let in; the sockets stay. So they
//! are destroyed afterwards: a downstairs that still had one would hold the old upstairs for 45
//! seconds, and could demote the new one when it closes late.

use super::connections::{self, Connection};
use crate::names::RegionName;
use crate::port_map::{Fence, LocalRegion};
use crate::systemd::proxy::ManagerProxy;
use crate::systemd::{fence, job, names};
use futures_util::future::try_join_all;
use procfs::net::TcpState;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use zbus::Connection as Bus;

/// How often to look whether the connections are gone, and how long at most. A destroyed socket is
/// closed by its process, which needs a turn of its loop for that.
const LOOK: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(900);

/// Changes whom a region's unit lets in; at once if it runs, and until the next boot.
///
/// # Errors
/// What systemd answered.
pub async fn set(bus: &Bus, region: &RegionName, wanted: &Fence) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let settings = fence::settings(wanted);
    manager.set_unit_properties(&names::unit(region), true, &settings).await.map_err(job::spoken)
}

/// The same for several regions, side by side.
///
/// # Errors
/// What systemd answered first.
pub async fn set_all(bus: &Bus, regions: &[LocalRegion], wanted: &Fence) -> Result<(), String> {
    try_join_all(regions.iter().map(|local| set(bus, &local.name, wanted))).await.map(|_| ())
}

/// Who is connected to these regions' ports, and to which region.
///
/// # Errors
/// The kernel does not tell.
pub fn connected(regions: &[LocalRegion]) -> io::Result<Vec<(IpAddr, RegionName)>> {
    // One whose end is under way serves nobody any more.
    let lives = |connection: &Connection| matches!(connection.state, TcpState::Established | TcpState::CloseWait);
    let open = open(regions)?.into_iter().filter(|(connection, _)| lives(connection));
    Ok(open.map(|(connection, region)| (peer(&connection), region)).collect())
}

fn open(regions: &[LocalRegion]) -> io::Result<Vec<(Connection, RegionName)>> {
    let ports: Vec<_> = regions.iter().flat_map(|local| [local.port, local.repair_port()]).collect();
    let region = |connection: &Connection| {
        let port = connection.local.port();
        regions.iter().find(|local| local.port == port || local.repair_port() == port).map(|local| local.name.clone())
    };
    let all = connections::open(&ports)?.into_iter();
    Ok(all.filter_map(|connection| region(&connection).map(|region| (connection, region))).collect())
}

fn peer(connection: &Connection) -> IpAddr {
    connection.peer.ip().to_canonical()
}

/// Destroys every connection to these regions that `whose` says, until the kernel shows none of
/// them any more. How many there were.
///
/// # Errors
/// The kernel does not tell or cannot do it, or one is still there after a second.
pub async fn destroy(regions: &[LocalRegion], whose: impl Fn(IpAddr) -> bool) -> io::Result<usize> {
    let began = Instant::now();
    let mut ended = 0;
    loop {
        let left: Vec<_> = open(regions)?.into_iter().filter(|(connection, _)| whose(peer(connection))).collect();
        let Some((first, region)) = left.first() else { return Ok(ended) };
        if began.elapsed() > LONGEST {
            let why = format!("{} is still connected to {region}", first.peer);
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        for (connection, _) in &left {
            ended += usize::from(connections::destroy(connection)?);
        }
        tokio::time::sleep(LOOK).await;
    }
}
