//! Who listens on the regions' ports, and who is connected, from procfs.
//!
//! Nothing tells when a socket opens or closes, so this looks when somebody knows of a
//! reason (a unit changed, a downstairs was reached) and otherwise every five seconds.
//! Strangers are reported, never touched.

use super::rhythm::Rhythm;
use super::{NobodyListens, Observation, Publisher, publish};
use crate::act::peers::{inodes, unit};
use crate::decide::facts::{Holder, Sockets, Stranger};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::systemd::names;
use crate::wire::Peer;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{Process, all_processes};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How often to look when nobody knows of a reason.
pub const SLOW_LOOK: Duration = Duration::from_secs(5);

/// The main processes of the regions' units.
pub type Pids = BTreeMap<RegionName, u32>;

/// Watches until nobody listens any more. `look` asks for a look at once.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    regions: Vec<LocalRegion>,
    address: IpAddr,
    pids: watch::Receiver<Pids>,
    rhythm: Rhythm,
    look: Arc<Notify>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let regions = Arc::new(regions);
    let mut slow = rhythm.every(SLOW_LOOK);
    loop {
        // Cancel-safe: a beat or a permit that is not taken stays.
        tokio::select! {
            _ = slow.next() => {}
            () = look.notified() => {}
        }
        let (regions, pids) = (regions.clone(), pids.borrow().clone());
        let seen = tokio::task::spawn_blocking(move || scan(&regions, address, &pids)).await;
        match seen {
            Ok(Ok(seen)) => publish(&to, Observation::Sockets(seen)).await?,
            Ok(Err(why)) => tracing::warn!("procfs does not tell who listens: {why}"),
            Err(why) => tracing::error!("the look at procfs ended early: {why}"),
        }
    }
}

/// One look at everything.
fn scan(regions: &[LocalRegion], address: IpAddr, pids: &Pids) -> procfs::ProcResult<BTreeMap<RegionName, Sockets>> {
    let mut table = procfs::net::tcp()?;
    // A kernel without IPv6 has no such file.
    table.extend(procfs::net::tcp6().unwrap_or_default());
    let probes = inodes(&Process::myself()?);
    let seen = regions.iter().map(|local| {
        let pid = pids.get(&local.name).copied();
        let own = pid.and_then(|pid| Process::new(pid.try_into().ok()?).ok()).map(|process| inodes(&process));
        let own = own.unwrap_or_default();
        let sockets = Sockets {
            pid,
            data: holder(&table, address, local, local.port, &own),
            repair: holder(&table, address, local, local.repair_port(), &own),
            elsewhere: elsewhere(&table, address, local, &own),
            connected: connected(&table, local.port, &own, &probes),
        };
        (local.name.clone(), sockets)
    });
    Ok(seen.collect())
}

fn holder(table: &[TcpNetEntry], address: IpAddr, local: &LocalRegion, port: u16, own: &HashSet<u64>) -> Holder {
    let hits = |entry: &&TcpNetEntry| {
        let at = entry.local_address;
        let ip = at.ip().to_canonical();
        entry.state == TcpState::Listen && at.port() == port && (ip == address || ip.is_unspecified())
    };
    let mut nobody = true;
    for listener in table.iter().filter(hits).filter(|listener| !own.contains(&listener.inode)) {
        let stranger = stranger(listener.inode);
        // The unit's process can be there a moment before systemd has told its id.
        if stranger.unit != Some(names::unit(&local.name)) {
            return Holder::Other(stranger);
        }
        nobody = false;
    }
    nobody &= !table.iter().filter(hits).any(|listener| own.contains(&listener.inode));
    if nobody { Holder::Nobody } else { Holder::Own }
}

/// The places beside its own two that a region's main process listens at.
fn elsewhere(table: &[TcpNetEntry], address: IpAddr, local: &LocalRegion, own: &HashSet<u64>) -> Vec<SocketAddr> {
    let listening = table.iter().filter(|e| e.state == TcpState::Listen && own.contains(&e.inode));
    let right = |at: &SocketAddr| at.ip() == address && [local.port, local.repair_port()].contains(&at.port());
    let mut others: Vec<_> = listening.map(|entry| entry.local_address).filter(|at| !right(at)).collect();
    others.sort_unstable();
    others
}

/// The peers of a region's data port. Both ends of the supervisor's own probe are on this
/// machine: its peer's address is the local address of one of the supervisor's own sockets.
fn connected(table: &[TcpNetEntry], port: u16, own: &HashSet<u64>, probes: &HashSet<u64>) -> Vec<Peer> {
    let ours: HashSet<_> = table.iter().filter(|e| probes.contains(&e.inode)).map(|e| e.local_address).collect();
    let here = |entry: &&TcpNetEntry| {
        let open = matches!(entry.state, TcpState::Established | TcpState::CloseWait);
        open && entry.local_address.port() == port && own.contains(&entry.inode)
    };
    let strangers = table.iter().filter(here).filter(|entry| !ours.contains(&entry.remote_address));
    let mut peers: Vec<_> = strangers
        .map(|entry| Peer { address: entry.remote_address.ip().to_canonical(), port: entry.remote_address.port() })
        .collect();
    peers.sort();
    peers
}

/// The process behind a socket. Looks through every process, so only where a stranger
/// listens on a port that is not its own.
fn stranger(inode: u64) -> Stranger {
    let processes = all_processes().into_iter().flatten().flatten();
    let mut behind = processes.filter(|process| inodes(process).contains(&inode));
    let Some(process) = behind.next() else {
        return Stranger { pid: None, command: String::new(), unit: None };
    };
    let words = process.cmdline().unwrap_or_default().join(" ");
    let command = match words.is_empty() {
        true => process.stat().map(|stat| stat.comm).unwrap_or_default(),
        false => words,
    };
    Stranger { pid: process.pid.try_into().ok(), command: shortened(&command), unit: unit(&process) }
}

fn shortened(command: &str) -> String {
    const MOST: usize = 160;
    match command.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Geometry;
    use std::net::{TcpListener, TcpStream};

    /// Real sockets of this very process, as it sees itself and as others would see it.
    #[test]
    fn a_listener_is_own_or_a_stranger_with_pid_and_command() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let name: RegionName = "still-fawn-0".parse().unwrap();
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let local = LocalRegion { name: name.clone(), port: port.min(61535), geometry };
        let address = "127.0.0.1".parse().unwrap();
        let me = std::process::id();

        let own = scan(std::slice::from_ref(&local), address, &Pids::from([(name.clone(), me)])).unwrap();
        assert_eq!((&own[&name].data, &own[&name].repair), (&Holder::Own, &Holder::Nobody));

        let other = scan(std::slice::from_ref(&local), address, &Pids::new()).unwrap();
        match &other[&name].data {
            Holder::Other(stranger) => {
                assert_eq!(stranger.pid, Some(me));
                assert!(stranger.command.contains("crucible_sled"), "{stranger:?}");
            }
            seen => panic!("{seen:?}"),
        }
    }

    #[test]
    fn a_peer_is_seen_and_the_own_probe_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let table = procfs::net::tcp().unwrap();
        let mine = inodes(&Process::myself().unwrap());
        assert_eq!(connected(&table, port, &mine, &mine), []);
        let peer = client.local_addr().unwrap();
        assert_eq!(connected(&table, port, &mine, &HashSet::new()), [Peer { address: peer.ip(), port: peer.port() }]);
        drop(accepted);
    }
}
