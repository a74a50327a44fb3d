//! Replay of a recorded log, for a power cut at every moment of it: everything the disk had been given, or all that
//! it had flushed and any part of what was in its cache.

use crate::mounts::Mounted;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The bytes that a disk writes as a whole, or not at all.
pub const BLOCK: usize = 4096;

/// A write, within one block.
pub struct Write {
    offset: u64,
    data: Vec<u8>,
}

/// An event of a disk.
pub enum Entry {
    /// The disk was given data, which may stay in its cache.
    Write(Write),
    /// The disk was told to flush its cache.
    Barrier,
}

/// The events of a disk, from its making on.
pub struct Log {
    size: u64,
    entries: Vec<Entry>,
}

/// The blocks of a disk that were ever written.
#[derive(Default)]
pub struct Image(BTreeMap<u64, Vec<u8>>);

/// A power cut: a position in the log, and how much of what was not flushed had arrived.
pub struct Cut {
    /// The position before which everything had happened.
    pub at: usize,
    length: usize,
    subset: Option<usize>,
    arrived: usize,
    pending: usize,
}

/// The findings at the cuts.
#[derive(Default)]
pub struct Report {
    /// How many were tried.
    pub cuts: usize,
    /// The complaints, each with its cut.
    pub violations: Vec<String>,
}

impl Write {
    /// A write as one of every block that it touches.
    pub fn split(offset: u64, mut data: &[u8]) -> Vec<Self> {
        let mut writes = Vec::new();
        let mut at = offset;
        while !data.is_empty() {
            let (first, rest) = data.split_at(data.len().min(BLOCK - within(at)));
            writes.push(Self { offset: at, data: first.to_vec() });
            at += first.len() as u64;
            data = rest;
        }
        writes
    }
}

/// The position of a byte in its block.
fn within(offset: u64) -> usize {
    offset as usize % BLOCK
}

impl Image {
    /// Writes.
    pub fn apply(&mut self, write: &Write) {
        let block = self.0.entry(write.offset / BLOCK as u64).or_insert_with(|| vec![0; BLOCK]);
        block[within(write.offset)..][..write.data.len()].copy_from_slice(&write.data);
    }

    /// Reads; what was never written is zero.
    pub fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(size);
        while data.len() < size {
            let at = offset + data.len() as u64;
            let some = (size - data.len()).min(BLOCK - within(at));
            match self.0.get(&(at / BLOCK as u64)) {
                Some(block) => data.extend_from_slice(&block[within(at)..][..some]),
                None => data.resize(data.len() + some, 0),
            }
        }
        data
    }

    /// A file of this image and some writes after it.
    fn write_to(&self, path: &Path, size: u64, after: &[&Write]) {
        let file = File::create(path).unwrap();
        file.set_len(size).unwrap();
        for (number, block) in &self.0 {
            file.write_all_at(block, number * BLOCK as u64).unwrap();
        }
        for write in after {
            file.write_all_at(&write.data, write.offset).unwrap();
        }
    }
}

impl Log {
    /// A log of a disk of this size.
    pub fn new(size: u64, entries: Vec<Entry>) -> Self {
        Self { size, entries }
    }

    /// How much has happened: the position of its end.
    pub fn end(&self) -> usize {
        self.entries.len()
    }

    /// The same of a disk that does not do what it is told, and flushes only what it was given
    /// before a position.
    pub fn without_barriers_from(mut self, position: usize) -> Self {
        for entry in &mut self.entries[position..] {
            if matches!(entry, Entry::Barrier) {
                // In their place something that changes nothing, so that positions stay.
                *entry = Entry::Write(Write { offset: 0, data: Vec::new() });
            }
        }
        self
    }
}

/// Cuts the power at every position of a range: once with all that was written, and up to
/// `subsets` times with a random part of what was written since the last barrier. Each time the
/// file system is mounted, which replays its journal, and shown to `check`; below `place`, a
/// directory of [`crate::mounts::in_private`]. What does not mount is a violation.
pub fn for_each_cut(
    place: &Path,
    log: &Log,
    range: RangeInclusive<usize>,
    subsets: usize,
    mut check: impl FnMut(&Path, &Cut) -> Result<(), String>,
) -> Report {
    let (mut flushed, mut pending) = (Image::default(), Vec::new());
    let mut report = Report::default();
    for at in 0..=*range.end() {
        match at.checked_sub(1).map(|last| &log.entries[last]) {
            None => {}
            Some(Entry::Write(write)) => pending.push(write),
            Some(Entry::Barrier) => pending.drain(..).for_each(|write| flushed.apply(write)),
        }
        if !range.contains(&at) {
            continue;
        }
        for (subset, arrived) in choices(at, &pending, subsets) {
            let cut = Cut { at, length: log.end(), subset, arrived: arrived.len(), pending: pending.len() };
            flushed.write_to(&place.join("image"), log.size, &arrived);
            report.add(&cut, look(place, &cut, &mut check));
        }
    }
    report
}

/// Everything that is pending, and some parts of it, no two of them the same.
fn choices<'a>(at: usize, pending: &[&'a Write], subsets: usize) -> Vec<(Option<usize>, Vec<&'a Write>)> {
    let mut seen = BTreeSet::from([vec![true; pending.len()]]);
    let mut choices = vec![(None, pending.to_vec())];
    for subset in 0..subsets {
        let chosen = some_of(pending.len(), (at * 1000 + subset) as u64);
        if seen.insert(chosen.clone()) {
            let arrived = pending.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(write, _)| *write);
            choices.push((Some(subset), arrived.collect()));
        }
    }
    choices
}

/// A random choice among some things, the same for the same seed: few of them, half or most.
fn some_of(count: usize, seed: u64) -> Vec<bool> {
    let mut random = SplitMix(seed);
    let eighths = [1, 4, 7][(random.next() % 3) as usize];
    (0..count).map(|_| random.next() % 8 < eighths).collect()
}

/// Steele, Lea and Flood's SplitMix64.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Mounts the image and shows it.
fn look(place: &Path, cut: &Cut, check: &mut impl FnMut(&Path, &Cut) -> Result<(), String>) -> Result<(), String> {
    let image = place.join("image");
    let mounted = Mounted::new(&image, &place.join("found")).map_err(|why| format!("it does not mount: {why}"))?;
    check(mounted.dir(), cut)
}

impl Report {
    fn add(&mut self, cut: &Cut, found: Result<(), String>) {
        self.cuts += 1;
        if let Err(why) = found {
            self.violations.push(format!("{cut}: {why}"));
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, length, arrived, pending, .. } = self;
        write!(f, "cut at {at} of {length}, ")?;
        match self.subset {
            None => write!(f, "with all {pending} writes since the last barrier"),
            Some(subset) => write!(f, "subset {subset}: {arrived} of {pending} writes since the last barrier"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} power cuts, {} violations", self.cuts, self.violations.len())?;
        self.violations.iter().take(10).try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
