//! Boot of the image, before anything reads `/etc`: the initrd runs this on the root that it has just mounted, with
//! `/var` in its place.
//!
//! What was brought ([`super::brought`]) is taken over once: each file when it is another than the last that was brought
//! as it. What was changed on the sled since stays, unless another is brought in its place; then it is kept aside. A
//! set is taken whole or refused whole: a configuration with faults never takes the place of one without, keys that
//! let nobody in never that of some that do, and the screen says why. Nothing here can fail a boot.

use super::brought::{self, Brought, Sources, WANTED, Wanted};
use super::fragments::{self, Fragment, Owner};
use super::{CONFIG, OWN, TAKEN, network, serial, trial};
use crate::config::FRAGMENTS;
use crate::config_dir::{self, PORT_MAP, SLED};
use crate::files::{make_dir, replace, set_mode, sync_dir, write_aside};
use crate::source::Source;
use crate::times;
use jiff::Timestamp;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The version that was booted last, in [`OWN`].
const BOOTED: &str = "booted";
/// The record of the programs that were staged (`act::programs`), below the root.
const PROGRAMS: &str = "var/lib/sled/programs.json";
/// The end of the name of a file whose place another has taken that was brought.
const REPLACED: &str = ".replaced";

/// The places of a machine that boots.
#[derive(Debug, Clone)]
pub struct Places {
    /// The root of the machine: `/`, or where the initrd has mounted it.
    pub root: PathBuf,
    /// The directory that is gone with the boot: `/run`.
    pub run: PathBuf,
    /// The places from which files are brought.
    pub sources: Sources,
}

/// The record of the files that were brought last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The digest of all files: a version of the image that knows no other takes none of them again.
    pub digest: String,
    /// The digest of everything that was seen, so that it is told once. Absent in records of versions that knew none.
    #[serde(default)]
    pub seen: String,
    /// The digest of each file when it was taken over last.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
    /// The time at which they were.
    pub at: Timestamp,
    /// Their names.
    pub files: Vec<String>,
    /// The faults for which they were not taken over; empty if they were.
    pub refused: Vec<String>,
    /// What lay beside them and was not looked at.
    #[serde(default)]
    pub unread: Vec<String>,
    /// The partition of another disk that has brought them, as the machine had no configuration.
    #[serde(default)]
    pub from: Option<String>,
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
    tell("the files that were brought", take_over(&places.sources, &own).map(|lines| lines.join("; ").into()));
    tell("the network", set_up(&places.root, &own));
    tell("the serial line", show_on_serial(&places.run, &own).map(|()| None));
    tell("the downstairs program", forget_programs(&places.root, &own));
    said.retain(|line: &String| !line.is_empty());
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
fn take_over(sources: &Sources, own: &Path) -> io::Result<Vec<String>> {
    let brought = brought::gather(sources, is_configured(own));
    let last: Option<Taken> = fs::read(own.join(TAKEN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if brought.is_empty() && last.as_ref().is_none_or(|last| last.refused.is_empty() && last.unread.is_empty()) {
        return Ok(Vec::new());
    }
    if last.as_ref().is_some_and(|last| last.seen == brought.seen()) {
        return Ok(Vec::new());
    }
    let known = last.as_ref().map(|last| known(last, &brought)).unwrap_or_default();
    let changed = |wanted: &Wanted| {
        let text = brought.files.get(wanted.file)?;
        (known.get(wanted.file) != Some(&brought::digest(text))).then_some((wanted.file, text.as_slice()))
    };
    let fragments = brought.fragments.iter().map(|(name, one)| (name.as_str(), one.text.as_slice()));
    let fragments = fragments.filter(|(name, text)| known.get(*name) != Some(&brought::digest(text)));
    let changed: BTreeMap<&str, &[u8]> = WANTED.iter().filter_map(changed).chain(fragments).collect();
    let refused = faults(own, &brought, &changed);
    let mut said = Vec::new();
    if refused.is_empty() {
        said = put(own, &brought, &changed, &known)?;
    } else {
        said.push(format!("not taken over: {}", refused.join("; ")));
    }
    said.extend(brought.unread.iter().cloned());
    let mut digests = known;
    if refused.is_empty() {
        digests.extend(changed.iter().map(|(file, text)| ((*file).to_owned(), brought::digest(text))));
    }
    let files = match last {
        Some(last) if changed.is_empty() => last.files,
        _ => changed.keys().map(|file| (*file).to_owned()).collect(),
    };
    let (digest, seen) = (brought.digest(), brought.seen());
    let taken =
        Taken { digest, seen, digests, at: times::now(), files, refused, unread: brought.unread, from: brought.from };
    replace(own, TAKEN, &serde_json::to_vec_pretty(&taken)?)?;
    Ok(said)
}

fn is_configured(own: &Path) -> bool {
    own.join(CONFIG).join(SLED).exists()
}

/// The digests of what was taken over last. A version that knew the digest of all files alone took them all.
fn known(last: &Taken, brought: &Brought) -> BTreeMap<String, String> {
    let took_all = last.seen.is_empty() && last.refused.is_empty() && last.digest == brought.digest();
    if took_all {
        return brought.files.iter().map(|(file, text)| ((*file).to_owned(), brought::digest(text))).collect();
    }
    last.digests.clone()
}

/// A file that was brought: its name, its place in [`OWN`], its text, and whose it is.
struct File<'a> {
    name: &'a str,
    place: String,
    text: &'a [u8],
    owner: Owner,
}

fn files(brought: &Brought) -> impl Iterator<Item = File<'_>> {
    let wanted = WANTED.iter().filter_map(|wanted| {
        let (text, owner) = (brought.files.get(wanted.file)?, Owner::default());
        Some(File { name: wanted.file, place: wanted.place.into(), text, owner })
    });
    let fragments = brought.fragments.iter().map(|(name, Fragment { text, owner })| {
        let place = format!("{CONFIG}/{name}");
        File { name, place, text, owner: *owner }
    });
    wanted.chain(fragments)
}

/// Write a file so that after a crash it is the old one or the new one, whosever it is.
fn write(path: &Path, text: &[u8], owner: Owner) -> io::Result<()> {
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default().to_string_lossy());
    let aside = write_aside(dir, &name, text)?;
    // Nobody else can give a file away; whoever boots a machine is root.
    if geteuid().is_root() {
        chown(&aside, Some(owner.user), Some(owner.group))?;
    }
    set_mode(&aside, owner.mode)?;
    fs::rename(aside, path)?;
    sync_dir(dir)
}

/// Put what was brought into its places, and say what has become of what was there.
fn put(
    own: &Path,
    brought: &Brought,
    changed: &BTreeMap<&str, &[u8]>,
    known: &BTreeMap<String, String>,
) -> io::Result<Vec<String>> {
    let (mut replaced, mut newer) = (Vec::new(), Vec::new());
    if !brought.fragments.is_empty() {
        make_dir(&own.join(CONFIG).join(FRAGMENTS), 0o755)?;
    }
    for File { name, place, text, owner } in files(brought) {
        let path = own.join(&place);
        let here = fs::read(&path).ok();
        if !changed.contains_key(name) {
            newer.extend((here.as_deref() != Some(text)).then_some(name));
            continue;
        }
        // Changed on the sled since, or put there by somebody else.
        let others = here.filter(|here| here != text && known.get(name) != Some(&brought::digest(here)));
        if let Some(others) = others {
            write(&own.join(format!("{place}{REPLACED}")), &others, Owner::of(&path))?;
            replaced.push(name);
        }
        write(&path, text, owner)?;
    }
    let list = |what: &str, files: &[&str]| (!files.is_empty()).then(|| format!("{what}: {}", files.join(", ")));
    let taken: Vec<_> = changed.keys().copied().collect();
    let from = brought.from.as_ref().map_or_else(String::new, |from| {
        format!(" from the partition CONFIG of another disk ({from}), as this machine had no configuration")
    });
    let lines = [
        list(&format!("taken over{from}"), &taken),
        list("changed on this sled since, and kept aside with the ending .replaced", &replaced),
        list("as it was brought before, while what this sled has is newer and stays", &newer),
    ];
    Ok(lines.into_iter().flatten().collect())
}

/// List the files of this machine whose place others have taken that were brought, though they had been changed on it.
pub fn replaced(own: &Path) -> Vec<PathBuf> {
    let all = WANTED.iter().map(|wanted| own.join(format!("{}{REPLACED}", wanted.place)));
    let fragments = fragments::kept_aside(&own.join(CONFIG), REPLACED);
    all.filter(|path| path.exists()).chain(fragments).collect()
}

/// Find why what was brought must not take the place of what is there. The first configuration is taken over with its
/// faults: everybody who asks the sled is told them, which is more than nothing.
fn faults(own: &Path, brought: &Brought, changed: &BTreeMap<&str, &[u8]>) -> Vec<String> {
    let (config, mut faults) = (own.join(CONFIG), brought.faults.clone());
    let has = |file: &str| brought.files.contains_key(file) || config.join(file).exists();
    let fragment = brought.fragments.keys().next().map(|name| (name.as_str(), SLED));
    for (one, other) in [(SLED, PORT_MAP), (PORT_MAP, SLED)].into_iter().chain(fragment) {
        let half = changed.contains_key(one) && !has(other) && !faults.iter().any(|fault| fault.contains(other));
        faults.extend(half.then(|| format!("{other} is missing: a sled needs both")));
    }
    let others: Vec<_> = changed.iter().filter(|(file, _)| config_dir::is_file_name(file)).collect();
    if others.is_empty() || config_dir::read(&config).is_err() {
        return faults;
    }
    let others = others.into_iter().map(|(file, text)| {
        let text = String::from_utf8(text.to_vec()).map_err(|_| "is no text".to_owned());
        (*file, Source { file: format!("{file} that was brought"), text })
    });
    let found = config_dir::read_with(&config, others).err().unwrap_or_default();
    faults.extend(found.iter().map(ToString::to_string));
    faults
}

/// Write the network's files. With a faulty configuration they stay as they were: a sled that can be reached is
/// mended more easily. What was on trial when the machine went down is not in force, whatever the configuration is.
fn set_up(root: &Path, own: &Path) -> io::Result<Option<String>> {
    let memory = root.join(trial::MEMORY.trim_start_matches('/'));
    let mut said = Vec::new();
    if let Ok(Some(_)) = other_version(root, own)
        && let Err(why) = trial::forget_copy_alone(&memory)
    {
        said.push(format!("the copy of a record that another version left: {why}"));
    }
    match trial::put_away_lost(&memory) {
        Ok(true) => said.push("the record of a network on trial cannot be read: what is in force may be that".into()),
        Ok(false) => {}
        Err(why) => said.push(format!("the record of a network on trial cannot be read, nor put away: {why}")),
    }
    if let Err(why) = trial::end_at_boot(&memory, own) {
        said.push(format!("the network that was on trial: {why}"));
    }
    match config_dir::read(&own.join(CONFIG)) {
        Err(_) => said.push("the configuration is missing or has faults: the network stays as it was".into()),
        Ok(config) => {
            let (asked, files) = (network::asked(&config), trial::named(network::files(&config)));
            if trial::stays(&memory, own, &asked, &files)? {
                said.push("the network stays as it was: which one was on trial is not known".into());
            } else {
                let changed = trial::put(own, &trial::at_boot(&memory, &asked, files)?)?;
                said.extend((!changed.is_empty()).then(|| format!("written: {}", changed.join(", "))));
            }
        }
    }
    if trial::load(&memory).is_some() {
        said.push("the network that was on trial is not in force: the one before is".into());
    }
    Ok((!said.is_empty()).then(|| said.join("; ")))
}

/// Have the screen shown on the serial line that is configured.
fn show_on_serial(run: &Path, own: &Path) -> io::Result<()> {
    let Ok(config) = config_dir::read(&own.join(CONFIG)) else { return Ok(()) };
    let Some(line) = &config.sled.appliance.serial else { return Ok(()) };
    let units = run.join("systemd/system");
    let (wanted, unit) = serial::wanted(line);
    let ((file, text), link) = (serial::speed(line), units.join(wanted));
    for path in [&units.join(&file), &link] {
        fs::create_dir_all(path.parent().unwrap_or(&units))?;
    }
    fs::write(units.join(file), text)?;
    match symlink(unit, link) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Forget the downstairs program that was staged, if another version of the image is booted: it belongs to the one
/// that it was staged with, and another, newer or older, brings its own.
fn forget_programs(root: &Path, own: &Path) -> io::Result<Option<String>> {
    let Some(version) = other_version(root, own)? else { return Ok(None) };
    let forgotten = match fs::remove_file(root.join(PROGRAMS)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        removed => removed.map(|()| Some("another version of the image brings its own downstairs".into()))?,
    };
    replace(own, BOOTED, version.as_bytes())?;
    Ok(forgotten)
}

/// The version of the image, if another was booted last.
fn other_version(root: &Path, own: &Path) -> io::Result<Option<String>> {
    let Ok(image) = fs::read(root.join("usr/lib/sled/image.json")) else { return Ok(None) };
    let version = serde_json::from_slice::<serde_json::Value>(&image)?["version"].to_string();
    let same = fs::read_to_string(own.join(BOOTED)).is_ok_and(|booted| booted == version);
    Ok((!same).then_some(version))
}

#[cfg(test)]
mod tests;
