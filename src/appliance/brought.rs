//! Files that are brought to a machine with the image: by the CONFIG partition of its own disk; by that of another disk,
//! as long as the machine has no configuration; and, before these, by its credentials (systemd.system-credentials(7)).
//! Whatever else lies on such a partition is named, since it was put there for something. Reads only; what becomes of the
//! files is decided by [`super::boot`].

use super::KEYS;
use super::fragments::{self, Fragment, Fragments, Owner};
use super::keys;
use crate::clean;
use crate::config::FRAGMENTS;
use crate::config_dir::{PORT_MAP, SLED};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that can be brought: its name on a CONFIG partition, and those that it has as a credential.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) file: &'static str,
    credentials: &'static [&'static str],
    /// Its place in [`super::OWN`].
    pub(super) place: &'static str,
    /// What other names of it begin with, in small letters and with `-` between the words.
    like: &'static [&'static str],
}

/// The file of those who may log in.
pub(super) const KEYS_FILE: &str = "authorized_keys";
/// Every file that can be brought.
pub(super) const WANTED: [Wanted; 3] = [
    Wanted { file: SLED, credentials: &["sled.toml"], place: "sled/sled.toml", like: &["sled"] },
    Wanted {
        file: PORT_MAP,
        credentials: &["sled.port-map.toml"],
        place: "sled/port-map.toml",
        like: &["port-map", "portmap"],
    },
    Wanted {
        file: KEYS_FILE,
        credentials: &["ssh.authorized_keys.root"],
        place: KEYS,
        like: &["authorized-key", "authorised-key", "id-ed25519", "id-rsa", "id-ecdsa"],
    },
];
/// What computers leave on a partition by themselves, and the image's own word, in small letters.
const LITTER: [&str; 10] = [
    "readme.txt",
    "reset.txt",
    "system volume information",
    "$recycle.bin",
    "recycler",
    "thumbs.db",
    "desktop.ini",
    "lost.dir",
    "found.000",
    "lost+found",
];
/// The size of a file that is taken for none of these, in bytes: more than any of them has.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The places from which files are brought.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The mount point of the CONFIG partition of the machine's own disk.
    pub partition: PathBuf,
    /// Those of other disks, each called after its partition.
    pub others: Vec<PathBuf>,
    /// The directory of the credentials.
    pub credentials: Option<PathBuf>,
}

/// What was brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// The files, by their names in [`WANTED`].
    pub(super) files: BTreeMap<&'static str, Vec<u8>>,
    /// The fragments, in the folder `sled.toml.d`.
    pub(super) fragments: Fragments,
    /// What else lies there, and what it may be meant for, in a sentence each.
    pub(super) unread: Vec<String>,
    /// The reasons why it is not all that was meant.
    pub(super) faults: Vec<String>,
    /// The partition of another disk that has brought it.
    pub(super) from: Option<String>,
}

impl Brought {
    pub(super) fn is_empty(&self) -> bool {
        !self.is_something() && self.unread.is_empty()
    }

    /// Whether there is more than what nobody looks at.
    fn is_something(&self) -> bool {
        !self.files.is_empty() || !self.fragments.is_empty() || !self.faults.is_empty()
    }

    /// The digest of everything that was seen: as long as it is the same, nothing new was brought.
    pub(super) fn seen(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.digest());
        for (name, Fragment { text, owner: Owner { mode, user, group } }) in &self.fragments {
            hash.update(format!("\n{name} {mode:o} {user} {group} {}", digest(text)));
        }
        for said in self.unread.iter().chain(&self.faults).chain(&self.from) {
            hash.update(format!("\n{} {said}", said.len()));
        }
        hexadecimal(hash)
    }

    /// The digest of the files, without the fragments, of which older versions knew nothing.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (file, text) in &self.files {
            // A name and a length before each, so that no two sets of files look the same.
            hash.update(format!("{file} {}\n", text.len()));
            hash.update(text);
        }
        hexadecimal(hash)
    }
}

/// The digest of one file.
pub(super) fn digest(text: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    hexadecimal(hash)
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gather what is brought to a machine that is `configured`, or is not yet.
pub(super) fn gather(sources: &Sources, configured: bool) -> Brought {
    let mut all = partition(&sources.partition);
    let handed = handed(sources.credentials.as_deref());
    if !configured && !all.files.contains_key(SLED) && !handed.contains_key(SLED) {
        all = with_others(all, &sources.others);
    }
    for (file, text) in handed {
        take(&mut all, file, text);
    }
    all
}

/// Read the files that are in force on a machine, by the names that they have on a CONFIG partition.
pub fn in_force(own: &Path) -> Vec<(&'static str, Vec<u8>)> {
    WANTED.iter().filter_map(|wanted| Some((wanted.file, fs::read(own.join(wanted.place)).ok()?))).collect()
}

/// List the files that a CONFIG partition brings, by the names that they should have there.
pub fn lie_in(partition: &Path) -> Vec<String> {
    let found = self::partition(partition);
    found.files.into_keys().map(str::to_owned).chain(found.fragments.into_keys()).collect()
}

/// Read one file of those that are wanted.
fn take(all: &mut Brought, file: &'static str, text: io::Result<Vec<u8>>) {
    let read = text
        .map_err(|why| why.to_string())
        .and_then(|text| if file == KEYS_FILE { keys::read(&text).map(String::into_bytes) } else { Ok(text) });
    match read {
        Ok(text) => _ = all.files.insert(file, text),
        Err(why) => all.faults.push(format!("{file} {why}")),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_LIMIT_BYTES {
        return Err(io::Error::other(format!("has more than {FILE_LIMIT_BYTES} bytes")));
    }
    fs::read(path).map_err(|why| io::Error::other(format!("cannot be read: {why}")))
}

/// The machine's credentials.
fn handed(dir: Option<&Path>) -> BTreeMap<&'static str, io::Result<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for (wanted, dir) in WANTED.iter().flat_map(|wanted| dir.map(|dir| (wanted, dir))) {
        let mut paths = wanted.credentials.iter().map(|name| dir.join(name));
        if let Some(path) = paths.rfind(|path| path.is_file()) {
            all.insert(wanted.file, read(&path));
        }
    }
    all
}

/// What another disk brings, if no more than one brings anything.
fn with_others(own: Brought, others: &[PathBuf]) -> Brought {
    let found = others.iter().map(|dir| (dir, partition(dir)));
    let mut found: Vec<_> = found.filter(|(_, brought)| brought.is_something()).collect();
    let name = |dir: &Path| clean::line(&dir.file_name().unwrap_or_default().to_string_lossy()).into_owned();
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(dir, _)| name(dir)).collect();
        let several =
            format!("several disks have a partition CONFIG with something on it ({}): leave one in", names.join(", "));
        return Brought { faults: own.faults.into_iter().chain([several]).collect(), ..own };
    }
    let Some((dir, theirs)) = found.pop() else { return own };
    let unread = own.unread.into_iter().chain(theirs.unread).collect();
    let faults = own.faults.into_iter().chain(theirs.faults).collect();
    let fragments = own.fragments.into_iter().chain(theirs.fragments).collect();
    let files = own.files.into_iter().chain(theirs.files).collect();
    Brought { files, fragments, unread, faults, from: Some(name(dir)) }
}

/// Read a CONFIG partition. Its names are those of FAT, in which capital letters are as good as small ones.
fn partition(dir: &Path) -> Brought {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let mut all = Brought::default();
    for wanted in &WANTED {
        let is_it = |name: &&String| name.eq_ignore_ascii_case(wanted.file) && dir.join(name).is_file();
        let exact = names.iter().find(|name| *name == wanted.file && is_it(name));
        if let Some(name) = exact.or_else(|| names.iter().find(is_it)) {
            take(&mut all, wanted.file, read(&dir.join(name)));
            let taken = name.clone();
            names.retain(|name| *name != taken);
        }
    }
    let folder = names.iter().position(|name| name.eq_ignore_ascii_case(FRAGMENTS) && dir.join(name).is_dir());
    if let Some(folder) = folder.map(|at| names.remove(at)) {
        let found = fragments::look(&dir.join(folder));
        (all.fragments, all.unread) = (found.fragments, found.unread);
        all.faults.extend(found.faults);
    }
    let strange: Vec<_> = names.iter().filter(|name| !is_litter(name)).map(|name| Strange::of(dir, name)).collect();
    for Strange { said, meant } in strange {
        // Half of what was meant is not taken.
        let lacks =
            meant.iter().any(|file| !all.files.contains_key(file) && !all.faults.iter().any(|of| of.starts_with(file)));
        if lacks { all.faults.push(said) } else { all.unread.push(said) }
    }
    all
}

fn is_litter(name: &str) -> bool {
    name.starts_with('.') || LITTER.contains(&name.to_lowercase().as_str())
}

/// Something on a CONFIG partition that is none of the files that are wanted.
struct Strange {
    said: String,
    /// The files that it may be meant for.
    meant: Vec<&'static str>,
}

impl Strange {
    fn of(dir: &Path, name: &str) -> Self {
        let shown = clean::line(name).into_owned();
        if dir.join(name).is_dir() {
            return Self::folder(&dir.join(name), name, &shown);
        }
        let meant = meant(name);
        let said = match meant {
            Some(file) => format!("{shown} is not looked at: is {file} meant?"),
            None => format!("{shown} is not looked at"),
        };
        Self { said, meant: meant.into_iter().collect() }
    }

    fn folder(dir: &Path, name: &str, shown: &str) -> Self {
        if let Some(wanted) = WANTED.iter().find(|wanted| name.eq_ignore_ascii_case(wanted.file)) {
            return Self { said: format!("{shown} is a folder, and no file"), meant: vec![wanted.file] };
        }
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let within = WANTED.iter().filter(|wanted| names.iter().any(|name| name.eq_ignore_ascii_case(wanted.file)));
        let meant: Vec<_> = within.map(|wanted| wanted.file).collect();
        if meant.is_empty() {
            return Self { said: format!("the folder {shown} is not looked into"), meant };
        }
        let said =
            format!("the folder {shown} is not looked into: {} belong(s) beside it, at the top", meant.join(" and "));
        Self { said, meant }
    }
}

/// Guess the file that another name is meant for: one to which a Windows has added `.txt`, a copy, a public key.
fn meant(name: &str) -> Option<&'static str> {
    let plain = name.to_lowercase().replace(['_', ' ', '.'], "-");
    let alike = |wanted: &&Wanted| wanted.like.iter().any(|beginning| plain.starts_with(beginning));
    let key = || plain.ends_with("-pub").then_some(KEYS_FILE);
    WANTED.iter().find(alike).map(|wanted| wanted.file).or_else(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::keys::tests::KEY;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["config", "sdb1", "sdc1", "credentials"] {
                fs::create_dir(dir.path().join(name)).unwrap();
            }
            Self(dir)
        }

        fn bring(&self, file: &str, text: &str) -> &Self {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn gather(&self, configured: bool) -> Brought {
            let at = |name: &str| self.0.path().join(name);
            let others = vec![at("sdb1"), at("sdc1")];
            gather(&Sources { partition: at("config"), others, credentials: Some(at("credentials")) }, configured)
        }
    }

    #[test]
    fn names_of_fat_are_taken_and_what_nobody_takes_is_named() {
        let machine = Machine::new();
        machine.bring("config/SLED.TOML", "s").bring("config/Port-Map.toml", "m").bring("config/README.TXT", "");
        machine.bring("config/System Volume Information/IndexerVolumeGuid", "").bring("config/._sled.toml", "\0");
        let brought = machine.gather(true);
        assert_eq!((&brought.files[SLED], &brought.files[PORT_MAP]), (&b"s".to_vec(), &b"m".to_vec()));
        assert!(brought.unread.is_empty() && brought.faults.is_empty(), "{brought:?}");
        // Beside the file itself, its like is a copy of it.
        machine.bring("config/sled.toml.txt", "").bring("config/notes.doc", "").bring("config/old/sled.toml", "");
        let brought = machine.gather(true);
        assert_eq!(brought.faults, [""; 0]);
        assert_eq!(
            brought.unread,
            [
                "notes.doc is not looked at",
                "the folder old is not looked into: sled.toml belong(s) beside it, at the top",
                "sled.toml.txt is not looked at: is sled.toml meant?"
            ]
        );
    }

    #[test]
    fn half_of_what_was_meant_is_a_fault() {
        for (file, said) in [
            ("sled.toml.txt", "sled.toml.txt is not looked at: is sled.toml meant?"),
            ("Sled (1).toml", "Sled (1).toml is not looked at: is sled.toml meant?"),
            ("id_ed25519.pub", "id_ed25519.pub is not looked at: is authorized_keys meant?"),
            ("laptop.pub", "laptop.pub is not looked at: is authorized_keys meant?"),
            ("sled.toml/x", "sled.toml is a folder, and no file"),
            ("new/sled.toml", "the folder new is not looked into: sled.toml belong(s) beside it, at the top"),
        ] {
            let machine = Machine::new();
            machine.bring("config/port-map.toml", "m").bring(&format!("config/{file}"), "");
            assert_eq!(machine.gather(true).faults, [said]);
        }
        let machine = Machine::new();
        machine.bring("config/sled.toml", &"x".repeat(2 << 20)).bring("config/authorized_keys", "<html>");
        let faults = machine.gather(true).faults;
        assert_eq!(
            faults,
            ["sled.toml has more than 1048576 bytes", "authorized_keys is a web page, and no list of keys"]
        );
    }

    #[test]
    fn another_disk_brings_something_only_to_a_machine_without_a_configuration() {
        let machine = Machine::new();
        machine.bring("sdb1/sled.toml", "s").bring("sdb1/port-map.toml", "m").bring("config/authorized_keys", KEY);
        assert!(!machine.gather(true).files.contains_key(SLED), "it has one");
        let brought = machine.gather(false);
        assert_eq!((brought.files.len(), brought.from.as_deref()), (3, Some("sdb1")));
        machine.bring("sdc1/sled.toml", "t");
        let brought = machine.gather(false);
        assert!(brought.faults[0].contains("(sdb1, sdc1): leave one in") && !brought.files.contains_key(SLED));
        fs::remove_file(machine.0.path().join("sdc1/sled.toml")).unwrap();
        machine.bring("sdb1/sled.toml.d/10-own.toml", "f").bring("sdb1/sled.toml.d/notes", "");
        let brought = machine.gather(false);
        assert_eq!(brought.fragments.keys().collect::<Vec<_>>(), ["sled.toml.d/10-own.toml"]);
        assert!(brought.unread[0].starts_with("sled.toml.d/notes is not looked at"), "{:?}", brought.unread);
        let lie: Vec<_> = lie_in(&machine.0.path().join("sdb1"));
        assert_eq!(lie, [PORT_MAP, SLED, "sled.toml.d/10-own.toml"]);
        // What its own disk and its credentials bring needs no other.
        machine.bring("credentials/sled.toml", "c");
        let brought = machine.gather(false);
        assert_eq!((&brought.files[SLED], brought.from, brought.faults.len()), (&b"c".to_vec(), None, 0));
        machine.bring("config/sled.toml", "own").bring("credentials/sled.toml", "c");
        assert_eq!(machine.gather(false).files[SLED], b"c");
    }
}
