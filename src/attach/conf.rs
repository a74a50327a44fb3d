//! Configurations of the volumes that this host is to serve: one in `/etc/crucible-attach/VOLUME.conf` each, which
//! its service reads as its environment.

use crate::names::VolumeName;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The directory of the configurations.
pub(super) const PLACE: &str = "/etc/crucible-attach";
/// The variable that names sleds.
pub(super) const SLEDS: &str = "CRUCIBLE_SLEDS";
/// The variable with the other options of `serve`.
pub(super) const OPTIONS: &str = "CRUCIBLE_OPTIONS";

/// The configuration of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) volume: VolumeName,
    /// The sleds as they are written.
    pub(super) sleds: String,
    options: String,
}

impl Conf {
    /// Read the configuration of a volume; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn of(place: &Path, volume: &VolumeName) -> io::Result<Option<Self>> {
        match fs::read_to_string(place.join(format!("{volume}.conf"))) {
            Ok(text) => Ok(Some(Self::read(volume, &text))),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Whether the kernel's device is to be connected.
    pub(super) fn wants_device(&self) -> bool {
        self.options.split_whitespace().any(|word| word == "--device")
    }

    /// Take the configuration from its text.
    pub(super) fn read(volume: &VolumeName, text: &str) -> Self {
        let mut values = values(text);
        let mut value = |name: &str| values.remove(name).unwrap_or_default();
        Self { volume: volume.clone(), sleds: value(SLEDS), options: value(OPTIONS) }
    }
}

/// Read the values in a file of environment variables, as far as they matter here: the last of each name counts.
pub(super) fn values(conf: &str) -> BTreeMap<String, String> {
    let lines = conf.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()).to_owned())).collect()
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

/// List the volumes that have a configuration, by name. A file that is named like no volume is none.
///
/// # Errors
/// If the directory cannot be read; one that is not there has no files.
pub(super) fn volumes(place: &Path) -> io::Result<Vec<VolumeName>> {
    let entries = match fs::read_dir(place) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let named = files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "conf"));
    let mut volumes: Vec<_> = named.filter_map(|file| file.file_stem()?.to_str()?.parse().ok()).collect();
    volumes.sort();
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_volume_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        assert_eq!(volumes(&place.join("none")).unwrap(), []);
        fs::write(
            place.join("still-fawn.conf"),
            "# CRUCIBLE_SLEDS=x\nCRUCIBLE_SLEDS=\"a, b\"\nCRUCIBLE_OPTIONS=--device\n",
        )
        .unwrap();
        fs::write(place.join("pve.conf"), "CRUCIBLE_SLEDS=a\nCRUCIBLE_SLEDS=b\n").unwrap();
        fs::write(place.join("Not a volume.conf"), "").unwrap();
        fs::write(place.join("pve.conf.old"), "").unwrap();
        let names = volumes(place).unwrap();
        assert_eq!(names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["pve", "still-fawn"]);
        let read = |index: usize| Conf::of(place, &names[index]).unwrap().unwrap();
        assert_eq!((read(1).sleds.as_str(), read(1).wants_device()), ("a, b", true));
        assert_eq!((read(0).sleds.as_str(), read(0).wants_device()), ("b", false));
        assert_eq!(Conf::of(place, &"other".parse().unwrap()).unwrap(), None);
    }
}
