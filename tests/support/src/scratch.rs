//! Directories for disks, in /var/tmp. Each is gone with its value; what a test that was killed has left is removed by
//! the next one that makes such a directory.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The directory in which they lie.
const DISKS: &str = "/var/tmp";

/// A new one, whose name begins like this; the process that made it follows.
///
/// # Panics
/// It cannot be made.
pub fn new(prefix: &str) -> TempDir {
    sweep(prefix);
    TempDir::with_prefix_in(format!("{prefix}{}.", std::process::id()), DISKS).unwrap()
}

/// Removes those whose process is no more.
fn sweep(prefix: &str) {
    for entry in fs::read_dir(DISKS).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let owner = rest.split('.').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            _ = fs::remove_dir_all(entry.path());
        }
    }
}
