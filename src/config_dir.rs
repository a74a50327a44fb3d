//! The configuration's directory, `/etc/sled`: which files belong to it, and what they say.
//! Reads files and the kernel's ephemeral range; what they mean is [`config`]'s.

use crate::broker::{self, Wanted};
use crate::config::{self, Configuration, Sources};
use crate::source::{Fault, Source};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Where the configuration lies unless something else is said.
pub const DEFAULT: &str = "/etc/sled";
/// The file of this machine.
pub const SLED: &str = "sled.toml";
/// The file of the fleet.
pub const PORT_MAP: &str = "port-map.toml";
/// What the kernel uses for outgoing connections unless something else is set.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// Reads the configuration of a directory.
///
/// # Errors
/// Every fault of every file.
pub fn read(dir: &Path) -> Result<Configuration, Vec<Fault>> {
    config::read(&sources(dir))
}

/// Reads the configuration of a directory as it would be with other files in the places of its own:
/// `sled.toml`, `port-map.toml`. Their faults are told with the names that they have now.
///
/// # Errors
/// Every fault of every file.
pub fn read_with(
    dir: &Path,
    others: impl IntoIterator<Item = (&'static str, Source)>,
) -> Result<Configuration, Vec<Fault>> {
    let mut sources = sources(dir);
    for (file, source) in others {
        match file {
            SLED => sources.sled[0] = source,
            PORT_MAP => sources.port_map = source,
            _ => {}
        }
    }
    config::read(&sources)
}

fn sources(dir: &Path) -> Sources {
    let mut sled = vec![source(&dir.join(SLED))];
    sled.extend(fragments(&dir.join("sled.toml.d")).iter().map(|file| source(file)));
    Sources { sled, port_map: source(&dir.join(PORT_MAP)), ephemeral: ephemeral() }
}

/// The files that belong to the configuration of a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let own = [dir.join(SLED), dir.join(PORT_MAP)];
    own.into_iter().chain(fragments(&dir.join("sled.toml.d"))).collect()
}

fn source(file: &Path) -> Source {
    let text = fs::read_to_string(file).map_err(|why| format!("cannot be read: {why}"));
    Source { file: file.display().to_string(), text }
}

/// The fragments in the order of their names; none if there is no such directory.
fn fragments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files
}

fn ephemeral() -> RangeInclusive<u16> {
    let text = broker::read(Wanted::PortRange).unwrap_or_default();
    let mut ends = text.split_whitespace().map_while(|word| word.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) => low..=high,
        _ => EPHEMERAL,
    }
}
