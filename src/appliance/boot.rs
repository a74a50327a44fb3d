//! Boot of the image, before anything reads `/etc`: the initrd runs this on the root that it has just mounted, with
//! `/var` in its place.
//!
//! Files come from the CONFIG partition and, over these, from the machine's credentials
//! (systemd.system-credentials(7)); they are taken over when they have changed since they were last.
//! A configuration with faults never takes the place of one without: it is refused, and the screen
//! says why. Nothing here can fail a boot.

use super::{CONFIG, KEYS, OWN, TAKEN, network};
use crate::config_dir::{self, PORT_MAP, SLED};
use crate::files::{make_dir, replace, set_mode};
use crate::source::Source;
use crate::times;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A file that can be brought: its name on the CONFIG partition, and those that it has as a credential.
struct Brought {
    file: &'static str,
    credentials: &'static [&'static str],
    /// Its place in [`OWN`].
    place: &'static str,
}

const KEYS_FILE: &str = "authorized_keys";
const BROUGHT: [Brought; 3] = [
    Brought { file: SLED, credentials: &["sled.toml"], place: "sled/sled.toml" },
    Brought { file: PORT_MAP, credentials: &["sled.port-map.toml"], place: "sled/port-map.toml" },
    Brought { file: KEYS_FILE, credentials: &["ssh.authorized_keys.root"], place: KEYS },
];
/// The version that was booted last, in [`OWN`].
const BOOTED: &str = "booted";
/// The record of the programs that were staged (`act::programs`), below the root.
const PROGRAMS: &str = "var/lib/sled/programs.json";
/// The size of a file that is taken for none of these, in bytes: more than any of them has.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The places of a machine that boots.
#[derive(Debug, Clone)]
pub struct Places {
    /// The root of the machine: `/`, or where the initrd has mounted it.
    pub root: PathBuf,
    /// The mount point of the CONFIG partition.
    pub partition: PathBuf,
    /// The directory of the credentials.
    pub credentials: Option<PathBuf>,
}

/// The record of the files that were brought last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The digest of all files, so that they are taken over once.
    pub digest: String,
    /// The time at which they were.
    pub at: Timestamp,
    /// Their names.
    pub files: Vec<String>,
    /// The faults for which they were not taken over; empty if they were.
    pub refused: Vec<String>,
}

/// Set the machine up, and return a line for each thing that was done or could not be.
pub fn run(places: &Places) -> Vec<String> {
    let own = places.root.join(OWN.trim_start_matches('/'));
    let mut said = Vec::new();
    let mut tell = |what: &str, done: io::Result<Option<String>>| match done {
        Ok(line) => said.extend(line),
        Err(why) => said.push(format!("{what}: {why}")),
    };
    tell("the directories of this machine", directories(&own).map(|()| None));
    tell("the machine's id", machine_id(&own));
    tell("the files that were brought", take_over(places, &own));
    tell("the network", set_up(&own));
    tell("the downstairs program", forget_programs(&places.root, &own));
    said
}

fn directories(own: &Path) -> io::Result<()> {
    for (dir, mode) in [("", 0o755), (CONFIG, 0o755), ("network", 0o755), ("ssh", 0o755)] {
        make_dir(&own.join(dir), mode)?;
    }
    Ok(())
}

/// Keep the machine's identity the same for as long as `/var` lives: the journal is kept by it.
fn machine_id(own: &Path) -> io::Result<Option<String>> {
    let known = fs::read_to_string(own.join("machine-id")).is_ok_and(|id| id.trim().len() == 32);
    if known {
        return Ok(None);
    }
    replace(own, "machine-id", format!("{}\n", Uuid::new_v4().simple()).as_bytes())?;
    Ok(Some("this machine has an id now".into()))
}

/// Take over what was brought, if it is not what was brought last.
fn take_over(places: &Places, own: &Path) -> io::Result<Option<String>> {
    let brought = gather(places)?;
    if brought.is_empty() {
        return Ok(None);
    }
    let digest = digest(&brought);
    let last: Option<Taken> = fs::read(own.join(TAKEN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if last.is_some_and(|last| last.digest == digest) {
        return Ok(None);
    }
    let refused = faults(&own.join(CONFIG), &brought);
    let names: Vec<_> = brought.keys().map(|file| (*file).to_owned()).collect();
    let line = if refused.is_empty() {
        format!("taken over: {}", names.join(", "))
    } else {
        format!("not taken over: {}", refused.join("; "))
    };
    if refused.is_empty() {
        for file in &BROUGHT {
            let Some(text) = brought.get(file.file) else { continue };
            let (dir, name) = file.place.split_once('/').unwrap_or(("", file.place));
            replace(&own.join(dir), name, text)?;
            set_mode(&own.join(file.place), 0o644)?;
        }
    }
    let taken = Taken { digest, at: times::now(), files: names, refused };
    replace(own, TAKEN, &serde_json::to_vec_pretty(&taken)?)?;
    Ok(Some(line))
}

fn gather(places: &Places) -> io::Result<BTreeMap<&'static str, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for file in &BROUGHT {
        let credentials = places.credentials.iter().flat_map(|dir| file.credentials.iter().map(|name| dir.join(name)));
        let last = [places.partition.join(file.file)].into_iter().chain(credentials).rfind(|path| path.is_file());
        let Some(path) = last else { continue };
        if fs::metadata(&path)?.len() > FILE_LIMIT_BYTES {
            return Err(io::Error::other(format!("{}: it has more than {FILE_LIMIT_BYTES} bytes", path.display())));
        }
        all.insert(file.file, fs::read(path)?);
    }
    Ok(all)
}

fn digest(brought: &BTreeMap<&str, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (file, text) in brought {
        // A name and a length before each, so that no two sets of files look the same.
        hash.update(format!("{file} {}\n", text.len()));
        hash.update(text);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Find why what was brought must not take the place of what is there. The first configuration is taken over with its
/// faults: everybody who asks the sled is told them, which is more than nothing.
fn faults(config: &Path, brought: &BTreeMap<&'static str, Vec<u8>>) -> Vec<String> {
    let keys = brought.get(KEYS_FILE).map(|text| text.as_slice()).unwrap_or_default();
    let mut faults = Vec::new();
    if std::str::from_utf8(keys).is_err() {
        faults.push(format!("{KEYS_FILE}: is no text"));
    }
    let others: Vec<_> = brought.iter().filter(|(file, _)| **file != KEYS_FILE).collect();
    if others.is_empty() || config_dir::read(config).is_err() {
        return faults;
    }
    let others = others.into_iter().map(|(file, text)| {
        let text = String::from_utf8(text.clone()).map_err(|_| "is no text".to_owned());
        (*file, Source { file: format!("{file} that was brought"), text })
    });
    let found = config_dir::read_with(config, others).err().unwrap_or_default();
    faults.extend(found.iter().map(ToString::to_string));
    faults
}

/// Write the network's files. With a faulty configuration they stay as they were: a sled that can be reached is
/// mended more easily.
fn set_up(own: &Path) -> io::Result<Option<String>> {
    let Ok(config) = config_dir::read(&own.join(CONFIG)) else {
        return Ok(Some("the configuration is missing or has faults: the network stays as it was".into()));
    };
    let mut changed = Vec::new();
    for (file, text) in network::files(&config) {
        let path = own.join(file);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
        replace(&own.join(dir), name, text.as_bytes())?;
        set_mode(&path, 0o644)?;
        changed.push(file);
    }
    Ok((!changed.is_empty()).then(|| format!("written: {}", changed.join(", "))))
}

/// Forget the downstairs program that was staged, if another version of the image is booted: it belongs to the one
/// that it was staged with, and another, newer or older, brings its own.
fn forget_programs(root: &Path, own: &Path) -> io::Result<Option<String>> {
    let Ok(image) = fs::read(root.join("usr/lib/sled/image.json")) else { return Ok(None) };
    let version = serde_json::from_slice::<serde_json::Value>(&image)?["version"].to_string();
    if fs::read_to_string(own.join(BOOTED)).is_ok_and(|booted| booted == version) {
        return Ok(None);
    }
    let forgotten = match fs::remove_file(root.join(PROGRAMS)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        removed => removed.map(|()| Some("another version of the image brings its own downstairs".into()))?,
    };
    replace(own, BOOTED, version.as_bytes())?;
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../etc/sled.toml");
    const MAP: &str = include_str!("../../etc/port-map.toml");

    struct Machine {
        dir: tempfile::TempDir,
        places: Places,
    }

    impl Machine {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            let places = Places { root: at("root"), partition: at("config"), credentials: Some(at("credentials")) };
            for dir in [at("root/var"), at("config"), at("credentials")] {
                fs::create_dir_all(dir).unwrap();
            }
            Self { dir, places }
        }

        fn bring(&self, file: &str, text: &str) -> &Self {
            fs::write(self.dir.path().join(file), text).unwrap();
            self
        }

        fn boot(&self) -> String {
            run(&self.places).join("\n")
        }

        fn has(&self, file: &str) -> String {
            fs::read_to_string(self.dir.path().join("root/var/etc").join(file)).unwrap_or_default()
        }

        fn taken(&self) -> Taken {
            serde_json::from_str(&self.has(TAKEN)).unwrap()
        }
    }

    #[test]
    fn what_is_brought_is_taken_over_once() {
        let machine = Machine::new();
        machine.boot();
        let id = machine.has("machine-id");
        assert_eq!(id.len(), 33);
        assert!(machine.has("sled/sled.toml").is_empty() && machine.has("hostname").is_empty());
        machine
            .bring("config/sled.toml", EXAMPLE)
            .bring("config/port-map.toml", MAP)
            .bring("config/authorized_keys", "k\n");
        let said = machine.boot();
        assert!(said.contains("taken over: authorized_keys, port-map.toml, sled.toml"), "{said}");
        assert_eq!((machine.has("sled/port-map.toml").as_str(), machine.has(KEYS).as_str()), (MAP, "k\n"));
        assert_eq!((machine.has("hostname").as_str(), machine.has("machine-id")), ("proper-raptor\n", id));
        assert!(machine.has("network/20-bridge.network").contains("Address=192.168.4.189/24"));
        // An operator's changes since are not taken back.
        machine.bring("root/var/etc/sled/sled.toml", &EXAMPLE.replace("thick", "thin"));
        assert_eq!(machine.boot(), "");
        assert!(machine.has("sled/sled.toml").contains("\"thin\""));
    }

    #[test]
    fn credentials_come_before_the_partition() {
        let machine = Machine::new();
        machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
        machine.bring("credentials/sled.port-map.toml", &MAP.replace("192.168.4.189", "192.168.4.188"));
        machine.bring("credentials/ssh.authorized_keys.root", "k\n");
        machine.boot();
        assert!(machine.has("network/20-bridge.network").contains("192.168.4.188/24"));
        assert_eq!(machine.has(KEYS), "k\n");
    }

    #[test]
    fn faults_take_nobodys_place() {
        let machine = Machine::new();
        // Nothing is there: it is taken, and whoever asks the sled is told.
        machine.bring("config/sled.toml", "[sledd]\n").bring("config/port-map.toml", MAP);
        assert!(machine.boot().contains("the network stays as it was"));
        assert_eq!(machine.has("sled/sled.toml"), "[sledd]\n");
        machine.bring("config/sled.toml", EXAMPLE);
        machine.boot();
        assert_eq!(machine.has("sled/sled.toml"), EXAMPLE);
        // Something is there that works.
        machine.bring("config/sled.toml", &EXAMPLE.replace("nic =", "nick ="));
        let said = machine.boot();
        assert!(said.contains("not taken over: sled.toml that was brought"), "{said}");
        assert_eq!(machine.has("sled/sled.toml"), EXAMPLE);
        assert!(machine.taken().refused.iter().any(|fault| fault.contains("network.nick")), "{:?}", machine.taken());
        assert_eq!(machine.boot(), "", "it is told once");
        // A configuration that is mended is another.
        machine.bring("config/sled.toml", &EXAMPLE.replace("thick", "thin"));
        machine.boot();
        assert_eq!(machine.taken().refused, Vec::<String>::new());
        assert!(machine.has("sled/sled.toml").contains("\"thin\""));
    }

    #[test]
    fn a_configuration_that_is_broken_on_the_sled_leaves_the_network_as_it_was() {
        let machine = Machine::new();
        machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
        machine.boot();
        machine.bring("root/var/etc/sled/sled.toml", "[");
        assert!(machine.boot().contains("stays as it was"));
        assert!(machine.has("network/20-bridge.network").contains("192.168.4.189/24"));
    }

    #[test]
    fn a_staged_downstairs_goes_with_the_version_it_was_staged_with() {
        let machine = Machine::new();
        for dir in ["usr/lib/sled", "var/lib/sled"] {
            fs::create_dir_all(machine.places.root.join(dir)).unwrap();
        }
        let staged = || machine.places.root.join(PROGRAMS).exists();
        let image = |version: &str| {
            machine.bring("root/usr/lib/sled/image.json", &format!("{{\"version\": \"{version}\"}}"));
        };
        image("1");
        machine.boot();
        machine.bring("root/var/lib/sled/programs.json", "{}");
        machine.boot();
        assert!(staged(), "the same version boots again");
        image("2");
        assert!(machine.boot().contains("brings its own downstairs"));
        assert!(!staged());
        machine.bring("root/var/lib/sled/programs.json", "{}");
        image("1");
        machine.boot();
        assert!(!staged(), "and so when the version before comes back");
    }
}
