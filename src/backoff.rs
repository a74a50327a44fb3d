//! Backoff before trying again what nothing tells about: growing pauses, so that the first tries come at once and the
//! later ones cost nothing.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A growing pause: doubled each time, from `first` up to `most`.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    /// The time for which the pauses do not grow, and how much of that is over.
    eager: Duration,
    spent: Duration,
}

impl Backoff {
    /// Make a pause that starts at `first` and grows up to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first, eager: Duration::ZERO, spent: Duration::ZERO }
    }

    /// Have it begin to grow only after so much time.
    pub fn eager_for(self, eager: Duration) -> Self {
        Self { eager, ..self }
    }

    /// Start over: what was tried has worked.
    pub fn reset(&mut self) {
        self.next = self.first;
        self.spent = Duration::ZERO;
    }

    /// Give the pause that comes next; the one after it is twice as long.
    pub fn grow(&mut self) -> Duration {
        let now = self.next;
        if self.spent < self.eager {
            self.spent += now
        } else {
            self.next = (now * 2).min(self.most)
        }
        now
    }

    /// Wait for the pause that comes next.
    pub async fn pause(&mut self) {
        sleep_until(Instant::now() + self.grow()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_up_to_its_limit_and_starts_over() {
        let milliseconds = Duration::from_millis;
        let mut backoff = Backoff::new(milliseconds(5), milliseconds(18));
        let grown: Vec<_> = (0..4).map(|_| backoff.grow()).collect();
        assert_eq!(grown, [5, 10, 18, 18].map(milliseconds));
        backoff.reset();
        assert_eq!(backoff.grow(), milliseconds(5));
    }

    #[test]
    fn an_eager_one_grows_later_and_is_eager_again_when_it_starts_over() {
        let milliseconds = Duration::from_millis;
        let mut backoff = Backoff::new(milliseconds(5), milliseconds(18)).eager_for(milliseconds(15));
        for _ in 0..2 {
            let grown: Vec<_> = (0..7).map(|_| backoff.grow()).collect();
            assert_eq!(grown, [5, 5, 5, 5, 10, 18, 18].map(milliseconds));
            backoff.reset();
        }
    }
}
