//! Record of another network that is on trial: the files of the one before, written down before the first of them is
//! touched. Whatever ends then, a boot finds what it has to put back.

use super::brought::digest;
use crate::files::{make_dir, replace, set_mode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The directory of the record.
pub const MEMORY: &str = "/var/lib/sled";
const FILE: &str = "network-trial.json";
/// The file by which an operator says that the network is to be kept, beside it.
const CONFIRMED: &str = "network-confirmed";

/// Files of a network by their names below [`OWN`](super::OWN), each with its text; `None` for one that is not there.
pub type Files = BTreeMap<String, Option<String>>;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whether it was taken back; else it is on trial.
    pub taken_back: bool,
    /// The identity of the boot in which it began.
    pub boot: String,
    /// The time since that boot at which it was in force, in milliseconds; absent before it is.
    pub applied: Option<u64>,
    /// The digest of the files that are on trial.
    pub asked: String,
    /// The time at which it began, or was taken back.
    pub at: Timestamp,
    /// The files that were in force before.
    pub before: Files,
}

/// Give the files of a network their form here.
pub fn named(files: Vec<(&'static str, Option<String>)>) -> Files {
    files.into_iter().map(|(file, text)| (file.to_owned(), text)).collect()
}

/// Tell files from others.
pub fn digest_of(files: &Files) -> String {
    let whole: Vec<_> = files.iter().map(|(file, text)| format!("{file}\n{text:?}\n")).collect();
    digest(whole.concat().as_bytes())
}

/// Read the record, if there is one.
pub fn load(memory: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(memory.join(FILE)).ok()?).ok()
}

/// Keep the record.
///
/// # Errors
/// The file system's error.
pub fn store(memory: &Path, record: &Record) -> io::Result<()> {
    replace(memory, FILE, &serde_json::to_vec_pretty(record)?)
}

/// Forget it: the network is kept, or the one before is asked for again.
///
/// # Errors
/// The file system's error.
pub fn forget(memory: &Path) -> io::Result<()> {
    remove(&memory.join(FILE))
}

/// Say that the network that is on trial is to be kept.
///
/// # Errors
/// The file system's error.
pub fn confirm(memory: &Path) -> io::Result<()> {
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

/// Choose at boot between the files of the configuration and those before: what was on trial when the machine went down,
/// or was taken back, is not in force. Another configuration since is.
///
/// # Errors
/// The record cannot be kept.
pub fn at_boot(memory: &Path, files: Files) -> io::Result<(Files, Option<&'static str>)> {
    let Some(record) = load(memory) else { return Ok((files, None)) };
    if record.asked != digest_of(&files) {
        forget(memory)?;
        return Ok((files, None));
    }
    if !record.taken_back {
        store(memory, &Record { taken_back: true, at: crate::times::now(), ..record.clone() })?;
    }
    Ok((record.before, Some("the network that was on trial is not in force: the one before is")))
}
