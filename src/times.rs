//! Times of day as they are shown: in milliseconds to programs, in whole seconds to people. A length of time is never
//! told by them ([`lived`](crate::lived)): a clock may be set.

use jiff::Timestamp;

/// The time of day, in whole milliseconds.
pub fn now() -> Timestamp {
    in_milliseconds(Timestamp::now())
}

/// A time without what is finer than a millisecond.
pub fn in_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// A time in whole seconds, as people read it.
pub fn in_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The one of two guesses at a moment that is shown: the one that was, as long as the new one says the same but for a
/// minute; so that what is shown does not change with every look.
pub fn steady(shown: Timestamp, guessed: Timestamp) -> Timestamp {
    const SAME: i64 = 60;
    let apart = shown.as_second().abs_diff(guessed.as_second());
    if apart < SAME.unsigned_abs() { shown } else { in_seconds(guessed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_cut_to_what_is_shown() {
        let time: Timestamp = "2026-11-28T22:36:03.123456789Z".parse().unwrap();
        assert_eq!(in_milliseconds(time).to_string(), "2026-11-28T22:36:03.123Z");
        assert_eq!(in_seconds(time).to_string(), "2026-11-28T22:36:03Z");
        assert_eq!(now(), in_milliseconds(now()));
    }

    #[test]
    fn what_is_shown_changes_only_when_it_is_wrong() {
        let shown = Timestamp::from_second(1000).unwrap();
        for (guess, now) in [(1000, 1000), (1059, 1000), (941, 1000), (1060, 1060), (900, 900)] {
            assert_eq!(steady(shown, Timestamp::from_second(guess).unwrap()).as_second(), now);
        }
    }
}
