//! Power loss, block by block: something is written to a recorded disk, and what a power cut
//! would have left there is mounted and looked at, for every moment of it.
//!
//! Needs root, FUSE and a kernel with ext4 and loop devices.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod events;
mod mounts;
mod programs;
mod recorder;
mod regions;
mod repairs;
mod replay;
mod tickets;
mod unreadable;

use crucible_sled::files::sync_dir;
use recorder::Recorder;
use replay::{Log, Report, for_each_cut};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const SIZE: u64 = 32 << 20;
/// The parts of the disk's cache that are tried at each cut.
const SUBSETS: usize = 3;

/// The story of a disk, step by step, and where in its log each step had returned.
struct Story {
    log: Log,
    begin: usize,
    returned: Vec<usize>,
}

/// When a file system commits what was done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commits {
    /// As late as it may: when it is told to.
    WhenTold,
    /// As often as it may: see [`mounts::Mounted::commit_each_step`].
    EachStep,
}

impl Story {
    /// Records `steps` steps below the root of a fresh file system.
    fn record(place: &Path, commits: Commits, steps: usize, mut step: impl FnMut(&Path, usize)) -> Self {
        let recorder = Recorder::start(place, SIZE);
        let disk = recorder.mount(&place.join("disk"));
        if commits == Commits::EachStep {
            disk.commit_each_step();
        }
        let begin = recorder.mark();
        let mut returned = Vec::new();
        for number in 0..steps {
            step(disk.dir(), number);
            returned.push(recorder.mark());
        }
        drop(disk);
        Self { log: recorder.finish(), begin, returned }
    }

    /// Cuts the power at every moment of it, and shows what is found together with the number
    /// of steps that had returned.
    fn cut(&self, place: &Path, mut check: impl FnMut(&Path, usize) -> Result<(), String>) -> Report {
        for_each_cut(place, &self.log, self.begin..=self.log.end(), SUBSETS, |dir, cut| {
            check(dir, self.returned.iter().filter(|position| **position <= cut.at).count())
        })
    }
}

/// The tests' last words, past the test harness, which keeps those of a test that passes.
fn say(what: &str, report: &Report) {
    _ = writeln!(io::stderr(), "{what}: {report}");
}

const VERSIONS: usize = 4;

/// A version of a file of several blocks.
fn version(number: usize) -> Vec<u8> {
    vec![b'0' + number as u8; 3 * replay::BLOCK + 100]
}

/// Writes a version beside the file.
fn write_aside(dir: &Path, number: usize) -> io::Result<File> {
    let mut new = File::create(dir.join("new"))?;
    new.write_all(&version(number))?;
    Ok(new)
}

fn rename(dir: &Path) -> io::Result<()> {
    fs::rename(dir.join("new"), dir.join("file"))
}

/// As it should be done.
fn replace(dir: &Path, number: usize) -> io::Result<()> {
    write_aside(dir, number)?.sync_all()?;
    rename(dir)?;
    sync_dir(dir)
}

/// The file must be whole, and no older than the last version that was said to be there.
fn is_whole(dir: &Path, returned: usize) -> Result<(), String> {
    let found = match fs::read(dir.join("file")) {
        Err(_) if returned == 0 => return Ok(()),
        found => found.map_err(|why| why.to_string())?,
    };
    match (0..VERSIONS).find(|number| found == version(*number)) {
        None => Err(format!("a file of {} bytes that nobody wrote", found.len())),
        Some(number) if number + 1 < returned => Err(format!("version {number}, and {returned} were written")),
        Some(_) => Ok(()),
    }
}

/// A file is replaced again and again.
fn replaced(place: &Path, commits: Commits, replace: impl Fn(&Path, usize) -> io::Result<()>) -> Story {
    Story::record(place, commits, VERSIONS, |dir, number| replace(dir, number).unwrap())
}

/// The findings if it is done in some way.
fn found(commits: Commits, replace: impl Fn(&Path, usize) -> io::Result<()> + Send) -> Report {
    mounts::in_private(|place| replaced(place, commits, replace).cut(place, is_whole))
}

#[test]
fn a_file_synced_and_renamed_in_a_synced_directory_survives() {
    let report = found(Commits::WhenTold, replace);
    say("replaced", &report);
    assert!(report.cuts > 50 && report.violations.is_empty(), "{report}");
}

/// And what must be found is: here the name is durable before the data are.
#[test]
fn a_file_renamed_without_a_sync_is_found_empty() {
    let report = found(Commits::WhenTold, |dir, number| {
        write_aside(dir, number)?;
        rename(dir)?;
        sync_dir(dir)
    });
    assert!(report.violations.iter().any(|found| found.ends_with("a file of 0 bytes that nobody wrote")), "{report}");
}

/// Nothing is torn, but the new version is not there when it is said to be.
#[test]
fn a_file_in_a_directory_without_a_sync_is_found_old() {
    let report = found(Commits::WhenTold, |dir, number| {
        write_aside(dir, number)?.sync_all()?;
        rename(dir)
    });
    assert!(report.violations.iter().any(|found| found.ends_with("were written")), "{report}");
    assert!(!report.violations.iter().any(|found| found.contains("nobody wrote")), "{report}");
}

/// A moment without any file, which is on the disk only if it is committed.
#[test]
fn a_file_removed_before_it_is_replaced_is_found_missing() {
    let report = found(Commits::EachStep, |dir, number| {
        write_aside(dir, number)?.sync_all()?;
        if number > 0 {
            fs::remove_file(dir.join("file"))?;
        }
        rename(dir)?;
        sync_dir(dir)
    });
    assert!(report.violations.iter().any(|found| found.contains("No such file")), "{report}");
}

/// All is done right, but to a disk that does not flush: this is found in its cache alone.
#[test]
fn a_disk_that_does_not_flush_loses_what_was_synced() {
    let report = mounts::in_private(|place| {
        let mut story = replaced(place, Commits::WhenTold, replace);
        story.log = story.log.without_barriers_from(story.begin);
        story.cut(place, is_whole)
    });
    assert!(!report.violations.is_empty(), "{report}");
    assert!(report.violations.iter().all(|found| found.contains("subset")), "{report}");
}
