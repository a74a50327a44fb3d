//! Configurations in force, and those before: the texts of the last ones in the machine's memory, durably and whole;
//! and which configuration a machine is to be run by. Once for all who ask: the supervisor at its start, the
//! generator of the units, and who reserves the ports.
//!
//! The files are what somebody wants, and are taken when the machine starts, if there is no fault in
//! them; else what was in force before is. From then on what the supervisor has put in force counts, and
//! not what has become of the files meanwhile.

use crate::config::{Configuration, History, Texts};
use crate::config_dir;
use crate::files::{make_dir, replace};
use crate::source::Fault;
use crate::store::mark::{MEMORY_MODE, memory};
use crate::times;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file in the machine's memory.
const FILE: &str = "configurations.json";
/// The file that tells which boot of the machine this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A configuration to run the machine by.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The configuration itself.
    pub config: Configuration,
    /// The texts of its files.
    pub texts: Texts,
    /// The faults of the files in the directory, if it is used in place of these.
    pub instead_of: Option<Vec<Fault>>,
}

/// Choose the configuration that a supervisor starts with: the files of the directory, or what was in force before.
///
/// # Errors
/// The faults of the files, if there is nothing good to serve with.
pub fn at_start(dir: &Path) -> Result<Choice, Vec<Fault>> {
    let texts = config_dir::texts(dir);
    match config_dir::read_texts(&texts, dir) {
        Ok(config) => Ok(Choice { config, texts, instead_of: None }),
        Err(faults) => kept(dir, |_| true, Some(faults.clone())).ok_or(faults),
    }
}

/// Choose the configuration that the machine is run by now: the one that a supervisor has put in force since the
/// machine was booted, or that one would start with.
///
/// # Errors
/// As [`at_start`].
pub fn now(dir: &Path) -> Result<Choice, Vec<Fault>> {
    let boot = boot();
    kept(dir, |history| !boot.is_empty() && history.boot == boot, None).map_or_else(|| at_start(dir), Ok)
}

/// The last that was in force, if it may be taken.
fn kept(dir: &Path, may: impl FnOnce(&History) -> bool, instead_of: Option<Vec<Fault>>) -> Option<Choice> {
    let history = load(dir).ok().filter(may)?;
    let texts = history.last()?.texts();
    let config = config_dir::read_kept(&texts, dir)?;
    Some(Choice { config, texts, instead_of })
}

/// Read the configurations that were in force of a directory; nothing if nothing ever was.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn load(dir: &Path) -> io::Result<History> {
    load_from(&memory(), dir)
}

fn load_from(memory: &Path, dir: &Path) -> io::Result<History> {
    let of_another = || History { dir: dir.to_owned(), ..History::default() };
    let mut history: History = match fs::read(memory.join(FILE)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(of_another()),
        text => serde_json::from_slice(&text?)?,
    };
    // A text that does not say what it was is not what was in force.
    history.kept.retain(|kept| kept.texts().digest() == kept.digest);
    Ok(if history.dir == dir { history } else { of_another() })
}

/// Put a configuration on record as the one that is in force, durably.
///
/// # Errors
/// The file cannot be written; then the record is as it was.
pub fn record(dir: &Path, texts: &Texts, port_map: &str, by: &str) -> io::Result<History> {
    record_in(&memory(), dir, texts, port_map, by)
}

fn record_in(memory: &Path, dir: &Path, texts: &Texts, port_map: &str, by: &str) -> io::Result<History> {
    let loaded = load_from(memory, dir);
    if let Err(why) = &loaded {
        // For somebody who looks for what was in it.
        tracing::error!("what was in force before cannot be read: {why}; it is put aside and begun anew");
        fs::rename(memory.join(FILE), memory.join(format!("{FILE}.damaged")))?;
    }
    let before = loaded.unwrap_or_else(|_| History { dir: dir.to_owned(), ..History::default() });
    let mut history = before.clone();
    history.enter(texts, port_map, by, times::now());
    history.boot = boot();
    if history != before {
        make_dir(memory, MEMORY_MODE)?;
        replace(memory, FILE, &serde_json::to_vec(&history)?)?;
    }
    Ok(history)
}

/// The boot of the machine that this is; empty if the kernel does not say.
fn boot() -> String {
    fs::read_to_string(PathBuf::from(BOOT)).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PORT_MAP, SLED};

    fn texts(map: &str) -> Texts {
        let sled = include_str!("../../etc/sled.toml");
        Texts([(SLED.to_owned(), Ok(sled.to_owned())), (PORT_MAP.to_owned(), Ok(map.to_owned()))].into())
    }

    #[test]
    fn what_is_in_force_is_kept_for_its_directory_and_its_boot() {
        let (memory, dir) = (tempfile::tempdir().unwrap(), Path::new("/etc/sled"));
        let map = include_str!("../../etc/port-map.toml");
        assert_eq!(load_from(memory.path(), dir).unwrap().kept, []);
        let history = record_in(memory.path(), dir, &texts(map), "sha256:m", "a test").unwrap();
        assert_eq!(load_from(memory.path(), dir).unwrap(), history);
        assert_eq!((history.kept.len(), history.boot.is_empty()), (1, false));
        assert_eq!(load_from(memory.path(), Path::new("/other")).unwrap().kept, []);
        let written = fs::metadata(memory.path().join(FILE)).unwrap();
        record_in(memory.path(), dir, &texts(map), "sha256:m", "a restart").unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(memory.path().join(FILE)).unwrap().ino(), written.ino(), "it was written again");
        let again = record_in(memory.path(), dir, &texts(&format!("{map}\n")), "sha256:m", "a test").unwrap();
        assert_eq!(again.kept.len(), 2);
    }

    #[test]
    fn what_is_damaged_is_not_what_was_in_force() {
        let (memory, dir) = (tempfile::tempdir().unwrap(), Path::new("/etc/sled"));
        let file = memory.path().join(FILE);
        record_in(memory.path(), dir, &texts("a"), "m", "a test").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"a\"", "\"b\"")).unwrap();
        assert_eq!(load_from(memory.path(), dir).unwrap().kept, []);
        fs::write(&file, "{").unwrap();
        assert!(load_from(memory.path(), dir).is_err());
        assert_eq!(record_in(memory.path(), dir, &texts("c"), "m", "a test").unwrap().kept.len(), 1);
        assert_eq!(fs::read_to_string(memory.path().join("configurations.json.damaged")).unwrap(), "{");
    }
}
