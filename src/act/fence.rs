//! Fence of a region: whom its unit lets in, changed while it runs, and the end of the connections of those that are
//! not let in any more. Who that is is decided elsewhere.
//!
//! systemd drops the packets of those that its unit does not let in; the sockets stay. So they
//! are destroyed afterwards, and it is waited until the downstairs has closed them: one that still
//! had one would hold the old upstairs for 45 seconds, and could demote the new one when it closes
//! late.

use crate::kernel::connections::{self, Connection};
use crate::kernel::processes::inodes;
use crate::names::RegionName;
use crate::port_map::{Fence, LocalRegion};
use crate::systemd::proxy::ManagerProxy;
use crate::systemd::{fence, job, names};
use futures_util::future::try_join_all;
use procfs::net::TcpState;
use procfs::process::Process;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use zbus::Connection as Bus;

/// The pause between two looks whether the connections are gone, and how long at most they may take.
const CONNECTION_POLL: Duration = Duration::from_millis(2);
const DESTROY_LIMIT: Duration = Duration::from_secs(4);
/// The time that a downstairs may take to close what was destroyed: one turn of its loop, for which under full load
/// 449 ms were measured, and more where all processors are taken. Nobody else is let in as long as one has not, and
/// an error that waiting would have cured is none for a host to see: it waits for its ticket much longer than this.
const CLOSE_LIMIT: Duration = Duration::from_secs(4);

/// Find that systemd answers at all: a question that costs it nothing is asked before anybody is disturbed for what
/// it could not do.
///
/// # Errors
/// The answer of systemd, or that there was none.
pub async fn answers(bus: &Bus) -> Result<(), String> {
    let peer = zbus::fdo::PeerProxy::new(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1");
    peer.await.map_err(job::spoken)?.ping().await.map_err(job::spoken)
}

/// Change whom a region's unit lets in; at once if it runs, and until the next boot.
///
/// # Errors
/// The answer of systemd.
pub async fn set(bus: &Bus, region: &RegionName, wanted: &Fence) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let settings = fence::settings(wanted);
    manager.set_unit_properties(&names::unit(region), true, &settings).await.map_err(job::spoken)
}

/// Change whom several regions' units let in, side by side.
///
/// # Errors
/// The first answer of systemd that is an error.
pub async fn set_all(bus: &Bus, regions: &[LocalRegion], wanted: &Fence) -> Result<(), String> {
    try_join_all(regions.iter().map(|local| set(bus, &local.name, wanted))).await.map(|_| ())
}

/// The hosts that are connected to these regions' ports, and to which region.
///
/// # Errors
/// The kernel does not tell.
pub fn connected(regions: &[LocalRegion]) -> io::Result<Vec<(IpAddr, RegionName)>> {
    // A connection whose end is under way serves nobody any more.
    in_state(regions, &[TcpState::Established, TcpState::CloseWait])
}

/// The same, but for those that have said already that they send nothing more: these are leaving.
///
/// # Errors
/// The kernel does not tell.
pub fn talking(regions: &[LocalRegion]) -> io::Result<Vec<(IpAddr, RegionName)>> {
    in_state(regions, &[TcpState::Established])
}

fn in_state(regions: &[LocalRegion], states: &[TcpState]) -> io::Result<Vec<(IpAddr, RegionName)>> {
    let open = open(regions)?.into_iter().filter(|(connection, _)| states.contains(&connection.state));
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

/// Destroy the connections to these regions that `whose` says and there are now. They may come again: it is no more
/// than a beginning. The sockets that they were, by inode.
///
/// # Errors
/// The kernel does not tell or cannot do it.
pub fn cut(regions: &[LocalRegion], whose: impl Fn(IpAddr) -> bool) -> io::Result<HashSet<u64>> {
    let mut ended = HashSet::new();
    for (connection, _) in open(regions)?.into_iter().filter(|(connection, _)| whose(peer(connection))) {
        end(&connection, &mut ended)?;
    }
    Ok(ended)
}

/// Destroy one; what is over already was no connection of anybody, and is not counted.
fn end(connection: &Connection, ended: &mut HashSet<u64>) -> io::Result<()> {
    if connections::destroy(connection)? && !connection.is_over() {
        ended.insert(connection.inode);
    }
    Ok(())
}

/// Destroy every connection to these regions that `whose` says, until the kernel shows none of them any more, but for
/// what is over and an older kernel does not destroy: no process has it. The sockets that they were, by inode.
///
/// # Errors
/// The kernel does not tell or cannot do it, or one is still there after some seconds.
pub async fn destroy(regions: &[LocalRegion], whose: impl Fn(IpAddr) -> bool) -> io::Result<HashSet<u64>> {
    let began = Instant::now();
    let mut ended = HashSet::new();
    loop {
        let left: Vec<_> = open(regions)?.into_iter().filter(|(connection, _)| whose(peer(connection))).collect();
        for (connection, _) in &left {
            end(connection, &mut ended)?;
        }
        let Some((alive, region)) = left.iter().find(|(connection, _)| !connection.is_over()) else { return Ok(ended) };
        if began.elapsed() > DESTROY_LIMIT {
            let why = format!("{} is still connected to {region}", alive.peer);
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        tokio::time::sleep(CONNECTION_POLL).await;
    }
}

/// Wait until none of these processes has any of these sockets any more, but not for ever. Those that one still has.
pub async fn let_go(processes: Vec<u32>, sockets: HashSet<u64>) -> HashSet<u64> {
    let began = Instant::now();
    let mut left = sockets;
    while !left.is_empty() {
        let (processes, sockets) = (processes.clone(), left.clone());
        let look = move || {
            let own = |pid: &u32| Process::new(pid.cast_signed()).map(|process| inodes(&process)).unwrap_or_default();
            let owned: HashSet<_> = processes.iter().flat_map(own).collect();
            sockets.into_iter().filter(|socket| owned.contains(socket)).collect()
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(still) => left = still,
            Err(why) => tracing::error!("whether a downstairs has let go of connections cannot be told: {why}"),
        }
        if left.is_empty() || began.elapsed() > CLOSE_LIMIT {
            break;
        }
        tokio::time::sleep(CONNECTION_POLL).await;
    }
    left
}
