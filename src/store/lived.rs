//! Life of the sled on record ([`lived`](crate::lived)): the time that it has lived, in the machine's memory, beside
//! which disk is its own.
//!
//! Written whenever something begins to count, and every few minutes for as long as something does; and with the
//! events, whose age is told by it. Otherwise never.

use crate::files::{make_dir, replace};
use crate::lived::{Moment, Record};
use crate::store::mark::{MEMORY_MODE, memory};
use crate::update::record::boot_id;
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FILE: &str = "lived.json";
/// The age of the record while something counts: so much is lost when the power is cut.
const RECORD_AGE_LIMIT: Duration = Duration::from_mins(5);

/// The clock of a sled's life.
#[derive(Debug)]
pub struct Clock {
    dir: PathBuf,
    boot: String,
    /// The lock of whoever writes: never of one that only asks.
    writing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: Record,
    /// The moment that is on disk, as far as was written; `None`: nothing yet.
    kept: Option<Moment>,
}

impl Clock {
    /// Go on with the machine's record; without one that can be read, begin a new life.
    pub fn open() -> Self {
        Self::open_in(
            memory(),
            &boot_id().unwrap_or_else(|why| {
                tracing::warn!("the kernel does not tell which boot this is: {why}");
                uuid::Uuid::new_v4().to_string()
            }),
        )
    }

    fn open_in(dir: PathBuf, boot: &str) -> Self {
        let known = match fs::read(dir.join(FILE)) {
            Ok(text) => Record::parse(&text).ok_or_else(|| "it is not as it was written".to_owned()).map(Some),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why.to_string()),
        };
        let known = known.unwrap_or_else(|why| {
            let file = dir.join(FILE);
            tracing::warn!("{} cannot be read: {why}; what is kept for a while is kept from now on", file.display());
            None
        });
        let kept = known.as_ref().map(Record::moment);
        let record = known.map_or_else(|| Record::begin(boot, since_boot()), |known| known.at(boot, since_boot()));
        Self { dir, boot: boot.to_owned(), writing: Mutex::default(), state: Mutex::new(State { record, kept }) }
    }

    /// The moment of now.
    pub fn now(&self) -> Moment {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.record = state.record.at(&self.boot, since_boot());
        state.record.moment()
    }

    /// Put the moment of now on record, durably: what begins to count at it has counted all that comes to be on
    /// record.
    ///
    /// # Errors
    /// The record cannot be written. Then what counts lasts longer, if the power is cut.
    pub fn record(&self) -> io::Result<Moment> {
        // Two writers would write one file aside at once.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let record = self.state.lock().unwrap_or_else(PoisonError::into_inner).record.clone();
        make_dir(&self.dir, MEMORY_MODE)?;
        replace(&self.dir, FILE, &record.to_text()?)?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept = Some(record.moment());
        Ok(now)
    }

    /// As [`Clock::record`]; that it cannot be written is only told.
    pub fn stamp(&self) -> Moment {
        self.record().unwrap_or_else(|why| {
            tracing::warn!("how long this machine has lived cannot be recorded: {why}");
            self.now()
        })
    }

    /// Whether the record has grown old, and nobody is at writing it.
    pub fn is_due(&self) -> bool {
        if self.writing.try_lock().is_err() {
            return false;
        }
        let now = self.now();
        let kept = self.state.lock().unwrap_or_else(PoisonError::into_inner).kept;
        kept.and_then(|kept| now.since(kept)).is_none_or(|age| age >= RECORD_AGE_LIMIT)
    }
}

/// The time since the machine was booted, sleep included, in milliseconds.
fn since_boot() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_on_in_the_same_boot_and_in_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let open = |boot: &str| Clock::open_in(dir.path().to_owned(), boot);
        let first = open("a");
        let begun = first.record().unwrap();
        assert!(!first.is_due());
        let again = open("a");
        assert!(again.now().since(begun).is_some_and(|time| time < Duration::from_mins(1)));
        let next = open("b");
        assert!(next.now().since(begun).is_some_and(|time| time < Duration::from_mins(1)));
        // Nothing was recorded, or what was cannot be read: another life.
        fs::write(dir.path().join(FILE), "{").unwrap();
        let other = open("b");
        assert_eq!(other.now().since(begun), None);
        assert!(other.is_due());
        other.record().unwrap();
        assert!(open("b").now().since(other.now()).is_some());
    }
}
