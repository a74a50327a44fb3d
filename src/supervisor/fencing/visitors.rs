//! Visitors at a volume's ports: since when each host has been connected, and who tried that the
//! map does not let in.

use crate::config::Configuration;
use crate::decide::facts::{Facts, Sockets, TurnedAway};
use crate::names::{RegionName, VolumeName};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Time for which an attempt is told.
const TELLING_PAUSE: Duration = Duration::from_secs(300);
/// Number of addresses that asked are remembered for a volume: enough to see who it is.
const ADDRESS_LIMIT: usize = 8;

/// Attempts of late, by those whom the map does not let in.
#[derive(Default)]
pub(in crate::supervisor) struct Visitors {
    volumes: BTreeMap<VolumeName, (Instant, TurnedAway)>,
    /// Number of packets that each region's listeners had dropped when they were last looked at,
    /// and of which process they were.
    dropped: BTreeMap<RegionName, (Option<u32>, u32)>,
}

/// Record since when the hosts that are connected have been so.
pub(in crate::supervisor) fn stamp(config: &Configuration, facts: &mut Facts) {
    let volumes: BTreeSet<_> = facts.regions.keys().map(|name| name.volume().clone()).collect();
    let mut seen = BTreeMap::new();
    for volume in volumes {
        for address in facts.visitors(config, &volume).into_keys() {
            let key = (volume.clone(), address);
            let since = facts.seen_since.get(&key).copied().unwrap_or_else(Timestamp::now);
            seen.insert(key, since);
        }
    }
    facts.seen_since = seen;
}

impl Visitors {
    /// Record that somebody tried to get at a volume whom the map does not let in: by asking for a
    /// ticket, or by packets that were dropped.
    pub(in crate::supervisor) fn turned_away(&mut self, volume: &VolumeName, who: Option<IpAddr>, facts: &mut Facts) {
        let known = facts.regions.keys().any(|name| name.volume() == volume);
        if !known {
            return;
        }
        let now = Instant::now();
        let (at, turned_away) = self.volumes.entry(volume.clone()).or_insert_with(|| (now, TurnedAway::default()));
        *at = now;
        match who {
            Some(address) if turned_away.asked.len() < ADDRESS_LIMIT => _ = turned_away.asked.insert(address),
            Some(_) => {}
            None => turned_away.dropped = true,
        }
        self.tell(facts);
    }

    /// Take how many packets each region's listeners have dropped since they were opened.
    pub(in crate::supervisor) fn see_drops(&mut self, seen: &BTreeMap<RegionName, Sockets>, facts: &mut Facts) {
        for (name, sockets) in seen {
            let before = self.dropped.insert(name.clone(), (sockets.pid, sockets.dropped));
            // Of a process that is new to this supervisor nothing is told: it may be long ago.
            let same = before.filter(|(pid, _)| *pid == sockets.pid && pid.is_some());
            if same.is_some_and(|(_, before)| sockets.dropped > before) {
                self.turned_away(name.volume(), None, facts);
            }
        }
    }

    /// Forget attempts that are long over.
    pub(in crate::supervisor) fn forget(&mut self, facts: &mut Facts) {
        self.volumes.retain(|_, (at, _)| at.elapsed() < TELLING_PAUSE);
        self.tell(facts);
    }

    fn tell(&self, facts: &mut Facts) {
        let told = self.volumes.iter().map(|(volume, (_, turned_away))| (volume.clone(), turned_away.clone()));
        facts.turned_away = told.collect();
    }
}
