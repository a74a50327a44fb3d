//! Since when things are as they are, for the next supervisor of this boot: in /run, as what was so before the
//! machine was booted says nothing of now. Only the file.

use crate::check::Code;
use crate::files::replace;
use crate::names::RegionName;
use crate::wire::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The directory of the supervisor's socket, too.
const DIR: &str = "/run/sled";
const FILE: &str = "since.json";

/// The times that one supervisor tells the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// The conditions that held, what each was about, and since when.
    pub conditions: Vec<(Code, String, Timestamp)>,
    /// The state of each region, and since when.
    pub states: BTreeMap<RegionName, (State, Timestamp)>,
    /// The time at which a region was last stopped by somebody else, and which run of its unit.
    #[serde(default)]
    pub stopped: BTreeMap<RegionName, (Timestamp, Option<String>)>,
}

/// Read the times. A file that cannot be read is told, and taken for nothing.
pub fn read() -> Since {
    read_in(Path::new(DIR))
}

fn read_in(dir: &Path) -> Since {
    let known = match fs::read(dir.join(FILE)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Since::default(),
        Err(why) => Err(why.to_string()),
        Ok(text) => parse(&text).map_err(|why| why.to_string()),
    };
    known.unwrap_or_else(|why| {
        tracing::warn!("{} cannot be read: {why}; since when things are so counts from now", dir.join(FILE).display());
        Since::default()
    })
}

/// The file, as far as every version of the supervisor can read it.
#[derive(Deserialize)]
struct Text {
    conditions: Vec<serde_json::Value>,
    states: BTreeMap<RegionName, serde_json::Value>,
    #[serde(default)]
    stopped: BTreeMap<RegionName, (Timestamp, Option<String>)>,
}

/// Read each by itself: a condition or a state that only another version of the supervisor knows is left out.
fn parse(text: &[u8]) -> serde_json::Result<Since> {
    let Text { conditions, states, stopped } = serde_json::from_slice(text)?;
    let conditions = conditions.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect();
    let states = states.into_iter().filter_map(|(name, one)| Some((name, serde_json::from_value(one).ok()?))).collect();
    Ok(Since { conditions, states, stopped })
}

/// Write the times.
///
/// # Errors
/// The file cannot be written; then it is as it was.
pub fn write(known: &Since) -> io::Result<()> {
    replace(Path::new(DIR), FILE, &serde_json::to_vec(known)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_it_was_written_and_garbage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_in(dir.path()), Since::default());
        let (name, at): (RegionName, _) = ("still-fawn-0".parse().unwrap(), Timestamp::from_second(7).unwrap());
        let known = Since {
            conditions: vec![(Code::DiskLow, "disk /crucible".into(), at)],
            states: [(name.clone(), (State::Serving, at))].into(),
            stopped: [(name, (at, Some("run".into())))].into(),
        };
        replace(dir.path(), FILE, &serde_json::to_vec(&known).unwrap()).unwrap();
        assert_eq!(read_in(dir.path()), known);
        // A newer version was here, and knew more of everything.
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        let newer = text.replace("[[\"DISK_LOW\"", "[[\"DISK_ODD\",\"disk\",\"1970-01-01T00:00:07Z\"],[\"DISK_LOW\"");
        fs::write(dir.path().join(FILE), newer.replacen('{', "{\"newer\":1,", 1)).unwrap();
        assert_eq!(read_in(dir.path()), known);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read_in(dir.path()), Since::default());
    }
}
