//! Scrub of a region: every written block of every extent is held to its context, and what comes of it is put on
//! record as it goes on. The region may be in use, and is only read; what has been deleted or replaced meanwhile is no
//! finding.
//!
//! The reading is done by a thread of its own, which comes last at the disk, reads no more in a second than it is
//! allowed to, and an eighth of that while the regions wait for their disk.

mod pace;
pub mod verify;

use crate::config::Storage;
use crate::files::open_below;
use crate::kernel::priority;
use crate::metrics::Counts;
use crate::names::RegionName;
use crate::progress::{Cancelled, Progress};
use crate::region::Record;
use crate::region::extent::Layout;
use crate::region::format::extent_path;
use crate::region::scrub::{BlockFault, End, Hash, KEPT_LIMIT, Passed, Scrubs, Sibling, Wrong};
use crate::store::extent_scrub::{self, Finding};
use crate::store::mark::is_mounted;
use crate::store::region_dir::region_json;
use crate::store::scrubs;
use crate::times;
use pace::Pace;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Time between two records of how far it is: as much is read once more after a crash.
const RECORD_PAUSE: Duration = Duration::from_secs(10);
/// Time between two looks whether it is the same region still, while an extent is read.
const IDENTITY_PAUSE: Duration = Duration::from_secs(1);
/// Times that an extent is scrubbed of which the file is replaced meanwhile, as a repair does.
const REPLACED_LIMIT: u32 = 5;
/// The most faults of an extent that are kept with what the siblings have.
const LOOKED_UP_LIMIT: usize = KEPT_LIMIT;

/// What is scrubbed, and how fast.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The storage that it lies on, and which disk that is.
    pub storage: Storage,
    /// The disk.
    pub disk: Uuid,
    /// The region, and what it is on record as.
    pub region: (RegionName, Record),
    /// The volume's other regions on this sled.
    pub siblings: Vec<(RegionName, Record)>,
    /// The most bytes that are read in a second.
    pub rate: u64,
    /// The files in which the kernel tells whether somebody waits for a disk; the first that is there counts.
    pub pressures: Vec<PathBuf>,
}

/// Why a scrub has not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The region that was to be scrubbed is not there any more.
    #[error("{0}")]
    Gone(String),
    /// It could not go on.
    #[error("{0}")]
    Failed(String),
    /// The record of it cannot be written.
    #[error("the record of it cannot be written: {0}")]
    Unrecorded(io::Error),
}

/// Scrub a region, from where the last one was left, and return the record of it.
///
/// # Errors
/// It has not come to its end.
pub async fn scrub(wish: Wish, progress: Progress, counts: Counts) -> Result<Scrubs, ScrubError> {
    let (done, ended) = oneshot::channel();
    let work = move || {
        if let Err(why) = priority::yield_at_disks() {
            tracing::warn!("a scrub does not come last at the disk: {why}");
        }
        _ = done.send(Scrubber::begin(wish, progress, counts).and_then(Scrubber::run));
    };
    let begun = std::thread::Builder::new().name("scrub".into()).spawn(work);
    begun.map_err(|why| ScrubError::Failed(format!("no thread can be had: {why}")))?;
    ended.await.unwrap_or_else(|_| Err(ScrubError::Failed("it was cut short".into())))
}

impl Wish {
    fn dir(&self, name: &RegionName) -> PathBuf {
        self.storage.root.join(name.to_string())
    }

    /// The record of the region's scrubs, if there is one that can be read.
    fn known(&self) -> Option<Scrubs> {
        let (name, region) = &self.region;
        let known = scrubs::read(&self.storage.root, name).unwrap_or_else(|why| {
            tracing::warn!(REGION = %name, "the record of its scrubs cannot be read, and is begun anew: {why}");
            None
        });
        known.filter(|known| known.uuid == region.uuid)
    }

    /// Make sure that what lies there is the region that was to be scrubbed.
    fn identify(&self) -> Result<(), ScrubError> {
        let (name, region) = &self.region;
        is_mounted(&self.storage, self.disk).map_err(|why| ScrubError::Gone(why.to_string()))?;
        let dir = self.dir(name);
        match region_json(&dir) {
            Ok(found) if found.uuid == region.uuid => Ok(()),
            Ok(found) => {
                Err(ScrubError::Gone(format!("another region has its place: {}, and not {}", found.uuid, region.uuid)))
            }
            Err(_) if !dir.exists() => Err(ScrubError::Gone("it was deleted meanwhile".into())),
            Err(why) => Err(ScrubError::Failed(why)),
        }
    }
}

/// A scrub under way.
struct Scrubber {
    wish: Wish,
    layout: Layout,
    record: Scrubs,
    pace: Pace,
    recorded: Instant,
}

impl Scrubber {
    /// Begin it, by what is on record of it.
    fn begin(wish: Wish, progress: Progress, counts: Counts) -> Result<Self, ScrubError> {
        let region = &wish.region.1;
        let now = times::in_milliseconds(times::now());
        let record = wish.known().map_or_else(|| Scrubs::first(region.uuid, now), |known| known.next(now));
        let layout = Layout::of(region.geometry);
        let pace = Pace::new(wish.rate, wish.pressures.clone(), progress, counts);
        let mut scrubber = Self { wish, layout, record, pace, recorded: Instant::now() };
        scrubber.wish.identify()?;
        scrubber.write()?;
        let left = scrubber.record.last.next..scrubber.wish.region.1.geometry.extent_count;
        scrubber.measure(left);
        Ok(scrubber)
    }

    /// Scrub what is left of it.
    fn run(mut self) -> Result<Scrubs, ScrubError> {
        while self.record.last.next < self.wish.region.1.geometry.extent_count {
            let extent = self.record.last.next;
            let passed = match self.extent(extent) {
                Ok(passed) => passed,
                Err(why) => return Err(self.left(why)),
            };
            self.record.pass(extent, passed);
            if self.recorded.elapsed() >= RECORD_PAUSE {
                self.write()?;
            }
        }
        self.record.end(End::Through, times::in_milliseconds(times::now()));
        self.write()?;
        Ok(self.record)
    }

    /// Put on record how it ended before its end, unless the region is another: then that is not its record.
    fn left(&mut self, why: ScrubError) -> ScrubError {
        let how = match &why {
            ScrubError::Cancelled(_) => End::Cancelled,
            ScrubError::Failed(why) => End::Failed(why.clone()),
            ScrubError::Gone(_) | ScrubError::Unrecorded(_) => return why,
        };
        self.record.end(how, times::in_milliseconds(times::now()));
        match self.write() {
            Ok(()) => why,
            Err(unwritten) => unwritten,
        }
    }

    fn write(&mut self) -> Result<(), ScrubError> {
        self.wish.identify()?;
        self.recorded = Instant::now();
        scrubs::write(&self.wish.storage.root, &self.wish.region.0, &self.record).map_err(ScrubError::Unrecorded)
    }

    /// Find how much there is to be read. What cannot be told is told when it is read.
    fn measure(&mut self, extents: impl Iterator<Item = u32>) {
        let (dir, piece) = (self.wish.dir(&self.wish.region.0), self.pace.piece());
        let bytes = |number: u32| {
            let file = open_below(&dir, &extent_path(number))?;
            extent_scrub::bytes_to_read(&file, self.layout, piece)
        };
        self.pace.expect(extents.map(bytes).filter_map(Result::ok).sum());
    }

    /// Scrub one extent; anew, if its file is replaced meanwhile.
    fn extent(&mut self, number: u32) -> Result<Passed, ScrubError> {
        let mut replaced = 0;
        loop {
            self.pace.check()?;
            let (passed, inode) = self.file(number)?;
            self.wish.identify()?;
            let now =
                open_below(&self.wish.dir(&self.wish.region.0), &extent_path(number)).and_then(|file| inode_of(&file));
            replaced += 1;
            if now.ok() == inode || replaced >= REPLACED_LIMIT {
                return Ok(passed);
            }
        }
    }

    /// Scrub the file of an extent, and tell which it was.
    fn file(&mut self, number: u32) -> Result<(Passed, Option<u64>), ScrubError> {
        let before = self.pace.read();
        let file = match open_below(&self.wish.dir(&self.wish.region.0), &extent_path(number)) {
            Ok(file) => file,
            Err(why) => return Ok((lost(number, &why), None)),
        };
        let (inode, piece) = (inode_of(&file).ok(), self.pace.piece());
        let (pace, wish, mut identified) = (&mut self.pace, &self.wish, Instant::now());
        let before_reading = |bytes| {
            if identified.elapsed() >= IDENTITY_PAUSE {
                identified = Instant::now();
                wish.identify().map_err(io::Error::other)?;
            }
            pace.before(bytes)
        };
        let scrubbed = match extent_scrub::scrub_by(&file, self.layout, piece, before_reading) {
            Ok(scrubbed) => scrubbed,
            Err(why) => {
                self.pace.check()?;
                self.wish.identify()?;
                return Ok((lost(number, &why), inode));
            }
        };
        let bytes = self.pace.read() - before;
        let mut passed = Passed { bytes, blocks: scrubbed.blocks, restless: scrubbed.restless, ..Passed::default() };
        for (index, finding) in scrubbed.findings.into_iter().enumerate() {
            let unreadable = matches!(finding.wrong, extent_scrub::Wrong::Unreadable(..));
            *(if unreadable { &mut passed.unreadable } else { &mut passed.rotten }) += 1;
            if index < LOOKED_UP_LIMIT {
                self.pace.check()?;
                passed.faults.push(self.fault(number, finding));
            }
        }
        Ok((passed, inode))
    }

    /// Tell of a finding what the volume's other regions have.
    fn fault(&self, extent: u32, Finding { block, wrong }: Finding) -> BlockFault {
        let geometry = self.wish.region.1.geometry;
        let alike = self.wish.siblings.iter().filter(|(_, record)| record.geometry == geometry);
        let siblings = alike.map(|(name, _)| {
            let looked = open_below(&self.wish.dir(name), &extent_path(extent))
                .and_then(|file| extent_scrub::look(&file, self.layout, block));
            let (found, right) = looked.map_or((None, false), |(hash, judged)| (Some(Hash(hash)), judged.is_ok()));
            Sibling { region: name.clone(), found, right }
        });
        let siblings = siblings.collect();
        let wrong = match wrong {
            extent_scrub::Wrong::Fault(fault) => fault.into(),
            extent_scrub::Wrong::Unreadable(offset, why) => Wrong::Unreadable { offset: Some(offset), why },
        };
        BlockFault { extent, block: Some(block), wrong, seen: times::in_milliseconds(times::now()), siblings }
    }
}

/// An extent of which the file cannot be read as one.
fn lost(extent: u32, why: &io::Error) -> Passed {
    let wrong = Wrong::Unreadable { offset: None, why: why.to_string() };
    let seen = times::in_milliseconds(times::now());
    let fault = BlockFault { extent, block: None, wrong, seen, siblings: Vec::new() };
    Passed { unreadable: 1, faults: vec![fault], ..Passed::default() }
}

fn inode_of(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

#[cfg(test)]
mod tests;
