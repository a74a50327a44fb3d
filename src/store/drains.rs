//! Drains of volumes, in the machine's memory: they survive a restart of the supervisor and a reboot. Only the file.

use crate::files::{make_dir, replace};
use crate::names::VolumeName;
use crate::store::mark::{MEMORY_MODE, memory};
use crate::wire::Drain;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The volumes that are being drained.
pub type Drains = BTreeMap<VolumeName, Drain>;

const FILE: &str = "drains.json";

/// Read the drains; none if nobody ever asked for one.
///
/// # Errors
/// Why the file cannot be read.
pub fn read() -> io::Result<Drains> {
    read_in(&memory())
}

fn read_in(dir: &Path) -> io::Result<Drains> {
    match fs::read(dir.join(FILE)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Drains::new()),
        text => Ok(serde_json::from_slice(&text?)?),
    }
}

/// Write the drains durably.
///
/// # Errors
/// The file cannot be written; then it is as it was.
pub fn write(drains: &Drains) -> io::Result<()> {
    write_in(&memory(), drains)
}

fn write_in(dir: &Path, drains: &Drains) -> io::Result<()> {
    make_dir(dir, MEMORY_MODE)?;
    replace(dir, FILE, &serde_json::to_vec_pretty(drains)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn it_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), Drains::new());
        let drain = Drain { id: 7, since: Timestamp::UNIX_EPOCH, reason: Some("a new disk".into()), said: None };
        let wanted = Drains::from([("still-fawn".parse().unwrap(), drain)]);
        write_in(dir.path(), &wanted).unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), wanted);
        write_in(dir.path(), &Drains::new()).unwrap();
        assert_eq!(read_in(dir.path()).unwrap(), Drains::new());
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(read_in(dir.path()).is_err());
    }
}
