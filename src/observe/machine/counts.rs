//! Counts of the kernel's that only grow: by how much one has grown of late. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// The growth of a count within a time.
#[derive(Debug)]
pub(super) struct Growth {
    within: Duration,
    last: Option<u64>,
    steps: VecDeque<(Duration, u64)>,
}

impl Growth {
    /// Begin with nothing: what was counted before the first look does not count.
    pub(super) fn within(within: Duration) -> Self {
        Self { within, last: None, steps: VecDeque::new() }
    }

    /// Take the count at this time, and return by how much it has grown of late.
    pub(super) fn note(&mut self, at: Duration, count: u64) -> u64 {
        let more = self.last.and_then(|last| count.checked_sub(last)).filter(|more| *more > 0);
        self.steps.extend(more.map(|more| (at, more)));
        self.last = Some(count);
        while self.steps.front().is_some_and(|(seen, _)| at.saturating_sub(*seen) > self.within) {
            self.steps.pop_front();
        }
        self.steps.iter().map(|(_, more)| more).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_counts_for_a_while_and_what_was_there_never() {
        let mut growth = Growth::within(Duration::from_secs(10));
        for (at, count, wanted) in
            [(0, 5, 0), (1, 5, 0), (2, 7, 2), (8, 10, 5), (13, 10, 3), (19, 10, 0), (20, 0, 0), (21, 1, 1)]
        {
            assert_eq!(growth.note(Duration::from_secs(at), count), wanted, "at {at}");
        }
    }
}
