//! How long work tells how far it is, and hears that it is to stop.

use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::watch;

/// How far some work is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is doing, in a few words.
    pub doing: Cow<'static, str>,
    /// How much of it is done.
    pub done: u64,
    /// Of how much; 0 if that is not known.
    pub total: u64,
}

/// Whether work goes on. Decided once, by the worker or by whoever cancels it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It can be cancelled still.
    Open,
    /// It was cancelled.
    Cancelled,
    /// It is too late to cancel it.
    ForGood,
}

/// The worker's end: it tells, and listens. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    tell: Arc<dyn Fn(Step) + Send + Sync>,
    course: watch::Sender<Course>,
}

/// The work was cancelled by whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cancelled")]
pub struct Cancelled;

impl Progress {
    /// Progress that `tell` hears of, of work whose course `course` holds.
    pub fn new(tell: impl Fn(Step) + Send + Sync + 'static, course: watch::Sender<Course>) -> Self {
        Self { tell: Arc::new(tell), course }
    }

    /// Tells what is being done, and how much of it.
    pub fn step(&self, doing: impl Into<Cow<'static, str>>, done: u64, total: u64) {
        (self.tell)(Step { doing: doing.into(), done, total });
    }

    /// The same for one of several parts: a step that does not say how far it is, is this far.
    pub fn part(&self, done: u64, total: u64) -> Self {
        let tell = self.tell.clone();
        let tell = move |step: Step| tell(if step.total == 0 { Step { done, total, ..step } } else { step });
        Self { tell: Arc::new(tell), course: self.course.clone() }
    }

    /// The same for work that goes on to its end, whatever becomes of what it was a part of.
    pub fn for_good(&self) -> Self {
        Self { tell: self.tell.clone(), course: watch::Sender::new(Course::ForGood) }
    }

    /// From here on the work cannot be cancelled.
    ///
    /// # Errors
    /// [`Cancelled`], if it was already.
    pub fn no_way_back(&self) -> Result<(), Cancelled> {
        self.course.send_if_modified(|course| set(course, Course::ForGood));
        self.check()
    }

    /// Whether the work is still wanted.
    ///
    /// # Errors
    /// [`Cancelled`], if it is not.
    pub fn check(&self) -> Result<(), Cancelled> {
        if *self.course.borrow() == Course::Cancelled { Err(Cancelled) } else { Ok(()) }
    }

    /// Returns when the work is cancelled. Cancel-safe: nothing is taken from the channel.
    pub async fn cancelled(&self) {
        // Its own sender keeps the channel open.
        _ = self.course.subscribe().wait_for(|course| *course == Course::Cancelled).await;
    }
}

/// Cancels work; whether it could be.
pub fn cancel(course: &watch::Sender<Course>) -> bool {
    course.send_if_modified(|course| set(course, Course::Cancelled));
    *course.borrow() == Course::Cancelled
}

/// The first to decide decides.
fn set(course: &mut Course, to: Course) -> bool {
    let open = *course == Course::Open;
    if open {
        *course = to;
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_first_decides() {
        let course = watch::Sender::new(Course::Open);
        let progress = Progress::new(|_| (), course.clone());
        assert!(progress.check().is_ok() && progress.no_way_back().is_ok());
        assert!(!cancel(&course) && progress.no_way_back().is_ok());
        let course = watch::Sender::new(Course::Open);
        let progress = Progress::new(|_| (), course.clone());
        assert!(cancel(&course) && cancel(&course));
        assert!(progress.check().is_err() && progress.no_way_back().is_err());
        assert!(progress.part(1, 2).check().is_err() && progress.for_good().check().is_ok());
    }

    #[test]
    fn a_part_says_how_far_the_whole_is() {
        let (tell, told) = std::sync::mpsc::channel();
        let course = watch::Sender::new(Course::Open);
        let progress = Progress::new(move |step| _ = tell.send((step.done, step.total)), course).part(3, 12);
        progress.step("waiting", 0, 0);
        progress.step("counting", 1, 2);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(3, 12), (1, 2)]);
    }
}
