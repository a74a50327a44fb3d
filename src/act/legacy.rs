//! Legacy unit of a region, which served it before it was adopted: somebody wrote it by hand, and it is found by the
//! directory in its command line. Looked at, and switched off and on.

use crate::names::RegionName;
use crate::region::OldUnit;
use crate::systemd::job::{self, spoken};
use crate::systemd::names;
use crate::systemd::proxy::{ManagerProxy, properties};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use zbus::{Connection, OwnedVariant};

/// An entry of `ExecStart`: program, arguments, whether failure is ignored, four times, and the
/// process it ran as.
type Exec = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// A unit that serves a region's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The unit.
    pub unit: OldUnit,
    /// The unit's main process.
    pub pid: Option<u32>,
    /// The data port that its command line names.
    pub port: Option<u16>,
}

/// Find the unit that serves a directory.
///
/// # Errors
/// The answer of systemd, or that there are several.
pub async fn find(bus: &Connection, name: &RegionName, dir: &Path) -> Result<Option<Served>, String> {
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    let patterns = ["crucible*.service", "*downstairs*.service"];
    let files = manager.list_unit_files_by_patterns(&[], &patterns).await.map_err(spoken)?;
    let loaded = manager.list_units_by_patterns(&[], &patterns).await.map_err(spoken)?;
    let files = files.into_iter().filter_map(|(path, _)| Some(Path::new(&path).file_name()?.to_str()?.to_owned()));
    let units: BTreeSet<_> = files.chain(loaded.into_iter().map(|unit| unit.0)).collect();
    let mut found = Vec::new();
    for unit in units {
        // A template runs nothing itself, and the supervisor's own units are no old ones.
        if !unit.contains("@.") && unit != names::unit(name) && unit != names::create_unit(name) {
            found.extend(serves(bus, &manager, &unit, dir).await?);
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => {
            let names = found.iter().map(|served| served.unit.name.as_str()).collect::<Vec<_>>().join(" and ");
            Err(format!("{names} all run on {}: disable all but one", dir.display()))
        }
    }
}

/// The unit, if it runs a downstairs on this directory.
async fn serves(
    bus: &Connection,
    manager: &ManagerProxy<'_>,
    unit: &str,
    dir: &Path,
) -> Result<Option<Served>, String> {
    let object = manager.load_unit(unit).await.map_err(spoken)?;
    // A unit file that systemd cannot load has no such interface.
    let Ok(service) = properties(bus, &object, "org.freedesktop.systemd1.Service").await else { return Ok(None) };
    let about = properties(bus, &object, "org.freedesktop.systemd1.Unit").await.map_err(spoken)?;
    let exec: Vec<Exec> = service.get("ExecStart").and_then(|v| Vec::try_from(v.clone()).ok()).unwrap_or_default();
    let Some(words) = exec.into_iter().map(|exec| exec.1).find(|words| {
        let data = option(words, "-d", "--data");
        data.is_some_and(|data| same(Path::new(data), dir)) && words.iter().any(|word| word == "run")
    }) else {
        return Ok(None);
    };
    let text = |key: &str| text(&about, key);
    let unit = OldUnit {
        name: unit.to_owned(),
        enabled: matches!(text("UnitFileState").as_str(), "enabled" | "enabled-runtime"),
        active: !matches!(text("ActiveState").as_str(), "inactive" | "failed"),
    };
    let pid = service.get("MainPID").and_then(|value| value.downcast_ref::<u32>().ok()).filter(|pid| *pid != 0);
    Ok(Some(Served { unit, pid, port: option(&words, "-p", "--port").and_then(|port| port.parse().ok()) }))
}

/// Whether two paths lead to one directory.
fn same(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

fn text(map: &HashMap<String, OwnedVariant>, key: &str) -> String {
    map.get(key).and_then(|value| value.downcast_ref::<&str>().ok()).unwrap_or_default().to_owned()
}

/// The value of an option on a command line: `-d X`, `-dX`, `--data X` or `--data=X`.
fn option<'a>(words: &'a [String], short: &str, long: &str) -> Option<&'a str> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == short || word == long {
            return rest.next().map(String::as_str);
        }
        let joined = word.strip_prefix(long).and_then(|value| value.strip_prefix('='));
        let joined = joined.or_else(|| word.strip_prefix(short).filter(|value| !value.is_empty()));
        if joined.is_some() {
            return joined;
        }
    }
    None
}

/// Stop a unit, and take it out of the boot.
///
/// # Errors
/// The answer of systemd.
pub async fn switch_off(bus: &Connection, unit: &OldUnit) -> Result<(), String> {
    job::stop(bus, &unit.name).await?;
    if unit.enabled {
        let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
        manager.disable_unit_files(&[&unit.name], false).await.map_err(spoken)?;
        manager.reload().await.map_err(spoken)?;
    }
    Ok(())
}

/// Put a unit back into the boot, and start it, if it was so before.
///
/// # Errors
/// The answer of systemd.
pub async fn switch_on(bus: &Connection, unit: &OldUnit) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    let files = manager.list_unit_files_by_patterns(&[], &[&unit.name]).await.map_err(spoken)?;
    if files.is_empty() {
        // The unit was removed since: there is nothing to switch on any more.
        tracing::warn!("{} is gone, and is not started again", unit.name);
        return Ok(());
    }
    if unit.enabled {
        manager.enable_unit_files(&[&unit.name], false, false).await.map_err(spoken)?;
        manager.reload().await.map_err(spoken)?;
    }
    if unit.active { job::start(bus, &unit.name).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_every_form() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in ["x run -p 3830 -d /c/a", "x run --port=3830 --data=/c/a", "x run -p3830 --data /c/a"] {
            let words = words(line);
            assert_eq!(option(&words, "-d", "--data"), Some("/c/a"), "{line}");
            assert_eq!(option(&words, "-p", "--port"), Some("3830"), "{line}");
        }
        assert_eq!(option(&words("x run -d"), "-d", "--data"), None);
    }
}
