//! Pages of events: what is wanted of them, read from the files and from what is not there yet.

use super::{Behind, Feed};
use crate::names::{RegionName, VolumeName};
use crate::store::events::{Line, Page, oldest, read_after, read_last, walk_after};
use crate::wire::Event;
use jiff::Timestamp;
use std::io;
use std::path::Path;
use tokio::task::spawn_blocking;

/// The point behind which events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Behind the event of this number.
    Id(u64),
    /// From this time on, by the clock.
    Time(Timestamp),
}

/// The events that are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// From where on; `None`: the last ones.
    pub since: Option<Since>,
    /// Those of this region alone.
    pub region: Option<RegionName>,
    /// Those of this volume and its regions alone.
    pub volume: Option<VolumeName>,
    /// Those with this code alone.
    pub code: Option<String>,
}

impl Wanted {
    /// Whether an event is one of those.
    pub fn takes(&self, event: &Event) -> bool {
        let late = match self.since {
            None => true,
            Some(Since::Id(id)) => event.id > id,
            Some(Since::Time(time)) => event.time >= time,
        };
        late && self.region.as_ref().is_none_or(|region| event.region.as_ref() == Some(region))
            && self.volume.as_ref().is_none_or(|volume| event.volume.as_ref() == Some(volume))
            && self.code.as_ref().is_none_or(|code| event.code.as_ref().is_some_and(|has| has.as_str() == code))
    }

    /// Read the first of them, or the last of all, from the files in a directory.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self, dir: &Path, limit: usize) -> io::Result<Page> {
        let takes = |event: &Event| self.takes(event);
        match self.since {
            None => Ok(Page { lines: read_last(dir, limit, takes)?, more: false }),
            Some(Since::Id(id)) => read_after(dir, id, limit, takes),
            Some(Since::Time(time)) => read_after(dir, before(time), limit, takes),
        }
    }
}

/// A number below those of all events since this time: none is less than the millisecond at which it was given.
pub fn before(time: Timestamp) -> u64 {
    time.as_millisecond().saturating_sub(1).max(0).unsigned_abs()
}

impl Feed {
    /// Go through the events on the disk behind this number.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn read_on_record(&self, after: u64, each: impl FnMut(Event)) -> io::Result<()> {
        walk_after(&self.0.dir, after, each)
    }

    /// Read what is wanted, the first of it or the last of all, so many events at most.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn page(&self, wanted: Wanted, limit: usize) -> io::Result<Page> {
        let _look = self.0.looks.acquire().await.map_err(io::Error::other)?;
        // Before the files: what is written meanwhile is in both.
        let waiting = self.waiting();
        let (dir, asked) = (self.0.dir.clone(), wanted.clone());
        let read = spawn_blocking(move || asked.read(&dir, limit)).await.map_err(io::Error::other).flatten();
        let mut page = read?;
        if page.more {
            return Ok(page);
        }
        let last = page.lines.last().map_or(0, |line| line.event.id);
        let more = waiting.into_iter().filter(|line| line.event.id > last && wanted.takes(&line.event));
        page.lines.extend(more);
        let over = page.lines.len().saturating_sub(limit);
        match wanted.since {
            None => _ = page.lines.drain(..over),
            Some(_) => {
                page.more = over > 0;
                page.lines.truncate(limit);
            }
        }
        Ok(page)
    }

    /// The number of the oldest event that is kept.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn oldest(&self) -> io::Result<Option<u64>> {
        let in_memory = self.lines().kept.front().map(|line| line.event.id);
        let dir = self.0.dir.clone();
        let found = spawn_blocking(move || oldest(&dir)).await.map_err(io::Error::other).flatten()?;
        Ok(found.or(in_memory))
    }

    /// The lines that are not on the disk, as far as is known.
    fn waiting(&self) -> Vec<Line> {
        let written = self.lines().written;
        match self.behind(written) {
            Behind::Lines(lines) => lines.iter().map(|line| (**line).clone()).collect(),
            Behind::Older | Behind::Future => Vec::new(),
        }
    }
}
