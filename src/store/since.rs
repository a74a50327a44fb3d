//! Since when things are as they are, for the next supervisor, in the machine's memory; and in which boot of the
//! machine that was told, as not everything that was so before says anything of now. Only the file.

use crate::check::Code;
use crate::files::replace;
use crate::names::RegionName;
use crate::store::mark::memory;
use crate::wire::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The directory in which an older supervisor told it, which was lost at each boot.
const OLD_DIR: &str = "/run/sled";
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
    /// The boot of the machine; absent where an older supervisor told it, which is that of now.
    #[serde(default)]
    pub boot: Option<String>,
    /// The version of the supervisor that told it.
    #[serde(default)]
    pub version: Option<String>,
}

impl Since {
    /// What it says in this boot: what ended with an earlier one is left out.
    #[must_use]
    pub fn in_boot(mut self, boot: &str) -> Self {
        if self.boot.as_ref().is_some_and(|told| told != boot) {
            self.conditions.retain(|(code, ..)| !code.passes());
            self.states.retain(|_, (state, _)| outlives_boot(*state));
            self.stopped.clear();
        }
        Self { boot: Some(boot.to_owned()), ..self }
    }
}

/// Tell whether a region may be in this state from before the machine was booted: one that no process makes it be in.
pub fn outlives_boot(state: State) -> bool {
    matches!(state, State::Missing | State::Held | State::Failed)
}

/// Read the times. A file that cannot be read is told, and taken for nothing.
pub fn read() -> Since {
    let (new, old) = (memory(), Path::new(OLD_DIR));
    if !new.join(FILE).exists() && old.join(FILE).exists() { read_in(old) } else { read_in(&new) }
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
    #[serde(default)]
    boot: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// Read each by itself: a condition or a state that only another version of the supervisor knows is left out.
fn parse(text: &[u8]) -> serde_json::Result<Since> {
    let Text { conditions, states, stopped, boot, version } = serde_json::from_slice(text)?;
    let conditions = conditions.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect();
    let states = states.into_iter().filter_map(|(name, one)| Some((name, serde_json::from_value(one).ok()?))).collect();
    Ok(Since { conditions, states, stopped, boot, version })
}

/// Write the times.
///
/// # Errors
/// The file cannot be written; then it is as it was.
pub fn write(known: &Since) -> io::Result<()> {
    replace(&memory(), FILE, &serde_json::to_vec(known)?)
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
            boot: Some("a".into()),
            version: Some("1".into()),
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

    #[test]
    fn what_a_boot_ended_is_not_so_in_the_next() {
        let (names, at): (Vec<RegionName>, _) =
            (["a-0", "a-1"].map(|name| name.parse().unwrap()).into(), Timestamp::from_second(7).unwrap());
        let states = [(names[0].clone(), (State::Serving, at)), (names[1].clone(), (State::Held, at))].into();
        let conditions = vec![(Code::DiskLow, "disk".into(), at), (Code::RegionStarting, "region a-0".into(), at)];
        let stopped = [(names[0].clone(), (at, None))].into();
        let known = Since { conditions, states, stopped, boot: Some("a".into()), version: None };
        assert_eq!(known.clone().in_boot("a"), known);
        let next = known.clone().in_boot("b");
        assert_eq!((next.conditions.len(), next.states.len(), next.stopped.len()), (1, 1, 0));
        assert_eq!((next.boot.as_deref(), next.states[&names[1]].0), (Some("b"), State::Held));
        // An older supervisor did not say it, as its file did not outlive the boot.
        assert_eq!(Since { boot: None, ..known.clone() }.in_boot("b").states, known.states);
    }
}
