//! Trial of another network: what is done first when one is asked for, and whether it is kept, taken back, or waited for.
//! The times are those of the clock that runs from the boot on, which nobody sets.

use std::time::Duration;

/// The time after the change in which what arrives may still be of the network before.
pub const SETTLING: Duration = Duration::from_secs(2);

/// A trial, as far as it is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Whether the machine still runs that it began on.
    pub same_boot: bool,
    /// The time at which the change was in force; `None`: it was cut short before that.
    pub applied: Option<Duration>,
    /// The time at which another machine was last heard on a connection to the sled.
    pub heard: Option<Duration>,
    /// Whether an operator has said that it is to be kept.
    pub confirmed: bool,
}

/// Trial that is not at its end: the network before is not known to be in force again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Whether it is one of the network that is asked for.
    pub same: bool,
    /// Whether the network before is the one that is asked for.
    pub before: bool,
    /// Whether it was decided that it is taken back.
    pub taken_back: bool,
}

/// The first thing that is done when a network is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing: it is in force.
    Nothing,
    /// The trial of it goes on.
    GoOn,
    /// The taking back of it goes on, and nothing else is done.
    PutBack,
    /// The network before is put back, as that is the one that is asked for.
    Restore,
    /// A trial of it begins.
    Begin,
}

/// Decide what is done first, by a trial that is not at its end, and by whether the files of the network that is asked for
/// are in their places. By the files alone nothing is said of what is in force while such a trial is there.
pub fn first(open: Option<Open>, in_place: bool) -> First {
    match open {
        None if in_place => First::Nothing,
        None => First::Begin,
        Some(Open { same: true, taken_back: true, .. }) => First::PutBack,
        Some(Open { same: true, .. }) => First::GoOn,
        Some(Open { before: true, .. }) => First::Restore,
        Some(_) => First::Begin,
    }
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is waited for, at most until then.
    Wait(Duration),
    /// It is kept.
    Keep,
    /// The network before is put back.
    TakeBack,
}

/// Decide what becomes of a trial that lasts so long.
pub fn verdict(trial: Trial, lasts: Duration, now: Duration) -> Verdict {
    let Some(applied) = trial.applied.filter(|_| trial.same_boot) else { return Verdict::TakeBack };
    if trial.confirmed || trial.heard.is_some_and(|heard| heard >= applied + SETTLING) {
        return Verdict::Keep;
    }
    let end = applied + lasts;
    if now >= end { Verdict::TakeBack } else { Verdict::Wait(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was cut off in the midst of its taking back is taken back, whatever the files look like, and is not tried again.
    #[test]
    fn a_taking_back_goes_on_before_anything_else() {
        let trial = Open { same: true, before: false, taken_back: false };
        let back = Open { taken_back: true, ..trial };
        let (other, before) = (Open { same: false, ..trial }, Open { same: false, before: true, ..trial });
        for (open, in_place, wanted) in [
            (None, true, First::Nothing),
            (None, false, First::Begin),
            (Some(back), true, First::PutBack),
            (Some(back), false, First::PutBack),
            (Some(trial), true, First::GoOn),
            (Some(trial), false, First::GoOn),
            (Some(before), true, First::Restore),
            (Some(Open { taken_back: true, ..before }), true, First::Restore),
            (Some(other), true, First::Begin),
            (Some(Open { taken_back: true, ..other }), false, First::Begin),
        ] {
            assert_eq!(first(open, in_place), wanted, "{open:?}, in place: {in_place}");
        }
    }

    #[test]
    fn what_nobody_has_reached_the_sled_by_is_taken_back() {
        let at = Duration::from_secs;
        let began = Trial { same_boot: true, applied: Some(at(100)), heard: None, confirmed: false };
        for (trial, now, wanted) in [
            (began, 100, Verdict::Wait(at(160))),
            (began, 159, Verdict::Wait(at(160))),
            (began, 160, Verdict::TakeBack),
            (began, 9000, Verdict::TakeBack),
            // Before, and on the way.
            (Trial { heard: Some(at(99)), ..began }, 120, Verdict::Wait(at(160))),
            (Trial { heard: Some(at(101)), ..began }, 120, Verdict::Wait(at(160))),
            (Trial { heard: Some(at(102)), ..began }, 120, Verdict::Keep),
            // By whoever looks late, as the supervisor of it was away: somebody has reached the sled all the same.
            (Trial { heard: Some(at(110)), ..began }, 200, Verdict::Keep),
            (Trial { confirmed: true, ..began }, 100, Verdict::Keep),
            // Another boot has the network before already, and one that was cut short is whatever it is.
            (Trial { same_boot: false, confirmed: true, ..began }, 101, Verdict::TakeBack),
            (Trial { applied: None, confirmed: true, ..began }, 101, Verdict::TakeBack),
        ] {
            assert_eq!(verdict(trial, at(60), at(now)), wanted, "{trial:?} at {now}");
        }
    }
}
