//! Maintenance in the machine's memory, in which hosts are asked to wait: it survives a restart of the supervisor and
//! a reboot. It ends after a time that the sled has lived, whatever the clock says. Only the file; when it ends is
//! looked at elsewhere.

use crate::files::{make_dir, replace};
use crate::lived::Moment;
use crate::store::mark::{MEMORY_MODE, memory};
use crate::times::{in_seconds, steady};
use crate::wire::Maintenance;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The maintenance that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The maintenance as it is shown: its times are the clock's.
    #[serde(flatten)]
    pub shown: Maintenance,
    /// The moment at which it began; an older supervisor did not write that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<Moment>,
    /// The moment at which it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Moment>,
}

impl Kept {
    /// Begin one now, by the sled's life and by its clock, that ends after this time, if any.
    pub fn begin(reason: Option<String>, time: Option<Duration>, now: Moment, clock: Timestamp) -> Self {
        let since = in_seconds(clock);
        let until = time.and_then(|time| since.saturating_add(time).ok());
        let shown = Maintenance { reason, since, until };
        Self { shown, began: Some(now), ends: time.map(|time| now.after(time)) }
    }

    /// Take it up again after a restart. One that was written by an older supervisor, which went by the clock alone,
    /// or in a life of which nothing is known any more, begins now, for what may be left of it.
    pub fn resume(mut self, now: Moment, clock: Timestamp) -> Self {
        if self.began.is_some_and(|began| now.since(began).is_some()) {
            return self;
        }
        let whole = match (self.began, self.ends, self.shown.until) {
            (Some(began), Some(ends), _) => ends.since(began),
            (None, _, Some(until)) => {
                let (whole, left) = (until.duration_since(self.shown.since), until.duration_since(clock));
                Some(whole.min(left).try_into().unwrap_or_default())
            }
            _ => None,
        };
        (self.began, self.ends) = (Some(now), whole.map(|whole| now.after(whole)));
        self
    }

    /// The time that is left of it; `None` if it does not end by itself.
    pub fn left(&self, now: Moment) -> Option<Duration> {
        self.ends.map(|ends| ends.since(now).unwrap_or_default())
    }

    /// Show its times as the clock has them now, if that was set meanwhile or the machine was off.
    pub fn show(&mut self, now: Moment, clock: Timestamp) {
        if let Some(since) = self.began.and_then(|began| clock.checked_sub(now.since(began)?).ok()) {
            self.shown.since = steady(self.shown.since, since);
        }
        let until = self.left(now).and_then(|left| clock.saturating_add(left).ok());
        self.shown.until = until.map(|until| self.shown.until.map_or(until, |shown| steady(shown, until)));
    }
}

const FILE: &str = "maintenance.json";

/// Read the maintenance; `None` if nobody asked for it.
///
/// # Errors
/// Why the file cannot be read.
pub fn read() -> io::Result<Option<Kept>> {
    read_in(&memory())
}

fn read_in(dir: &Path) -> io::Result<Option<Kept>> {
    match fs::read(dir.join(FILE)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(serde_json::from_slice(&text?)?)),
    }
}

/// Write the maintenance durably, or remove it.
///
/// # Errors
/// The file cannot be written; then it is as it was.
pub fn write(maintenance: Option<&Kept>) -> io::Result<()> {
    write_in(&memory(), maintenance)
}

fn write_in(dir: &Path, maintenance: Option<&Kept>) -> io::Result<()> {
    match maintenance {
        Some(maintenance) => {
            make_dir(dir, MEMORY_MODE)?;
            replace(dir, FILE, &serde_json::to_vec_pretty(maintenance)?)
        }
        None => match fs::remove_file(dir.join(FILE)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| crate::files::sync_dir(dir)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn moment(clock: u128, seconds: u64) -> Moment {
        Moment { clock: Uuid::from_u128(clock), ms: seconds * 1000 }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn it_reads_back_as_it_was_written_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), None);
        let wanted = Kept::begin(Some("a new cable".into()), Some(HOUR), moment(1, 9), at(7));
        write_in(dir.path(), Some(&wanted)).unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), Some(wanted));
        write_in(dir.path(), None).unwrap();
        write_in(dir.path(), None).unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(read_in(dir.path()).is_err());
    }

    #[test]
    fn it_ends_after_its_time_whatever_the_clock_says() {
        let mut kept = Kept::begin(None, Some(HOUR), moment(1, 100), at(1_000_000));
        assert_eq!(kept.shown.until, Some(at(1_003_600)));
        // Shown as it was, as long as that is about right.
        kept.show(moment(1, 700), at(1_000_630));
        assert_eq!((kept.shown.since, kept.shown.until), (at(1_000_000), Some(at(1_003_600))));
        // The clock was set forth by years, or back.
        kept.show(moment(1, 700), at(9_000_600));
        assert_eq!((kept.shown.since, kept.shown.until), (at(9_000_000), Some(at(9_003_600))));
        kept.show(moment(1, 700), at(600));
        assert_eq!((kept.shown.since, kept.shown.until), (at(0), Some(at(3600))));
        assert_eq!(kept.left(moment(1, 700)), Some(Duration::from_mins(50)));
        assert_eq!(kept.left(moment(1, 4000)), Some(Duration::ZERO));
        let mut open = Kept::begin(None, None, moment(1, 100), at(0));
        open.show(moment(1, 700), at(600));
        assert_eq!((open.left(moment(1, 700)), open.shown.until), (None, None));
    }

    #[test]
    fn what_was_written_by_the_clock_alone_or_in_another_life_ends_all_the_same() {
        let old = br#"{"reason":null,"since":"2026-01-01T00:00:00Z","until":"2026-01-01T01:00:00Z"}"#;
        let old: Kept = serde_json::from_slice(old).unwrap();
        let begun = old.shown.since;
        let left = |clock| old.clone().resume(moment(1, 5), clock).left(moment(1, 5));
        assert_eq!(left(begun + Duration::from_mins(20)), Some(Duration::from_mins(40)));
        assert_eq!(left(begun + HOUR), Some(Duration::ZERO));
        // The clock was years ahead when it was written.
        assert_eq!(left(begun - Duration::from_hours(100_000)), Some(HOUR));
        let other = Kept::begin(None, Some(HOUR), moment(2, 100), at(0)).resume(moment(1, 5), at(0));
        assert_eq!(other.left(moment(1, 5)), Some(HOUR));
        let same = Kept::begin(None, Some(HOUR), moment(1, 1), at(0));
        assert_eq!(same.clone().resume(moment(1, 5), at(0)), same);
        let open = Kept::begin(None, None, moment(2, 1), at(0)).resume(moment(1, 5), at(0));
        assert_eq!(open.left(moment(1, 5)), None);
    }
}
