//! Directory of the configuration, `/etc/sled`: which files belong to it, and what they say. Reads files and the
//! kernel's ephemeral range; what they mean is [`config`]'s.

use crate::clean;
use crate::config::{self, Configuration, FRAGMENTS, Sources, Texts, hidden};
pub use crate::config::{PORT_MAP, SLED};
use crate::kernel::broker::{self, Wanted};
use crate::source::{Fault, Source};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The path of the configuration unless something else is said.
pub const DEFAULT: &str = "/etc/sled";
/// The ports that the kernel uses for outgoing connections unless something else is set.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;
/// The largest file of a configuration, in bytes: the map of a hundred sleds has some 100 KiB.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// Read the configuration of a directory.
///
/// # Errors
/// Every fault of every file.
pub fn read(dir: &Path) -> Result<Configuration, Vec<Fault>> {
    config::read(&sources(dir))
}

/// Read the configuration of a directory as it would be with other files in the places of its own, or beside them: by
/// the names that they would have there. Their faults are told with the names that they have now.
///
/// # Errors
/// Every fault of every file.
pub fn read_with<'a>(
    dir: &Path,
    others: impl IntoIterator<Item = (&'a str, Source)>,
) -> Result<Configuration, Vec<Fault>> {
    let (mut texts, mut names) = (texts(dir), BTreeMap::new());
    for (file, Source { file: name, text }) in others {
        texts.0.insert(file.to_owned(), text);
        names.insert(dir.join(file).display().to_string(), name);
    }
    let mut sources = texts.sources(dir, ephemeral());
    for source in sources.sled.iter_mut().chain([&mut sources.port_map]) {
        if let Some(name) = names.remove(&source.file) {
            source.file = name;
        }
    }
    config::read(&sources)
}

/// Read a configuration from texts, as if they lay in a directory.
///
/// # Errors
/// Every fault of every file.
pub fn read_texts(texts: &Texts, dir: &Path) -> Result<Configuration, Vec<Fault>> {
    config::read(&texts.sources(dir, ephemeral()))
}

/// Read a configuration that was in force once ([`config::read_kept`]), as if it lay in a directory.
pub fn read_kept(texts: &Texts, dir: &Path) -> Option<Configuration> {
    config::read_kept(&texts.sources(dir, ephemeral()))
}

fn sources(dir: &Path) -> Sources {
    texts(dir).sources(dir, ephemeral())
}

/// Read the texts of the files that belong to the configuration of a directory.
pub fn texts(dir: &Path) -> Texts {
    let name = |file: &Path| {
        let name = file.strip_prefix(dir).unwrap_or(file).display().to_string();
        clean::line(&name).into_owned()
    };
    Texts(files(dir).iter().map(|file| (name(file), text(dir, file))).collect())
}

/// Whether a file may be called so, below the directory of a configuration.
pub fn is_file_name(name: &str) -> bool {
    let fragment = name.strip_prefix(FRAGMENTS).and_then(|rest| rest.strip_prefix('/'));
    name == SLED || name == PORT_MAP || fragment.is_some_and(|name| !name.contains('/') && name.ends_with(".toml"))
}

/// List the files that belong to the configuration of a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let own = [dir.join(SLED), dir.join(PORT_MAP)];
    own.into_iter().chain(fragments(dir)).collect()
}

/// The time at which one of the files of a directory was changed last, or one of the fragments went or came.
pub fn changed(dir: &Path) -> Option<Timestamp> {
    use std::os::unix::fs::MetadataExt;
    let all = files(dir).into_iter().chain([dir.join(FRAGMENTS)]);
    let times = all.flat_map(|file| [fs::symlink_metadata(&file).ok(), fs::metadata(&file).ok()]).flatten();
    times.filter_map(|found| Timestamp::from_second(found.ctime()).ok()).max()
}

fn text(dir: &Path, file: &Path) -> Result<String, String> {
    if let Some((target, hidden)) = out_of_sight(dir, file) {
        return Err(format!(
            "is a link to {}, below {hidden}, which systemd hides from sledd: put a copy here",
            target.display()
        ));
    }
    let read = || {
        // A pipe in the place of a file must not hold up whoever reads.
        if !fs::metadata(file)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut text = String::new();
        File::open(file)?.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_LIMIT_BYTES {
            Err(io::Error::other(format!("it has more than {} MiB", FILE_LIMIT_BYTES >> 20)))
        } else {
            Ok(text)
        }
    };
    read().map_err(|why| format!("cannot be read: {why}"))
}

/// The file that a link leads to where its directory's service cannot see it, and below what. A directory that is out
/// of its sight itself is none of a service's, and may lie there.
fn out_of_sight(dir: &Path, file: &Path) -> Option<(PathBuf, &'static str)> {
    let target = target(file)?;
    let dir = fs::canonicalize(dir).ok()?;
    hidden(&target).filter(|_| hidden(&dir).is_none()).map(|hidden| (target, hidden))
}

/// The path of a file in the end, also where nobody may look: as far as its links can be followed.
fn target(file: &Path) -> Option<PathBuf> {
    if let Ok(target) = fs::canonicalize(file) {
        return Some(target);
    }
    let link = fs::read_link(file).ok()?;
    Some(file.parent()?.join(link))
}

/// List the fragments in the order of their names; none if there is no such directory.
fn fragments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = entries(dir).into_iter().filter(|file| no_fragment(file).is_none()).collect();
    files.sort();
    files
}

/// List the files among the fragments that are none, and why.
pub fn ignored(dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut all: Vec<_> =
        entries(dir).into_iter().filter_map(|file| no_fragment(&file).map(|why| (file, why))).collect();
    all.sort();
    all
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(FRAGMENTS)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Find why something among the fragments is none, if it is none: editors, archivers and other systems leave things
/// behind that have the right end and begin with a dot.
fn no_fragment(file: &Path) -> Option<&'static str> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let dangles = || fs::symlink_metadata(file).is_ok_and(|found| found.is_symlink());
    if name.starts_with('.') {
        Some("its name begins with a dot")
    } else if !name.ends_with(".toml") {
        Some("its name does not end in .toml")
    } else {
        match fs::metadata(file) {
            Ok(found) if found.is_file() => None,
            Ok(found) if found.is_dir() => Some("it is a directory"),
            Ok(_) => Some("it is not a regular file"),
            // A link that leads to where the service cannot see is a fragment, and its fault is told.
            Err(_)
                if dangles()
                    && target(file).is_some_and(|target| hidden(file).is_some() || hidden(&target).is_none()) =>
            {
                Some("it is a link to nothing")
            }
            Err(_) => None,
        }
    }
}

fn ephemeral() -> RangeInclusive<u16> {
    let text = broker::read(Wanted::PortRange).unwrap_or_default();
    let mut ends = text.split_whitespace().map_while(|word| word.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) => low..=high,
        _ => EPHEMERAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn named(files: Vec<PathBuf>) -> Vec<String> {
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// Files that a Mac, an editor and a careless hand leave behind.
    #[test]
    fn only_regular_files_with_whole_names_are_fragments() {
        let dir = tempfile::tempdir().unwrap();
        let below = |name: &str| dir.path().join(FRAGMENTS).join(name);
        fs::create_dir(dir.path().join(FRAGMENTS)).unwrap();
        fs::write(below("20-b.toml"), "[storage]\n").unwrap();
        fs::write(below("10-a.toml"), "").unwrap();
        fs::write(below("._20-b.toml"), [0, 5, 22, 7]).unwrap();
        fs::write(below("20-b.toml~"), "").unwrap();
        symlink("root@sled.1234:1700000000", below(".#20-b.toml")).unwrap();
        symlink("nowhere", below("30-c.toml")).unwrap();
        fs::create_dir(below("old.toml")).unwrap();
        nix::unistd::mkfifo(&below("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(dir.path().join("elsewhere"), "[http]\n").unwrap();
        symlink("../elsewhere", below("40-d.toml")).unwrap();
        assert_eq!(named(fragments(dir.path())), ["10-a.toml", "20-b.toml", "40-d.toml"]);
        let ignored = ignored(dir.path());
        let why = |name: &str| ignored.iter().find(|(file, _)| *file == below(name)).unwrap().1;
        assert_eq!(ignored.len(), 6, "{ignored:?}");
        assert!(why("._20-b.toml").contains("dot") && why(".#20-b.toml").contains("dot"));
        assert!(why("old.toml").contains("directory") && why("30-c.toml").contains("nothing"));
        assert!(why("20-b.toml~").contains(".toml") && why("pipe.toml").contains("regular"));
        let texts = texts(dir.path());
        assert_eq!(texts.0["sled.toml.d/40-d.toml"].as_deref(), Ok("[http]\n"));
        assert!(texts.0[SLED].as_ref().unwrap_err().contains("cannot be read"));
        assert_eq!(texts.0.len(), 5);
    }

    #[test]
    fn a_pipe_or_a_flood_in_place_of_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join(SLED), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("/dev/zero", dir.path().join(PORT_MAP)).unwrap();
        let texts = texts(dir.path());
        assert!(
            texts.0.values().all(|text| text.as_ref().is_err_and(|why| why.contains("not a regular file"))),
            "{texts:?}"
        );
        fs::remove_file(dir.path().join(SLED)).unwrap();
        fs::write(dir.path().join(SLED), vec![b' '; 5 << 20]).unwrap();
        assert!(super::texts(dir.path()).0[SLED].as_ref().unwrap_err().contains("more than 4 MiB"));
    }

    #[test]
    fn a_link_to_where_the_service_cannot_see_is_told_wherever_it_is_read() {
        // Neither of the two is below a directory that is hidden, and so the service's own.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        if hidden(dir.path()).is_some() {
            return eprintln!("skipped: {} is hidden from services itself", dir.path().display());
        }
        let hidden = tempfile::tempdir().unwrap();
        fs::write(hidden.path().join("map"), "").unwrap();
        symlink(hidden.path().join("map"), dir.path().join(PORT_MAP)).unwrap();
        symlink("/root/none/of/these", dir.path().join(SLED)).unwrap();
        let texts = texts(dir.path());
        for (file, below) in [(PORT_MAP, "below /tmp"), (SLED, "below /root")] {
            let why = texts.0[file].as_ref().unwrap_err();
            assert!(why.contains(below) && why.contains("hides from sledd"), "{why}");
        }
    }
}
