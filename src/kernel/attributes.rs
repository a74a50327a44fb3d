//! Attributes: the small files by which sysfs and procfs tell of things. Reads only; of a file that is not there or has
//! something else in it, nothing is known.

use crate::clean;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// The most that is read of one, in bytes: the kernel gives no more than a page of most.
const LIMIT_BYTES: u64 = 16 * 1024;
/// The length of most, in bytes: what has room for it is read at once.
const USUAL_BYTES: usize = 1024;

/// Read the text of an attribute as it stands there; `None` if it cannot be read.
pub fn raw(file: &Path) -> Option<String> {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    File::open(file).ok()?.take(LIMIT_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Read an attribute of one line, without the blanks around it; `None` if it says nothing.
pub fn text(file: &Path) -> Option<String> {
    let text = raw(file)?;
    let line = text.lines().next().unwrap_or_default().trim();
    (!line.is_empty()).then(|| clean::line(line).into_owned())
}

/// Read a number; `None` if it is none.
pub fn number<T: FromStr>(file: &Path) -> Option<T> {
    text(file)?.parse().ok()
}

/// Read the number after a word that begins a line, as files of several lines have it.
pub fn value(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix([' ', ':']))?;
    line.split_whitespace().next()?.parse().ok()
}

/// List the names in a directory, in their order; none if it cannot be read.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Whether a network interface hangs on the USB, by its place among the devices.
pub fn is_on_usb(sysfs: &Path, interface: &str) -> bool {
    let device = std::fs::canonicalize(sysfs.join("class/net").join(interface).join("device"));
    device.is_ok_and(|device| device.to_string_lossy().contains("/usb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_says_what_is_in_it_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("number"), " 42\n").unwrap();
        fs::write(at("word"), "r8152\x1b[2J\nmore\n").unwrap();
        fs::write(at("empty"), "\n").unwrap();
        assert_eq!((number::<u32>(&at("number")), number::<u8>(&at("word"))), (Some(42), None));
        assert_eq!(text(&at("word")).as_deref(), Some("r8152\\u{1b}[2J"));
        assert_eq!((text(&at("empty")), text(&at("none"))), (None, None));
        assert_eq!(names(dir.path()), ["empty", "number", "word"]);
        assert_eq!(names(&at("none")), [""; 0]);
        let several = "oom 3\noom_kill 7\nMemTotal:  12 kB\n";
        assert_eq!(
            (value(several, "oom_kill"), value(several, "MemTotal"), value(several, "kill")),
            (Some(7), Some(12), None)
        );
    }
}
