//! Day of a region: the state that it was in over the last 24 hours, as a strip of equal parts. Pure.

use super::State;
use jiff::Timestamp;

/// The number of parts of a day: each is five minutes.
pub const DAY_PARTS: usize = 288;
/// The length of a part, in seconds.
const PART_SECONDS: i64 = 86_400 / DAY_PARTS as i64;

/// The last 24 hours of a region. A part has the worst state that the region was in during it, so that a moment of
/// trouble is seen; none if nobody watched, as the supervisor or the machine was not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The parts, in a ring: the part that begins at second `n * PART_SECONDS` of the clock is at `n % DAY_PARTS`.
    parts: Box<[Option<State>; DAY_PARTS]>,
    /// The number of the part that was written last.
    last: i64,
    /// The state that the region is in since then.
    state: Option<State>,
}

impl Day {
    /// Begin one of which nothing is known.
    pub fn begin(now: Timestamp) -> Self {
        Self { parts: Box::new([None; DAY_PARTS]), last: part(now), state: None }
    }

    /// Record that the region is in this state from now on; `None`: nobody watches from now on.
    pub fn note(&mut self, now: Timestamp, state: Option<State>) {
        self.go_on(now);
        self.state = state;
        let part = &mut self.parts[place(self.last)];
        *part = worse(*part, state);
    }

    /// Move everything by so many seconds: the clock was set.
    pub fn step(&mut self, seconds: i64) {
        let by = seconds / PART_SECONDS;
        self.last = self.last.saturating_add(by);
        self.parts.rotate_right(place(by));
    }

    /// The parts until now, the oldest first: [`DAY_PARTS`] of them, the last one being the one that is not over.
    pub fn parts(&self, now: Timestamp) -> Vec<Option<State>> {
        let mut until = self.clone();
        until.go_on(now);
        (1..=DAY_PARTS as i64).map(|ago| until.parts[place(until.last - DAY_PARTS as i64 + ago)]).collect()
    }

    /// The same, with equal parts that follow each other joined: the state, and how many parts it is long.
    pub fn runs(&self, now: Timestamp) -> Vec<(Option<State>, usize)> {
        let parts = self.parts(now);
        parts.chunk_by(|one, next| one == next).map(|run| (run[0], run.len())).collect()
    }

    /// Fill the parts that have begun since the last one was written.
    fn go_on(&mut self, now: Timestamp) {
        let now = part(now);
        let first = self.last.saturating_add(1).max(now.saturating_sub(DAY_PARTS as i64 - 1));
        (first..=now).for_each(|number| self.parts[place(number)] = self.state);
        self.last = self.last.max(now);
    }
}

fn part(time: Timestamp) -> i64 {
    time.as_second().div_euclid(PART_SECONDS)
}

fn place(part: i64) -> usize {
    usize::try_from(part.rem_euclid(DAY_PARTS as i64)).unwrap_or_default()
}

/// The worse of two states, of which one may not be known.
fn worse(one: Option<State>, other: Option<State>) -> Option<State> {
    let badness = |state: &State| match state {
        State::Serving => 0,
        State::Creating => 1,
        State::Starting => 2,
        State::Verifying => 3,
        State::Held => 4,
        State::Stopped => 5,
        State::Hung => 6,
        State::Missing => 7,
        State::Failed => 8,
    };
    one.into_iter().chain(other).max_by_key(badness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: usize = DAY_PARTS / 24;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 / 86_400 * 86_400 + minutes * 60).unwrap()
    }

    #[test]
    fn a_day_shows_what_was_when_and_the_worst_of_each_part() {
        let mut day = Day::begin(at(0));
        assert_eq!(day.runs(at(700)), [(None, DAY_PARTS)]);
        day.note(at(60), Some(State::Serving));
        day.note(at(121), Some(State::Failed));
        day.note(at(123), Some(State::Serving));
        let expected = [
            (None, DAY_PARTS - 2 * HOUR - 1),
            (Some(State::Serving), HOUR),
            (Some(State::Failed), 1),
            (Some(State::Serving), HOUR),
        ];
        assert_eq!(day.runs(at(180)), expected);
        // Nobody watches, and then somebody does.
        day.note(at(180), None);
        day.note(at(240), Some(State::Held));
        assert_eq!(day.runs(at(240))[4..], [(None, HOUR - 1), (Some(State::Held), 1)]);
        // A day later it is all that there is; a week later as well.
        assert_eq!(day.runs(at(240 + 1440)), [(Some(State::Held), DAY_PARTS)]);
        assert_eq!(day.runs(at(240 + 7 * 1440)), [(Some(State::Held), DAY_PARTS)]);
    }

    #[test]
    fn a_clock_that_is_set_moves_the_day_and_does_not_fill_it() {
        for hours in [5, -5, 24 * 365, -24 * 365] {
            let mut day = Day::begin(at(0));
            day.note(at(60), Some(State::Serving));
            day.note(at(120), Some(State::Held));
            let before = day.runs(at(180));
            day.step(hours * 3600);
            assert_eq!(day.runs(at(180 + hours * 60)), before, "{hours}");
        }
        // A step that nobody told of: what is known stays where it is.
        let mut day = Day::begin(at(600));
        day.note(at(600), Some(State::Serving));
        day.note(at(60), Some(State::Failed));
        assert_eq!(day.runs(at(60)), [(None, DAY_PARTS - 1), (Some(State::Failed), 1)]);
    }

    proptest! {
        #[test]
        fn a_day_has_all_its_parts_whatever_the_clock_says(
            notes in proptest::collection::vec((any::<i32>(), 0usize..3, any::<i32>()), 0..20)
        ) {
            let mut day = Day::begin(at(0));
            for (second, state, step) in notes {
                let now = Timestamp::from_second(i64::from(second)).unwrap();
                day.note(now, [None, Some(State::Serving), Some(State::Failed)][state]);
                prop_assert_eq!(day.parts(now).len(), DAY_PARTS);
                prop_assert_eq!(day.runs(now).iter().map(|run| run.1).sum::<usize>(), DAY_PARTS);
                day.step(i64::from(step));
            }
        }
    }
}
