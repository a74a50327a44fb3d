//! The jobs that were asked for: their numbers, how far each is, and how each ended. Only the
//! list; the work itself is [`work`](super::work)'s.

use super::errands::Errands;
use super::event::Event;
use crate::act::progress::{self, Course, Progress, Step};
use crate::names::RegionName;
use crate::wire::{self, JobKind, JobProgress, JobState};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How many jobs are remembered after their end.
const REMEMBERED: usize = 1000;
/// The code of the error with which cancelled work ends.
pub(super) const CANCELLED: &str = "CANCELLED";

/// The end of a job.
pub(super) struct Ended {
    pub(super) id: u64,
    /// What was done, in words; or why it was not.
    pub(super) result: Result<String, wire::Error>,
    pub(super) took: Duration,
}

/// All jobs, by their numbers.
pub(super) struct Jobs {
    all: Arc<BTreeMap<u64, wire::Job>>,
    courses: BTreeMap<u64, watch::Sender<Course>>,
    next: u64,
    errands: Errands,
}

impl Jobs {
    pub(super) fn new(errands: Errands) -> Self {
        // No number that an earlier supervisor gave: who follows a job must not meet another.
        let next = Timestamp::now().as_millisecond().unsigned_abs();
        Self { all: Arc::default(), courses: BTreeMap::new(), next, errands }
    }

    /// Every job that is remembered.
    pub(super) fn all(&self) -> &Arc<BTreeMap<u64, wire::Job>> {
        &self.all
    }

    /// Puts a job on the list, and makes the worker's end of it.
    pub(super) fn register(&mut self, kind: JobKind, region: &RegionName) -> (wire::Job, Progress) {
        let job = wire::Job {
            id: self.next,
            kind,
            region: region.clone(),
            state: JobState::Running,
            step: "waiting for its turn".into(),
            progress: None,
            cancellable: true,
            error: None,
            asked: Timestamp::now(),
            took_ms: None,
        };
        self.next += 1;
        let jobs = Arc::make_mut(&mut self.all);
        jobs.insert(job.id, job.clone());
        let mut ended = jobs.values().filter(|job| job.state != JobState::Running).map(|job| job.id);
        if let Some(oldest) = ended.next().filter(|_| jobs.len() > REMEMBERED) {
            jobs.remove(&oldest);
        }
        let course = watch::Sender::new(Course::Open);
        self.courses.insert(job.id, course.clone());
        let (id, errands) = (job.id, self.errands.clone());
        // A step that finds the channel full is not worth waiting for.
        let tell = move |step| errands.tell_if_room(Event::Step(id, step));
        (job, Progress::new(tell, course))
    }

    /// Notes what a job is doing.
    pub(super) fn step(&mut self, id: u64, step: Step) {
        if let Some(job) = Arc::make_mut(&mut self.all).get_mut(&id) {
            job.step = step.doing.into_owned();
            job.progress = (step.total > 0).then_some(JobProgress { done: step.done, total: step.total });
            job.cancellable = self.courses.get(&id).is_some_and(|course| *course.borrow() == Course::Open);
        }
    }

    /// Asks a job to end early.
    pub(super) fn cancel(&mut self, id: u64) -> Result<wire::Job, wire::Error> {
        let Some(job) = self.all.get(&id) else {
            let message = format!("there is no job {id}");
            return Err(wire::Error::new("JOB_UNKNOWN", message, "jobs are forgotten when sledd restarts"));
        };
        let refuse = |why: &str| {
            let message = format!("job {id} ({} {}) {why}", job.kind.as_str(), job.region);
            Err(wire::Error::new("NOT_CANCELLABLE", message, format!("see sledctl jobs show {id}")))
        };
        match self.courses.get(&id) {
            None => refuse("has ended"),
            Some(course) if progress::cancel(course) => Ok(job.clone()),
            Some(_) => refuse("is past the point at which it could be cancelled"),
        }
    }

    /// Notes the end of a job.
    pub(super) fn end(&mut self, ended: Ended) {
        self.courses.remove(&ended.id);
        let Some(job) = Arc::make_mut(&mut self.all).get_mut(&ended.id) else { return };
        let (kind, name, took) = (job.kind.as_str(), &job.region, ended.took.as_millis());
        job.took_ms = took.try_into().ok();
        (job.progress, job.cancellable) = (None, false);
        match ended.result {
            Ok(what) => {
                tracing::info!(REGION = %name, "{kind} {name}: {what}, in {took} ms");
                (job.state, job.step) = (JobState::Done, what);
            }
            Err(why) if why.code == CANCELLED => {
                tracing::info!(REGION = %name, "{kind} {name}: cancelled");
                (job.state, job.step) = (JobState::Cancelled, "cancelled; everything is as it was".into());
            }
            Err(why) => {
                tracing::error!(REGION = %name, CODE = %why.code, "{kind} {name}: {}; {}", why.message, why.remedy);
                (job.state, job.error) = (JobState::Failed, Some(why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_cancelled_until_it_is_too_late() {
        let (events, _heard) = tokio::sync::mpsc::channel(8);
        let mut jobs = Jobs::new(Errands::new(events));
        let name = "still-fawn-0".parse().unwrap();
        let (first, progress) = jobs.register(JobKind::Create, &name);
        assert!(progress.check().is_ok());
        jobs.cancel(first.id).unwrap();
        assert!(progress.check().is_err());
        let cancelled = wire::Error::new(CANCELLED, "it was cancelled", "");
        jobs.end(Ended { id: first.id, result: Err(cancelled), took: Duration::ZERO });
        assert_eq!(jobs.all()[&first.id].state, JobState::Cancelled);
        assert_eq!(jobs.cancel(first.id).unwrap_err().code, "NOT_CANCELLABLE");

        let (second, progress) = jobs.register(JobKind::Delete, &name);
        progress.no_way_back().unwrap();
        jobs.step(second.id, Step { doing: "moving".into(), done: 1, total: 2 });
        assert_eq!(jobs.cancel(second.id).unwrap_err().code, "NOT_CANCELLABLE");
        assert!(progress.check().is_ok() && !jobs.all()[&second.id].cancellable);
        assert_eq!(jobs.all()[&second.id].progress, Some(JobProgress { done: 1, total: 2 }));
        assert_eq!(jobs.cancel(7).unwrap_err().code, "JOB_UNKNOWN");
    }
}
