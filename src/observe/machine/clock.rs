//! Clock of the machine: whether it is kept in step with others, the last time that somebody set it, and whether that of
//! the battery was lost.

use crate::decide::facts::{self, Step};
use crate::kernel::attributes::number;
use crate::kernel::clock;
use crate::observe::register;
use jiff::{SignedDuration, Timestamp};
use std::fs::File;
use std::future::pending;
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The step of a clock that is one: NTP slews what is less than half a second.
const STEP_LEAST: Duration = Duration::from_secs(1);
/// The time for which a step is told.
const TOLD_FOR: Duration = Duration::from_hours(1);
/// The time since boot from which a clock must be in step: before, whoever keeps it so has just begun.
const PATIENCE: Duration = Duration::from_mins(15);
/// No sled ran this program before: a clock that shows an earlier time was lost.
const MADE: &str = "2026-01-01T00:00:00Z";

/// The time by which a battery's clock may be ahead: the system's own may have been set back since it was taken from that.
/// systemd takes none that is ahead by years (CLOCK_VALID_RANGE_USEC_MAX of its src/shared/clock-util.c).
const AHEAD_MOST: SignedDuration = SignedDuration::from_hours(365 * 24);

/// What is remembered of the clock.
pub(super) struct Clock {
    /// The kernel's word that the clock was set; `None` where it has none.
    set: Option<AsyncFd<File>>,
    /// The time of the clock at boot, as it says itself: another one when it is set.
    booted: Option<Duration>,
    step: Option<(Duration, Step)>,
    battery_lost: Option<Timestamp>,
}

impl Clock {
    pub(super) fn new(sysfs: &Path) -> Self {
        Self { set: waiting(), booted: None, step: None, battery_lost: battery(sysfs, Timestamp::now()) }
    }

    /// Return when the clock was set. Cancel-safe: what is told and not taken stays.
    pub(super) async fn is_set(&mut self) {
        let Some(file) = &self.set else { return pending().await };
        match file.readable().await {
            Ok(ready) => {
                drop(ready);
                self.set = waiting();
            }
            Err(_) => pending().await,
        }
    }

    /// Look at it.
    pub(super) fn look(&mut self) -> facts::Clock {
        let now = clock::now();
        if let Some((time, since_boot)) = now {
            self.note(time, since_boot);
        }
        let synchronised = known(clock::is_synchronised(), now.map(|(_, since_boot)| since_boot));
        facts::Clock { synchronised, step: self.step.map(|(_, step)| step), battery_lost: self.battery_lost }
    }

    fn note(&mut self, time: Duration, since_boot: Duration) {
        let booted = time.saturating_sub(since_boot);
        let before = self.booted.replace(booted).unwrap_or(booted);
        if booted.abs_diff(before) >= STEP_LEAST
            && let (Some(after), Some(before)) = (timestamp(time), timestamp(before + since_boot))
        {
            self.step = Some((since_boot, Step { before, after }));
        }
        self.step = self.step.filter(|(at, _)| since_boot.saturating_sub(*at) < TOLD_FOR);
    }
}

/// Tell what is known of whether it is in step, so long after the boot. One that is in step is so at once.
fn known(synchronised: Option<bool>, since_boot: Option<Duration>) -> Option<bool> {
    let early = since_boot.is_none_or(|since_boot| since_boot < PATIENCE);
    synchronised.filter(|synchronised| *synchronised || !early)
}

/// Read the clock of the battery, if it was lost: it begins anew at some time that was long ago, or has yet to come.
fn battery(sysfs: &Path, now: Timestamp) -> Option<Timestamp> {
    let at = number(&sysfs.join("class/rtc/rtc0/since_epoch")).and_then(|at| Timestamp::from_second(at).ok());
    let made: Option<Timestamp> = MADE.parse().ok();
    at.filter(|at| made.is_some_and(|made| *at < made) || at.duration_since(now) > AHEAD_MOST)
}

fn timestamp(time: Duration) -> Option<Timestamp> {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(time.as_secs().try_into().ok()?)).ok()
}

fn waiting() -> Option<AsyncFd<File>> {
    clock::step().and_then(|file| register(file, Interest::READABLE)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock { set: None, booted: None, step: None, battery_lost: None }
    }

    #[test]
    fn a_step_is_told_for_an_hour_with_what_the_clock_showed() {
        let mut clock = clock();
        let seconds = Duration::from_secs;
        clock.note(seconds(1000), seconds(10));
        clock.note(Duration::from_millis(1_010_400), seconds(20));
        assert_eq!(clock.step, None, "slewed, and not set");
        clock.note(seconds(1_800_000_000), seconds(30));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(clock.step.map(|(_, step)| step), Some(Step { before: at(1020), after: at(1_800_000_000) }));
        clock.note(seconds(1_800_003_599), seconds(3629));
        assert!(clock.step.is_some());
        clock.note(seconds(1_800_003_600), seconds(3630));
        assert_eq!(clock.step, None);
    }

    #[test]
    fn one_that_is_not_in_step_is_told_when_whoever_keeps_it_so_has_had_his_time() {
        let just_before = PATIENCE.saturating_sub(Duration::from_millis(1));
        for (said, since_boot, wanted) in [
            (Some(false), Some(just_before), None),
            (Some(false), Some(PATIENCE), Some(false)),
            (Some(false), None, None),
            (Some(true), Some(Duration::ZERO), Some(true)),
            (Some(true), Some(PATIENCE), Some(true)),
            (None, Some(PATIENCE), None),
        ] {
            assert_eq!(known(said, since_boot), wanted, "{said:?} after {since_boot:?}");
        }
    }

    #[test]
    fn a_battery_that_is_flat_is_seen_at_the_first_look() {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join("class/rtc/rtc0");
        let now = Timestamp::from_second(1_796_000_000).unwrap();
        assert_eq!(battery(tree.path(), now), None);
        std::fs::create_dir_all(&dir).unwrap();
        let (early, late) = (("946684800\n", Some(946_684_800)), ("4070908800\n", Some(4_070_908_800)));
        for (text, lost) in [early, late, ("1796034179\n", None), ("x\n", None)] {
            std::fs::write(dir.join("since_epoch"), text).unwrap();
            assert_eq!(battery(tree.path(), now), lost.map(|at| Timestamp::from_second(at).unwrap()), "{text}");
        }
    }
}
