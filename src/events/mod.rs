//! Events of the sled, on their way from the supervisor's loop to the disk and to those who read them.
//!
//! ```text
//! the loop ──► Feed: the last lines, in memory ──► who follows them (a number is watched)
//!                      │                     └───► who asks for a page, with what is on the disk
//!                      └──► the writer, aside ───► store::events, in batches
//! ```
//!
//! The loop only puts lines in, and waits for nobody. Who follows has a number, and reads what is behind it: nobody is
//! sent anything, so whoever reads slowly costs no memory. What can be written neither now nor soon is given up, and
//! told.

mod page;
mod writer;

pub use page::{Since, Wanted, before};
pub use writer::Writer;

use crate::store::events::{Line, dir, read_last};
use crate::wire::{Event, EventKind};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The number of lines that are kept in memory, for those who follow.
const KEPT_LINES: usize = 256;
/// The number of lines that may wait for the disk beside those.
const WAITING_LIMIT: usize = 1024;
/// The number of those who may look through the files at once: each look takes a thread and memory.
const LOOKS_LIMIT: usize = 2;
/// The numbers that are left out at a start: so many milliseconds' worth may have been told by a supervisor that lost
/// its power before it could write them.
const LEFT_OUT: u64 = 60_000;

/// What is to be told of something that happened; its number and its time are added when it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News(pub Event);

impl News {
    /// Begin to tell of something, about this subject.
    pub fn of(kind: EventKind, subject: impl Into<String>) -> Self {
        Self(Event {
            id: 0,
            time: Timestamp::UNIX_EPOCH,
            boot: String::new(),
            boot_ms: 0,
            kind,
            subject: subject.into(),
            region: None,
            volume: None,
            before: None,
            after: None,
            cause: None,
            by: None,
            code: None,
        })
    }
}

/// The events, for whoever adds to them or reads them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    /// The number of the last event: watched by those who follow.
    last: watch::Sender<u64>,
    /// The number of the last event that is on the disk, or was given up.
    written: watch::Sender<u64>,
    looks: Semaphore,
    dir: PathBuf,
}

#[derive(Debug, Default)]
struct Lines {
    /// The last lines, the oldest first.
    kept: VecDeque<Arc<Line>>,
    /// The number of the last event that is not among them any more.
    before: u64,
    last: u64,
    /// The number of the last event on the disk.
    written: u64,
    /// The number of events that were given up since that was last told.
    lost: u64,
    /// The boot of the machine, as each event tells it.
    boot: String,
}

/// The lines behind a number, as far as they are in memory.
#[derive(Debug, PartialEq, Eq)]
pub enum Behind {
    /// These; none, if it is the number of the last.
    Lines(Vec<Arc<Line>>),
    /// There are more than these in memory: the older ones are on the disk, or gone.
    Older,
    /// The number is none that was given yet.
    Future,
}

impl Default for Feed {
    /// A feed of which nothing is written anywhere.
    fn default() -> Self {
        Self::at(PathBuf::new())
    }
}

impl Feed {
    /// Make the feed of this machine; it is empty until it is opened.
    pub fn of_this_machine() -> Self {
        Self::at(dir())
    }

    /// Make one whose files are in this directory.
    pub fn at(dir: PathBuf) -> Self {
        let (last, written, looks) = (watch::Sender::new(0), watch::Sender::new(0), Semaphore::new(LOOKS_LIMIT));
        Self(Arc::new(Shared { lines: Mutex::default(), last, written, looks, dir }))
    }

    /// Go on behind what is on the disk, in this boot of the machine. Return the last events.
    ///
    /// # Errors
    /// The files cannot be read. The numbers that are given are still higher than any before, by the clock.
    pub fn open(&self, boot: &str) -> io::Result<Vec<Event>> {
        let found = read_last(&self.0.dir, KEPT_LINES, |_| true);
        let mut lines = self.lines();
        boot.clone_into(&mut lines.boot);
        let result = found.map(|known| {
            lines.kept = known.into_iter().map(Arc::new).collect();
            lines.kept.iter().map(|line| line.event.clone()).collect()
        });
        lines.last = lines.kept.iter().map(|line| line.event.id).max().unwrap_or_default();
        lines.written = lines.last;
        // There may be more on the disk.
        lines.before = lines.kept.front().map_or(0, |line| line.event.id.saturating_sub(1));
        let of_another = lines.kept.back().is_some_and(|line| line.event.boot != boot);
        if of_another {
            lines.last = lines.last.saturating_add(LEFT_OUT);
        }
        self.0.last.send_replace(lines.last);
        self.0.written.send_replace(lines.last);
        result
    }

    /// Add events, now.
    pub fn add(&self, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let (now, boot_ms) = (crate::times::now(), since_boot().as_millis() as u64);
        let mut lines = self.lines();
        for News(event) in news {
            let id = lines.last.saturating_add(1).max(now.as_millisecond().unsigned_abs());
            let event = Event { id, time: now, boot: lines.boot.clone(), boot_ms, ..event };
            // Every event has a JSON form.
            let Ok(line) = Line::of(event) else { continue };
            lines.last = id;
            lines.kept.push_back(Arc::new(line));
        }
        lines.trim();
        self.0.last.send_replace(lines.last);
    }

    /// The last events, the oldest first; so many at most.
    pub fn latest(&self, count: usize) -> Vec<Event> {
        let lines = self.lines();
        lines.kept.iter().skip(lines.kept.len().saturating_sub(count)).map(|line| line.event.clone()).collect()
    }

    /// The number of the last event.
    pub fn last(&self) -> u64 {
        self.lines().last
    }

    /// The lines behind a number, as far as they are in memory.
    pub fn behind(&self, id: u64) -> Behind {
        let lines = self.lines();
        if id > lines.last {
            return Behind::Future;
        }
        if id < lines.before {
            return Behind::Older;
        }
        let first = lines.kept.partition_point(|line| line.event.id <= id);
        Behind::Lines(lines.kept.range(first..).cloned().collect())
    }

    /// Watch the number of the last event.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.last.subscribe()
    }

    /// Wait until everything that there is now is on the disk, or was given up.
    pub async fn is_written(&self) {
        let last = self.last();
        _ = self.0.written.subscribe().wait_for(|written| *written >= last).await;
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Forget the oldest, as far as they are on the disk; and those that wait for it, if they are too many.
    fn trim(&mut self) {
        while self.kept.len() > KEPT_LINES {
            let waits = self.kept.front().is_some_and(|line| line.event.id > self.written);
            if waits && self.kept.len() <= KEPT_LINES + WAITING_LIMIT {
                return;
            }
            self.lost += u64::from(waits);
            self.before = self.kept.pop_front().map_or(self.before, |line| line.event.id);
        }
    }
}

/// The time since the machine was booted, sleep included.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests;
