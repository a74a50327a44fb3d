//! Crashes of the kernel, by what is left of them: pstore keeps the end of the kernel's log over a reset, and
//! systemd-pstore.service puts it on the disk at the next boot, in directories that are called after the second. Reads
//! only.

use crate::clean;
use crate::decide::facts::Crash;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file with the end of the kernel's log, where it was put together.
const LOG: &str = "dmesg.txt";
/// The words with which the kernel says why it ends.
const MARKS: [&str; 5] = ["BUG: ", "Oops: ", "general protection fault", "kernel BUG at", "Kernel panic - not syncing"];
/// The most seconds between two parts of one record: the firmware takes its time for each.
const PARTS: u64 = 120;
/// The most of a file that is read, in bytes: pstore keeps a few dozen KiB.
const MOST: u64 = 1 << 20;
/// The most characters of the kernel's words that are told.
const MOST_WORDS: usize = 160;

/// Find the crashes that are on record in a directory.
pub(super) fn on_record(dir: &Path) -> Option<Crash> {
    let mut crashes: Vec<(u64, Vec<PathBuf>)> = Vec::new();
    for record in below(dir) {
        let at = second(&record);
        match crashes.last_mut().filter(|(last, _)| at.saturating_sub(*last) <= PARTS) {
            Some((last, parts)) => {
                *last = at;
                parts.push(record);
            }
            None => crashes.push((at, vec![record])),
        }
    }
    let (_, last) = crashes.last()?;
    let words = last.iter().flat_map(|record| files(record)).find_map(|file| words(&file));
    let records = last.iter().map(|record| clean::line(&record.to_string_lossy()).into_owned()).collect();
    Some(Crash { count: crashes.len(), records, words })
}

/// List a directory by name: for what systemd-pstore makes, that is by time.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// The second that a record is called after; 0 if it is not.
fn second(record: &Path) -> u64 {
    record.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

/// The files of a record: those that were put together first.
fn files(record: &Path) -> Vec<PathBuf> {
    let within = below(record).into_iter().flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] });
    let mut all: Vec<_> = within.chain([record.to_owned()]).filter(|path| path.is_file()).collect();
    all.sort_by_key(|file| !file.ends_with(LOG));
    all
}

fn words(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(file).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let marked = |line: &str| MARKS.iter().find_map(|mark| line.find(mark));
    let line = text.lines().find_map(|line| marked(line).and_then(|at| line.get(at..)))?;
    Some(clean::line(line).chars().take(MOST_WORDS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_crash_is_told_in_the_kernels_words() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((on_record(dir.path()), on_record(&dir.path().join("none"))), (None, None));
        let leave = |file: &str, text: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        leave("1764500001/dmesg.txt", "<6>[    1.0] usb 1-1: new\n<0>[    9.1] Kernel panic - not syncing: old\n");
        leave("1764500601/001/dmesg.txt", "<1>[   12.5] BUG: kernel NULL pointer dereference, address: 0\n");
        // The firmware needed some seconds for the rest of it.
        leave("1764500604/001/dmesg-efi_pstore-176450060402001", "Panic#1 Part2\n<6>[   12.4] usb 1-1: new\n");
        let crash = on_record(dir.path()).unwrap();
        let names: Vec<_> = crash.records.iter().map(|record| record.rsplit('/').next().unwrap()).collect();
        assert_eq!((crash.count, names), (2, vec!["1764500601", "1764500604"]));
        assert_eq!(crash.words.as_deref(), Some("BUG: kernel NULL pointer dereference, address: 0"));
        leave(
            "1764600000/dmesg-efi_pstore-176460000001001",
            "Panic#1 Part1\n<0>[ 9.1] Kernel panic - not syncing: x\n",
        );
        let crash = on_record(dir.path()).unwrap();
        assert_eq!(
            (crash.count, crash.words.as_deref()),
            (3, Some("Kernel panic - not syncing: x")),
            "not put together"
        );
        leave("1764700000/console.txt", "nothing");
        assert_eq!(on_record(dir.path()).unwrap().words, None);
    }
}
