//! Jobs in the machine's memory: how each ended that somebody may ask for, and the number of the next one. Only the
//! file.

use crate::files::{make_dir, replace};
use crate::store::mark::{MEMORY_MODE, memory, remembered};
use crate::times;
use crate::wire::Job;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "jobs.json";
/// The least number with which the file is begun anew, whatever the clock says.
const ANEW_AT_LEAST: u64 = 1_000_000;

/// The numbers that are kept for a supervisor: as many are skipped at most when it is killed.
pub const BLOCK: u64 = 100;

/// The jobs that are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The number of the next one.
    pub next: u64,
    /// The number with which the next supervisor goes on: it gives none that is lower.
    pub reserved: u64,
    /// The last ones, the oldest first.
    pub jobs: Vec<Job>,
}

impl Remembered {
    /// Remember no jobs, and keep no number from being given again.
    fn from(next: u64) -> Self {
        Self { next, reserved: next, jobs: Vec::new() }
    }
}

/// The file's text.
#[derive(Serialize)]
struct Written<'a> {
    next: u64,
    jobs: &'a [Job],
}

/// The file's text, with jobs that a newer supervisor may have written.
#[derive(Deserialize)]
struct Text {
    next: u64,
    jobs: Vec<Value>,
}

/// A number that no job had before: the clock's second, as there are fewer jobs than seconds.
pub fn anew(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or_default().max(ANEW_AT_LEAST)
}

/// Read the jobs, and keep [`BLOCK`] numbers for this supervisor, durably. A job that cannot be read is told and left
/// out, and its number is given to no other. If nothing can be read, or nothing written, the next job has a number
/// that none had before ([`anew`]).
pub fn begin() -> Remembered {
    begin_in(&memory(), times::now())
}

fn begin_in(dir: &Path, now: Timestamp) -> Remembered {
    let known = read_in(dir, now);
    let kept = Remembered { reserved: known.next.saturating_add(BLOCK), ..known };
    match write_in(dir, &kept) {
        Ok(()) => kept,
        Err(why) => {
            let next = kept.next.max(anew(now));
            tracing::warn!("{} cannot be written: {why}; the next job is job {next}", dir.join(FILE).display());
            Remembered { next, reserved: next, ..kept }
        }
    }
}

fn read_in(dir: &Path, now: Timestamp) -> Remembered {
    let file = dir.join(FILE);
    let known = match fs::read(&file) {
        // A machine that never had a disk had no jobs.
        Err(why) if why.kind() == io::ErrorKind::NotFound && matches!(remembered(dir), Ok(None)) => {
            return Remembered::from(1);
        }
        Err(why) => Err(why.to_string()),
        Ok(text) => serde_json::from_slice(&text).map_err(|why| why.to_string()),
    };
    match known {
        Ok(text) => known_of(text, &file),
        Err(why) => {
            let next = anew(now);
            tracing::warn!(
                "{} cannot be read: {why}; earlier jobs are forgotten, and the next one is job {next}",
                file.display()
            );
            Remembered::from(next)
        }
    }
}

/// The jobs of a text that can be read.
fn known_of(text: Text, file: &Path) -> Remembered {
    let mut known = Remembered::from(text.next);
    for job in text.jobs {
        let id = job.get("id").and_then(Value::as_u64);
        known.next = known.next.max(id.map_or(0, |id| id.saturating_add(1)));
        match serde_json::from_value(job) {
            Ok(job) => known.jobs.push(job),
            Err(why) => {
                let which = id.map_or_else(|| "one without a number".to_owned(), |id| format!("job {id}"));
                tracing::warn!("{}: {which} cannot be read, and is forgotten: {why}", file.display());
            }
        }
    }
    Remembered { reserved: known.next, ..known }
}

/// Write the jobs, durably.
///
/// # Errors
/// The file cannot be written; then it is as it was.
pub fn write(known: &Remembered) -> io::Result<()> {
    write_in(&memory(), known)
}

fn write_in(dir: &Path, known: &Remembered) -> io::Result<()> {
    make_dir(dir, MEMORY_MODE)?;
    replace(dir, FILE, &serde_json::to_vec(&Written { next: known.reserved, jobs: &known.jobs })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_reads_back_as_it_was_written_and_after_garbage_no_number_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let now = at(1_800_000_000);
        assert_eq!(read_in(dir.path(), now), Remembered::from(1));
        let known = Remembered::from(9);
        write_in(dir.path(), &known).unwrap();
        assert_eq!(read_in(dir.path(), now), known);
        for garbage in ["{\"next\":", "", "{\"next\": -1, \"jobs\": []}", "{\"jobs\": []}"] {
            fs::write(dir.path().join(FILE), garbage).unwrap();
            assert_eq!(read_in(dir.path(), now), Remembered::from(1_800_000_000), "{garbage}");
            assert_eq!(read_in(dir.path(), at(7)).next, ANEW_AT_LEAST, "a clock that was never set");
        }
    }

    #[test]
    fn no_number_is_given_twice_by_supervisors_that_are_killed_or_cannot_write() {
        let (dir, now) = (tempfile::tempdir().unwrap(), at(1_800_000_000));
        let dir = dir.path();
        let first = begin_in(dir, now);
        assert_eq!((first.next, first.reserved), (1, 1 + BLOCK));
        // The first is killed before it writes anything, or ends as it should.
        let second = begin_in(dir, now);
        assert_eq!(second.next, first.reserved);
        write_in(dir, &Remembered { next: 104, reserved: 104, ..second }).unwrap();
        assert_eq!(begin_in(dir, now).next, 104);
        // As on a file system that can only be read.
        let aside = dir.join(format!("{FILE}.new"));
        fs::create_dir(&aside).unwrap();
        let third = begin_in(dir, now);
        assert_eq!((third.next, third.reserved), (1_800_000_000, 1_800_000_000));
        assert_eq!(begin_in(dir, at(1_800_000_001)).next, 1_800_000_001);
        fs::remove_dir(&aside).unwrap();
        assert_eq!(begin_in(dir, now).next, 104 + BLOCK, "none was given from there on");
        // The file is gone, and the machine has had a disk.
        fs::remove_file(dir.join(FILE)).unwrap();
        assert_eq!(read_in(dir, now).next, 1);
        fs::write(dir.join("disk.json"), "{").unwrap();
        assert_eq!(read_in(dir, now).next, 1_800_000_000);
    }

    #[test]
    fn a_job_of_a_kind_that_is_not_known_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let job = |id: u64, kind: &str| {
            json!({
                "id": id, "kind": kind, "region": "still-fawn-0", "state": "done", "step": "", "progress": null,
                "cancellable": false, "error": null, "asked": "2026-01-25T00:00:00Z", "took_ms": 7
            })
        };
        let text = json!({ "next": 5, "jobs": [job(3, "create"), job(12, "defragment"), {"id": "x"}, job(4, "hold")] });
        fs::write(dir.path().join(FILE), text.to_string()).unwrap();
        let known = read_in(dir.path(), at(7));
        assert_eq!(known.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(known.next, 13, "the number of one that is not known is given again");
    }
}
