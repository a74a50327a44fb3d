//! Who comes to a volume's ports: since when each host has been connected, and who tried that the
//! map does not let in.

use crate::decide::facts::{Knock, Sockets};
use crate::names::{RegionName, VolumeName};
use crate::supervisor::Supervisor;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long an attempt is told.
const TOLD: Duration = Duration::from_secs(300);
/// How many addresses that asked are remembered for a volume: enough to see who it is.
const MOST: usize = 8;

/// The attempts of late.
#[derive(Default)]
pub(in crate::supervisor) struct Knocks {
    volumes: BTreeMap<VolumeName, (Instant, Knock)>,
    /// How many packets each region's listeners had dropped when they were last looked at, and of
    /// which process they were.
    dropped: BTreeMap<RegionName, (Option<u32>, u32)>,
}

impl Supervisor {
    /// Notes since when the hosts that are connected have been so.
    pub(in crate::supervisor) fn stamp_visitors(&mut self) {
        let volumes: BTreeSet<_> = self.facts.regions.keys().map(|name| name.volume().clone()).collect();
        let mut seen = BTreeMap::new();
        for volume in volumes {
            for address in self.facts.visitors(&self.config, &volume).into_keys() {
                let key = (volume.clone(), address);
                let since = self.facts.seen_since.get(&key).copied().unwrap_or_else(Timestamp::now);
                seen.insert(key, since);
            }
        }
        self.facts.seen_since = seen;
    }

    /// Somebody tried to get at a volume whom the map does not let in: by asking for a ticket, or
    /// by packets that were dropped.
    pub(in crate::supervisor) fn knocked(&mut self, volume: &VolumeName, who: Option<IpAddr>) {
        let known = self.facts.regions.keys().any(|name| name.volume() == volume);
        if !known {
            return;
        }
        let now = Instant::now();
        let (at, knock) = self.knocks.volumes.entry(volume.clone()).or_insert_with(|| (now, Knock::default()));
        *at = now;
        match who {
            Some(address) if knock.asked.len() < MOST => _ = knock.asked.insert(address),
            Some(_) => {}
            None => knock.dropped = true,
        }
        self.tell_knocks();
    }

    /// Takes how many packets each region's listeners have dropped since they were opened.
    pub(in crate::supervisor) fn see_drops(&mut self, seen: &BTreeMap<RegionName, Sockets>) {
        for (name, sockets) in seen {
            let before = self.knocks.dropped.insert(name.clone(), (sockets.pid, sockets.dropped));
            // Of a process that is new to this supervisor nothing is told: it may be long ago.
            let same = before.filter(|(pid, _)| *pid == sockets.pid && pid.is_some());
            if same.is_some_and(|(_, before)| sockets.dropped > before) {
                self.knocked(name.volume(), None);
            }
        }
    }

    /// Forgets attempts that are long over.
    pub(in crate::supervisor) fn forget_knocks(&mut self) {
        self.knocks.volumes.retain(|_, (at, _)| at.elapsed() < TOLD);
        self.tell_knocks();
    }

    fn tell_knocks(&mut self) {
        let told = self.knocks.volumes.iter().map(|(volume, (_, knock))| (volume.clone(), knock.clone()));
        self.facts.knocks = told.collect();
    }
}
