//! The last 24 hours of a region, as a bar: thin where it served, thick where it did not, nothing where nobody
//! watched. In words beside it stands how long it was away.

use super::parts::{length, percent};
use super::tone::Tone;
use crate::wire::{DAY_PARTS, Day, Region, State};
use jiff::Timestamp;
use maud::{Markup, html};

/// The least length of what is not well in the bar, in parts of the day: a phone shows no minute of it.
const LEAST_SHOWN_PARTS: usize = 6;

/// A stretch of the day in which the state was the same, and its length in parts.
type Stretch = (Option<State>, usize);

/// Divide the day before `now`; a region that nobody has a record of is as it is since it is so.
fn stretches(day: Option<&Day>, region: &Region, now: Timestamp) -> Vec<Stretch> {
    match (day, region.since) {
        (Some(day), _) => day.runs(now),
        (None, Some(since)) => {
            let mut day = Day::begin(since);
            day.note(since, region.state);
            day.runs(now)
        }
        (None, None) => vec![(None, DAY_PARTS)],
    }
}

/// Say in words how a day was.
fn words(day: &[Stretch]) -> String {
    let sum = |of: &dyn Fn(&Stretch) -> bool| day.iter().filter(|part| of(part)).map(|(_, parts)| parts).sum();
    let away: usize = sum(&|(state, _)| state.is_some_and(|state| state != State::Serving));
    let known: usize = sum(&|(state, _)| state.is_some());
    let time = |parts: usize| length(parts as i64 * 86_400 / DAY_PARTS as i64);
    match (away, known) {
        (_, 0) => "not known".to_owned(),
        (0, DAY_PARTS) => "served".to_owned(),
        (0, known) => format!("served {}", time(known)),
        (away, known) if away == known => format!("away {}", time(away)),
        (away, _) => format!("{} away", time(away)),
    }
}

/// Draw the day of a region.
pub(super) fn render(day: Option<&Day>, region: &Region, now: Timestamp) -> Markup {
    let day = stretches(day, region, now);
    let share = |parts: usize| percent(parts as f64, DAY_PARTS as f64);
    html! {
        svg.day aria-hidden="true" {
            @for (tone, from, length) in drawn(&day) {
                @let (y, height) = thickness(tone);
                rect class=(tone.class()) x=(share(from)) y=(y) width=(share(length)) height=(height) {}
            }
        }
        span.words { (words(&day)) }
    }
}

/// Place the stretches in the bar, those in front that have to be seen: each with its beginning and its length.
fn drawn(day: &[Stretch]) -> Vec<(Tone, usize, usize)> {
    let mut from = 0;
    let place = |(state, length): &Stretch| {
        let (tone, begin) = (Tone::from(*state), from);
        from += length;
        let least = if tone == Tone::Bad { LEAST_SHOWN_PARTS } else { 0 };
        (tone, begin.min(DAY_PARTS - least), (*length).max(least))
    };
    let mut drawn: Vec<_> = day.iter().map(place).collect();
    drawn.sort();
    drawn
}

/// Place and height of a stretch: what is not well is seen without colours too.
fn thickness(tone: Tone) -> (&'static str, &'static str) {
    match tone {
        Tone::Well => ("35%", "30%"),
        Tone::Unknown => ("47%", "6%"),
        Tone::Passing | Tone::Warning => ("15%", "70%"),
        Tone::Bad => ("0", "100%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_728_000_000 + hour * 3600).unwrap()
    }

    fn region(state: Option<State>, since: Option<i64>) -> Region {
        let value = json!({
            "name": "a-0", "index": 0, "sled": "s", "address": "192.0.2.1", "port": 3830, "repair_port": 7830,
            "state": state, "since": since.map(at), "connected": [],
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_day_is_summed_up_and_what_is_not_well_is_wide_enough_to_be_seen() {
        let serving = Some(State::Serving);
        let day = |changes: &[(i64, Option<State>)]| {
            let mut day = Day::begin(at(0));
            changes.iter().for_each(|(hour, state)| day.note(at(*hour), *state));
            Some(day)
        };
        let failed = Some(State::Failed);
        for (day, now, said) in [
            (None, region(serving, Some(-9)), "served"),
            (None, region(serving, Some(42)), "served 6 h 5 min"),
            (None, region(None, None), "not known"),
            (day(&[(0, serving), (30, failed), (31, serving)]), region(serving, Some(31)), "1 h 5 min away"),
            (day(&[(30, failed)]), region(failed, Some(30)), "away 18 h 5 min"),
            (day(&[(0, serving), (48, failed)]), region(failed, Some(48)), "5 min away"),
        ] {
            let found = stretches(day.as_ref(), &now, at(48));
            assert_eq!(words(&found), said);
            assert_eq!(found.iter().map(|(_, parts)| parts).sum::<usize>(), DAY_PARTS);
            let drawn = drawn(&found);
            assert!(drawn.iter().all(|(_, from, length)| from + length <= DAY_PARTS), "{drawn:?}");
            let bad = drawn.iter().filter(|(tone, ..)| *tone == Tone::Bad);
            assert!(bad.clone().all(|(_, _, length)| *length >= LEAST_SHOWN_PARTS), "{drawn:?}");
        }
    }
}
