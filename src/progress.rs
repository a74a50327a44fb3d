//! Progress of long work: it tells how far it is, and hears that it is to stop.

use crate::wire::{Ask, JobUnit as Unit, Refusal, Word};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause before a question is told again.
const QUESTION_PAUSE: Duration = Duration::from_millis(500);

/// The time for which a better word is waited for after one that says that it could not be told how they are. Whoever
/// has said that may know less of where they answer than another who follows the job.
const BETTER_WORD_LIMIT: Duration = Duration::from_secs(5);

/// A step of some work: how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The doing, in a few words.
    pub doing: Cow<'static, str>,
    /// The part of it that is done.
    pub done: u64,
    /// The whole of it; 0 if that is not known.
    pub total: u64,
    /// What both are counted in.
    pub unit: Unit,
    /// The question that is to be answered before it goes on.
    pub asks: Option<Ask>,
}

/// The course of work: whether it goes on. Decided once, by the worker or by whoever cancels it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// The work can be cancelled still.
    Open,
    /// The work was cancelled.
    Cancelled,
    /// The work is too late to be cancelled.
    ForGood,
}

/// The worker's end: it tells, and listens. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    tell: Arc<dyn Fn(Step) + Send + Sync>,
    course: watch::Sender<Course>,
    answers: watch::Receiver<Option<(u64, Word)>>,
    asked: Arc<AtomicU64>,
}

/// The work was cancelled by whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cancelled")]
pub struct Cancelled;

impl Progress {
    /// Make progress that `tell` hears of, of work whose course `course` holds. Its questions nobody answers.
    pub fn new(tell: impl Fn(Step) + Send + Sync + 'static, course: watch::Sender<Course>) -> Self {
        let (_, answers) = watch::channel(None);
        Self { tell: Arc::new(tell), course, answers, asked: Arc::default() }
    }

    /// Have its questions answered by `answers`, by the number of the question.
    pub fn answered_by(self, answers: watch::Receiver<Option<(u64, Word)>>) -> Self {
        Self { answers, ..self }
    }

    /// Tell what is being done, and how much of it.
    pub fn step(&self, doing: impl Into<Cow<'static, str>>, done: u64, total: u64) {
        (self.tell)(Step { doing: doing.into(), done, total, unit: Unit::Parts, asks: None });
    }

    /// Tell what is being done, and how many bytes of it.
    pub fn bytes(&self, doing: impl Into<Cow<'static, str>>, done: u64, total: u64) {
        (self.tell)(Step { doing: doing.into(), done, total, unit: Unit::Bytes, asks: None });
    }

    /// Ask how the other sleds of a region's volume are, by a question that is numbered here, and wait for the word; `None` if nobody has given it within `patience`. That they are not known is the word only if nobody
    /// knows more within [`BETTER_WORD_LIMIT`]: several may follow the job. Cancel-safe: a word that is not taken stays.
    pub async fn ask(&self, question: Ask, patience: Duration) -> Option<Word> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let ask = Ask { number, ..question };
        let mut answers = self.answers.clone();
        let own = |word: &Option<(u64, Word)>| word.as_ref().is_some_and(|(number, _)| *number == ask.number);
        let knows = |word: &Option<(u64, Word)>| own(word) && !word.as_ref().is_some_and(|(_, word)| is_unknown(word));
        let told = async {
            let first = timeout(patience, heard(&mut answers, own)).await.ok()??;
            if is_unknown(&first) {
                Some(timeout(BETTER_WORD_LIMIT, heard(&mut answers, knows)).await.ok().flatten().unwrap_or(first))
            } else {
                Some(first)
            }
        };
        let again = async {
            loop {
                // The question is told by and by: a step may find no room.
                let doing = format!("{}: waiting for word of the volume's other sleds", ask.region).into();
                (self.tell)(Step { doing, done: 0, total: 0, unit: Unit::Parts, asks: Some(ask.clone()) });
                sleep(QUESTION_PAUSE).await;
            }
        };
        tokio::select! {
            word = told => word,
            () = again => None,
        }
    }

    /// Make the progress of one of several parts: a step that does not say how far it is, is this far.
    pub fn part(&self, done: u64, total: u64) -> Self {
        let tell = self.tell.clone();
        let tell = move |step: Step| tell(if step.total == 0 { Step { done, total, ..step } } else { step });
        Self { tell: Arc::new(tell), ..self.clone() }
    }

    /// Make the progress of work that goes on to its end, whatever becomes of what it was a part of.
    pub fn for_good(&self) -> Self {
        Self { course: watch::Sender::new(Course::ForGood), ..self.clone() }
    }

    /// Pass the point from which the work cannot be cancelled.
    ///
    /// # Errors
    /// [`Cancelled`], if it was already.
    pub fn no_way_back(&self) -> Result<(), Cancelled> {
        self.course.send_if_modified(|course| set(course, Course::ForGood));
        self.check()
    }

    /// Find that the work is still wanted.
    ///
    /// # Errors
    /// [`Cancelled`], if it is not.
    pub fn check(&self) -> Result<(), Cancelled> {
        if *self.course.borrow() == Course::Cancelled { Err(Cancelled) } else { Ok(()) }
    }

    /// Return when the work is cancelled. Cancel-safe: nothing is taken from the channel.
    pub async fn cancelled(&self) {
        // Its own sender keeps the channel open.
        _ = self.course.subscribe().wait_for(|course| *course == Course::Cancelled).await;
    }
}

/// Estimate how long a step takes yet, of which so much was done in this time; `None` while that says nothing.
pub fn estimate(took: Duration, done: u64, left: u64) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(2);
    if took < LEAST || done == 0 || left == 0 {
        return None;
    }
    // Both counts are far below what a float tells apart.
    Some(took.mul_f64(left as f64 / done as f64))
}

/// The first word that is one of those.
async fn heard(
    answers: &mut watch::Receiver<Option<(u64, Word)>>,
    wanted: impl FnMut(&Option<(u64, Word)>) -> bool,
) -> Option<Word> {
    answers.wait_for(wanted).await.ok()?.as_ref().map(|(_, word)| word.clone())
}

/// Whether somebody has said that he cannot tell.
fn is_unknown(word: &Word) -> bool {
    matches!(word, Word::No(why) if why.code == Refusal::SiblingUnknown)
}

/// Cancel work; whether it could be.
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

    #[tokio::test(start_paused = true)]
    async fn a_word_is_taken_for_the_question_that_it_answers() {
        let (answer, answers) = watch::channel(Some((1, Word::Well)));
        let progress =
            Progress::new(|step| assert_eq!(step.asks.unwrap().moved.len(), 1), watch::Sender::new(Course::Open));
        let progress = progress.answered_by(answers);
        let (region, moved) = ("a-0".parse().unwrap(), ["a-1".parse().unwrap()].into());
        let question = Ask { number: 0, region, moved, whole: false, alone: false, stopped: false, unreadable: false };
        let patience = Duration::from_secs(60);
        assert_eq!(progress.ask(question.clone(), patience).await, Some(Word::Well));
        assert_eq!(progress.ask(question.clone(), patience).await, None);
        answer.send_replace(Some((3, Word::Yield)));
        assert_eq!(progress.ask(question.clone(), patience).await, Some(Word::Yield));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_knows_is_heard_before_one_who_does_not() {
        let (answer, answers) = watch::channel(None);
        let progress = Progress::new(|_| (), watch::Sender::new(Course::Open)).answered_by(answers);
        let (region, moved) = ("a-0".parse().unwrap(), Default::default());
        let question = Ask { number: 0, region, moved, whole: false, alone: false, stopped: false, unreadable: false };
        let patience = Duration::from_secs(60);
        let no = |code: Refusal| Word::No(crate::wire::Error::new(code, "x", "y"));
        let said = |words: Vec<Word>, number: u64| {
            let answer = answer.clone();
            async move {
                for word in words {
                    sleep(Duration::from_secs(1)).await;
                    answer.send_replace(Some((number, word)));
                }
            }
        };
        // The first to answer asks at the wrong door.
        let words = vec![no(Refusal::SiblingUnknown), Word::Well];
        assert_eq!(tokio::join!(progress.ask(question.clone(), patience), said(words, 1)).0, Some(Word::Well));
        let words = vec![no(Refusal::SiblingUnknown), no(Refusal::SiblingUnknown), no(Refusal::SiblingDown)];
        assert_eq!(
            tokio::join!(progress.ask(question.clone(), patience), said(words, 2)).0,
            Some(no(Refusal::SiblingDown))
        );
        // If nobody knows more, that is the word; and what is known is heard at once.
        let began = tokio::time::Instant::now();
        let unknown = vec![no(Refusal::SiblingUnknown)];
        assert_eq!(
            tokio::join!(progress.ask(question.clone(), patience), said(unknown, 3)).0,
            Some(no(Refusal::SiblingUnknown))
        );
        assert_eq!(began.elapsed(), Duration::from_secs(1) + BETTER_WORD_LIMIT);
        let began = tokio::time::Instant::now();
        assert_eq!(
            tokio::join!(progress.ask(question.clone(), patience), said(vec![no(Refusal::SiblingDown)], 4)).0,
            Some(no(Refusal::SiblingDown))
        );
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let seconds = Duration::from_secs;
        assert_eq!(estimate(seconds(10), 25, 75), Some(seconds(30)));
        for (took, done, left) in [(1, 1, 1), (10, 0, 100), (10, 100, 0)] {
            assert_eq!(estimate(seconds(took), done, left), None);
        }
    }

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
