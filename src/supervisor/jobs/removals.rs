//! Removals from the trash, one after the other. What could not be removed is tried again after ever
//! longer, by one job of the supervisor's own. A job that somebody asked for is never that one: how it
//! ended is the answer to whoever asked.

use crate::region::Ledger;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause before another try, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Removals that are under way, and those that failed.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Removals {
    at_work: Option<AtWork>,
    failed: BTreeMap<String, Failed>,
}

/// A removal that is under way.
#[derive(Debug)]
struct AtWork {
    job: u64,
    /// Nobody asked for it.
    unasked: bool,
    dir: String,
}

/// A removal that failed.
#[derive(Debug)]
struct Failed {
    /// The supervisor's own job that has tried it, if one has.
    own: Option<u64>,
    pause: Duration,
    again: Instant,
}

impl Removals {
    /// Tell whether something is being removed.
    pub(in crate::supervisor) fn is_busy(&self) -> bool {
        self.at_work.is_some()
    }

    /// Find the supervisor's own job that has tried to remove this before, if one has.
    pub(in crate::supervisor) fn own_job_of(&self, dir: &str) -> Option<u64> {
        self.failed.get(dir).and_then(|failed| failed.own)
    }

    /// Record that a job begins to remove something.
    pub(in crate::supervisor) fn begin(&mut self, job: &wire::Job, dir: String) {
        self.at_work = Some(AtWork { job: job.id, unasked: job.unasked, dir });
    }

    /// Record that a job has ended, and tell how long it is until it is tried again, if it is a
    /// removal that failed.
    pub(in crate::supervisor) fn end(&mut self, job: u64, well: bool) -> Option<Duration> {
        let AtWork { unasked, dir, .. } = self.at_work.take_if(|running| running.job == job)?;
        let before = self.failed.remove(&dir);
        if well {
            return None;
        }
        let pause = before.as_ref().map_or(FIRST_PAUSE, |failed| LONGEST_PAUSE.min(failed.pause * 2));
        let own = if unasked { Some(job) } else { before.and_then(|failed| failed.own) };
        self.failed.insert(dir, Failed { own, pause, again: Instant::now() + pause });
        Some(pause)
    }

    /// Forget what is not in the trash any more: what comes to lie there by the same name is another.
    pub(in crate::supervisor) fn see(&mut self, ledger: &Ledger) {
        let there: BTreeSet<_> = ledger.tombstones.iter().map(crate::region::Tombstone::dir).collect();
        self.failed.retain(|dir, _| there.contains(dir));
    }

    /// Tell what is not to be tried yet.
    pub(in crate::supervisor) fn waiting(&self) -> BTreeSet<String> {
        let now = Instant::now();
        self.failed.iter().filter(|(_, failed)| failed.again > now).map(|(dir, _)| dir.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Record, Tombstone};
    use jiff::Timestamp;

    const DIR: &str = "still-fawn-0.7";

    fn job(id: u64, unasked: bool) -> wire::Job {
        wire::Job {
            id,
            kind: wire::JobKind::Purge,
            region: "still-fawn-0".parse().unwrap(),
            state: wire::JobState::Running,
            step: String::new(),
            progress: None,
            cancellable: false,
            error: None,
            asked: Timestamp::UNIX_EPOCH,
            took_ms: None,
            asks: None,
            unasked,
            by: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_removed_is_tried_ever_more_rarely_by_one_job() {
        let mut removals = Removals::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let id = removals.own_job_of(DIR).unwrap_or(5);
            assert!(id == 5 && !removals.is_busy() && removals.waiting().is_empty());
            removals.begin(&job(id, true), DIR.into());
            assert_eq!(removals.end(4, false), None);
            let pause = removals.end(5, false).unwrap();
            assert_eq!(removals.waiting(), [DIR.to_owned()].into());
            pauses.push(pause.as_secs());
            tokio::time::advance(pause).await;
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (10, 20, 3600));
        removals.begin(&job(5, true), DIR.into());
        assert_eq!(removals.end(5, true), None);
        assert_eq!(removals.own_job_of(DIR), None);
    }

    #[test]
    fn a_job_that_somebody_asked_for_is_not_the_one_that_tries_again() {
        let mut removals = Removals::default();
        let mut fails = |id, unasked| {
            removals.begin(&job(id, unasked), DIR.into());
            let pause = removals.end(id, false).unwrap().as_secs();
            (removals.own_job_of(DIR), pause)
        };
        assert_eq!(fails(5, false), (None, 10));
        assert_eq!(fails(6, true), (Some(6), 20));
        // He asks once more, and the supervisor's own stays who it is.
        assert_eq!(fails(7, false), (Some(6), 40));
    }

    #[test]
    fn what_is_not_in_the_trash_any_more_is_forgotten() {
        let mut removals = Removals::default();
        let stone = Tombstone {
            region: "still-fawn-0".parse().unwrap(),
            record: Record {
                uuid: uuid::Uuid::nil(),
                geometry: crate::region::Geometry { block_size: 4096, extent_size: 32768, extent_count: 100 },
                created: Timestamp::UNIX_EPOCH,
                by: "sledd".into(),
            },
            deleted: Timestamp::from_second(7).unwrap(),
            buried: None,
            moved: true,
            removing: true,
        };
        assert_eq!(stone.dir(), DIR);
        removals.begin(&job(5, true), DIR.into());
        removals.end(5, false);
        removals.see(&Ledger { tombstones: vec![stone], ..Ledger::default() });
        assert_eq!((removals.own_job_of(DIR), removals.waiting().len()), (Some(5), 1));
        removals.see(&Ledger::default());
        assert_eq!((removals.own_job_of(DIR), removals.waiting().len()), (None, 0));
    }
}
