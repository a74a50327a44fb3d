//! Ring of events in the machine's memory: files of lines, of which the oldest goes when all together are too long,
//! or what is in it is too old. Only the files; what an event is, is [`Event`]'s.
//!
//! Each file is named by its first event's number, and begins with the moment of the sled's life at which it was
//! begun: what is too old is told by that and not by a clock, which may be set. Lines are only ever added, and a line
//! is whole if it has its end; what a crash has left of another is cut off.

use crate::clean;
use crate::files::{make_dir, sync_dir};
use crate::lived::Moment;
use crate::store::mark::memory;
use crate::wire::Event;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory, below the machine's memory.
const DIR: &str = "events";
const ENDING: &str = ".jsonl";
/// The number of files that a full ring has: so much of it goes at once.
const FILES: u64 = 8;
/// The longest line that is written or read, in bytes.
pub const LINE_LIMIT_BYTES: usize = 8192;

/// The bounds of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The bytes of all files together.
    pub bytes: u64,
    /// The time that an event is kept, as long as there is room.
    pub age: Duration,
}

/// A file of the ring.
#[derive(Debug)]
struct Part {
    /// The number of the first event in it.
    first: u64,
    bytes: u64,
    begun: Option<Moment>,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Begun {
    begun: Moment,
}

/// The ring, as its one writer has it.
#[derive(Debug)]
pub struct Ring {
    dir: PathBuf,
    bounds: Bounds,
    parts: VecDeque<Part>,
    /// The last file, while it can be written to.
    open: Option<File>,
}

/// A line of the ring: an event, and its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The event.
    pub event: Event,
    /// The event as a server sends it: its number, and its JSON. One text for all that read it.
    pub frame: Bytes,
    /// The part of it that is the JSON, without the end of the line.
    pub json: Bytes,
}

impl Line {
    /// Write an event as a line.
    ///
    /// # Errors
    /// None that occurs: every field has a JSON form.
    pub fn of(event: Event) -> serde_json::Result<Self> {
        let json = serde_json::to_string(&event)?;
        Ok(Self::framed(event, &clean::json(&json)))
    }

    /// Read a line; `None` if it is no event.
    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        Some(Self::framed(serde_json::from_str(text).ok()?, &clean::json(text)))
    }

    fn framed(event: Event, json: &str) -> Self {
        let head = format!("id: {}\ndata: ", event.id);
        let frame = Bytes::from(format!("{head}{json}\n\n"));
        let json = frame.slice(head.len()..head.len() + json.len());
        Self { event, frame, json }
    }
}

/// The directory of the ring.
pub fn dir() -> PathBuf {
    memory().join(DIR)
}

/// The files of a ring, the oldest first.
fn parts(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_suffix(ENDING)?.parse().ok());
        found.extend(number.filter(|_| entry.path().is_file()).map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

fn name(first: u64) -> String {
    format!("{first:020}{ENDING}")
}

/// Go through the lines of a file that are whole. What is longer than a line may be is overlooked.
fn each_line(file: File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    let mut too_long = false;
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_LIMIT_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n');
        if whole && !too_long {
            each(&line[..line.len() - 1]);
        }
        too_long = !whole;
    }
}

/// The bytes of a file up to the end of its last whole line.
fn whole_bytes(file: &mut File) -> io::Result<u64> {
    let (mut whole, mut at, mut block) = (0, 0, [0; 8192]);
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(whole);
        }
        whole = block[..read].iter().rposition(|byte| *byte == b'\n').map_or(whole, |end| at + end as u64 + 1);
        at += read as u64;
    }
}

impl Ring {
    /// Open the ring in a directory, and cut off what a crash has left of a line. A ring that cannot be opened is
    /// written to all the same as soon as that can be done.
    ///
    /// # Errors
    /// Why it cannot be opened as it should; beside it the ring, as far as it is known.
    pub fn open(dir: &Path, bounds: Bounds) -> (Self, io::Result<()>) {
        let mut ring = Self { dir: dir.to_owned(), bounds, parts: VecDeque::new(), open: None };
        let opened = ring.look();
        (ring, opened)
    }

    fn look(&mut self) -> io::Result<()> {
        for (first, path) in parts(&self.dir)? {
            let (bytes, begun) = (fs::metadata(&path)?.len(), begun(&path));
            self.parts.push_back(Part { first, bytes, begun });
        }
        self.reopen()
    }

    /// Open the last file to be written to, behind its last whole line.
    fn reopen(&mut self) -> io::Result<()> {
        let Some(last) = self.parts.back_mut() else { return Ok(()) };
        let mut file = File::options().read(true).append(true).open(self.dir.join(name(last.first)))?;
        let whole = whole_bytes(&mut file)?;
        if whole < file.metadata()?.len() {
            file.set_len(whole)?;
        }
        last.bytes = whole;
        self.open = Some(file);
        Ok(())
    }

    /// Keep to other bounds from the next line on.
    pub fn keep_to(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Add lines, durably; `now` is the moment of the sled's life. None of them is there if they could not be
    /// written.
    ///
    /// # Errors
    /// The file system's error.
    pub fn append(&mut self, lines: &[impl AsRef<Line>], now: Moment) -> io::Result<()> {
        let Some(first) = lines.first().map(|line| line.as_ref().event.id) else { return Ok(()) };
        let mut text = Vec::new();
        for line in lines.iter().map(AsRef::as_ref).filter(|line| line.json.len() < LINE_LIMIT_BYTES) {
            text.extend_from_slice(&line.json);
            text.push(b'\n');
        }
        if self.open.is_none() {
            // It failed before, or could not be opened: it may be as it should by now.
            match self.reopen() {
                Err(why) if why.kind() == io::ErrorKind::NotFound => self.parts.clear(),
                reopened => reopened?,
            }
        }
        if self.parts.back().is_none_or(|part| self.is_full(part, text.len() as u64, now)) {
            self.begin(first, now)?;
        }
        let written = self.write(&text);
        if written.is_err() {
            self.take_back();
        }
        written.map(|()| self.trim(now))
    }

    fn is_full(&self, part: &Part, more: u64, now: Moment) -> bool {
        let share = self.bounds.age / u32::try_from(FILES).unwrap_or(1);
        part.bytes + more > self.bounds.bytes / FILES || age(part, now).is_some_and(|age| age > share)
    }

    /// Begin another file.
    fn begin(&mut self, first: u64, now: Moment) -> io::Result<()> {
        make_dir(&self.dir, 0o700)?;
        self.open = None;
        let path = self.dir.join(name(first));
        let file = File::options().create(true).read(true).append(true).open(&path)?;
        file.set_len(0)?;
        let mut text = serde_json::to_vec(&Begun { begun: now })?;
        text.push(b'\n');
        self.parts.retain(|part| part.first != first);
        self.parts.push_back(Part { first, bytes: 0, begun: Some(now) });
        self.open = Some(file);
        self.write(&text)?;
        sync_dir(&self.dir)
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let (Some(file), Some(part)) = (&mut self.open, self.parts.back_mut()) else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        file.write_all(text)?;
        file.sync_data()?;
        part.bytes += text.len() as u64;
        Ok(())
    }

    /// Leave nothing half written; the file is opened anew for what is written next.
    fn take_back(&mut self) {
        if let (Some(file), Some(part)) = (self.open.take(), self.parts.back()) {
            _ = file.set_len(part.bytes);
        }
    }

    /// Remove the oldest files, as far as they are too much or too old. What cannot be removed now is then.
    fn trim(&mut self, now: Moment) {
        while self.parts.len() > 1 {
            let all: u64 = self.parts.iter().map(|part| part.bytes).sum();
            // What is in a file is as old as the one behind it, at least.
            let old = age(&self.parts[1], now).is_some_and(|age| age > self.bounds.age);
            if all <= self.bounds.bytes && !old {
                return;
            }
            match fs::remove_file(self.dir.join(name(self.parts[0].first))) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return,
                _ => _ = self.parts.pop_front(),
            }
        }
    }
}

fn age(part: &Part, now: Moment) -> Option<Duration> {
    now.since(part.begun?)
}

/// The moment at which a file was begun, as its first line has it.
fn begun(path: &Path) -> Option<Moment> {
    let (mut reader, mut line) = (BufReader::new(File::open(path).ok()?).take(LINE_LIMIT_BYTES as u64), Vec::new());
    reader.read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice::<Begun>(&line).ok().map(|first| first.begun)
}

/// The lines that were read of a ring.
#[derive(Debug, Default)]
pub struct Page {
    /// The lines, the oldest first.
    pub lines: Vec<Line>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// The number of the oldest event that is kept, by the name of its file; `None` if there is none.
///
/// # Errors
/// The directory cannot be read.
pub fn oldest(dir: &Path) -> io::Result<Option<u64>> {
    Ok(parts(dir)?.first().map(|(first, _)| *first))
}

/// Read the first lines behind the event `after` that are wanted. What is no event is overlooked.
///
/// # Errors
/// A file cannot be read.
pub fn read_after(dir: &Path, after: u64, limit: usize, wanted: impl Fn(&Event) -> bool) -> io::Result<Page> {
    let (all, mut page) = (parts(dir)?, Page::default());
    // A file of which the next one begins no later has nothing behind it.
    let skipped = all.iter().skip(1).take_while(|(first, _)| *first <= after.saturating_add(1)).count();
    for (_, path) in all.iter().skip(skipped) {
        in_file(path, |line| {
            if line.event.id > after && wanted(&line.event) && !page.more {
                page.more = page.lines.len() == limit;
                page.lines.extend((!page.more).then_some(line));
            }
        })?;
        if page.more {
            break;
        }
    }
    Ok(page)
}

/// Go through the events behind the event `after`.
///
/// # Errors
/// A file cannot be read.
pub fn walk_after(dir: &Path, after: u64, mut each: impl FnMut(Event)) -> io::Result<()> {
    let all = parts(dir)?;
    let skipped = all.iter().skip(1).take_while(|(first, _)| *first <= after.saturating_add(1)).count();
    for (_, path) in all.iter().skip(skipped) {
        in_file(path, |line| {
            if line.event.id > after {
                each(line.event);
            }
        })?;
    }
    Ok(())
}

/// Read the last lines that are wanted.
///
/// # Errors
/// A file cannot be read.
pub fn read_last(dir: &Path, limit: usize, wanted: impl Fn(&Event) -> bool) -> io::Result<Vec<Line>> {
    let mut found: VecDeque<Line> = VecDeque::new();
    for (_, path) in parts(dir)?.iter().rev() {
        let (room, mut here) = (limit - found.len(), VecDeque::new());
        in_file(path, |line| {
            if room > 0 && wanted(&line.event) {
                here.push_back(line);
                here.drain(..here.len().saturating_sub(room));
            }
        })?;
        here.extend(found);
        found = here;
        if found.len() >= limit {
            break;
        }
    }
    Ok(found.into())
}

fn in_file(path: &Path, mut each: impl FnMut(Line)) -> io::Result<()> {
    let file = match File::open(path) {
        // The ring has turned meanwhile.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    each_line(file, |text| Line::read(text).into_iter().for_each(&mut each))
}

#[cfg(test)]
mod tests;
