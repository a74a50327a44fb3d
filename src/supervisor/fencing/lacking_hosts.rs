//! Lacking hosts: for how long each has lacked one of the regions of a volume that it uses: an upstairs
//! comes back to a region within seconds, and one that does not writes to two only. Counted by the
//! monotonic clock, and anew by each supervisor: what it did not see it does not count.

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::names::RegionName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tokio::time::Instant;

/// Times since which each host could have been connected to a region, and was not.
#[derive(Default)]
pub(in crate::supervisor) struct Lacks(BTreeMap<(RegionName, IpAddr), Instant>);

impl Lacks {
    /// Record which hosts lack a region that serves, while they have others of its volume.
    pub(in crate::supervisor) fn see(
        &mut self,
        serving: &BTreeSet<RegionName>,
        config: &Configuration,
        facts: &mut Facts,
    ) {
        let volumes: BTreeSet<_> = serving.iter().map(|name| name.volume().clone()).collect();
        let mut lacking = BTreeSet::new();
        for volume in volumes {
            for (host, regions) in facts.visitors(config, &volume) {
                let here = serving.iter().filter(|name| *name.volume() == volume && !regions.contains(name));
                lacking.extend(here.filter(|name| was_looked_for(facts, name)).map(|name| (name.clone(), host)));
            }
        }
        self.note(lacking);
        facts.lacks = self.times();
    }

    /// Take who lacks which region now.
    fn note(&mut self, lacking: BTreeSet<(RegionName, IpAddr)>) {
        self.0.retain(|known, _| lacking.contains(known));
        let now = Instant::now();
        for one in lacking {
            self.0.entry(one).or_insert(now);
        }
    }

    /// Tell for how many seconds each has.
    fn times(&self) -> BTreeMap<(RegionName, IpAddr), u64> {
        self.0.iter().map(|(one, since)| (one.clone(), since.elapsed().as_secs())).collect()
    }
}

/// Tell whether hosts were looked for at a region: who was not looked for was not seen to be away.
fn was_looked_for(facts: &Facts, name: &RegionName) -> bool {
    facts.regions.get(name).is_some_and(|region| region.sockets.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_lack_is_counted_as_long_as_it_lasts() {
        let mut lacks = Lacks::default();
        let one = |region: &str| (region.parse::<RegionName>().unwrap(), "192.168.4.17".parse::<IpAddr>().unwrap());
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        lacks.note([one("still-fawn-1")].into());
        wait(40).await;
        lacks.note([one("still-fawn-1"), one("still-fawn-2")].into());
        wait(30).await;
        lacks.note([one("still-fawn-1"), one("still-fawn-2")].into());
        assert_eq!(lacks.times(), [(one("still-fawn-1"), 70), (one("still-fawn-2"), 30)].into());
        // It was there for a moment.
        lacks.note([one("still-fawn-2")].into());
        lacks.note([one("still-fawn-1"), one("still-fawn-2")].into());
        assert_eq!(lacks.times()[&one("still-fawn-1")], 0);
    }
}
