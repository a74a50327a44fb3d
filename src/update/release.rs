//! Release of the image, as it describes itself, and the versions of it that the boot loader can start.

use super::NAME;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// The file in which an image describes itself.
pub const FILE: &str = "usr/lib/sled/image.json";
/// The directory of the boot loader's partition when it is looked at.
pub(super) const LOADER: &str = "/boot/EFI/Linux";
/// The variable of systemd-boot that says that tries of this boot are counted.
const COUNTED: &str = "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The description of an image, by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version of the image.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The digest of everything in it but the downstairs program: two images that have it in common
    /// need no reboot between them.
    pub base: String,
    /// The version of its downstairs program.
    pub downstairs: String,
    /// Whether it has a stand-in in the place of the downstairs program, and keeps no data.
    pub demonstration: bool,
    /// Whether it has firmware and microcode; absent in what older versions say.
    #[serde(default)]
    pub firmware: Option<bool>,
}

impl Release {
    /// Read the release of the image that is mounted at `root`.
    ///
    /// # Errors
    /// The image is none of ours.
    pub fn read(root: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(root.join(FILE))?)?)
    }
}

/// A version that the boot loader can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The version.
    pub version: String,
    /// The number of tries it has left; absent: it is well.
    pub tries_left: Option<u32>,
}

impl Installed {
    /// Read a version from the name of its file: `NAME_VERSION[+LEFT[-DONE]].efi`, as of the Boot Loader
    /// Specification.
    pub fn parse(file: &str) -> Option<Self> {
        let name = file.strip_prefix(NAME)?.strip_prefix('_')?.strip_suffix(".efi")?;
        let counted = name.rsplit_once('+').and_then(|(version, count)| {
            let left = count.split('-').next()?.parse().ok()?;
            Some((version, left))
        });
        let (version, tries_left) = counted.map_or((name, None), |(version, left)| (version, Some(left)));
        Some(Self { version: version.to_owned(), tries_left })
    }
}

/// List the versions that the boot loader can start, the newest last.
///
/// # Errors
/// The loader's partition cannot be read.
pub fn installed() -> io::Result<Vec<Installed>> {
    let mut all: Vec<_> = files()?.iter().filter_map(|file| Installed::parse(file)).collect();
    all.sort_by_key(|found| order(&found.version));
    Ok(all)
}

/// List the files of the versions that the boot loader can start.
///
/// # Errors
/// The loader's partition cannot be read.
pub fn files() -> io::Result<Vec<String>> {
    mount_loader()?;
    let entries = fs::read_dir(LOADER)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Mount the boot loader's partition, as fstab says: it is not, as long as nobody looks at it.
///
/// # Errors
/// The partition cannot be mounted.
pub fn mount_loader() -> io::Result<()> {
    let status = Command::new("systemctl").args(["start", "boot.mount"]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("/boot cannot be mounted: see systemctl status boot.mount"))
    }
}

/// Versions of ours are numbers with dots between them.
pub fn order(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Whether the version that runs has yet to show that it is a good one. One without tries that is not counted was well
/// once: it was only put behind another.
pub fn has_yet_to_show(running: &str, installed: &[Installed]) -> bool {
    // The boot loader's word is of the start, and stays when the version has shown it: then its file says so.
    is_counted(running, installed, Path::new(COUNTED).exists())
}

fn is_counted(running: &str, installed: &[Installed], on_trial: bool) -> bool {
    let own = installed.iter().find(|one| one.version == running);
    own.and_then(|own| own.tries_left).is_some_and(|left| left > 0 || on_trial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_boot_loader_tells_version_and_tries() {
        let read = |file: &str| Installed::parse(file).map(|found| (found.version, found.tries_left));
        assert_eq!(read("crucible-sled_0.1.0.113.efi"), Some(("0.1.0.113".into(), None)));
        assert_eq!(read("crucible-sled_0.1.0.113+3.efi"), Some(("0.1.0.113".into(), Some(3))));
        assert_eq!(read("crucible-sled_0.1.0.113+0-3.efi"), Some(("0.1.0.113".into(), Some(0))));
        assert_eq!(read("debian_1.efi"), None);
        assert_eq!(read("crucible-sled_1.conf"), None);
    }

    #[test]
    fn a_version_that_was_put_behind_another_is_not_on_trial() {
        let counted = |tries_left, on_trial| {
            let installed = [Installed { version: "2".into(), tries_left }];
            is_counted("2", &installed, on_trial)
        };
        assert!(counted(Some(2), true) && counted(Some(2), false));
        assert!(counted(Some(0), true), "it is the last try");
        assert!(!counted(Some(0), false), "the way back was taken, and not gone yet");
        assert!(!counted(None, true), "it has shown that it is well in this boot");
        assert!(!counted(None, false) && !is_counted("1", &[], true));
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(order("0.1.0.99") < order("0.1.0.113") && order("0.1.0.113") < order("0.2"));
    }
}
