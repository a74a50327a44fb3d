//! Days of the regions: what the page draws of the last 24 hours, kept on with every event and begun from those on
//! record.

use crate::names::RegionName;
use crate::store::since::outlives_boot;
use crate::wire::{Day, Event, EventKind, State};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last 24 hours of each region.
#[derive(Debug, Default)]
pub(super) struct Days {
    days: Arc<BTreeMap<RegionName, Day>>,
    /// States as they were when the supervisor whose events are read had ended, and the boot in which that was.
    left: BTreeMap<RegionName, State>,
    boot: String,
    /// Time of the event that was read last.
    read: Option<Timestamp>,
}

impl Days {
    /// Return them as they are shown.
    pub(super) fn shown(&self) -> Arc<BTreeMap<RegionName, Day>> {
        self.days.clone()
    }

    /// Record that a region is in this state from now on.
    pub(super) fn note(&mut self, name: &RegionName, now: Timestamp, state: State) {
        let days = Arc::make_mut(&mut self.days);
        days.entry(name.clone()).or_insert_with(|| Day::begin(now)).note(now, Some(state));
        self.left.insert(name.clone(), state);
    }

    /// Move everything: the clock was set by so many seconds.
    pub(super) fn step(&mut self, seconds: i64) {
        Arc::make_mut(&mut self.days).values_mut().for_each(|day| day.step(seconds));
    }

    /// Forget the regions that are not here.
    pub(super) fn keep(&mut self, is_here: impl Fn(&RegionName) -> bool) {
        if !self.days.keys().all(&is_here) {
            Arc::make_mut(&mut self.days).retain(|name, _| is_here(name));
        }
    }

    /// Take an event on record, in their order.
    pub(super) fn read(&mut self, event: &Event) {
        match event.kind {
            EventKind::RegionState => {
                let state = event.after.as_deref().and_then(State::read);
                if let (Some(name), Some(state)) = (&event.region, state) {
                    self.note(name, event.time, state);
                }
            }
            EventKind::SleddEnded => self.nobody_watches(event.time),
            EventKind::SleddStarted => {
                // One that was killed has told nothing of its end: the last that was heard of it is that.
                self.nobody_watches(self.read.unwrap_or(event.time));
                self.go_on(event);
            }
            EventKind::ClockStep => {
                let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
                if let (Some(before), Some(after)) = (time(&event.before), time(&event.after)) {
                    self.step(after.as_second() - before.as_second());
                }
            }
            _ => {}
        }
        self.read = Some(event.time);
        self.boot.clone_from(&event.boot);
    }

    /// Record that nobody watches from this time on.
    pub(super) fn nobody_watches(&mut self, now: Timestamp) {
        Arc::make_mut(&mut self.days).values_mut().for_each(|day| day.note(now, None));
    }

    /// Go on with what was, as a supervisor does that has just started and finds that it still is.
    fn go_on(&mut self, start: &Event) {
        if self.boot != start.boot {
            self.left.retain(|_, state| outlives_boot(*state));
        }
        for (name, state) in std::mem::take(&mut self.left) {
            self.note(&name, start.time, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::News;
    use crate::wire::DAY_PARTS;

    #[test]
    fn a_day_is_the_same_when_it_is_read_from_the_record() {
        let at = |minute: i64| Timestamp::from_second(1_796_000_000 / 300 * 300 + minute * 60).unwrap();
        let name: RegionName = "still-fawn-0".parse().unwrap();
        let event = |minute, boot: &str, kind, after: &str| {
            let event = News::of(kind, "").0;
            Event {
                time: at(minute),
                boot: boot.into(),
                region: Some(name.clone()),
                after: Some(after.into()),
                ..event
            }
        };
        let mut days = Days::default();
        for event in [
            event(0, "a", EventKind::SleddStarted, ""),
            event(0, "a", EventKind::RegionState, "serving"),
            event(20, "a", EventKind::SleddEnded, ""),
            event(40, "a", EventKind::SleddStarted, ""),
            event(50, "a", EventKind::RegionState, "moonstruck"),
            event(60, "a", EventKind::CheckRaised, ""),
            // The power was cut, and after it the region comes up anew.
            event(90, "b", EventKind::SleddStarted, ""),
            event(100, "b", EventKind::RegionState, "held"),
            event(110, "c", EventKind::SleddStarted, ""),
        ] {
            days.read(&event);
        }
        let runs = days.shown()[&name].runs(at(119));
        let (serving, held) = (Some(State::Serving), Some(State::Held));
        let expected = [(serving, 5), (None, 3), (serving, 5), (None, 7), (held, 1), (None, 1), (held, 2)];
        assert_eq!(runs[1..], expected, "{runs:?}");
        assert_eq!(runs[0], (None, DAY_PARTS - 24));
        days.keep(|_| false);
        assert!(days.shown().is_empty());
    }
}
