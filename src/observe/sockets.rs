//! Sockets at the regions' ports: who listens and who is connected, from procfs.
//!
//! Nothing tells when a socket opens or closes, so this looks when somebody knows of a
//! reason (a unit changed, a downstairs was reached) and otherwise every quarter of a minute.
//! Strangers are reported, never touched.

use crate::config::Configuration;
use crate::decide::facts::{Active, Facts, Holder, Region, Sockets, Stranger};
use crate::kernel::broker;
use crate::kernel::connections;
use crate::kernel::processes::{is_left, plain, stranger};
use crate::names::RegionName;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::owners::{Owners, Pids, is_at, is_open};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::port_map::LocalRegion;
use crate::systemd::names;
use crate::wire::Peer;
use futures_util::FutureExt;
use procfs::ProcResult;
use procfs::net::{TcpNetEntry, TcpState};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

/// Time between looks when nobody knows of a reason: to read the table, the kernel walks through
/// every bucket of its hash of connections, which takes 3 ms on a machine with 24 GB.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// A table with more lines than this is not read on the loop's thread: a line takes a few
/// microseconds. A sled has some dozens.
const MANY: usize = 500;

/// Holders of each region's ports.
pub type Picture = BTreeMap<RegionName, Sockets>;

/// Observer of who listens and who is connected.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "sockets";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = Some("sockets");
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let (regions, address) = (ground.config.local_regions(), ground.config.address);
        let (pids, look) = (ground.pids.subscribe(), ground.looks.heard_by::<Self>());
        Some(watch(regions, address, pids, ground.rhythm.clone(), look, to).boxed())
    });
    type Fact = Picture;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::Sockets(seen)
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        facts.regions.values().all(|Region { unit, sockets, .. }| match unit {
            None => true,
            Some(unit) if unit.active != Active::Active => sockets.is_some(),
            Some(unit) => sockets.as_ref().is_some_and(|sockets| sockets.pid == unit.pid),
        })
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        let anew = facts.regions.iter_mut().filter(|(name, _)| by.anew.contains(name));
        anew.for_each(|(_, region)| region.sockets = None);
    }
}

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
    let mut looker = Looker::new(regions.into(), address);
    let mut slow = rhythm.every(SLOW_LOOK);
    loop {
        // Cancel-safe: a beat or a permit that is not taken stays.
        let idle = tokio::select! {
            _ = slow.next() => true,
            () = look.notified() => false,
        };
        let pids = pids.borrow().clone();
        let glance = if idle { looker.glance(&pids) } else { None };
        let seen = match glance {
            Some(seen) => seen,
            None => {
                let (back, seen) = looker.aside(pids).await;
                looker = back;
                seen
            }
        };
        match seen {
            Ok(seen) => publish::<Watch>(&to, seen).await?,
            Err(why) => tracing::warn!("procfs does not tell who listens: {why}"),
        }
    }
}

/// After this a listener whose process cannot be seen is believed.
const MOMENT: Duration = Duration::from_millis(50);

/// Looks, and remembers whose the sockets are.
struct Looker {
    regions: Arc<[LocalRegion]>,
    address: IpAddr,
    owners: Owners,
    /// Number of lines that there were.
    lines: usize,
    /// Mark that some of IPv6 mattered: somebody listens on every address there is.
    six: bool,
}

impl Looker {
    fn new(regions: Arc<[LocalRegion]>, address: IpAddr) -> Self {
        Self { regions, address, owners: Owners::default(), lines: MANY, six: true }
    }

    /// A look at the table alone, if that is a matter of a moment and enough: nothing has to
    /// be asked of processes. To have a thread do so little would cost more than it does. Of
    /// IPv6, where nothing mattered, it is left to the next whole look, a minute later at most.
    fn glance(&mut self, pids: &Pids) -> Option<ProcResult<Picture>> {
        if self.lines >= MANY {
            return None;
        }
        let table = match broker::tcp() {
            Ok(mut table) => {
                table.extend(if self.six { broker::tcp6() } else { Vec::new() });
                table
            }
            Err(why) => return Some(Err(why)),
        };
        self.lines = table.len();
        let enough = self.owners.doubtful(&table, &self.regions, pids).is_empty();
        enough.then(|| Ok(self.picture(&table, pids)))
    }

    /// A look at everything, on a thread of its own.
    async fn aside(self, pids: Pids) -> (Self, ProcResult<Picture>) {
        let (regions, address) = (self.regions.clone(), self.address);
        let looked = spawn_blocking(move || {
            let mut looker = self;
            let mut seen = looker.look(&pids);
            // The listeners of a process that is ending outlast its descriptors by a moment.
            if seen.as_ref().is_ok_and(|seen| seen.values().any(unseen)) {
                std::thread::sleep(MOMENT);
                seen = looker.look(&pids);
            }
            (looker, seen)
        });
        looked.await.unwrap_or_else(|why| {
            (Self::new(regions, address), Err(procfs::ProcError::Other(format!("the look ended early: {why}"))))
        })
    }

    fn look(&mut self, pids: &Pids) -> ProcResult<Picture> {
        let mut table = broker::tcp()?;
        let four = table.len();
        table.extend(broker::tcp6());
        self.lines = table.len();
        let doubtful = self.owners.doubtful(&table, &self.regions, pids);
        self.owners.ask(&doubtful, &table, &self.regions, pids)?;
        let matters = |entry: &TcpNetEntry| {
            self.regions.iter().any(|local| is_at(entry, local) || self.owners.has(&local.name, entry.inode))
        };
        self.six = table[four..].iter().any(matters);
        Ok(self.picture(&table, pids))
    }

    fn picture(&self, table: &[TcpNetEntry], pids: &Pids) -> Picture {
        let ports: Vec<_> = self.regions.iter().flat_map(|local| [local.port, local.repair_port()]).collect();
        let drops = connections::drops(&ports).unwrap_or_else(|why| {
            tracing::warn!("the kernel does not tell what was dropped: {why}");
            BTreeMap::new()
        });
        let dropped = |port| drops.get(&port).copied().unwrap_or_default();
        let (address, owners) = (self.address, &self.owners);
        let seen = self.regions.iter().map(|local| {
            let elsewhere = elsewhere(table, address, local, owners);
            let sockets = Sockets {
                pid: pids.get(&local.name).copied(),
                data: holder(table, address, local, local.port, owners),
                repair: holder(table, address, local, local.repair_port(), owners),
                connected: connected(table, local, &elsewhere, owners),
                elsewhere,
                dropped: dropped(local.port).saturating_add(dropped(local.repair_port())),
            };
            (local.name.clone(), sockets)
        });
        seen.collect()
    }
}

fn holder(table: &[TcpNetEntry], address: IpAddr, local: &LocalRegion, port: u16, owners: &Owners) -> Holder {
    let hits = |entry: &&TcpNetEntry| {
        let at = entry.local_address;
        let ip = at.ip().to_canonical();
        entry.state == TcpState::Listen && at.port() == port && (ip == address || ip.is_unspecified())
    };
    let mut holder = Holder::Nobody;
    for listener in table.iter().filter(hits) {
        if !owners.has(&local.name, listener.inode) {
            let stranger = stranger(listener.inode);
            // The unit's process can be there a moment before systemd has told its id.
            if stranger.unit != Some(names::unit(&local.name)) {
                return Holder::Other(stranger);
            }
        }
        holder = Holder::Own;
    }
    holder
}

/// The places beside its own two that a region's main process listens at.
fn elsewhere(table: &[TcpNetEntry], address: IpAddr, local: &LocalRegion, owners: &Owners) -> Vec<SocketAddr> {
    let listening = table.iter().filter(|e| e.state == TcpState::Listen && owners.has(&local.name, e.inode));
    let right = |at: &SocketAddr| at.ip() == address && [local.port, local.repair_port()].contains(&at.port());
    let mut others: Vec<_> = listening.map(|entry| entry.local_address).filter(|at| !right(at)).collect();
    others.sort_unstable();
    others
}

/// The peers of a region's data port, or of where it listens in its place. Both ends of the supervisor's own probe are on this
/// machine: its peer's address is the local address of one of the supervisor's own sockets.
fn connected(table: &[TcpNetEntry], local: &LocalRegion, elsewhere: &[SocketAddr], owners: &Owners) -> Vec<Peer> {
    let ours: HashSet<_> = table.iter().filter(|e| owners.is_probe(e.inode)).map(|e| plain(e.local_address)).collect();
    let at = |port: u16| port == local.port || elsewhere.iter().any(|other| other.port() == port);
    let here =
        |entry: &&TcpNetEntry| is_open(entry) && at(entry.local_address.port()) && owners.has(&local.name, entry.inode);
    let strangers = table.iter().filter(here);
    let strangers = strangers.filter(|entry| !ours.contains(&plain(entry.remote_address)) && !is_left(entry, table));
    let mut peers: Vec<_> = strangers
        .map(|entry| Peer {
            address: entry.remote_address.ip().to_canonical(),
            port: entry.remote_address.port(),
            host: None,
        })
        .collect();
    peers.sort();
    peers
}

/// Tell whether somebody listens who cannot be seen.
fn unseen(sockets: &Sockets) -> bool {
    [&sockets.data, &sockets.repair]
        .into_iter()
        .any(|holder| matches!(holder, Holder::Other(Stranger { pid: None, .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::is_alone;
    use crate::region::Geometry;
    use std::net::{TcpListener, TcpStream};

    const HERE: &str = "127.0.0.1";

    fn name() -> RegionName {
        "still-fawn-0".parse().unwrap()
    }

    /// Somebody who looks for a region at this port.
    fn looker(port: u16) -> Looker {
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let local = LocalRegion { name: name(), port, geometry };
        Looker::new([local].into(), HERE.parse().unwrap())
    }

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    /// A listener with room for a repair port above.
    fn listener() -> TcpListener {
        let mut all = std::iter::repeat_with(|| TcpListener::bind((HERE, 0)).unwrap());
        all.find(|listener| port(listener) <= 61535).unwrap()
    }

    fn own() -> Pids {
        Pids::from([(name(), std::process::id())])
    }

    /// Elsewhere in the machine sockets are opened all the time: between two looks there may be something
    /// new. What must be asked is asked until nothing is.
    fn settled(looker: &mut Looker, pids: &Pids) -> Sockets {
        loop {
            looker.look(pids).unwrap();
            if let Some(seen) = looker.glance(pids) {
                return seen.unwrap().remove(&name()).unwrap();
            }
        }
    }

    /// Real sockets of this very process, as it sees itself and as others would see it.
    #[test]
    fn a_listener_is_own_or_a_stranger_with_pid_and_command() {
        if !is_alone("observe::sockets::tests::a_listener_is_own_or_a_stranger_with_pid_and_command") {
            return;
        }
        let listener = listener();
        let mut looker = looker(port(&listener));
        let seen = looker.look(&own()).unwrap();
        assert_eq!((&seen[&name()].data, &seen[&name()].repair), (&Holder::Own, &Holder::Nobody));

        // The same sockets, and the process that has them is not the region's any more.
        assert!(looker.glance(&Pids::new()).is_none(), "another process was believed to have them");
        match &looker.look(&Pids::new()).unwrap()[&name()].data {
            Holder::Other(stranger) => {
                assert_eq!(stranger.pid, Some(std::process::id()));
                assert!(stranger.command.contains("crucible_sled"), "{stranger:?}");
            }
            seen => panic!("{seen:?}"),
        }
        assert!(looker.glance(&Pids::new()).is_none(), "a stranger was not looked for again");
    }

    #[test]
    fn a_peer_is_seen_and_the_own_probe_is_not() {
        if !is_alone("observe::sockets::tests::a_peer_is_seen_and_the_own_probe_is_not") {
            return;
        }
        let listener = listener();
        let mut looker = looker(port(&listener));
        let client = TcpStream::connect((HERE, port(&listener))).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(looker.look(&own()).unwrap()[&name()].connected, []);
        looker.owners.forget_probes();
        let peer = client.local_addr().unwrap();
        let peers = looker.picture(&procfs::net::tcp().unwrap(), &own()).remove(&name()).unwrap().connected;
        assert_eq!(peers, [Peer { address: peer.ip(), port: peer.port(), host: None }]);
        drop(accepted);
    }

    /// The other end was closed, as by the end of its process, and this one did not notice.
    #[test]
    fn what_a_dead_probe_has_left_is_no_peer() {
        if !is_alone("observe::sockets::tests::what_a_dead_probe_has_left_is_no_peer") {
            return;
        }
        let listener = listener();
        let mut looker = looker(port(&listener));
        let client = TcpStream::connect((HERE, port(&listener))).unwrap();
        let _accepted = listener.accept().unwrap();
        looker.look(&own()).unwrap();
        looker.owners.forget_probes();
        let peers = || looker.picture(&procfs::net::tcp().unwrap(), &own()).remove(&name()).unwrap().connected.len();
        assert_eq!(peers(), 1);
        drop(client);
        assert_eq!(peers(), 0);
    }

    #[test]
    fn what_is_known_is_not_asked_again_and_what_is_new_is() {
        if !is_alone("observe::sockets::tests::what_is_known_is_not_asked_again_and_what_is_new_is") {
            return;
        }
        let listener = listener();
        let mut looker = looker(port(&listener));
        assert_eq!(settled(&mut looker, &own()).data, Holder::Own);
        let client = TcpStream::connect((HERE, port(&listener))).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(looker.glance(&own()).is_none(), "nobody asked whose the new connection is");
        assert_eq!(settled(&mut looker, &own()).data, Holder::Own);
        // What goes is seen without asking.
        drop((client, accepted, listener));
        assert_eq!(settled(&mut looker, &own()).data, Holder::Nobody);
    }
}
