//! What a relay has done: how long requests took, and when none went on and why. Written by the relay, read by
//! whoever asks how it is. Lengths of time are of the clock that never goes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is told of latencies is of so long a while.
pub const WHILE: Duration = Duration::from_secs(60);
/// And of so many requests of a kind at most, the last ones: what it takes of memory is bounded.
const MOST: usize = 1024;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It has what was written last.
    Flush,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Flush];
}

/// A handle of what is counted and measured. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    /// When each was answered, and how long it took; of each kind.
    took: [VecDeque<(Instant, Duration)>; 3],
    pause: Option<(Instant, String)>,
    last: Option<(Instant, Pause)>,
    pauses: u64,
    paused: Duration,
    replays: u64,
    replayed: u64,
}

/// A time in which no request went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// How long it was, or has been until now.
    pub length: Duration,
    /// What it began with.
    pub why: String,
}

/// How long requests of a kind took, from when they were read to when they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// How many there were.
    pub count: usize,
    /// Half of them took no longer.
    pub median: Duration,
    /// The longest.
    pub worst: Duration,
}

/// What a gauge shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Of reads, writes and flushes of the last [`WHILE`]; `None` if there were none.
    pub latency: [Option<Latency>; 3],
    /// That of now, if there is one.
    pub pause: Option<Pause>,
    /// The last one that is over, and how long that is so.
    pub last: Option<(Duration, Pause)>,
    /// How many are over.
    pub pauses: u64,
    /// How long they were together.
    pub paused: Duration,
    /// How many servers were given writes again that were kept.
    pub replays: u64,
    /// How many writes those were.
    pub replayed: u64,
}

impl Gauge {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered, which had begun then.
    pub(super) fn answered(&self, kind: Kind, began: Instant) {
        let now = Instant::now();
        let mut record = self.record();
        let took = &mut record.took[kind as usize];
        if took.len() == MOST {
            took.pop_front();
        }
        took.push_back((now, now.duration_since(began)));
    }

    /// Nothing goes on, unless that is so already.
    pub(super) fn pauses(&self, why: impl FnOnce() -> String) {
        self.pauses_since(Duration::ZERO, why);
    }

    /// Nothing has gone on for so long, unless that was seen already.
    pub(super) fn pauses_since(&self, ago: Duration, why: impl FnOnce() -> String) {
        let now = Instant::now();
        self.record().pause.get_or_insert_with(|| (now.checked_sub(ago).unwrap_or(now), why()));
    }

    /// Everything goes on; the pause that is over, if there was one.
    pub(super) fn goes_on(&self) -> Option<Pause> {
        let mut record = self.record();
        let (since, why) = record.pause.take()?;
        let now = Instant::now();
        let pause = Pause { length: now.duration_since(since), why };
        record.pauses += 1;
        record.paused += pause.length;
        record.last = Some((now, pause.clone()));
        Some(pause)
    }

    /// A server is given this many writes again.
    pub(super) fn replays(&self, writes: usize) {
        let mut record = self.record();
        record.replays += 1;
        record.replayed += writes as u64;
    }

    /// What it shows.
    pub fn reading(&self) -> Reading {
        let now = Instant::now();
        let record = self.record();
        let Record { pauses, paused, replays, replayed, .. } = *record;
        Reading {
            latency: Kind::ALL.map(|kind| latency(&record.took[kind as usize], now)),
            pause: record.pause.as_ref().map(|(since, why)| Pause { length: now - *since, why: why.clone() }),
            last: record.last.as_ref().map(|(since, pause)| (now - *since, pause.clone())),
            pauses,
            paused,
            replays,
            replayed,
        }
    }
}

/// Of those that were answered within the last while.
fn latency(took: &VecDeque<(Instant, Duration)>, now: Instant) -> Option<Latency> {
    let recent = took.iter().filter(|(when, _)| now.saturating_duration_since(*when) <= WHILE);
    let mut took: Vec<_> = recent.map(|(_, took)| *took).collect();
    took.sort_unstable();
    let (median, worst) = (*took.get(took.len() / 2)?, *took.last()?);
    Some(Latency { count: took.len(), median, worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_of_the_last_while_and_bounded() {
        let begin = Instant::now();
        let at = |second: u64| begin + Duration::from_secs(second);
        let took: VecDeque<_> = [(0, 900), (50, 1), (55, 3), (58, 2), (60, 70)]
            .map(|(second, took)| (at(second), Duration::from_millis(took)))
            .into();
        let Latency { count, median, worst } = latency(&took, at(100)).unwrap();
        assert_eq!((count, median.as_millis(), worst.as_millis()), (4, 3, 70));
        assert_eq!(latency(&took, at(200)), None);
        let gauge = Gauge::default();
        (0..3 * MOST).for_each(|_| gauge.answered(Kind::Flush, begin));
        let [read, write, flush] = gauge.reading().latency;
        assert_eq!((read, write, flush.map(|flush| flush.count)), (None, None, Some(MOST)));
    }

    #[test]
    fn a_pause_has_the_cause_that_it_began_with_and_a_length() {
        let gauge = Gauge::default();
        assert_eq!(gauge.goes_on(), None);
        gauge.pauses(|| "first".into());
        gauge.pauses(|| "second".into());
        assert_eq!(gauge.reading().pause.unwrap().why, "first");
        let over = gauge.goes_on().unwrap();
        let reading = gauge.reading();
        assert_eq!((reading.pause, reading.pauses, reading.paused), (None, 1, over.length));
        assert_eq!(reading.last.unwrap().1, over);
        gauge.replays(3);
        gauge.replays(4);
        assert_eq!((gauge.reading().replays, gauge.reading().replayed), (2, 7));
    }
}
