//! Record of another network that is on trial: the files of the one before, written down before the first of them is
//! touched. Whatever ends then, a boot finds what it has to put back.

use crate::decide::network_trial::Open;
use crate::files::{make_dir, replace, set_mode};
use crate::times;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The directory of the record.
pub const MEMORY: &str = "/var/lib/sled";
const FILE: &str = "network-trial.json";
/// The second copy of it, which is written first: with one of the two the network before is known.
const COPY: &str = "network-trial.copy.json";
/// The note that neither could be read, in place of the record.
const LOST: &str = "network-trial.lost";
/// The file by which an operator says that the network is to be kept, beside it.
const CONFIRMED: &str = "network-confirmed";

/// Files of a network by their names below [`OWN`](super::OWN), each with its text; `None` for one that is not there.
pub type Files = BTreeMap<String, Option<String>>;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whether it was taken back; else it is on trial.
    pub taken_back: bool,
    /// Whether the one before is in force since. Until then its files may be in their places, or some of them, or none.
    #[serde(default)]
    pub put_back: bool,
    /// The identity of the boot in which it began.
    pub boot: String,
    /// The time since that boot at which it was in force, in milliseconds; absent before it is.
    pub applied: Option<u64>,
    /// The words for what is asked for with the network on trial ([`asked`](super::network::asked)).
    pub asked: String,
    /// The time at which it began, or was taken back.
    pub at: Timestamp,
    /// The files that were in force before.
    pub before: Files,
}

impl Record {
    /// Tell of a trial that is not at its end to whoever asks for a network with these words and files.
    pub fn open(&self, asked: &str, files: &Files) -> Option<Open> {
        let (same, before, taken_back) = (self.asked == asked, self.before == *files, self.taken_back);
        (!self.put_back).then_some(Open { same, before, taken_back })
    }

    /// Take it back from now on, if it was not before.
    #[must_use]
    pub fn taken_back(self) -> Self {
        let at = if self.taken_back { self.at } else { times::now() };
        Self { taken_back: true, at, ..self }
    }
}

/// Give the files of a network their form here.
pub fn named(files: Vec<(&'static str, Option<String>)>) -> Files {
    files.into_iter().map(|(file, text)| (file.to_owned(), text)).collect()
}

/// Read the record, if there is one that can be read: it or its copy. A check of the file system may have removed the
/// record alone.
pub fn load(memory: &Path) -> Option<Record> {
    let read = |file: &str| serde_json::from_slice(&fs::read(memory.join(file)).ok()?).ok();
    read(FILE).or_else(|| read(COPY))
}

/// Keep the record.
///
/// # Errors
/// The file system's error.
pub fn store(memory: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(record)?;
    replace(memory, COPY, &text)?;
    replace(memory, FILE, &text)
}

/// Forget it: the network is kept, or the one before is asked for again. The copy goes first: alone it would be taken
/// for the record.
///
/// # Errors
/// The file system's error.
pub fn forget(memory: &Path) -> io::Result<()> {
    remove(&memory.join(COPY))?;
    remove(&memory.join(FILE))
}

/// Forget a copy without its record, as a version leaves it that knows of none: it is of a trial that has ended.
///
/// # Errors
/// The file system's error.
pub fn forget_copy_alone(memory: &Path) -> io::Result<()> {
    if is_gone(&memory.join(FILE)) { remove(&memory.join(COPY)) } else { Ok(()) }
}

/// Note in the place of a record that was lost.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lost {
    /// The words for what was asked for at the first boot since ([`asked`](super::network::asked)); absent until then.
    asked: Option<String>,
    /// Whether somebody has said that the network in force is to be kept.
    kept: bool,
}

impl Lost {
    /// Read it, if there is one. One that cannot be read says as much by being there.
    fn load(memory: &Path) -> Option<Self> {
        let file = memory.join(LOST);
        (!is_gone(&file)).then(|| {
            let text = fs::read(file).unwrap_or_default();
            serde_json::from_slice(&text).unwrap_or_default()
        })
    }

    fn store(&self, memory: &Path) -> io::Result<()> {
        replace(memory, LOST, &serde_json::to_vec_pretty(self)?)
    }
}

/// Put a record away that cannot be read, and neither can its copy; whether there was one. Then the network that is in
/// force may be one by which nobody has reached the sled, and the one before is not known: that is told from then on
/// ([`lost`]).
///
/// # Errors
/// The file system's error.
pub fn put_away_lost(memory: &Path) -> io::Result<bool> {
    let none = [FILE, COPY].iter().all(|file| is_gone(&memory.join(file)));
    if none || load(memory).is_some() {
        return Ok(false);
    }
    Lost::default().store(memory)?;
    forget(memory).map(|()| true)
}

/// Whether the record of a trial was lost, and nobody has said since that the network is to be kept, or has asked for
/// another.
pub fn lost(memory: &Path) -> bool {
    Lost::load(memory).is_some_and(|lost| !lost.kept)
}

/// Whether the network in force stays as it is at boot: the record of a trial was lost, so that what is asked for may be
/// what was taken back, and nothing else has been asked for since. That holds also where somebody has kept the one in
/// force, until it is the one that is asked for.
///
/// # Errors
/// What is asked for cannot be put down, or the note cannot be removed.
pub fn stays(memory: &Path, own: &Path, asked: &str, files: &Files) -> io::Result<bool> {
    let Some(lost) = Lost::load(memory) else { return Ok(false) };
    let present = present(own, files);
    let other = lost.asked.as_ref().is_some_and(|before| before != asked);
    if other || (lost.kept && present == *files) {
        return remove(&memory.join(LOST)).map(|()| false);
    }
    let has_one = present.iter().any(|(file, text)| file.starts_with("network/") && text.is_some());
    if lost.asked.is_none() {
        Lost { asked: Some(asked.to_owned()), ..lost }.store(memory)?;
    }
    Ok(has_one)
}

/// Whether there is no such file; what cannot be looked at is there.
fn is_gone(file: &Path) -> bool {
    fs::symlink_metadata(file).is_err_and(|why| why.kind() == io::ErrorKind::NotFound)
}

/// Say that the network that is on trial is to be kept.
///
/// # Errors
/// The file system's error.
pub fn confirm(memory: &Path) -> io::Result<()> {
    if let Some(lost) = Lost::load(memory) {
        Lost { kept: true, ..lost }.store(memory)?;
    }
    replace(memory, CONFIRMED, b"")
}

/// Whether somebody has said so.
pub fn is_confirmed(memory: &Path) -> bool {
    memory.join(CONFIRMED).exists()
}

/// Begin without anybody's word.
///
/// # Errors
/// The file system's error.
pub fn unconfirm(memory: &Path) -> io::Result<()> {
    remove(&memory.join(LOST))?;
    remove(&memory.join(CONFIRMED))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Read what is there of these files.
pub fn present(own: &Path, files: &Files) -> Files {
    files.keys().map(|file| (file.clone(), fs::read_to_string(own.join(file)).ok())).collect()
}

/// Put files into their places, and name those that were others.
///
/// # Errors
/// The file system's error: some may be in place.
pub fn put(own: &Path, files: &Files) -> io::Result<Vec<String>> {
    let mut changed = Vec::new();
    for (file, text) in files {
        let (path, old) = (own.join(file), fs::read_to_string(own.join(file)).ok());
        let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
        match text {
            Some(text) if old.as_ref() != Some(text) => {
                make_dir(&own.join(dir), 0o755)?;
                replace(&own.join(dir), name, text.as_bytes())?;
                set_mode(&path, 0o644)?;
            }
            None if old.is_some() => fs::remove_file(&path)?,
            _ => continue,
        }
        changed.push(file.clone());
    }
    Ok(changed)
}

/// End at boot a trial that was not at its end when the machine went down: the files before are in their places first, and
/// on record then. Nothing reads them yet.
///
/// # Errors
/// The file system's error: it is ended by the next boot, or by who goes on with it.
pub fn end_at_boot(memory: &Path, own: &Path) -> io::Result<()> {
    let Some(record) = load(memory).filter(|record| !record.put_back) else { return Ok(()) };
    put(own, &record.before)?;
    store(memory, &Record { put_back: true, ..record.taken_back() })
}

/// Choose at boot between the files of the configuration and those before: a network that was taken back is not in force as
/// long as the same is asked for. Another is.
///
/// # Errors
/// What is not asked for any more cannot be forgotten.
pub fn at_boot(memory: &Path, asked: &str, files: Files) -> io::Result<Files> {
    match load(memory) {
        Some(record) if record.asked == asked => Ok(record.before),
        Some(_) => forget(memory).map(|()| files),
        None => Ok(files),
    }
}
