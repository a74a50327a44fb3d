//! Network test: what goes through between a host and a sled over the way that volumes take, first to the sled and
//! then from it. Bounded in time by both, and in rate if the host says so. Never anything of a volume.
//!
//! | module | job |
//! |---|---|
//! | [`stream`] | data in one direction, and lines of JSON between |
//! | [`talk`] | the test from its beginning to its end, at either side |
//!
//! One connection, on which the host begins:
//!
//! ```text
//! host                                   sled
//! {"net_test":1,"seconds":5}        ──►
//!                                   ◄──  {"sled":"proper-raptor","link_mbps":2500}, or {"error":…}
//! data for 5 s, {"resent":…}        ──►
//!                                   ◄──  {"bytes":…,"ms":…,"resent":…}: what has arrived
//!                                   ◄──  data for 5 s, {"resent":…}
//! {"bytes":…,"ms":…,"resent":…}     ──►
//! ```

pub mod stream;
pub mod talk;

use crate::names::SledName;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Port at which a sled listens for a test, unless something else is said: beside the supervisor's.
pub const PORT: u16 = 3799;
/// Seconds that each direction may take.
pub const SECONDS: RangeInclusive<u64> = 1..=30;
/// Seconds that each direction takes, unless something else is said: after one, TCP has found its rate.
pub const USUAL_SECONDS: u64 = 5;
/// Share of a link's speed that data has at least where nothing is wrong. Of packets of 1500 bytes, 94 % is data; the
/// rest is left to whoever else uses the link.
const WELL_SHARE: f64 = 0.8;
/// Share of the data that may be sent again where nothing is wrong. TCP finds the rate of a way by losing some.
const WELL_RESENT: f64 = 0.005;

/// Wish of a host for a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Version of what is spoken: 1.
    pub net_test: u8,
    /// Seconds for each direction, from 1 to 30.
    pub seconds: u64,
    /// Most that is sent, in Mbit/s; absent: as much as goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_mbps: Option<u32>,
}

/// Side of the sled: what it is, and what its link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    /// Sled that is tested.
    pub sled: SledName,
    /// Speed of its adapter's link, in Mbit/s; absent if it is not known.
    pub link_mbps: Option<u32>,
}

/// One direction of a test, as it has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Time from the first to the last of them, in milliseconds.
    pub ms: u64,
    /// Share of them that had to be sent again, by the sender's kernel: 0.01 is one in a hundred. Absent if that does not
    /// tell.
    pub resent: Option<f64>,
}

impl Leg {
    /// Throughput, in Mbit/s of data.
    pub fn mbps(&self) -> f64 {
        // Bits by microseconds.
        self.bytes as f64 * 8.0 / (self.ms.max(1) as f64 * 1000.0)
    }
}

/// Outcome of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Sled that was tested.
    pub sled: SledName,
    /// Host that tested it, as the sled sees it.
    pub host: IpAddr,
    /// Speed of the sled's link, in Mbit/s, if it is known.
    pub link_mbps: Option<u32>,
    /// Most that was sent, in Mbit/s, if the host bounded it.
    pub rate_mbps: Option<u32>,
    /// From the host to the sled.
    pub to_sled: Leg,
    /// From the sled to the host.
    pub from_sled: Leg,
    /// What is less than it should be, in sentences with what to do.
    pub shortfalls: Vec<String>,
}

impl Outcome {
    /// Judge what has arrived.
    pub fn of(here: Here, host: IpAddr, wanted: Wanted, to_sled: Leg, from_sled: Leg) -> Self {
        let Here { sled, link_mbps } = here;
        let rate_mbps = wanted.rate_mbps;
        let mut outcome = Self { sled, host, link_mbps, rate_mbps, to_sled, from_sled, shortfalls: Vec::new() };
        outcome.shortfalls = [("to the sled", to_sled), ("from the sled", from_sled)]
            .into_iter()
            .flat_map(|(way, leg)| [outcome.slow(way, leg), lossy(way, leg)])
            .flatten()
            .collect();
        outcome
    }

    fn slow(&self, way: &str, leg: Leg) -> Option<String> {
        let most = [self.link_mbps, self.rate_mbps].into_iter().flatten().min()?;
        let slow = leg.mbps() < f64::from(most) * WELL_SHARE;
        let of = if self.rate_mbps == Some(most) { "the rate that was asked for" } else { "the sled's link" };
        slow.then(|| {
            format!(
                "{way}: {:.0} Mbit/s, where {of} is {most} Mbit/s; see sledctl network (an adapter in a USB 2 port moves \
                 some 300), the host's own link, and what else uses either",
                leg.mbps()
            )
        })
    }

    /// Write the outcome as a person reads it.
    pub fn text(&self) -> String {
        let (host, sled) = (self.host.to_string(), self.sled.to_string());
        let width = host.len() + sled.len() + 3;
        let mut text = String::new();
        for (way, leg) in [(format!("{host} → {sled}"), self.to_sled), (format!("{sled} → {host}"), self.from_sled)]
        {
            let resent = leg.resent.map_or("what was sent again is not known".into(), |share| {
                format!("{:.2} % sent again", share * 100.0)
            });
            let seconds = leg.ms as f64 / 1000.0;
            text += &format!("{way:<width$}  {:>5.0} Mbit/s for {seconds:.1} s, {resent}\n", leg.mbps());
        }
        self.shortfalls.iter().for_each(|shortfall| text += &format!("! {shortfall}\n"));
        text
    }
}

fn lossy(way: &str, leg: Leg) -> Option<String> {
    let share = leg.resent.filter(|share| *share > WELL_RESENT)?;
    Some(format!(
        "{way}: {:.1} % had to be sent again; try another cable and another port of the switch, and see what the adapters \
         have counted: ip -s link",
        share * 100.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Leg = Leg { bytes: 1_468_750_000, ms: 5000, resent: Some(0.0) };

    fn outcome(link_mbps: Option<u32>, rate_mbps: Option<u32>, to_sled: Leg, from_sled: Leg) -> Outcome {
        let here = Here { sled: "proper-raptor".parse().unwrap(), link_mbps };
        let wanted = Wanted { net_test: 1, seconds: 5, rate_mbps };
        Outcome::of(here, "192.168.4.17".parse().unwrap(), wanted, to_sled, from_sled)
    }

    #[test]
    fn what_is_less_than_the_link_is_said_for_its_direction() {
        let slow = Leg { bytes: 187_500_000, ..WELL };
        let lossy = Leg { resent: Some(0.02), ..WELL };
        let unknown = Leg { resent: None, ..WELL };
        for (name, link, rate, to, from, said) in [
            ("well", Some(2500), None, WELL, WELL, &[][..]),
            (
                "USB 2, one way",
                Some(2500),
                None,
                WELL,
                slow,
                &["from the sled: 300 Mbit/s, where the sled's link is 2500"],
            ),
            ("lossy", Some(2500), None, lossy, unknown, &["to the sled: 2.0 % had to be sent again"]),
            ("slower than asked for", None, Some(1000), slow, WELL, &["to the sled: 300 Mbit/s, where the rate that"]),
            ("bounded below the link", Some(2500), Some(300), slow, slow, &[]),
            ("nothing to compare with", None, None, slow, slow, &[]),
        ] {
            let outcome = outcome(link, rate, to, from);
            assert_eq!(outcome.shortfalls.len(), said.len(), "{name}: {outcome:?}");
            for (found, wanted) in outcome.shortfalls.iter().zip(said) {
                assert!(found.starts_with(wanted), "{name}: {found}");
            }
        }
    }

    #[test]
    fn a_person_reads_both_directions() {
        let text = outcome(Some(2500), None, WELL, Leg { resent: None, ..WELL }).text();
        assert_eq!(
            text,
            "192.168.4.17 → proper-raptor   2350 Mbit/s for 5.0 s, 0.00 % sent again\n\
             proper-raptor → 192.168.4.17   2350 Mbit/s for 5.0 s, what was sent again is not known\n"
        );
    }
}
