//! Generation that a sled grants next to a host that asks to attach a volume.
//!
//! A generation is granted by a sled once at most: what it granted before is on record before it
//! is answered, and the next one is higher. On that alone rests that no two hosts attach with the
//! same one (`attach::ballot` tells how, for volumes on several sleds). The clock is only a floor:
//! it takes the place of a record that was lost. This looks at no record, no region and no clock
//! itself; it is told.

/// The distance above its own floor for which a sled follows a host's wish: far more than any two sleds' clocks
/// differ, far less than would let a host use up the numbers.
pub const REACH: u64 = 1 << 40;

/// A generation that is not granted, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoGeneration {
    /// The host asks for one that is absurdly far away.
    #[error("generation {asked} is too far ahead: this sled grants {most} at most")]
    TooFar {
        /// The generation that was asked for.
        asked: u64,
        /// The highest that would be granted now.
        most: u64,
    },
    /// No higher one is left.
    #[error("there is no generation above {0}")]
    UsedUp(u64),
}

/// Decide the generation to grant to a host that asks for at least `asked`, by a sled that has granted `granted` (0:
/// none yet), in whose region trailers `written` is the highest, and whose clock shows so many seconds since 1970.
///
/// # Errors
/// If `asked` is more than [`REACH`] above what would be granted without it, or the numbers are
/// used up.
pub fn next(asked: u64, granted: u64, written: u64, clock_seconds: u64) -> Result<u64, NoGeneration> {
    let last = granted.max(written);
    let above = last.checked_add(1).ok_or(NoGeneration::UsedUp(last))?;
    let floor = above.max(clock_seconds);
    let most = floor.saturating_add(REACH);
    if asked > most {
        return Err(NoGeneration::TooFar { asked, most });
    }
    Ok(floor.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = u64::MAX;

    #[test]
    fn the_next_generation_is_the_highest_of_the_four() {
        for (asked, granted, written, clock, next_one) in [
            (0, 0, 0, 0, Ok(1)),
            (0, 0, 0, 1_769_300_000, Ok(1_769_300_000)),
            (0, 1_769_300_000, 0, 1_769_300_000, Ok(1_769_300_001)),
            (0, 1_769_300_009, 0, 1_769_300_000, Ok(1_769_300_010)),
            (0, 7, 9, 3, Ok(10)),
            (20, 7, 9, 3, Ok(20)),
            (8, 7, 9, 3, Ok(10)),
            (REACH + 5, 4, 0, 0, Ok(REACH + 5)),
            (REACH + 6, 4, 0, 0, Err(NoGeneration::TooFar { asked: REACH + 6, most: REACH + 5 })),
            (MAX, 0, 0, 1_769_300_000, Err(NoGeneration::TooFar { asked: MAX, most: 1_769_300_000 + REACH })),
            (MAX, MAX - 1, 0, 0, Ok(MAX)),
            (0, MAX, 0, 0, Err(NoGeneration::UsedUp(MAX))),
            (0, 0, MAX, 0, Err(NoGeneration::UsedUp(MAX))),
        ] {
            assert_eq!(next(asked, granted, written, clock), next_one, "{asked} {granted} {written} {clock}");
        }
    }

    /// Small numbers, and some near each end.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..100u64, (MAX - 100)..=MAX, (REACH - 50)..(REACH + 50), any::<u64>()]
    }

    proptest! {
        #[test]
        fn what_is_granted_is_above_all_that_was_and_no_further_than_its_reach(
            asked in number(), granted in number(), written in number(), clock in number()
        ) {
            match next(asked, granted, written, clock) {
                Ok(new) => {
                    prop_assert!(new > granted && new > written && new >= asked && new >= clock && new >= 1);
                    prop_assert!([asked, granted.saturating_add(1), written.saturating_add(1), clock].contains(&new));
                }
                Err(NoGeneration::TooFar { most, .. }) => {
                    prop_assert!(asked > most);
                    prop_assert!(next(most, granted, written, clock).is_ok());
                }
                Err(NoGeneration::UsedUp(last)) => prop_assert!(last == MAX && granted.max(written) == MAX),
            }
        }

        #[test]
        fn no_number_of_wishes_uses_up_the_numbers_soon(asked in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut granted = 0;
            for wish in asked {
                let before = granted;
                granted = next(wish, granted, 0, 1_769_300_000).unwrap_or(granted);
                prop_assert!(granted - before <= REACH + 1_769_300_000);
            }
        }
    }
}
