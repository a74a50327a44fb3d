//! Backup's table of contents: whose it is, and what each file was. Pure.

use crate::names::SledName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The name that it has in the archive.
pub(super) const MANIFEST: &str = "manifest.json";
/// The version of it that is written and understood.
const VERSION: u32 = 1;

/// Contents of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    /// The time at which it was made.
    pub(super) made: Timestamp,
    /// The program that made it.
    by: String,
    /// The sled that it is of.
    pub(super) sled: SledName,
    /// The data disk that its records are of; absent if that was not mounted, or not marked.
    pub(super) disk: Option<Uuid>,
    /// The files by their names in the archive.
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    sha256: String,
}

/// Files by their names in the archive.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

impl Entry {
    fn of(text: &[u8]) -> Self {
        let sha256 = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes: text.len() as u64, sha256 }
    }
}

impl Manifest {
    /// Describe the files of a sled and its disk.
    pub(super) fn of(sled: SledName, disk: Option<Uuid>, files: &Files, made: Timestamp) -> Self {
        let by = concat!("crucible-sled ", env!("CARGO_PKG_VERSION")).to_owned();
        let files = files.iter().map(|(name, text)| (name.clone(), Entry::of(text))).collect();
        Self { version: VERSION, made, by, sled, disk, files }
    }

    /// Take the manifest out of what an archive holds, and find every file to be what it says.
    ///
    /// # Errors
    /// What is not so.
    pub(super) fn check(mut files: Files) -> Result<(Self, Files), String> {
        let text = files.remove(MANIFEST).ok_or("it has no manifest: it is no backup of a sled")?;
        let version: serde_json::Value =
            serde_json::from_slice(&text).map_err(|why| format!("its manifest cannot be read: {why}"))?;
        if version["version"] != VERSION {
            return Err(format!("its version is {}, and {VERSION} is known here", version["version"]));
        }
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|why| format!("its manifest cannot be read: {why}"))?;
        for (name, entry) in &manifest.files {
            match files.get(name) {
                None => return Err(format!("it lacks {name}")),
                Some(text) if Entry::of(text) != *entry => return Err(format!("{name} is not what it was")),
                Some(_) => {}
            }
        }
        match files.keys().find(|name| !manifest.files.contains_key(*name)) {
            Some(name) => Err(format!("its manifest does not know {name}")),
            None => Ok((manifest, files)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_changed_missing_or_new_is_found() {
        let files: Files = [("a", "one"), ("b", "two")].map(|(name, text)| (name.into(), text.into())).into();
        let manifest = Manifest::of("proper-raptor".parse().unwrap(), None, &files, Timestamp::UNIX_EPOCH);
        let mut archive = files.clone();
        archive.insert(MANIFEST.into(), serde_json::to_vec(&manifest).unwrap());
        assert_eq!(Manifest::check(archive.clone()), Ok((manifest.clone(), files.clone())));
        let changed = |change: &dyn Fn(&mut Files)| {
            let mut archive = archive.clone();
            change(&mut archive);
            Manifest::check(archive).unwrap_err()
        };
        assert!(changed(&|all| all.get_mut("a").unwrap().push(b'x')).contains("a is not what it was"));
        assert!(changed(&|all| _ = all.remove("b")).contains("lacks b"));
        assert!(changed(&|all| _ = all.insert("c".into(), Vec::new())).contains("does not know c"));
        assert!(changed(&|all| _ = all.remove(MANIFEST)).contains("no manifest"));
        let newer = serde_json::to_string(&manifest).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        assert!(changed(&|all| _ = all.insert(MANIFEST.into(), newer.clone().into())).contains("version is 2"));
    }
}
