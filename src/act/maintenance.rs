//! The machine's memory that hosts are asked to wait: it survives a restart of the supervisor and
//! a reboot. Only the file; what it means is decided elsewhere.

use super::mark::{MEMORY_MODE, memory};
use crate::files::{make_dir, replace};
use crate::wire::Maintenance;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "maintenance.json";

/// Reads it; `None` if nobody asked for it.
///
/// # Errors
/// Why it cannot be read.
pub fn read() -> io::Result<Option<Maintenance>> {
    read_in(&memory())
}

fn read_in(dir: &Path) -> io::Result<Option<Maintenance>> {
    match fs::read(dir.join(FILE)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(serde_json::from_slice(&text?)?)),
    }
}

/// Writes it durably, or removes it.
///
/// # Errors
/// It cannot be written; then it is as it was.
pub fn write(maintenance: Option<&Maintenance>) -> io::Result<()> {
    write_in(&memory(), maintenance)
}

fn write_in(dir: &Path, maintenance: Option<&Maintenance>) -> io::Result<()> {
    match maintenance {
        Some(maintenance) => {
            make_dir(dir, MEMORY_MODE)?;
            replace(dir, FILE, &serde_json::to_vec_pretty(maintenance)?)
        }
        None => match fs::remove_file(dir.join(FILE)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| crate::files::sync_dir(dir)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn it_reads_back_as_it_was_written_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), None);
        let since = Timestamp::from_second(7).unwrap();
        let wanted = Maintenance { reason: Some("a new cable".into()), since, until: None };
        write_in(dir.path(), Some(&wanted)).unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), Some(wanted));
        write_in(dir.path(), None).unwrap();
        write_in(dir.path(), None).unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(read_in(dir.path()).is_err());
    }
}
