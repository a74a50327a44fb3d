//! Work of a job: its kind, the region that it is done to, and what is done. Each kind makes its own, in the
//! file that does it; what the loop has to know of a kind beforehand is one table here. Never the doing.
//!
//! A job is a task of its own, in which even a panic is an end that is heard of. It takes its own
//! decisions only where time has passed since the request was granted.

use crate::act::units;
use crate::decide::facts::Busy;
use crate::names::RegionName;
use crate::progress::Progress;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cut_short};
use crate::supervisor::jobs::list::Ended;
use crate::wire::{self, JobKind};
use std::pin::Pin;
use std::time::Instant;
use zbus::Connection;

/// Outcome of work: what was done, in words, or why it was not.
pub(in crate::supervisor) type Outcome = Result<String, wire::Error>;

type Doing = Box<dyn FnOnce(Job) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send>;

/// Work that was granted, and is to be begun as a job.
pub(in crate::supervisor) struct Work {
    /// Kind of the job.
    pub(in crate::supervisor) kind: JobKind,
    /// Region that it is done to; of several, the first.
    pub(in crate::supervisor) region: RegionName,
    /// Directory in the trash that it removes, if it does.
    pub(in crate::supervisor) removes: Option<String>,
    doing: Doing,
}

/// Job under way: all that its work is done with.
pub(in crate::supervisor) struct Job {
    /// Context that all work has in common.
    pub(in crate::supervisor) context: Context,
    /// Number of the job.
    pub(in crate::supervisor) id: u64,
    /// Line to systemd.
    pub(in crate::supervisor) bus: Connection,
    /// Progress of the job, as it is shown.
    pub(in crate::supervisor) progress: Progress,
}

impl Work {
    /// Make work of this kind at a region, done by `doing`.
    pub(in crate::supervisor) fn new<F>(
        kind: JobKind,
        region: &RegionName,
        doing: impl FnOnce(Job) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self { kind, region: region.clone(), removes: None, doing: Box::new(|job| Box::pin(doing(job))) }
    }

    /// Let it be known which directory in the trash it removes.
    pub(in crate::supervisor) fn removing(self, dir: String) -> Self {
        Self { removes: Some(dir), ..self }
    }
}

/// What work of a kind does to what lies on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Effect {
    /// What is promised to regions, and what is free, stays as it is.
    Nothing,
    /// Room is given back.
    Frees,
    /// The region is taken from its place.
    Removes,
    /// A region is put into its place: what its unit ended with before is not that one's doing.
    Places,
}

/// Conduct of a kind of work, as the loop has to know it beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) struct Conduct {
    /// Mark of its region from the beginning; `None`: its region is not marked.
    pub(in crate::supervisor) mark: Option<Busy>,
    /// What it does to what lies on the disk.
    pub(in crate::supervisor) effect: Effect,
}

impl Conduct {
    /// Tell the conduct of a kind of work.
    pub(in crate::supervisor) fn of(kind: JobKind) -> Self {
        let (mark, effect) = match kind {
            JobKind::Create => (Some(Busy::Creating), Effect::Places),
            JobKind::Adopt => (Some(Busy::Adopting), Effect::Places),
            JobKind::Restore => (Some(Busy::Deleting), Effect::Places),
            JobKind::Delete => (Some(Busy::Deleting), Effect::Removes),
            JobKind::Purge => (None, Effect::Frees),
            JobKind::Restart | JobKind::Hold | JobKind::Release | JobKind::Repair | JobKind::Rebuild => {
                (Some(Busy::Waiting), Effect::Nothing)
            }
            JobKind::Upgrade | JobKind::Scrub => (None, Effect::Nothing),
        };
        Self { mark, effect }
    }

    /// Tell whether another region is in the region's place when it has ended well, or none.
    pub(in crate::supervisor) fn makes_anew(self) -> bool {
        matches!(self.effect, Effect::Places | Effect::Removes)
    }
}

impl Context {
    /// Begin work as the job of this number: its end is reported, whatever becomes of it.
    pub(in crate::supervisor) fn begin(&self, id: u64, work: Work, bus: Connection, progress: Progress) {
        let (began, effect) = (Instant::now(), Conduct::of(work.kind).effect);
        let end = move |region, result, disk| {
            Some(Report::Ended(region, Box::new(Ended { id, result, took: began.elapsed() }), disk))
        };
        let (region, of) = (work.region.clone(), work.region);
        let lost = move |why: String| end(of, Err(cut_short(&why)), None);
        let job = Job { context: self.clone(), id, bus, progress };
        let scanner = self.scanner.clone();
        self.tasks.run(lost, async move {
            if effect == Effect::Places {
                // It need not be known yet.
                _ = units::forgive(&job.bus, &region).await;
            }
            let result = (work.doing)(job).await;
            let changed = effect != Effect::Nothing;
            let disk = if changed { scanner.look_changed().await } else { scanner.look().await };
            end(region, result, disk)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{self, TABLE};

    /// Operations that are answered with a job that there is already.
    const OF_A_JOB: [&str; 2] = ["AnswerJob", "CancelJob"];

    #[test]
    fn every_long_operation_is_a_kind_of_work_by_the_same_verb() {
        let long = TABLE.iter().filter(|row| row.work == api::Work::Long && !OF_A_JOB.contains(&row.name));
        let verbs: Vec<_> = long.map(|row| row.name.to_lowercase()).collect();
        assert_eq!(verbs.len(), JobKind::ALL.len(), "{verbs:?}");
        for kind in JobKind::ALL {
            let word = kind.as_str();
            assert_eq!(verbs.iter().filter(|verb| verb.starts_with(word)).count(), 1, "{word} in {verbs:?}");
        }
    }

    #[test]
    fn what_puts_a_region_in_its_place_marks_it_with_more_than_waiting() {
        for kind in JobKind::ALL {
            let conduct = Conduct::of(kind);
            let marked = conduct.mark.is_some_and(|busy| !busy.passive());
            assert_eq!(conduct.makes_anew(), marked, "{kind:?}");
        }
    }
}
