//! The machine's memory of jobs: how each ended that somebody may ask for, and the number of the next
//! one. Only the file.

use super::mark::{MEMORY_MODE, memory};
use crate::files::{make_dir, replace};
use crate::wire::Job;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "jobs.json";

/// What is remembered of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The number of the next one.
    pub next: u64,
    /// The last ones, the oldest first.
    pub jobs: Vec<Job>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { next: 1, jobs: Vec::new() }
    }
}

/// Reads it. What cannot be read is told, and taken for nothing.
pub fn read() -> Remembered {
    read_in(&memory())
}

fn read_in(dir: &Path) -> Remembered {
    let known = match fs::read(dir.join(FILE)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(why) => Err(why.to_string()),
        Ok(text) => serde_json::from_slice(&text).map_err(|why| why.to_string()),
    };
    known.unwrap_or_else(|why| {
        tracing::warn!("{} cannot be read: {why}; earlier jobs are forgotten", dir.join(FILE).display());
        Remembered::default()
    })
}

/// Writes it, durably.
///
/// # Errors
/// It cannot be written; then it is as it was.
pub fn write(known: &Remembered) -> io::Result<()> {
    write_in(&memory(), known)
}

fn write_in(dir: &Path, known: &Remembered) -> io::Result<()> {
    make_dir(dir, MEMORY_MODE)?;
    replace(dir, FILE, &serde_json::to_vec(known)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_it_was_written_and_garbage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_in(dir.path()), Remembered::default());
        let known = Remembered { next: 9, jobs: Vec::new() };
        write_in(dir.path(), &known).unwrap();
        assert_eq!(read_in(dir.path()), known);
        fs::write(dir.path().join(FILE), "{\"next\":").unwrap();
        assert_eq!(read_in(dir.path()), Remembered::default());
    }
}
