//! Absence of holders: how long the host that holds the last ticket of a volume has been away: an
//! upstairs that has lost its connections comes back within a time that is known, if it is there to
//! come back to. Counted by the monotonic clock, and anew by each supervisor: what it did not see it
//! does not count.

use crate::decide::attach::RETURN_LIMIT;
use crate::decide::facts::{Facts, Region};
use crate::names::{RegionName, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Holder of a volume's last ticket, and its generation: another ticket is another beginning.
type Ticket = (IpAddr, u64);

/// Times since which each holder that is not connected could be, and is not.
#[derive(Default)]
pub(in crate::supervisor) struct Absences(BTreeMap<VolumeName, (Ticket, Instant)>);

impl Absences {
    /// Record which holders are away while every region here of their volume serves.
    pub(in crate::supervisor) fn see(&mut self, serving: &BTreeSet<RegionName>, facts: &mut Facts) {
        let volumes: BTreeSet<_> = facts.regions.keys().map(|name| name.volume().clone()).collect();
        self.0.retain(|volume, _| volumes.contains(volume));
        for volume in volumes {
            self.note(&volume, away(facts, &volume, serving));
        }
        facts.away = self.0.keys().filter_map(|name| Some((name.clone(), self.time(name)?))).collect();
    }

    /// Record whether a volume's holder is away, although it could be there.
    fn note(&mut self, volume: &VolumeName, away: Option<Ticket>) {
        match away {
            None => _ = self.0.remove(volume),
            Some(ticket) if self.0.get(volume).is_some_and(|(known, _)| *known == ticket) => {}
            Some(ticket) => _ = self.0.insert(volume.clone(), (ticket, Instant::now())),
        }
    }

    /// Tell for how long a volume's holder has been away, if it is.
    pub(super) fn time(&self, volume: &VolumeName) -> Option<Duration> {
        self.0.get(volume).map(|(_, since)| since.elapsed())
    }

    /// Tell when the next one has been away for too long to be waited for.
    pub(in crate::supervisor) fn alarm(&self) -> Option<Instant> {
        let over = |(_, since): &(Ticket, Instant)| *since + RETURN_LIMIT + Duration::from_millis(1);
        let now = Instant::now();
        self.0.values().map(over).filter(|at| *at > now).min()
    }
}

/// Find who holds a volume's last ticket, if he is away although he could be there.
fn away(facts: &Facts, volume: &VolumeName, serving: &BTreeSet<RegionName>) -> Option<Ticket> {
    let grant = facts.grants.as_ref()?.get(volume)?;
    let (holder, _) = grant.in_hand()?;
    let mut here = facts.regions.iter().filter(|(name, _)| name.volume() == volume);
    // Whoever was not looked for was not seen to be away.
    let seen = |(name, region): (&RegionName, &Region)| {
        let sockets = region.sockets.as_ref();
        let connected = |address: IpAddr| address == holder;
        serving.contains(name) && sockets.is_some_and(|s| !s.connected.iter().any(|peer| connected(peer.address)))
    };
    here.all(seen).then_some((holder, grant.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_absence_is_counted_as_long_as_it_lasts_and_its_ticket_does() {
        let (mut absences, volume) = (Absences::default(), "still-fawn".parse().unwrap());
        let ticket = |generation| Some(("192.168.4.17".parse().unwrap(), generation));
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        absences.note(&volume, ticket(7));
        wait(30).await;
        let over = absences.alarm().map(|at| at - Instant::now());
        assert_eq!(over, Some(Duration::from_millis(15_001)));
        absences.note(&volume, ticket(7));
        wait(16).await;
        assert_eq!((absences.time(&volume), absences.alarm()), (Some(Duration::from_secs(46)), None));
        // It was there for a moment, or the regions were not; and it has asked anew.
        for between in [None, ticket(8)] {
            absences.note(&volume, between);
            absences.note(&volume, ticket(9));
            assert_eq!(absences.time(&volume), Some(Duration::ZERO));
            wait(44).await;
        }
        assert_eq!(absences.time(&volume), Some(Duration::from_secs(44)));
    }
}
