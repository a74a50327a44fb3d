//! History of the adapter and the bridge: what a counter or an address alone does not tell, but what has become of it
//! within minutes or an hour. In memory: a supervisor that is started anew begins anew. Pure: the time is given.

use crate::decide::facts::{Faults, MacChange};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The time for which an adapter that is back is left to whoever else puts it into the bridge.
const GRACE: Duration = Duration::from_secs(5);
/// The time for which what has happened is told.
const HOUR: Duration = Duration::from_secs(3600);
/// The time within which packets and faults are counted.
const FAULTS_WITHIN: Duration = Duration::from_secs(600);
/// The time between two counts that are kept.
const STEP: Duration = Duration::from_secs(50);
/// The number of values that the count of packets without room has in some adapters (r8152.c of Linux: `rx_missed` is 16
/// bits wide in its tally counters), and from where on one that is smaller than before has begun anew by that.
const WRAP: u64 = 1 << 16;
const NEAR_WRAP: u64 = WRAP / 2;

/// The counters of an adapter at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// The packets that were received, those of them with faults, and those that the adapter had no room for, if that
    /// is known.
    pub(super) received: u64,
    pub(super) received_faulty: u64,
    pub(super) missed: Option<u64>,
    /// The packets that were sent, and those that could not be.
    pub(super) sent: u64,
    pub(super) sent_faulty: u64,
    /// How often the link was lost.
    pub(super) losses: u64,
}

impl Counters {
    /// Count what has come since; `None` if the counters have begun anew.
    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            received: self.received.checked_sub(before.received)?,
            received_faulty: self.received_faulty.checked_sub(before.received_faulty)?,
            missed: match (self.missed, before.missed) {
                (Some(now), Some(before)) => Some(now.checked_sub(before)?),
                _ => None,
            },
            sent: self.sent.checked_sub(before.sent)?,
            sent_faulty: self.sent_faulty.checked_sub(before.sent_faulty)?,
            losses: self.losses.checked_sub(before.losses)?,
        })
    }
}

/// Packets that an adapter had no room for, counted on where its own count begins anew: that is no reason to forget what
/// else there was.
#[derive(Debug, Default)]
struct Missed {
    /// Its own count when it was last read.
    last: Option<u64>,
    count: u64,
}

impl Missed {
    /// Take the adapter's own count, and return this one.
    fn take(&mut self, now: u64) -> u64 {
        let last = self.last.replace(now).unwrap_or(now);
        let more = match now.checked_sub(last) {
            Some(more) => more,
            None if (NEAR_WRAP..WRAP).contains(&last) => now + WRAP - last,
            None => now,
        };
        self.count = self.count.saturating_add(more);
        self.count
    }
}

/// The history.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The adapter that it is of, by the kernel's number.
    adapter: Option<u32>,
    missed: Missed,
    counts: VecDeque<(Instant, Counters)>,
    /// The adapter's hardware address when it was last found by its name.
    mac: Option<String>,
    /// The adapter that was last seen in the bridge, by the kernel's number.
    joined: Option<u32>,
    /// Another one, that is back in its place and in no bridge, and since when.
    out: Option<(u32, Instant)>,
    /// The bridge's hardware address, and how it became that.
    bridge: Option<String>,
    changed: Option<(Instant, MacChange)>,
}

impl History {
    /// Take the adapter's counters: the faults of the last minutes, and how often the link was lost within an hour.
    pub(super) fn count(&mut self, adapter: u32, mut now: Counters, at: Instant) -> (Faults, u64) {
        let same = self.adapter.replace(adapter) == Some(adapter);
        if !same {
            self.missed = Missed::default();
        }
        now.missed = now.missed.map(|own| self.missed.take(own));
        if !same || self.counts.back().is_some_and(|(_, last)| now.since(last).is_none()) {
            self.counts.clear();
        }
        now.missed = now.missed.or(self.counts.back().and_then(|(_, last)| last.missed));
        if self.counts.back().is_none_or(|(last, _)| at.duration_since(*last) >= STEP) {
            self.counts.push_back((at, now));
        }
        while self.counts.front().is_some_and(|(first, _)| at.duration_since(*first) > HOUR) {
            self.counts.pop_front();
        }
        let first = |within| {
            let mut counts = self.counts.iter().filter(|(then, _)| at.duration_since(*then) <= within);
            counts.next().and_then(|(_, then)| now.since(then)).unwrap_or_default()
        };
        let few = first(FAULTS_WITHIN);
        let faults = Faults {
            received: few.received,
            received_faulty: few.received_faulty,
            missed: few.missed.unwrap_or_default(),
            sent: few.sent,
            sent_faulty: few.sent_faulty,
        };
        (faults, first(HOUR).losses)
    }

    /// Remember the hardware address that the adapter has by its name.
    pub(super) fn remember(&mut self, mac: Option<String>) {
        self.mac = mac.or(self.mac.take());
    }

    /// Tell the hardware address that the adapter had.
    pub(super) fn mac(&self) -> Option<&String> {
        self.mac.as_ref()
    }

    /// Take whether the adapter is in the bridge, or in none. Tells whether another one was there before it, and this one
    /// has been out for so long that nobody else will put it in.
    pub(super) fn came_back(&mut self, adapter: u32, joined: bool, alone: bool, at: Instant) -> bool {
        if joined {
            self.joined = Some(adapter);
        }
        let back = alone && !joined && self.joined.is_some_and(|before| before != adapter);
        self.out = back.then(|| self.out.filter(|(before, _)| *before == adapter).unwrap_or((adapter, at)));
        self.out.is_some_and(|(_, since)| at.duration_since(since) >= GRACE)
    }

    /// Tell when an adapter that is out will have been so for that long, if that is to come.
    pub(super) fn due(&self, at: Instant) -> Option<Instant> {
        self.out.map(|(_, since)| since + GRACE).filter(|due| *due > at)
    }

    /// Take the bridge's hardware address; tells of a change within the last hour.
    pub(super) fn bridge(&mut self, mac: Option<String>, at: Instant, time: Timestamp) -> Option<MacChange> {
        let mac = mac?;
        match &self.bridge {
            Some(before) if *before != mac => {
                // One that is back where it was an hour ago has not changed for those who remember that.
                let from = self.changed.take().map_or_else(|| before.clone(), |(_, change)| change.from);
                self.changed = (from != mac).then_some((at, MacChange { from, at: time }));
            }
            _ => {}
        }
        self.bridge = Some(mac);
        self.changed.take_if(|(when, _)| at.duration_since(*when) > HOUR);
        self.changed.as_ref().map(|(_, change)| change.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn counters(received: u64, faulty: u64, losses: u64) -> Counters {
        Counters { received, received_faulty: faulty, losses, ..Counters::default() }
    }

    #[test]
    fn faults_are_those_of_minutes_and_losses_those_of_an_hour() {
        let (mut history, began) = (History::default(), Instant::now());
        // What there was before is none of it.
        assert_eq!(history.count(3, counters(1000, 50, 9), began), (Faults::default(), 0));
        let mut seen = (Faults::default(), 0);
        for minute in 1..=70 {
            let faulty = if minute <= 5 { 50 + u64::from(minute) } else { 55 };
            let losses = 9 + u64::from(minute.min(4));
            let now = counters(1000 + 100 * u64::from(minute), faulty, losses);
            // Between them there are events, each with a look.
            seen = history.count(3, now, began + MINUTE * minute);
            let kept = history.counts.len();
            history.count(3, now, began + MINUTE * minute + STEP / 2);
            assert!(history.counts.len() <= kept);
            if minute == 5 {
                assert_eq!((seen.0.received, seen.0.received_faulty, seen.1), (500, 5, 4));
            } else if minute == 20 {
                assert_eq!((seen.0.received, seen.0.received_faulty, seen.1), (1000, 0, 4));
            }
        }
        assert_eq!((seen.0.received_faulty, seen.1), (0, 0), "an hour later");
        assert!(history.counts.len() <= 61, "{}", history.counts.len());
        // Another adapter, or counters that begin anew.
        assert_eq!(history.count(4, counters(9000, 99, 99), began + MINUTE * 71), (Faults::default(), 0));
        assert_eq!(history.count(4, counters(5, 0, 0), began + MINUTE * 72), (Faults::default(), 0));
    }

    /// In an hour of heavy loss the count of some adapters begins anew several times.
    #[test]
    fn packets_without_room_are_counted_on_and_what_else_was_is_kept() {
        let (mut history, began) = (History::default(), Instant::now());
        let mut told = Vec::new();
        let own = [Some(60_000), Some(65_000), Some(464), None, Some(1464), Some(7)];
        for (minute, missed) in (0..).zip(own) {
            let now = Counters { missed, ..counters(100, 0, u64::from(minute)) };
            let (faults, losses) = history.count(3, now, began + MINUTE * minute);
            told.push((faults.missed, losses));
        }
        // The last time it was reset: it was not near its end.
        assert_eq!(told, [(0, 0), (5000, 1), (6000, 2), (6000, 3), (7000, 4), (7007, 5)]);
        let other = Counters { missed: Some(3), ..counters(0, 0, 0) };
        assert_eq!(history.count(4, other, began + MINUTE * 7), (Faults::default(), 0));
    }

    proptest::proptest! {
        #[test]
        fn whatever_an_adapter_counts_nothing_is_missed_more_often_than_it_counts(own: Vec<(u64, Option<u64>, u64)>) {
            let (mut history, began) = (History::default(), Instant::now());
            for (minute, (received, missed, losses)) in (0..).zip(own) {
                let now = Counters { missed, ..counters(received, 0, losses) };
                let (faults, lost) = history.count(3, now, began + MINUTE * minute);
                proptest::prop_assert!(faults.received <= received && lost <= losses);
            }
        }
    }

    #[test]
    fn a_bridges_address_that_has_changed_is_told_for_an_hour() {
        let (mut history, began, time) = (History::default(), Instant::now(), Timestamp::UNIX_EPOCH);
        let change = |from: &str| Some(MacChange { from: from.into(), at: time });
        let mut see = |mac: Option<&str>, minutes| history.bridge(mac.map(Into::into), began + MINUTE * minutes, time);
        assert_eq!((see(Some("a"), 0), see(None, 1), see(Some("a"), 2)), (None, None, None));
        assert_eq!((see(Some("b"), 3), see(Some("c"), 4)), (change("a"), change("a")));
        assert_eq!(see(Some("a"), 5), None);
        assert_eq!((see(Some("b"), 6), see(Some("b"), 66), see(Some("b"), 67)), (change("a"), change("a"), None));
    }

    #[test]
    fn one_that_is_back_and_left_out_is_told_once_nobody_else_has_taken_it() {
        let (mut history, began) = (History::default(), Instant::now());
        let second = Duration::from_secs(1);
        // Never in the bridge as far as is known; then taken out by somebody.
        assert!(!history.came_back(3, false, true, began) && !history.came_back(3, false, true, began + second * 9));
        assert!(!history.came_back(3, true, false, began) && !history.came_back(3, false, true, began + second * 9));
        assert_eq!(history.due(began), None);
        // Another one in its place.
        assert!(!history.came_back(7, false, true, began + second));
        assert_eq!(history.due(began + second), Some(began + second * 6));
        assert!(!history.came_back(7, false, true, began + second * 5));
        assert!(history.came_back(7, false, true, began + second * 6));
        assert_eq!(history.due(began + second * 6), None);
        // Somebody has put it elsewhere, and a third is put into the bridge by somebody.
        assert!(!history.came_back(7, false, false, began + second * 7));
        assert!(!history.came_back(8, false, true, began + second * 8));
        assert!(!history.came_back(8, true, false, began + second * 9));
        assert_eq!(history.due(began + second * 9), None);
    }

    #[test]
    fn an_adapter_that_is_gone_is_remembered() {
        let mut history = History::default();
        history.remember(Some("00:e0:4c:a8:11:10".into()));
        history.remember(None);
        assert_eq!(history.mac().map(String::as_str), Some("00:e0:4c:a8:11:10"));
    }
}
