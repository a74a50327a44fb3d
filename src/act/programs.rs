//! Programs of downstairs that were staged, and the record of which region runs which, in the machine's memory; and a
//! program's version, as it says when it is asked.
//!
//! A program is asked as the service user, in a sandbox of systemd's, and never as root: whoever
//! brings it is trusted with the regions and with nothing else.

use crate::files::{make_dir, replace, set_mode, sync_dir};
use crate::programs::{Program, Programs, Staged};
use crate::store::mark::memory;
use crate::systemd::output::Output;
use crate::systemd::{job, sandbox};
use crate::times;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use zbus::{Connection, Variant};

const RECORD: &str = "programs.json";
/// The copy that the record is written anew from when it is damaged.
const COPY: &str = "programs.json.copy";
/// The name under which a damaged record is kept.
const DAMAGED: &str = "programs.json.damaged";
/// The directory of the staged programs, in the machine's memory; each in a directory of its own.
const STAGED: &str = "programs";
/// A staged program's name, by which people know its process.
const NAME: &str = "crucible-downstairs";
/// The time that a program may take to say its version, in microseconds.
const VERSION_LIMIT_MICROSECONDS: u64 = 20_000_000;

/// Read the record; an empty one if there is none.
///
/// # Errors
/// Why the record cannot be read.
pub fn load() -> io::Result<Programs> {
    load_from(&memory())
}

/// As [`load`], from a directory.
///
/// # Errors
/// As there.
pub fn load_from(dir: &Path) -> io::Result<Programs> {
    match read(&dir.join(RECORD)) {
        // The operator who takes it away wants every region to run the program of sled.toml.
        Ok(record) => Ok(record.unwrap_or_default()),
        Err(why) => read(&dir.join(COPY)).ok().flatten().ok_or(why),
    }
}

/// Read a file; `None` if it is not there.
fn read(file: &Path) -> io::Result<Option<Programs>> {
    match fs::read(file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(serde_json::from_slice(&text?)?)),
    }
}

/// Write the record, durably.
///
/// # Errors
/// The record cannot be written; then it is as it was.
pub fn save(programs: &Programs) -> io::Result<()> {
    save_in(&memory(), programs)
}

/// As [`save`], in a directory.
///
/// # Errors
/// As there.
pub fn save_in(dir: &Path, programs: &Programs) -> io::Result<()> {
    let _alone = alone(dir)?;
    let text = serde_json::to_vec_pretty(programs)?;
    replace(dir, RECORD, &text)?;
    // The record counts as it is written: the copy follows when it is next looked at, if not now.
    if let Err(why) = replace(dir, COPY, &text) {
        tracing::warn!("the copy of {RECORD} is not written: {why}");
    }
    Ok(())
}

/// See that the record and its copy are the same: a damaged one is written anew from the copy, and kept beside it for
/// whoever wants to know what was in it. It waits for the disk, and for whoever writes.
///
/// # Errors
/// The record or its copy cannot be written, or both are damaged.
pub fn mend() -> io::Result<()> {
    mend_in(&memory())
}

/// As [`mend`], in a directory.
///
/// # Errors
/// As there.
pub fn mend_in(dir: &Path) -> io::Result<()> {
    let _alone = match alone(dir) {
        // The machine never put anything on record there.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        alone => alone?,
    };
    match (read(&dir.join(RECORD)), read(&dir.join(COPY))) {
        (Ok(record), Ok(copy)) if record == copy => Ok(()),
        (Ok(Some(record)), _) => replace(dir, COPY, &serde_json::to_vec_pretty(&record)?),
        (Ok(None), _) => fs::remove_file(dir.join(COPY)),
        (Err(why), Ok(Some(copy))) => {
            tracing::error!("{RECORD} is damaged: {why}; it is written anew from its copy, and kept as {DAMAGED}");
            keep_damaged(dir)?;
            replace(dir, RECORD, &serde_json::to_vec_pretty(&copy)?)
        }
        (Err(why), _) => Err(why),
    }
}

/// Give the record another name beside its own. It is at no moment without that: where there is no record every
/// region runs the program of `sled.toml`.
fn keep_damaged(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(DAMAGED)) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    fs::hard_link(dir.join(RECORD), dir.join(DAMAGED))
}

/// Lock the record for a writer: two at once would write one file aside, and the later one what it had read before
/// the earlier wrote.
fn alone(dir: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    dir.lock()?;
    Ok(dir)
}

/// A program that was copied, and is not on record yet.
pub struct Copied {
    /// The program's digest.
    pub digest: String,
    /// The path of the copy.
    pub path: PathBuf,
}

/// Put a program into the machine's memory, durably. One that is there already stays.
///
/// # Errors
/// There is no room, for example.
pub fn copy(program: &[u8]) -> io::Result<Copied> {
    copy_to(&memory(), program)
}

fn copy_to(dir: &Path, program: &[u8]) -> io::Result<Copied> {
    let digest: String = Sha256::digest(program).iter().map(|byte| format!("{byte:02x}")).collect();
    let staged = dir.join(STAGED);
    let (place, aside) = (staged.join(&digest[..16]), staged.join(format!(".{}", &digest[..16])));
    let path = place.join(NAME);
    if !path.exists() {
        // The service user must reach it, and only root may change it.
        make_dir(&staged, 0o755)?;
        make_dir(&aside, 0o755)?;
        let mut copy = File::create(aside.join(NAME))?;
        copy.write_all(program)?;
        set_mode(&aside.join(NAME), 0o755)?;
        copy.sync_all()?;
        sync_dir(&aside)?;
        fs::rename(&aside, &place)?;
        sync_dir(&staged)?;
    }
    Ok(Copied { digest, path })
}

/// The record of a copy, with what it says of itself.
pub fn staged(copied: &Copied, program: Program, from: &Path) -> Staged {
    Staged { path: copied.path.clone(), program, staged: times::now(), from: from.to_owned() }
}

/// Remove every staged program that is not on record, half-made ones included. Running ones go on.
pub fn sweep(programs: &Programs) {
    sweep_in(&memory(), programs);
}

fn sweep_in(dir: &Path, programs: &Programs) {
    let known = |dir: &Path| programs.staged.values().any(|staged| staged.path.parent() == Some(dir));
    for entry in fs::read_dir(dir.join(STAGED)).into_iter().flatten().flatten() {
        let dir = entry.path();
        if !known(&dir)
            && let Err(why) = fs::remove_dir_all(&dir)
        {
            tracing::warn!("{} is not removed: {why}", dir.display());
        }
    }
}

/// The file that a process runs: device, inode, size and time of change. A program that was replaced under it is
/// another one.
///
/// # Errors
/// The process has ended.
pub fn running(pid: u32) -> io::Result<(u64, u64, u64, i64)> {
    let file = fs::metadata(exe(pid))?;
    Ok((file.dev(), file.ino(), file.size(), file.mtime_nsec() ^ file.mtime()))
}

/// The state of a program's file: another one, or one to which anything was done, is not in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    file: (u64, u64),
    changed: (i64, i64),
}

/// The state of a program's file now.
///
/// # Errors
/// The file is not there.
pub fn state(program: &Path) -> io::Result<State> {
    let file = fs::metadata(program)?;
    Ok(State { file: (file.dev(), file.ino()), changed: (file.ctime(), file.ctime_nsec()) })
}

/// Whether a process runs the program that lies there now.
pub fn is(pid: u32, program: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    file(program).is_some_and(|wanted| file(&exe(pid)) == Some(wanted))
}

/// The program that a process runs, even if its file has been replaced or removed since.
pub fn exe(pid: u32) -> PathBuf {
    format!("/proc/{pid}/exe").into()
}

/// Ask a program for its version, as the service user.
///
/// # Errors
/// The program does not run, or does not say.
pub async fn ask(bus: &Connection, user: &str, program: &Path) -> Result<Program, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unit = format!("crucible-version-{}-{}.service", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (said, complained) = (Output::new()?, Output::new()?);
    let properties = settings(user, program, &said, &complained);
    let ended = job::run_transient(bus, &unit, &properties).await;
    ended.map_err(|why| complained.text().filter(|text| !text.is_empty()).unwrap_or(why))?;
    Program::parse(&said.text().unwrap_or_default())
}

/// The sandbox of a program that is asked: it reads, and writes nowhere (systemd.exec(5)).
fn settings<'a>(
    user: &str,
    program: &Path,
    said: &'a Output,
    complained: &'a Output,
) -> Vec<(&'static str, Variant<'a>)> {
    let program = program.display().to_string();
    let exec = vec![(program.clone(), vec![program, "version".into()], false)];
    let own = vec![
        ("Description", "Ask a Crucible program for its version".into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", exec.into()),
        ("TimeoutStartUSec", VERSION_LIMIT_MICROSECONDS.into()),
        ("User", user.to_owned().into()),
        ("StandardOutputFileDescriptor", said.fd().into()),
        ("StandardErrorFileDescriptor", complained.fd().into()),
    ];
    own.into_iter().chain(sandbox::confined()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_copied_once_and_by_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let script = b"#!/bin/sh\n";
        let (first, second) = (copy_to(dir.path(), script).unwrap(), copy_to(dir.path(), script).unwrap());
        assert_eq!(first.path, second.path);
        assert_eq!(fs::metadata(&first.path).unwrap().mode() & 0o777, 0o755);
        let other = copy_to(dir.path(), b"other").unwrap();
        assert_ne!(other.path, first.path);
        let mut record = Programs::default();
        let program = Program { version: "1".into(), messages: 13 };
        record.staged.insert(first.digest.clone(), staged(&first, program, Path::new("/x")));
        sweep_in(dir.path(), &record);
        assert!(first.path.exists() && !other.path.exists());
        assert_eq!(load_from(dir.path()).unwrap(), Programs::default());
        fs::write(dir.path().join(RECORD), "{").unwrap();
        assert!(load_from(dir.path()).is_err() && mend_in(dir.path()).is_err());
    }

    #[test]
    fn a_damaged_record_is_written_anew_from_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (record, copy) = (dir.join(RECORD), dir.join(COPY));
        let known = Programs { current: Some("d".into()), ..Programs::default() };
        // As one that was written before there were copies.
        fs::write(&record, serde_json::to_vec(&known).unwrap()).unwrap();
        mend_in(dir).unwrap();
        for damage in ["", "{", "{\"current\": 7}"] {
            fs::write(&record, damage).unwrap();
            assert_eq!(load_from(dir).unwrap(), known);
            mend_in(dir).unwrap();
            assert_eq!(read(&record).unwrap(), Some(known.clone()));
            assert_eq!(fs::read_to_string(dir.join(DAMAGED)).unwrap(), damage);
        }
        fs::write(&copy, "{").unwrap();
        assert_eq!(load_from(dir).unwrap(), known);
        mend_in(dir).unwrap();
        let next = Programs { current: None, ..known.clone() };
        save_in(dir, &next).unwrap();
        assert_eq!((read(&record).unwrap(), read(&copy).unwrap()), (Some(next.clone()), Some(next)));
        // Taken away, it does not come back.
        fs::remove_file(&record).unwrap();
        mend_in(dir).unwrap();
        assert!(load_from(dir).unwrap() == Programs::default() && !copy.exists());
    }

    #[test]
    fn where_nothing_was_ever_put_on_record_there_is_nothing_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("sled");
        mend_in(&nowhere).unwrap();
        assert!(!nowhere.exists() && load_from(&nowhere).unwrap() == Programs::default());
        // A path that cannot be looked at is no such place.
        fs::write(&nowhere, "").unwrap();
        assert!(mend_in(&nowhere).is_err());
    }

    #[test]
    fn a_damaged_record_that_cannot_be_written_anew_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let known = Programs { current: Some("d".into()), ..Programs::default() };
        save_in(dir, &known).unwrap();
        fs::write(dir.join(RECORD), "{").unwrap();
        // As on a full disk: nothing can be written aside.
        let aside = dir.join(format!("{RECORD}.new"));
        fs::create_dir(&aside).unwrap();
        for _ in 0..2 {
            assert!(mend_in(dir).is_err());
            assert_eq!(load_from(dir).unwrap(), known);
        }
        fs::remove_dir(&aside).unwrap();
        mend_in(dir).unwrap();
        assert_eq!(read(&dir.join(RECORD)).unwrap(), Some(known));
        assert_eq!(fs::read_to_string(dir.join(DAMAGED)).unwrap(), "{");
    }

    #[test]
    fn whoever_mends_the_record_takes_nothing_back_that_is_saved_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let numbered = |number: u32| Programs { current: Some(number.to_string()), ..Programs::default() };
        save_in(dir, &numbered(0)).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mending = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    mend_in(dir).unwrap();
                }
            });
            for number in 1..300 {
                save_in(dir, &numbered(number)).unwrap();
                let copy = read(&dir.join(COPY)).unwrap();
                assert_eq!((load_from(dir).unwrap(), copy), (numbered(number), Some(numbered(number))));
            }
            over.store(true, Ordering::Relaxed);
            mending.join().unwrap();
        });
    }

    #[test]
    fn what_a_process_runs_is_told_from_what_replaced_it() {
        let me = std::process::id();
        let exe = fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(running(me).unwrap().1, exe.ino());
        assert!(is(me, &std::env::current_exe().unwrap()) && !is(me, Path::new("/bin/sh")));
    }
}
