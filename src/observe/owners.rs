//! Owners of sockets, remembered: to ask anew means to read the link of every descriptor of every
//! downstairs, and they have one for each extent.
//!
//! A socket keeps its owner as a rule, so only one that was not there before is a reason to
//! ask, and a main process that is another. The rule has exceptions (a socket can be handed
//! over, an old number given to a new one), so after a minute nothing is believed any more.

use crate::kernel::processes::inodes;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::Process;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

/// The main processes of the regions' units.
pub type Pids = BTreeMap<RegionName, u32>;

/// Time for which what was read is believed: a little less than a minute, so that the look that
/// comes after a minute asks.
const OWNERS_LIFETIME: Duration = Duration::from_secs(59);

/// The sockets that processes have.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The regions' main processes, and the sockets of each.
    regions: BTreeMap<RegionName, (u32, HashSet<u64>)>,
    /// The supervisor's own sockets.
    probes: HashSet<u64>,
    /// The sockets of the last table that need no asking: a region's at its ports, and those
    /// that are none of the regions'.
    settled: HashSet<u64>,
    /// Time at which all of it was last read.
    read: Option<Instant>,
}

impl Owners {
    /// Tell whether a region's main process has this socket.
    pub(super) fn has(&self, region: &RegionName, inode: u64) -> bool {
        self.regions.get(region).is_some_and(|(_, sockets)| sockets.contains(&inode))
    }

    /// Tell whether the supervisor has this socket.
    pub(super) fn is_probe(&self, inode: u64) -> bool {
        self.probes.contains(&inode)
    }

    /// The regions whose processes must be asked before it is known whose the sockets of this
    /// table are. With none of them nothing has to be asked, of strangers neither.
    pub(super) fn doubtful(&self, table: &[TcpNetEntry], regions: &[LocalRegion], pids: &Pids) -> BTreeSet<RegionName> {
        let old = self.read.is_none_or(|read| read.elapsed() >= OWNERS_LIFETIME);
        let new: Vec<_> = table.iter().filter(|entry| !self.settled.contains(&entry.inode)).collect();
        // A listener at none of the ports can be that of any region that was started with others.
        let any = old || new.iter().any(|entry| is_listener(entry) && !regions.iter().any(|local| is_at(entry, local)));
        let doubtful = |local: &&LocalRegion| {
            let asked = self.regions.get(&local.name).map(|(pid, _)| pid);
            any || asked != pids.get(&local.name) || new.iter().any(|entry| is_at(entry, local))
        };
        regions.iter().filter(doubtful).map(|local| local.name.clone()).collect()
    }

    /// Asks the processes of these regions, and which sockets are the supervisor's own. The
    /// table was read before: what it has is still there, or has gone.
    pub(super) fn ask(
        &mut self,
        doubtful: &BTreeSet<RegionName>,
        table: &[TcpNetEntry],
        regions: &[LocalRegion],
        pids: &Pids,
    ) -> procfs::ProcResult<()> {
        self.probes = inodes(&Process::myself()?);
        for name in doubtful {
            let sockets = |pid: u32| Some(inodes(&Process::new(pid.try_into().ok()?).ok()?));
            match pids.get(name) {
                Some(pid) => _ = self.regions.insert(name.clone(), (*pid, sockets(*pid).unwrap_or_default())),
                None => _ = self.regions.remove(name),
            }
        }
        if doubtful.len() == regions.len() {
            self.read = Some(Instant::now());
        }
        let settled = |entry: &&TcpNetEntry| {
            let mut here = regions.iter().filter(|local| is_at(entry, local)).peekable();
            here.peek().is_none() || here.any(|local| self.has(&local.name, entry.inode))
        };
        self.settled = table.iter().filter(settled).map(|entry| entry.inode).collect();
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn forget_probes(&mut self) {
        self.probes.clear();
    }
}

fn is_listener(entry: &TcpNetEntry) -> bool {
    entry.state == TcpState::Listen
}

/// Tell whether an entry is a connection that somebody holds.
pub(super) fn is_open(entry: &TcpNetEntry) -> bool {
    matches!(entry.state, TcpState::Established | TcpState::CloseWait)
}

/// Tell whether an entry listens at one of a region's ports, or is connected to its data port. A
/// connection that nobody has accepted yet has no number, and is nobody's.
pub(super) fn is_at(entry: &TcpNetEntry, local: &LocalRegion) -> bool {
    let port = entry.local_address.port();
    if port == local.port {
        is_listener(entry) || (is_open(entry) && entry.inode != 0)
    } else {
        is_listener(entry) && port == local.repair_port()
    }
}
