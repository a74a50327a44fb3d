//! Places of things: the repository, what cargo has built of it, and Crucible's programs.

use std::path::{Path, PathBuf};

/// A path of the repository.
///
/// # Panics
/// This crate does not lie in it.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join(path)
}

/// Where cargo has put the programs, beside the tests that run.
///
/// # Panics
/// They are not there: this is no test of cargo's.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let programs = test.ancestors().nth(2).unwrap();
    assert!(programs.join("sledd").exists(), "there is no sledd in {}", programs.display());
    programs.to_owned()
}

/// The directory of the stand-ins for Crucible's programs.
pub fn stand_ins() -> PathBuf {
    programs().join("examples")
}

/// The directory of Crucible's programs: the real ones that `CRUCIBLE_BIN` names, or the stand-ins.
pub fn crucible() -> PathBuf {
    std::env::var_os("CRUCIBLE_BIN").map_or_else(stand_ins, PathBuf::from)
}

/// The directory of the real programs, if the server is among them.
pub fn real() -> Option<PathBuf> {
    let programs = std::env::var_os("CRUCIBLE_BIN").map(PathBuf::from);
    programs.filter(|programs| programs.join("crucible-nbd-server").exists())
}

/// The path of one of Crucible's programs, of those that serve a volume together: the real ones, or the stand-ins.
pub fn program(name: &str) -> PathBuf {
    real().unwrap_or_else(stand_ins).join(name)
}
