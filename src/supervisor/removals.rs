//! What is removed from the trash: one after the other. What could not be removed is tried again after
//! ever longer, by the same job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause before another try, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What is being removed, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// The job that is at it, and what it removes.
    job: Option<(u64, String)>,
    failed: BTreeMap<String, Failed>,
}

/// A removal that failed.
#[derive(Debug)]
struct Failed {
    job: u64,
    pause: Duration,
    again: Instant,
}

impl Removals {
    /// Whether something is being removed.
    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// The job that has tried to remove this before, if one has.
    pub(super) fn job_of(&self, dir: &str) -> Option<u64> {
        self.failed.get(dir).map(|failed| failed.job)
    }

    /// A job begins to remove something.
    pub(super) fn begin(&mut self, job: u64, dir: String) {
        self.job = Some((job, dir));
    }

    /// A job has ended. How long it is until it tries again, if it is a removal that failed.
    pub(super) fn end(&mut self, job: u64, well: bool) -> Option<Duration> {
        let (_, dir) = self.job.take_if(|(running, _)| *running == job)?;
        if well {
            self.failed.remove(&dir);
            return None;
        }
        let pause = self.failed.get(&dir).map_or(FIRST_PAUSE, |failed| LONGEST_PAUSE.min(failed.pause * 2));
        self.failed.insert(dir, Failed { job, pause, again: Instant::now() + pause });
        Some(pause)
    }

    /// What is not to be tried yet.
    pub(super) fn waiting(&self) -> BTreeSet<String> {
        let now = Instant::now();
        self.failed.iter().filter(|(_, failed)| failed.again > now).map(|(dir, _)| dir.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_removed_is_tried_ever_more_rarely_by_one_job() {
        let mut removals = Removals::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let job = removals.job_of("a-0.7").unwrap_or(5);
            assert!(job == 5 && !removals.is_busy() && removals.waiting().is_empty());
            removals.begin(job, "a-0.7".into());
            assert_eq!(removals.end(4, false), None);
            let pause = removals.end(5, false).unwrap();
            assert_eq!(removals.waiting(), ["a-0.7".to_owned()].into());
            pauses.push(pause.as_secs());
            tokio::time::advance(pause).await;
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (10, 20, 3600));
        removals.begin(5, "a-0.7".into());
        assert_eq!(removals.end(5, true), None);
        assert_eq!(removals.job_of("a-0.7"), None);
    }
}
