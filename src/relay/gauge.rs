//! Gauge of a relay: how long requests took, and when none went on and why. Written by the relay, read by whoever
//! asks how it is. Lengths of time are of the clock that never goes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time of which latencies are told.
pub const LATENCY_WINDOW: Duration = Duration::from_secs(60);
/// The most requests of a kind of which they are told, the last ones: what it takes of memory is bounded.
const SAMPLE_LIMIT: usize = 1024;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A request that reads.
    Read,
    /// A request that writes.
    Write,
    /// A request that has what was written last.
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
    /// The instant at which each was answered, and how long it took; of each kind.
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
    /// The length of it, until now if it lasts.
    pub length: Duration,
    /// The cause that it began with.
    pub why: String,
}

/// The latency of requests of a kind, from when they were read to when they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The number of requests.
    pub count: usize,
    /// The time that half of them took no longer than.
    pub median: Duration,
    /// The longest time.
    pub worst: Duration,
}

/// The reading of a gauge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The latency of reads, writes and flushes of the last [`LATENCY_WINDOW`]; `None` if there were none.
    pub latency: [Option<Latency>; 3],
    /// The pause of now, if there is one.
    pub pause: Option<Pause>,
    /// The last one that is over, and how long that is so.
    pub last: Option<(Duration, Pause)>,
    /// The number of pauses that are over.
    pub pauses: u64,
    /// The time that they took together.
    pub paused: Duration,
    /// The number of servers that were given writes again that were kept.
    pub replays: u64,
    /// The number of those writes.
    pub replayed: u64,
}

impl Gauge {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Note a request that was answered, and had begun then.
    pub(super) fn answered(&self, kind: Kind, began: Instant) {
        let now = Instant::now();
        let mut record = self.record();
        let took = &mut record.took[kind as usize];
        if took.len() == SAMPLE_LIMIT {
            took.pop_front();
        }
        took.push_back((now, now.duration_since(began)));
    }

    /// Note that nothing goes on, unless that is so already.
    pub(super) fn pauses(&self, why: impl FnOnce() -> String) {
        self.pauses_since(Duration::ZERO, why);
    }

    /// Note that nothing has gone on for so long, unless that was seen already.
    pub(super) fn pauses_since(&self, ago: Duration, why: impl FnOnce() -> String) {
        let now = Instant::now();
        self.record().pause.get_or_insert_with(|| (now.checked_sub(ago).unwrap_or(now), why()));
    }

    /// Note that everything goes on; the pause that is over, if there was one.
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

    /// Note a server that is given this many writes again.
    pub(super) fn replays(&self, writes: usize) {
        let mut record = self.record();
        record.replays += 1;
        record.replayed += writes as u64;
    }

    /// Read the gauge.
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

/// The latency of those that were answered within the last while.
fn latency(took: &VecDeque<(Instant, Duration)>, now: Instant) -> Option<Latency> {
    let recent = took.iter().filter(|(when, _)| now.saturating_duration_since(*when) <= LATENCY_WINDOW);
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
        (0..3 * SAMPLE_LIMIT).for_each(|_| gauge.answered(Kind::Flush, begin));
        let [read, write, flush] = gauge.reading().latency;
        assert_eq!((read, write, flush.map(|flush| flush.count)), (None, None, Some(SAMPLE_LIMIT)));
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
