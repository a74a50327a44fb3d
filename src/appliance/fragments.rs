//! Fragments of a configuration on a partition CONFIG: in the folder `sled.toml.d`, byte by byte as they are. FAT keeps
//! neither whose a file is nor who may read it: that stands beside them, in `owners.txt`. One that is not named there is
//! root's, and everybody may read it.

use crate::clean;
use crate::config::FRAGMENTS;
use crate::config_dir;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that says whose the fragments are: a line of the mode in octal, user, group and name for each.
const OWNERS: &str = "owners.txt";
/// The size of a file that is taken for no fragment, in bytes: more than any has.
const LIMIT_BYTES: u64 = 1 << 20;
/// Characters that no name of FAT has.
const NO_FAT: &str = "\"*/:<>?\\|";
/// The bits of a mode that say who may read and write.
const MODES: u32 = 0o777;

/// Owner of a file, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The mode: who may read and write.
    pub mode: u32,
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

/// Everybody may read what nobody has said anything about.
impl Default for Owner {
    fn default() -> Self {
        Self { mode: 0o644, user: 0, group: 0 }
    }
}

impl Owner {
    /// Read whose a file is; root's and readable if it is not there.
    pub fn of(file: &Path) -> Self {
        let of = |found: fs::Metadata| Self { mode: found.mode() & MODES, user: found.uid(), group: found.gid() };
        fs::metadata(file).map(of).unwrap_or_default()
    }
}

/// A fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The contents.
    pub text: Vec<u8>,
    /// Whose it is.
    pub owner: Owner,
}

/// Fragments by their names below the configuration's directory, `sled.toml.d/10-own.toml`.
pub type Fragments = BTreeMap<String, Fragment>;

/// The files of a folder, by their names in it.
pub type Folder = BTreeMap<String, Vec<u8>>;

/// Read the fragments that are in force in a configuration's directory, and that can go onto a partition CONFIG.
///
/// # Errors
/// The reason why one cannot be read, or cannot lie there under its name.
pub fn in_force(dir: &Path) -> Result<Fragments, String> {
    let mut all = Fragments::new();
    for file in config_dir::files(dir).into_iter().skip(2) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let shown = format!("{FRAGMENTS}/{}", clean::line(&name));
        if name.contains(|c: char| NO_FAT.contains(c) || c.is_control() || c == char::REPLACEMENT_CHARACTER) {
            return Err(format!("{shown}: FAT, which the partition CONFIG has, knows no such name: give it another"));
        }
        let text = read(&file).map_err(|why| format!("{shown} {why}"))?;
        all.insert(shown, Fragment { text, owner: Owner::of(&file) });
    }
    let mut small = BTreeSet::new();
    match all.keys().find(|name| !small.insert(name.to_lowercase())) {
        Some(name) => Err(format!("{name}: FAT, which the partition CONFIG has, knows another file by that name")),
        None => Ok(all),
    }
}

/// Compose the folder in which fragments lie on a partition CONFIG; empty if there are none.
pub fn composed(fragments: &Fragments) -> Folder {
    let own = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut owners = "# Whose these files are: mode, user, group, name. What is not named is 0644 0 0.\n".to_owned();
    for (name, Fragment { owner: Owner { mode, user, group }, .. }) in fragments {
        _ = writeln!(owners, "{mode:04o} {user} {group} {}", own(name));
    }
    let mut folder: Folder = fragments.iter().map(|(name, fragment)| (own(name), fragment.text.clone())).collect();
    if !folder.is_empty() {
        folder.insert(OWNERS.into(), owners.into_bytes());
    }
    folder
}

/// Read the files of the folder with fragments on a partition; none if there is no folder.
///
/// # Errors
/// One cannot be read.
pub fn folder(partition: &Path) -> io::Result<Folder> {
    let dir = partition.join(FRAGMENTS);
    if !dir.is_dir() {
        return Ok(Folder::new());
    }
    let mut all = Folder::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            all.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
        }
    }
    Ok(all)
}

/// Have the folder with fragments on a partition hold these files and no others; without any there is no folder.
///
/// # Errors
/// The file system's error.
pub fn lay(partition: &Path, wanted: &Folder) -> io::Result<()> {
    let (dir, there) = (partition.join(FRAGMENTS), folder(partition)?);
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(dir.join(name))?;
    }
    if wanted.is_empty() {
        // What else somebody has put there stays.
        _ = fs::remove_dir(&dir);
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    for (name, text) in wanted.iter().filter(|(name, text)| there.get(*name) != Some(text)) {
        fs::write(dir.join(name), text)?;
        File::open(dir.join(name))?.sync_all()?;
    }
    Ok(())
}

/// Fragments that a partition brings.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) fragments: Fragments,
    /// What else lies there, in a sentence each.
    pub(super) unread: Vec<String>,
    /// The reasons why it is not all that was meant.
    pub(super) faults: Vec<String>,
}

/// Look into a folder of a partition.
pub(super) fn look(folder: &Path) -> Found {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let (mut all, owners) = (Found::default(), owners(&folder.join(OWNERS)));
    for name in names.iter().filter(|name| !name.starts_with('.') && *name != OWNERS) {
        let (path, shown) = (folder.join(name), format!("{FRAGMENTS}/{}", clean::line(name)));
        if !name.ends_with(".toml") || !path.is_file() {
            all.unread.push(format!("{shown} is not looked at: a fragment is a file whose name ends in .toml"));
            continue;
        }
        match read(&path) {
            Ok(text) => {
                let owner = owners.get(name).copied().unwrap_or_default();
                all.fragments.insert(shown, Fragment { text, owner });
            }
            Err(why) => all.faults.push(format!("{shown} {why}")),
        }
    }
    all
}

/// Read whose fragments are. A line that is none says nothing.
fn owners(file: &Path) -> BTreeMap<String, Owner> {
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()? & MODES;
        let (user, group) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((words.next()?.trim_end().to_owned(), Owner { mode, user, group }))
    };
    fs::read_to_string(file).unwrap_or_default().lines().filter_map(line).collect()
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let cannot = |why: io::Error| io::Error::other(format!("cannot be read: {why}"));
    let found = fs::metadata(file).map_err(cannot)?;
    if !found.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    if found.len() > LIMIT_BYTES {
        return Err(io::Error::other(format!("has more than {LIMIT_BYTES} bytes")));
    }
    fs::read(file).map_err(cannot)
}

/// List the fragments of a configuration's directory that others have taken the place of, kept with an ending.
pub(super) fn kept_aside(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(FRAGMENTS)).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| path.to_string_lossy().ends_with(&format!(".toml{ending}"));
    let mut all: Vec<_> = entries.map(|entry| entry.path()).filter(is_one).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::set_mode;
    use std::os::unix::fs::symlink;

    #[test]
    fn fragments_go_onto_a_partition_and_come_back_as_they_are() {
        let (own, partition) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = own.path().join(FRAGMENTS);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("10-vlan.toml"), "# the trunk\n[network]\nvlan = 5\n").unwrap();
        fs::write(dir.join("20 notify.toml"), "[notify]\r\n").unwrap();
        set_mode(&dir.join("20 notify.toml"), 0o600).unwrap();
        set_mode(&dir.join("10-vlan.toml"), 0o664).unwrap();
        let before = in_force(own.path()).unwrap();
        let folder = composed(&before);
        lay(partition.path(), &folder).unwrap();
        let found = look(&partition.path().join(FRAGMENTS));
        assert_eq!((&found.fragments, found.unread.len(), found.faults.len()), (&before, 0, 0));
        let modes: Vec<_> = found.fragments.values().map(|one| one.owner.mode).collect();
        assert_eq!(modes, [0o664, 0o600]);
        // What is not in force any more does not stay there, and nothing that somebody else has put there goes.
        fs::remove_file(dir.join("10-vlan.toml")).unwrap();
        lay(partition.path(), &composed(&in_force(own.path()).unwrap())).unwrap();
        assert_eq!(look(&partition.path().join(FRAGMENTS)).fragments.len(), 1);
        lay(partition.path(), &Folder::new()).unwrap();
        assert!(!partition.path().join(FRAGMENTS).exists() && self::folder(partition.path()).unwrap().is_empty());
        lay(partition.path(), &folder).unwrap();
        assert_eq!(self::folder(partition.path()).unwrap(), folder);
    }

    #[test]
    fn a_fragment_that_cannot_lie_there_is_named() {
        for (files, why) in [
            (&["a:b.toml"][..], "sled.toml.d/a:b.toml: FAT"),
            (&["Own.toml", "own.toml"], "sled.toml.d/own.toml: FAT, which the partition CONFIG has, knows another"),
        ] {
            let own = tempfile::tempdir().unwrap();
            fs::create_dir(own.path().join(FRAGMENTS)).unwrap();
            for file in files {
                fs::write(own.path().join(FRAGMENTS).join(file), "").unwrap();
            }
            let said = in_force(own.path()).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn whatever_else_lies_among_them_is_named() {
        let partition = tempfile::tempdir().unwrap();
        for file in ["10.toml", "10.toml.txt", "._10.toml"] {
            fs::write(partition.path().join(file), "").unwrap();
        }
        fs::write(partition.path().join(OWNERS), "# x\n100600 1 2 10.toml\n06o0 0 0 10.toml\n0600 0\n").unwrap();
        symlink("nothing", partition.path().join("20.toml")).unwrap();
        let found = look(partition.path());
        let owner = found.fragments["sled.toml.d/10.toml"].owner;
        assert_eq!(owner, Owner { mode: 0o600, user: 1, group: 2 });
        assert_eq!((found.fragments.len(), found.unread.len()), (1, 2), "{:?}", found.unread);
    }
}
