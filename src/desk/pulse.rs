//! Pulse of the loop, for whoever asks whether it turns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time at which the loop last turned, for whoever asks whether it does.
#[derive(Debug, Clone)]
pub struct LoopPulse {
    last: Arc<Mutex<Instant>>,
    /// Time after which a loop that has not turned is stuck.
    limit: Duration,
}

impl LoopPulse {
    /// Make the pulse of a loop that has turned just now, and does so at least once in this time.
    pub fn new(turn: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())), limit: 2 * turn }
    }

    /// Record that the loop has turned once.
    pub fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Tell for how long the loop has not turned, if that is longer than two rounds.
    pub fn stuck(&self) -> Option<Duration> {
        let since = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (since > self.limit).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_has_not_turned_for_two_rounds_is_stuck() {
        let pulse = LoopPulse::new(Duration::from_secs(5));
        assert_eq!(pulse.stuck(), None);
        *pulse.last.lock().unwrap() = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
        assert!(pulse.stuck().is_some_and(|since| since >= Duration::from_secs(11)));
        pulse.beat();
        assert_eq!(pulse.stuck(), None);
    }
}
