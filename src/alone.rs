//! Tests that look at their own process, and are run in one that nobody shares with them: beside others,
//! every socket, thread and child of these is theirs as well.

use std::process::Command;

/// Set in such a process.
const ALONE: &str = "SLED_TEST_ALONE";

/// Whether this is a process of the test's own. If it is not, the test is run in one, and is to do nothing
/// more here.
///
/// # Panics
/// The test fails there, or there is none of that name.
pub fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let done = Command::new(own).args(["--exact", test, "--test-threads=1"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    false
}
