//! Time that the sled has lived: while it was switched on, whatever its clock said. A thing that is kept for a while
//! is kept for so long, and one that ends by itself ends after so long. Pure.
//!
//! The measure is the kernel's time since boot, added up over all boots in a record that is written now and then. The
//! time between the last record of a boot and its end is lost: so the sum may be too small, and is never too large.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

/// A moment in a sled's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The record by which it was told: moments of two records cannot be compared.
    pub clock: Uuid,
    /// The time that the sled had lived, in milliseconds.
    pub ms: u64,
}

impl Moment {
    /// The time since another moment; `None` if that cannot be told.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let ms = self.ms.checked_sub(earlier.ms)?;
        (self.clock == earlier.clock).then(|| Duration::from_millis(ms))
    }

    /// The moment so much later.
    pub fn after(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { ms: self.ms.saturating_add(ms), ..self }
    }
}

/// The record of a sled's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The record's own identity: another one begins anew.
    clock: Uuid,
    /// The boot in which it was last written.
    boot: String,
    /// The time since that boot, in milliseconds.
    boot_ms: u64,
    /// The time that the sled had lived then, in milliseconds.
    lived_ms: u64,
}

/// The file: the record, and a digest of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    record: Record,
    sha256: String,
}

impl Record {
    /// Begin the first record of a life.
    pub fn begin(boot: &str, boot_ms: u64) -> Self {
        Self { clock: Uuid::new_v4(), boot: boot.to_owned(), boot_ms, lived_ms: 0 }
    }

    /// The record as it is at this time of this boot. Of a boot that it does not know yet, the time
    /// until now does not count.
    pub fn at(&self, boot: &str, boot_ms: u64) -> Self {
        let more = if self.boot == boot { boot_ms.saturating_sub(self.boot_ms) } else { 0 };
        let lived_ms = self.lived_ms.saturating_add(more);
        Self { clock: self.clock, boot: boot.to_owned(), boot_ms, lived_ms }
    }

    /// The moment that the record tells.
    pub fn moment(&self) -> Moment {
        Moment { clock: self.clock, ms: self.lived_ms }
    }

    /// Write the record's text.
    ///
    /// # Errors
    /// None that occurs: every field has a JSON form.
    pub fn to_text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(&Sealed { record: self.clone(), sha256: digest(self)? })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Read a text; `None` if it is none, or not as it was written.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let sealed: Sealed = serde_json::from_slice(text).ok()?;
        (digest(&sealed.record).ok()? == sealed.sha256).then_some(sealed.record)
    }
}

fn digest(record: &Record) -> serde_json::Result<String> {
    Ok(Sha256::digest(serde_json::to_vec(record)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_is_added_up_over_boots_and_what_was_not_recorded_is_lost() {
        let begun = Record::begin("a", 5000);
        let first = begun.moment();
        assert_eq!(begun.at("a", 8000).moment().since(first), Some(Duration::from_secs(3)));
        // Recorded, and the supervisor was away for a while: the sled lived on.
        let recorded = begun.at("a", 8000).at("a", 20_000);
        assert_eq!(recorded.moment().since(first), Some(Duration::from_secs(15)));
        // Cut off a minute later, which is lost; the time until somebody looks again is, too.
        let next = recorded.at("b", 7000);
        assert_eq!(next.moment().since(first), Some(Duration::from_secs(15)));
        assert_eq!(next.at("b", 9000).moment().since(first), Some(Duration::from_secs(17)));
    }

    #[test]
    fn moments_of_two_lives_and_of_the_future_are_not_compared() {
        let (one, other) = (Record::begin("a", 0), Record::begin("a", 0));
        assert_eq!(one.at("a", 5).moment().since(other.moment()), None);
        assert_eq!(one.moment().since(one.at("a", 5).moment()), None);
        assert_eq!(one.moment().after(Duration::from_millis(5)), one.at("a", 5).moment());
    }

    proptest! {
        /// Whatever is recorded when, and whenever the power is cut: never more than was lived.
        #[test]
        fn a_life_is_never_too_long(boots in proptest::collection::vec(
            proptest::collection::vec((1u64..1000, any::<bool>()), 1..8), 1..8)
        ) {
            let mut durable = Record::begin("first", 0);
            let start = durable.moment();
            let mut lived = 0;
            for (boot, steps) in boots.iter().enumerate() {
                let (boot, mut at) = (boot.to_string(), 100);
                let mut running = durable.at(&boot, at);
                for (time, recorded) in steps {
                    (at, lived) = (at + time, lived + time);
                    running = running.at(&boot, at);
                    if *recorded {
                        durable = running.clone();
                    }
                    prop_assert!(running.moment().since(start).unwrap() <= Duration::from_millis(lived));
                }
            }
        }

        #[test]
        fn no_part_and_no_changed_byte_is_a_record(at in 0usize..250, to in any::<u8>(), cut in 0usize..200) {
            let record = Record::begin("a", 7).at("a", 1_000_007);
            let mut text = record.to_text().unwrap();
            prop_assert!(Record::parse(&text[..cut.min(text.len() - 2)]).is_none());
            let at = at % text.len();
            text[at] = to;
            prop_assert!(Record::parse(&text).is_none_or(|read| read == record));
        }
    }
}
