//! Crashes of the kernel, by what is left of them: pstore keeps the end of the kernel's log over a reset, and
//! systemd-pstore.service puts it on the disk at the next boot, in a directory for each crash. Reads only.

use crate::clean;
use crate::decide::facts::Crash;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file with the end of the kernel's log, in such a directory or one below it.
const LOG: &str = "dmesg.txt";
/// The words with which the kernel says why it ends.
const MARKS: [&str; 5] = ["BUG: ", "Oops: ", "general protection fault", "kernel BUG at", "Kernel panic - not syncing"];
/// The most of a log that is read, in bytes: pstore keeps a few dozen KiB.
const MOST: u64 = 1 << 20;
/// The most characters of its words that are told.
const MOST_WORDS: usize = 160;

/// Find the crashes that are on record in a directory.
pub(super) fn on_record(dir: &Path) -> Option<Crash> {
    let records = below(dir);
    let last = records.last()?;
    Some(Crash { count: records.len(), record: last.display().to_string(), words: words(last) })
}

/// What lies in a directory, by its name: that is made of the time.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

fn words(record: &Path) -> Option<String> {
    let within = below(record).into_iter().filter(|path| path.is_dir());
    let logs = [record.to_owned()].into_iter().chain(within).map(|dir| dir.join(LOG));
    logs.filter(|log| log.is_file()).find_map(|log| {
        let mut bytes = Vec::new();
        fs::File::open(log).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text
            .lines()
            .find_map(|line| MARKS.iter().find_map(|mark| line.find(mark)).and_then(|at| line.get(at..)))?;
        Some(clean::line(line).chars().take(MOST_WORDS).collect())
    })
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
        leave(
            "1764500009/001/dmesg.txt",
            "<1>[   12.5] BUG: kernel NULL pointer dereference, address: 0\n<0>[   12.6] Kernel panic - not syncing: x\n",
        );
        let crash = on_record(dir.path()).unwrap();
        assert!(crash.count == 2 && crash.record.ends_with("/1764500009"), "{crash:?}");
        assert_eq!(crash.words.as_deref(), Some("BUG: kernel NULL pointer dereference, address: 0"));
        leave("1764500010/console.txt", "nothing");
        assert_eq!(on_record(dir.path()).unwrap().words, None);
    }
}
