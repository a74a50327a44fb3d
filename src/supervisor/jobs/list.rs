//! List of the jobs that were asked for: their numbers, how far each is, and how each ended. Only
//! the list; the work itself is [`work`](crate::supervisor::jobs::work)'s.

use crate::names::RegionName;
use crate::progress::{self, Course, Progress, Step};
use crate::store::jobs::{self, Remembered};
use crate::supervisor::jobs::Report;
use crate::supervisor::tasks::Tasks;
use crate::times;
use crate::wire::{self, JobKind, JobProgress, JobState, Refusal, Word};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Number of jobs that are remembered after their end.
const REMEMBERED_LIMIT: usize = 1000;
/// Number of jobs that nobody asked for that are remembered after their end.
const REMEMBERED_UNASKED_LIMIT: usize = 200;
/// Code of the error with which cancelled work ends.
pub(in crate::supervisor) const CANCELLED: Refusal = Refusal::Cancelled;

pub(in crate::supervisor) struct Ended {
    pub(in crate::supervisor) id: u64,
    /// Words for what was done; or why it was not.
    pub(in crate::supervisor) result: Result<String, wire::Error>,
    pub(in crate::supervisor) took: Duration,
}

/// All jobs, by their numbers.
pub(in crate::supervisor) struct Jobs {
    all: Arc<BTreeMap<u64, wire::Job>>,
    courses: BTreeMap<u64, watch::Sender<Course>>,
    /// Channel on which each hears what it has asked.
    words: BTreeMap<u64, watch::Sender<Option<(u64, Word)>>>,
    next: u64,
    /// Number from which on the next supervisor gives numbers: what is on the disk keeps only those below
    /// from being given again.
    reserved: u64,
    tasks: Tasks<Report>,
    /// Something has changed that is to outlive this supervisor.
    changed: bool,
    /// The change is being written, with the first number that is not kept by it.
    writing: Option<u64>,
    /// The supervisor ends, and no more numbers are kept for it.
    leaving: bool,
    /// The change could not be written when it was last tried.
    unwritten: bool,
}

impl Jobs {
    /// Go on where an earlier supervisor was: with no number that it gave, as who follows a job must not
    /// meet another. What it was at was cut short.
    pub(in crate::supervisor) fn new(tasks: Tasks<Report>, known: Remembered) -> Self {
        let next = known.jobs.iter().map(|job| job.id.saturating_add(1)).fold(known.next, u64::max);
        let reserved = known.reserved;
        let mut changed = false;
        let all = known.jobs.into_iter().map(|mut job| {
            if job.state == JobState::Running {
                let message = format!("sledd ended while it was at {} {}", job.kind.as_str(), job.region);
                let remedy =
                    format!("see sledctl region show {}: what was left undone is finished or taken back", job.region);
                (job.state, job.error) = (JobState::Failed, Some(wire::Error::new(Refusal::CutShort, message, remedy)));
                (job.progress, job.cancellable, job.asks, changed) = (None, false, None, true);
            }
            (job.id, job)
        });
        let all = Arc::new(all.collect());
        let (courses, words) = (BTreeMap::new(), BTreeMap::new());
        let (writing, leaving, unwritten) = (None, false, false);
        Self { all, courses, words, next, reserved, tasks, changed, writing, leaving, unwritten }
    }

    /// Take what is to be written down now, if anything: the newest of those that somebody asked for
    /// and of the others, each counted for itself, and whatever is not over.
    pub(in crate::supervisor) fn take_changes(&mut self) -> Option<Remembered> {
        if !self.changed || self.writing.is_some() {
            return None;
        }
        let reserved = self.next.saturating_add(if self.leaving { 0 } else { jobs::BLOCK });
        (self.changed, self.writing) = (false, Some(reserved));
        self.reserved = self.reserved.min(reserved);
        let (mut asked, mut unasked) = (0, 0);
        let newest = |job: &&wire::Job| {
            let (count, most) =
                if job.unasked { (&mut unasked, REMEMBERED_UNASKED_LIMIT) } else { (&mut asked, REMEMBERED_LIMIT) };
            *count += 1;
            *count <= most || job.state == JobState::Running
        };
        let mut jobs: Vec<_> = self.all.values().rev().filter(newest).cloned().collect();
        jobs.reverse();
        Some(Remembered { next: self.next, reserved, jobs })
    }

    /// Take what is to be written down now that the supervisor ends, unless something is being written: the
    /// next one goes on with the very next number.
    pub(in crate::supervisor) fn leave(&mut self) -> Option<Remembered> {
        (self.leaving, self.changed) = (true, true);
        self.take_changes()
    }

    /// Give a number that no job had before, even if an earlier supervisor could write down none of its own, and
    /// that no later one gives.
    fn number(&mut self) -> u64 {
        if self.next >= self.reserved {
            self.next = self.next.max(jobs::anew(times::now()));
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    /// Record that it was written down, or could not be, and why.
    pub(in crate::supervisor) fn written(&mut self, done: Result<(), String>) {
        if let (Err(why), false) = (&done, self.unwritten) {
            tracing::warn!("what became of jobs cannot be remembered: {why}; it is tried again");
        }
        if let (Ok(()), Some(reserved)) = (&done, self.writing) {
            self.reserved = reserved;
        }
        (self.writing, self.unwritten) = (None, done.is_err());
    }

    /// Have written once more what could not be.
    pub(in crate::supervisor) fn write_again(&mut self) {
        self.changed |= self.unwritten && self.writing.is_none();
    }

    /// Return every job that is remembered.
    pub(in crate::supervisor) fn all(&self) -> &Arc<BTreeMap<u64, wire::Job>> {
        &self.all
    }

    /// Put a job on the list that somebody asked for, and make the worker's end of it.
    pub(in crate::supervisor) fn register(&mut self, kind: JobKind, region: &RegionName) -> (wire::Job, Progress) {
        self.put(kind, region, false, None)
    }

    /// Put one of the supervisor's own on it, or one of these once more.
    pub(in crate::supervisor) fn register_unasked(
        &mut self,
        kind: JobKind,
        region: &RegionName,
        again: Option<u64>,
    ) -> (wire::Job, Progress) {
        self.put(kind, region, true, again)
    }

    fn put(&mut self, kind: JobKind, region: &RegionName, unasked: bool, again: Option<u64>) -> (wire::Job, Progress) {
        // What somebody asked for stays as it ended.
        let again = again.filter(|id| self.all.get(id).is_none_or(|job| job.unasked));
        let job = wire::Job {
            id: again.unwrap_or_else(|| self.number()),
            kind,
            region: region.clone(),
            state: JobState::Running,
            step: "waiting for its turn".into(),
            progress: None,
            cancellable: true,
            error: None,
            asked: times::now(),
            took_ms: None,
            asks: None,
            unasked,
            by: unasked.then_some(wire::Asker::Sledd),
        };
        self.changed = true;
        let jobs = Arc::make_mut(&mut self.all);
        jobs.insert(job.id, job.clone());
        // Its own are forgotten for its own, and never one that somebody asked for.
        let mut ended = jobs.values().filter(|job| job.state != JobState::Running && job.unasked == unasked);
        let alike = jobs.values().filter(|job| job.unasked == unasked).count();
        let most = if unasked { REMEMBERED_UNASKED_LIMIT } else { REMEMBERED_LIMIT };
        if let Some(oldest) = ended.next().map(|job| job.id).filter(|_| alike > most) {
            jobs.remove(&oldest);
        }
        let course = watch::Sender::new(Course::Open);
        self.courses.insert(job.id, course.clone());
        let (id, tasks) = (job.id, self.tasks.clone());
        // A step that finds the channel full is not worth waiting for.
        let tell = move |step| tasks.tell_if_room(Report::Step(id, step));
        let (word, words) = watch::channel(None);
        self.words.insert(job.id, word);
        (job, Progress::new(tell, course).answered_by(words))
    }

    /// Record who has asked for a job that was begun.
    pub(in crate::supervisor) fn asked_by(&mut self, granted: wire::Granted, by: wire::Asker) -> wire::Granted {
        let wire::Granted::Job(mut told) = granted else { return granted };
        if let Some(job) = Arc::make_mut(&mut self.all).get_mut(&told.id).filter(|job| job.by.is_none()) {
            (job.by, told.by) = (Some(by.clone()), Some(by));
        }
        wire::Granted::Job(told)
    }

    /// Record what a job is doing.
    pub(in crate::supervisor) fn step(&mut self, id: u64, step: Step) {
        if let Some(job) = Arc::make_mut(&mut self.all).get_mut(&id) {
            job.step = step.doing.into_owned();
            job.asks = step.asks.map(Box::new);
            job.progress =
                (step.total > 0).then_some(JobProgress { done: step.done, total: step.total, unit: step.unit });
            job.cancellable = self.courses.get(&id).is_some_and(|course| *course.borrow() == Course::Open);
        }
    }

    /// Give a job the word that it has asked for.
    pub(in crate::supervisor) fn word(&mut self, id: u64, number: u64, word: Word) -> Result<wire::Job, wire::Error> {
        match (self.all.get(&id), self.words.get(&id)) {
            // How it was before it is asked, or for another question, is no answer to this one.
            (Some(job), Some(_)) if job.asks.as_ref().is_none_or(|ask| ask.number != number) => {
                let message = format!("job {id} does not ask question {number} now");
                Err(wire::Error::new(Refusal::NotAsked, message, format!("answer what it asks: GET /v1/jobs/{id}")))
            }
            (Some(job), Some(hears)) => {
                hears.send_replace(Some((number, word)));
                Ok(job.clone())
            }
            _ => {
                let message = format!("there is no job {id} that asks anything");
                Err(wire::Error::new(Refusal::JobUnknown, message, "sledctl jobs lists those that are remembered"))
            }
        }
    }

    /// Ask a job to end early.
    pub(in crate::supervisor) fn cancel(&mut self, id: u64) -> Result<wire::Job, wire::Error> {
        let Some(job) = self.all.get(&id) else {
            let message = format!("there is no job {id}");
            return Err(wire::Error::new(Refusal::JobUnknown, message, "sledctl jobs lists those that are remembered"));
        };
        let refuse = |why: &str| {
            let message = format!("job {id} ({} {}) {why}", job.kind.as_str(), job.region);
            Err(wire::Error::new(Refusal::NotCancellable, message, format!("see sledctl jobs show {id}")))
        };
        match self.courses.get(&id) {
            None => refuse("has ended"),
            Some(course) if progress::cancel(course) => Ok(job.clone()),
            Some(_) => refuse("is past the point at which it could be cancelled"),
        }
    }

    pub(in crate::supervisor) fn end(&mut self, ended: Ended) {
        self.courses.remove(&ended.id);
        self.words.remove(&ended.id);
        self.changed = true;
        let Some(job) = Arc::make_mut(&mut self.all).get_mut(&ended.id) else { return };
        let (kind, name, took) = (job.kind.as_str(), &job.region, ended.took.as_millis());
        job.took_ms = took.try_into().ok();
        (job.progress, job.cancellable, job.asks) = (None, false, None);
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

impl Jobs {
    /// Write down what is to be remembered of jobs, if that has changed.
    pub(in crate::supervisor) fn note(&mut self) {
        let Some(known) = self.take_changes() else { return };
        _ = self.write(known);
    }

    /// Write down what is to be remembered of jobs at the end. Whoever gets what this returns hears when that is
    /// done; at once, if it cannot be done now.
    pub(in crate::supervisor) fn note_at_the_end(&mut self) -> oneshot::Receiver<()> {
        match self.leave() {
            Some(known) => self.write(known),
            None => oneshot::channel().1,
        }
    }

    fn write(&self, known: Remembered) -> oneshot::Receiver<()> {
        let (done, heard) = oneshot::channel();
        self.tasks.run(|why| Some(Report::Noted(Err(why))), async move {
            let written = tokio::task::spawn_blocking(move || jobs::write(&known)).await;
            let written = written.unwrap_or_else(|why| Err(std::io::Error::other(why)));
            _ = done.send(());
            Some(Report::Noted(written.map_err(|why| why.to_string())))
        });
        heard
    }
}

#[cfg(test)]
mod tests;
