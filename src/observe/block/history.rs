//! History of a disk: what it did between two looks, from counters that only grow, and what of that is odd. Pure.

use crate::decide::facts::Slow;
use std::collections::VecDeque;
use std::time::Duration;

/// The time within which failed requests are counted.
const FAILED_WITHIN: Duration = Duration::from_hours(1);
/// The least requests between two looks by which a latency is told: of fewer a single one is most of it, unless the disk
/// was busy with them all the time.
const REQUESTS_LEAST: u64 = 16;
/// The part of the time for which a disk must have been busy, if it did fewer: one half.
const BUSY_PARTS: u128 = 2;
/// The looks with so many requests that are remembered: an hour of work and more.
const REMEMBERED: usize = 240;
/// The looks in a row that must be slow, and as many are needed before there is anything usual.
const SLOW_LOOKS: usize = 8;
/// The factor above the usual latency that is slow.
const FACTOR: u64 = 10;
/// The least latency that is slow, in milliseconds: of flash, and of what turns, which seeks for ten or more and may have
/// a queue of thirty.
const FLASH_MS: u64 = 100;
const TURNING_MS: u64 = 500;
/// The latency that is slow whatever was usual, in milliseconds.
const ALWAYS_MS: u64 = 1000;

/// The time for which a disk that nobody asks for anything is told to be as slow as it was.
const TOLD_FOR: Duration = Duration::from_mins(5);

/// The counters of a disk: requests that it has done, the milliseconds that these took together and those in which it had
/// any to do; and the requests that it has not done yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    requests: u64,
    ms: u64,
    busy_ms: u64,
    waiting: u64,
    /// What it was told to be free again, which takes long and is waited for by nobody: none of the requests.
    discards: u64,
}

impl Counters {
    /// Read the attribute `stat`: reads, merged, sectors, ms; writes, merged, sectors, ms; those that wait, the ms in which
    /// any did, and all of them; discards, in four; and, since Linux 5.5, flushes, for which a region waits most, and their
    /// ms (Linux, Documentation/block/stat.rst).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [reads, _, _, reading, writes, _, _, writing, waiting, busy_ms, ..] = numbers[..] else { return None };
        let (flushes, flushing) = numbers.get(15).copied().zip(numbers.get(16).copied()).unwrap_or_default();
        Some(Self {
            requests: reads.checked_add(writes)?.checked_add(flushes)?,
            ms: reading.checked_add(writing)?.checked_add(flushing)?,
            busy_ms,
            waiting,
            discards: numbers.get(11).copied().unwrap_or_default(),
        })
    }

    /// The milliseconds that a request took since then. Where not one was done, and one waits still, that has taken all of
    /// the time.
    fn latency(self, since: Self, passed: Duration) -> Option<Latency> {
        let requests = self.requests.checked_sub(since.requests)?;
        let ms = self.ms.checked_sub(since.ms)?;
        let busy_ms = self.busy_ms.checked_sub(since.busy_ms)?;
        let is_busy = !passed.is_zero() && u128::from(busy_ms) * BUSY_PARTS >= passed.as_millis();
        let stands = self.waiting > 0 && is_busy && self.discards == since.discards;
        let hangs = || stands.then(|| passed.as_millis().try_into().unwrap_or(u64::MAX));
        let ms = ms.checked_div(requests).or_else(hangs)?;
        Some(if requests >= REQUESTS_LEAST || is_busy { Latency::Usual(ms) } else { Latency::OfFew(ms) })
    }
}

/// The milliseconds that a request took between two looks.
enum Latency {
    /// There were enough of them, or they kept the disk busy.
    Usual(u64),
    /// There were few: that they were quick says that the disk is well by now, and no more.
    OfFew(u64),
}

/// What is remembered of a disk.
#[derive(Debug, Default)]
pub(super) struct History {
    counters: Option<(Duration, Counters)>,
    /// The milliseconds that a request took, at each look with enough of them.
    latencies: VecDeque<u64>,
    /// When the last one of them was, if nothing has spoken against it since.
    confirmed: Option<Duration>,
    /// The number of requests that it had failed at the last look.
    failures: Option<u64>,
    /// The requests that it failed between two looks, and when that was seen.
    failed: VecDeque<(Duration, u64)>,
}

impl History {
    /// Take what was seen at this time.
    pub(super) fn note(&mut self, at: Duration, counters: Option<Counters>, failures: Option<u64>) {
        let latency = self.counters.zip(counters);
        let latency = latency.and_then(|((since, before), now)| now.latency(before, at.saturating_sub(since)));
        match latency {
            Some(Latency::Usual(ms)) => {
                self.confirmed = Some(at);
                self.latencies.push_back(ms);
                if self.latencies.len() > REMEMBERED {
                    self.latencies.pop_front();
                }
            }
            Some(Latency::OfFew(ms)) if ms < FLASH_MS => self.confirmed = None,
            Some(Latency::OfFew(_)) | None => {}
        }
        self.counters = counters.map(|counters| (at, counters));
        let more = self.failures.zip(failures).and_then(|(before, now)| now.checked_sub(before));
        if let Some(more) = more.filter(|more| *more > 0) {
            self.failed.push_back((at, more));
        }
        self.failures = failures;
        while self.failed.front().is_some_and(|(seen, _)| at.saturating_sub(*seen) > FAILED_WITHIN) {
            self.failed.pop_front();
        }
    }

    /// Count the requests that it has failed of late.
    pub(super) fn failed(&self) -> u64 {
        self.failed.iter().fold(0, |sum, (_, more)| sum.saturating_add(*more))
    }

    /// Tell how slow it is, if it is slow at this time.
    pub(super) fn slow(&self, rotational: bool, at: Duration) -> Option<Slow> {
        self.confirmed.filter(|confirmed| at.saturating_sub(*confirmed) <= TOLD_FOR)?;
        let before = self.latencies.len().checked_sub(SLOW_LOOKS)?;
        let recent = self.latencies.range(before..);
        let mut earlier: Vec<_> = self.latencies.range(..before).copied().collect();
        earlier.sort_unstable();
        let usual_ms = (before >= SLOW_LOOKS).then(|| earlier[before / 2]);
        let least = if rotational { TURNING_MS } else { FLASH_MS };
        let slow_from = usual_ms.map_or(ALWAYS_MS, |usual| (usual * FACTOR).max(least).min(ALWAYS_MS.max(usual + 1)));
        let slowest_of_all = recent.clone().min().copied()?;
        let now_ms = recent.clone().sum::<u64>() / SLOW_LOOKS as u64;
        (slowest_of_all >= slow_from).then_some(Slow { now_ms, usual_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history of looks, each with so many milliseconds for each of twenty requests.
    fn history(looks: impl IntoIterator<Item = u64>) -> History {
        let (mut history, mut counters) = (History::default(), Counters::default());
        history.note(Duration::ZERO, Some(counters), None);
        for ms in looks {
            counters = Counters { requests: counters.requests + 20, ms: counters.ms + 20 * ms, ..counters };
            history.note(Duration::ZERO, Some(counters), None);
        }
        history
    }

    fn slow(looks: &[(usize, u64)], rotational: bool) -> Option<Slow> {
        history(looks.iter().flat_map(|(looks, ms)| std::iter::repeat_n(*ms, *looks))).slow(rotational, Duration::ZERO)
    }

    #[test]
    fn a_disk_is_held_against_its_own_history() {
        let told = |now_ms, usual_ms| Some(Slow { now_ms, usual_ms });
        for (looks, rotational, wanted) in [
            (&[(20, 2)][..], false, None),
            (&[(20, 2), (7, 300)], false, None),
            (&[(20, 2), (8, 300)], false, told(300, Some(2))),
            // Ten times as slow, and fast all the same.
            (&[(20, 1), (8, 50)], false, None),
            (&[(20, 12), (8, 300)], true, None),
            (&[(20, 12), (8, 600)], true, told(600, Some(12))),
            // One good look ends it.
            (&[(20, 2), (8, 300), (1, 3)], false, None),
            // From the first look on it takes seconds: nothing is usual yet.
            (&[(8, 1500)], false, told(1500, None)),
            (&[(8, 900)], false, None),
            // A disk that was always so is no news.
            (&[(40, 1500)], true, None),
        ] {
            assert_eq!(slow(looks, rotational), wanted, "{looks:?}");
        }
        assert!(history(vec![1; 1000]).latencies.len() == REMEMBERED);
    }

    #[test]
    fn few_requests_tell_nothing_and_counters_may_begin_anew() {
        let mut history = History::default();
        for (requests, ms) in [(0, 0), (2, 9000), (4, 18_000), (3, 5), (30, 59)] {
            history.note(Duration::ZERO, Some(Counters { requests, ms, ..Counters::default() }), None);
        }
        assert_eq!(history.latencies, [2]);
        history.note(Duration::ZERO, None, None);
        history.note(Duration::ZERO, Some(Counters { requests: 1000, ms: 1 << 30, ..Counters::default() }), None);
        assert_eq!(history.latencies, [2]);
    }

    /// What is slowest does the fewest requests.
    #[test]
    fn a_disk_that_was_busy_all_the_time_is_told_by_few_requests_or_by_none() {
        let look = Duration::from_secs(15);
        let looks = |looks: &[(u64, u64, u64, u64)]| {
            let (mut history, mut counters) = (History::default(), Counters::default());
            history.note(Duration::ZERO, Some(counters), None);
            for (at, (requests, ms, busy_ms, waiting)) in (1..).zip(looks) {
                let (requests, ms) = (counters.requests + requests, counters.ms + ms);
                let busy_ms = counters.busy_ms + busy_ms;
                counters = Counters { requests, ms, busy_ms, waiting: *waiting, ..counters };
                history.note(look * at, Some(counters), None);
            }
            history
        };
        // One after the other, of three seconds each.
        let slow = [(5, 15_000, 15_000, 1); 8];
        let told = |now_ms| Some(Slow { now_ms, usual_ms: None });
        assert_eq!(looks(&slow).slow(false, look * 8), told(3000));
        // It does nothing any more, and somebody waits.
        assert_eq!(looks(&[(0, 0, 15_000, 2); 8]).slow(false, look * 8), told(15_000));
        // It is told what is free, for minutes.
        let (mut trimmed, mut counters) = (History::default(), Counters { waiting: 1, ..Counters::default() });
        for at in 0..20 {
            counters = Counters { busy_ms: counters.busy_ms + 15_000, discards: counters.discards + 3, ..counters };
            trimmed.note(look * at, Some(counters), None);
        }
        assert_eq!(trimmed.slow(false, look * 20), None);
        // It has little to do, and is quick or not; it has nothing to do, and nobody knows how it would be.
        for (next, over) in [((1, 3, 3, 0), true), ((1, 900, 900, 0), false), ((0, 0, 0, 0), false)] {
            let history = looks(&[&slow[..], &[next]].concat());
            assert_eq!(history.slow(false, look * 9).is_none(), over, "{next:?}");
            assert_eq!(history.slow(false, look * 8 + TOLD_FOR + look), None);
        }
        // One that sleeps takes long for the first request, and has nothing to do then; one that is asked for nothing, not at all.
        for idle in [(1, 7000, 7000, 0), (0, 0, 0, 0), (0, 0, 20, 1)] {
            assert!(looks(&[idle; 20]).latencies.is_empty(), "{idle:?}");
        }
    }

    #[test]
    fn failures_count_for_an_hour() {
        let mut history = History::default();
        let minute = |minute: u64| Duration::from_mins(minute);
        for (at, failures, wanted) in [(0, 7, 0), (1, 7, 0), (2, 9, 2), (30, 19, 12), (63, 19, 10), (95, 19, 0)] {
            history.note(minute(at), None, Some(failures));
            assert_eq!(history.failed(), wanted, "after {at} minutes");
        }
        // Another disk in the same place.
        history.note(minute(96), None, Some(1));
        assert_eq!(history.failed(), 0);
    }

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let text =
            "    1510       20   101234      700     3000      100    88888     9000        0     5000     9700\n";
        let old = Counters { requests: 4510, ms: 9700, busy_ms: 5000, waiting: 0, discards: 0 };
        assert_eq!(Counters::parse(text), Some(old));
        // With discards, and with flushes behind them.
        let discards = format!("{} 7 0 99 8", text.trim());
        let old = Counters { discards: 7, ..old };
        assert_eq!(Counters::parse(&discards), Some(old));
        let flushes = Counters { requests: 4530, ms: 10_300, ..old };
        assert_eq!(Counters::parse(&format!("{discards} 20 600\n")), Some(flushes));
        for none in ["", "1 2 3", "a b c d e f g h", "18446744073709551615 0 0 0 1 0 0 0 0 0"] {
            assert_eq!(Counters::parse(none), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_disk_counts_it_is_read_or_not(looks: Vec<(u64, Vec<u64>, String)>) {
            let mut history = History::default();
            for (at, numbers, text) in looks {
                proptest::prop_assert!(Counters::parse(&text).is_none_or(|_| text.split_whitespace().count() >= 10));
                let words = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
                history.note(Duration::from_secs(at), Counters::parse(&words), numbers.first().copied());
                _ = (history.slow(false, Duration::from_secs(at)), history.failed());
            }
        }
    }
}
