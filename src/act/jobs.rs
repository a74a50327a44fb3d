//! The machine's memory of jobs: how each ended that somebody may ask for, and the number of the next
//! one. Only the file.

use super::mark::{MEMORY_MODE, memory};
use crate::files::{make_dir, replace};
use crate::times;
use crate::wire::Job;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "jobs.json";
/// The least number with which it is begun anew, whatever the clock says.
const ANEW: u64 = 1_000_000;

/// What is remembered of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// The file's text, with jobs that a newer supervisor may have written.
#[derive(Deserialize)]
struct Text {
    next: u64,
    jobs: Vec<Value>,
}

/// Reads it. A job that cannot be read is told and left out, and its number is given to no other. If nothing
/// can be read, the next job has a number that none had before: the clock's second, as there are fewer jobs than
/// seconds.
pub fn read() -> Remembered {
    read_in(&memory(), times::now())
}

fn read_in(dir: &Path, now: Timestamp) -> Remembered {
    let file = dir.join(FILE);
    let known = match fs::read(&file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Remembered::default(),
        Err(why) => Err(why.to_string()),
        Ok(text) => serde_json::from_slice(&text).map_err(|why| why.to_string()),
    };
    match known {
        Ok(text) => known_of(text, &file),
        Err(why) => {
            let next = u64::try_from(now.as_second()).unwrap_or_default().max(ANEW);
            tracing::warn!(
                "{} cannot be read: {why}; earlier jobs are forgotten, and the next one is job {next}",
                file.display()
            );
            Remembered { next, jobs: Vec::new() }
        }
    }
}

/// The jobs of a text that can be read.
fn known_of(text: Text, file: &Path) -> Remembered {
    let mut known = Remembered { next: text.next, jobs: Vec::new() };
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
    known
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
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_reads_back_as_it_was_written_and_after_garbage_no_number_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let now = at(1_800_000_000);
        assert_eq!(read_in(dir.path(), now), Remembered::default());
        let known = Remembered { next: 9, jobs: Vec::new() };
        write_in(dir.path(), &known).unwrap();
        assert_eq!(read_in(dir.path(), now), known);
        for garbage in ["{\"next\":", "", "{\"next\": -1, \"jobs\": []}", "{\"jobs\": []}"] {
            fs::write(dir.path().join(FILE), garbage).unwrap();
            assert_eq!(read_in(dir.path(), now), Remembered { next: 1_800_000_000, jobs: Vec::new() }, "{garbage}");
            assert_eq!(read_in(dir.path(), at(7)).next, ANEW, "a clock that was never set");
        }
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
