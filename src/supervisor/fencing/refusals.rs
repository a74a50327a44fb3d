//! Refusals of tickets, for whoever asks later why a host did not get a volume: each host is told of once an hour for the
//! same reason, and so many of a volume are known at a time. A host that polls adds nothing to the events; nor does one that
//! asks for volumes with no region here, which may have any name.

use crate::decide::facts::{Facts, RefusedHost};
use crate::names::VolumeName;
use crate::times;
use crate::wire;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Time for which the same host is not told of again for the same reason.
const PAUSE: Duration = Duration::from_secs(3600);
/// Number of refusals that are known of a volume; of more at a time none is told, and other volumes are told of as before.
const VOLUME_LIMIT: usize = 8;

/// Refusals of the last hour.
#[derive(Default)]
pub(in crate::supervisor) struct Refusals(BTreeMap<RefusedHost, Instant>);

impl Refusals {
    /// Note that a host was refused a ticket.
    pub(in crate::supervisor) fn note(
        &mut self,
        volume: &VolumeName,
        host: IpAddr,
        why: &wire::Error,
        facts: &mut Facts,
    ) {
        if !facts.regions.keys().any(|name| name.volume() == volume) {
            return;
        }
        self.forget(facts);
        let refused = RefusedHost { volume: volume.clone(), host, code: why.code.clone() };
        let told = self.0.keys().filter(|known| known.volume == *volume).count();
        if told >= VOLUME_LIMIT || self.0.contains_key(&refused) {
            return;
        }
        self.0.insert(refused.clone(), Instant::now());
        facts.refused.insert(refused, (times::now(), why.message.clone()));
    }

    /// Forget those that are long over.
    pub(in crate::supervisor) fn forget(&mut self, facts: &mut Facts) {
        self.0.retain(|_, at| at.elapsed() < PAUSE);
        facts.refused.retain(|refused, _| self.0.contains_key(refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Region;
    use crate::wire::Refusal;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_polls_is_told_of_once_an_hour_for_each_reason_and_no_more_of_a_volume_than_so_many() {
        let (mut refusals, mut facts) = (Refusals::default(), Facts::default());
        let [volume, other, unknown]: [VolumeName; 3] =
            ["still-fawn", "other", "unknown"].map(|name| name.parse().unwrap());
        for name in ["still-fawn-0", "other-0"] {
            facts.regions.insert(name.parse().unwrap(), Region::default());
        }
        let error = |code: Refusal| wire::Error::new(code, "m", "r");
        let host = |last: u8| IpAddr::from([192, 168, 4, last]);
        for _ in 0..100 {
            refusals.note(&volume, host(17), &error(Refusal::NotReady), &mut facts);
        }
        let first = facts.refused.clone();
        assert_eq!(first.len(), 1);
        refusals.note(&volume, host(17), &error(Refusal::HostNotAllowed), &mut facts);
        assert_eq!(facts.refused.len(), 2);
        for last in 20..=255 {
            refusals.note(&volume, host(last), &error(Refusal::HostNotAllowed), &mut facts);
        }
        assert_eq!(facts.refused.len(), VOLUME_LIMIT);
        // Whoever asks for others takes nobody's place.
        refusals.note(&unknown, host(17), &error(Refusal::VolumeUnknown), &mut facts);
        assert_eq!(facts.refused.len(), VOLUME_LIMIT);
        refusals.note(&other, host(17), &error(Refusal::HostNotAllowed), &mut facts);
        assert_eq!(facts.refused.len(), VOLUME_LIMIT + 1);
        tokio::time::advance(PAUSE).await;
        refusals.forget(&mut facts);
        assert!(facts.refused.is_empty());
        refusals.note(&volume, host(17), &error(Refusal::NotReady), &mut facts);
        assert!(facts.refused.keys().eq(first.keys()) && facts.refused.len() == 1);
    }
}
