//! Trash of deleted regions, removed for good: slowly, at idle priority, in a unit of systemd's that outlives the
//! supervisor and can write nowhere else.

use crate::config::Configuration;
use crate::region::Tombstone;
use crate::store::layout::TRASH;
use crate::systemd::{job, names};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zbus::{Connection, Variant};

/// The bytes of a file that are given back in one step: a file system holds its journal for as long as a step takes.
const STEP_BYTES: u64 = 64 << 20;
/// The pause between two steps, in which others have their turn.
const STEP_PAUSE: Duration = Duration::from_millis(5);
/// The time that a removal may take, in microseconds: a day.
const REMOVAL_LIMIT_MICROSECONDS: u64 = 86_400_000_000;
/// The idle class of I/O (ioprio_set(2)) and of the processor (sched(7)).
const IO_IDLE: i32 = 3;
const CPU_IDLE: i32 = 5;

/// Remove a deleted region's directory from the trash; its tombstone says already that it is being removed.
///
/// # Errors
/// Why something of it is left; asking again goes on where this ended.
pub async fn remove(bus: &Connection, config: &Configuration, stone: &Tombstone) -> Result<(), String> {
    let dir = config.sled.storage.root.join(TRASH).join(stone.dir());
    if !dir.exists() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|why| why.to_string())?;
    let unit = names::remove_unit(&stone.dir());
    // A removal of an earlier supervisor may be at it still: it is not waited for, but begun again.
    job::stop(bus, &unit).await?;
    job::run_transient(bus, &unit, &sandbox(&program, &dir)).await
}

fn sandbox(program: &Path, dir: &Path) -> Vec<(&'static str, Variant<'static>)> {
    // An upgrade may have replaced the program that this is.
    let program = program.display().to_string().trim_end_matches(" (deleted)").to_owned();
    let dir = dir.display().to_string();
    let exec = vec![(program.clone(), vec![program, "--empty".into(), dir.clone()], false)];
    // CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER: the files are the service user's.
    let capabilities = 1u64 << 1 | 1 << 2 | 1 << 3;
    vec![
        ("Description", format!("Remove what was deleted: {dir}").into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", exec.into()),
        ("TimeoutStartUSec", REMOVAL_LIMIT_MICROSECONDS.into()),
        ("IOSchedulingClass", IO_IDLE.into()),
        ("CPUSchedulingPolicy", CPU_IDLE.into()),
        ("ProtectSystem", "strict".into()),
        ("ReadWritePaths", vec![dir].into()),
        ("ProtectHome", "yes".into()),
        ("PrivateTmp", true.into()),
        ("PrivateDevices", true.into()),
        ("PrivateNetwork", true.into()),
        ("NoNewPrivileges", true.into()),
        ("CapabilityBoundingSet", capabilities.into()),
        ("RestrictNamespaces", 0u64.into()),
        ("MemoryDenyWriteExecute", true.into()),
        ("SystemCallFilter", (true, ["@system-service"].as_slice()).into()),
        ("SystemCallErrorNumber", 1i32.into()),
    ]
}

/// Empty a directory, and leave it: `sledd --empty DIR`. Files are cut off piece by piece before they are unlinked,
/// and no link is followed.
///
/// # Errors
/// The first thing that could not be removed.
pub fn empty(dir: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(dir)?.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        match entry.file_type()? {
            kind if kind.is_dir() => {
                empty(&path)?;
                fs::remove_dir(&path)?;
            }
            kind if kind.is_file() => cut_off(&path)?,
            _ => fs::remove_file(&path)?,
        }
    }
    Ok(())
}

fn cut_off(path: &PathBuf) -> io::Result<()> {
    let file = File::options().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    let mut length = file.metadata()?.len();
    while length > STEP_BYTES {
        length -= STEP_BYTES;
        file.set_len(length)?;
        std::thread::sleep(STEP_PAUSE);
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_removal_runs_at_idle_priority_and_writes_in_its_directory_alone() {
        let dir = Path::new("/crucible/.trash/still-fawn-0.17");
        let properties = sandbox(Path::new("/usr/bin/sledd (deleted)"), dir);
        let has = |key: &str, value: Variant<'static>| properties.contains(&(key, value));
        assert!(has("IOSchedulingClass", IO_IDLE.into()) && has("CPUSchedulingPolicy", CPU_IDLE.into()));
        assert!(has("ProtectSystem", "strict".into()));
        assert!(has("ReadWritePaths", vec![dir.display().to_string()].into()));
        let exec = vec!["/usr/bin/sledd".to_owned(), "--empty".into(), dir.display().to_string()];
        assert!(has("ExecStart", vec![(exec[0].clone(), exec, false)].into()));
    }

    #[test]
    fn everything_below_goes_and_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, beside) = (dir.path().join("inside"), dir.path().join("beside"));
        fs::create_dir_all(inside.join("00/000")).unwrap();
        fs::write(&beside, "kept").unwrap();
        symlink(&beside, inside.join("link")).unwrap();
        symlink(dir.path(), inside.join("00/up")).unwrap();
        File::create(inside.join("00/000/000")).unwrap().set_len(3 * STEP_BYTES + 1).unwrap();
        symlink(&inside, dir.path().join("link")).unwrap();
        assert!(empty(&dir.path().join("link")).is_err());
        empty(&inside).unwrap();
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(&beside).unwrap(), "kept");
    }
}
