//! Way back to the version before: which files of the boot loader get other names for it, so that the version before is
//! tried as a new one is, and comes first. Pure.
//!
//! systemd-boot starts the highest version that has tries left or needs none. Whatever has none left comes last: so the
//! version that runs is put there, and comes again only when the one before is in vain. When everything has been in vain,
//! the machine stays as it is (`boot-retry` of the image).

use super::NAME;
use super::release::{Installed, order};
use super::transfers::TRIES;

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// The version before.
    pub version: String,
    /// The files to be renamed, in this order: a power cut between them changes nothing that is started.
    pub renames: [(String, String); 2],
}

/// The reason why there is no way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nothing {
    /// The version that runs has yet to show that it is well: the version before comes by itself if it is not.
    OnTrial,
    /// No version before is there that was not given up.
    NoneBefore,
}

/// Find the way back from the version that runs, by the names of the boot loader's files.
///
/// # Errors
/// Why there is none.
pub fn plan(files: &[String], running: &str) -> Result<Back, Nothing> {
    let known = || files.iter().filter_map(|file| Some((file, Installed::parse(file)?)));
    // A renaming that was cut short may have left two: the one that the boot loader takes.
    let own = known().filter(|(_, one)| one.version == running);
    let (own, runs) = own.max_by_key(|(_, one)| one.tries_left.unwrap_or(u32::MAX)).ok_or(Nothing::NoneBefore)?;
    if runs.tries_left.is_some_and(|left| left > 0) {
        return Err(Nothing::OnTrial);
    }
    let before = known().filter(|(_, one)| order(&one.version) < order(running) && one.tries_left != Some(0));
    let (file, before) = before.max_by_key(|(_, one)| order(&one.version)).ok_or(Nothing::NoneBefore)?;
    let on_trial = format!("{NAME}_{}+{TRIES}-0.efi", before.version);
    let given_up = format!("{NAME}_{running}+0-0.efi");
    let renames = [(file.clone(), on_trial), (own.clone(), given_up)];
    Ok(Back { version: before.version, renames })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    /// Whether the machine starts again after a boot that was not good, by the image's own script.
    fn retries(files: &[&str]) -> bool {
        let (root, loader) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().unwrap());
        for file in files {
            fs::write(loader.path().join(file), "").unwrap();
        }
        let mut script = Command::new(root.join("image/mkosi/mkosi.extra/usr/lib/sled/boot-retry"));
        let done = script.arg(loader.path()).output().unwrap();
        assert!(matches!(done.status.code(), Some(0 | 1)), "{done:?}");
        assert_eq!(done.status.success(), done.stderr.is_empty(), "it says why nothing is tried any more");
        done.status.success()
    }

    #[test]
    fn a_machine_starts_again_as_long_as_anything_is_left_to_be_tried() {
        let (one, two) = ("crucible-sled_0.1.9.efi", "crucible-sled_0.1.10.efi");
        let plan = plan(&[one.into(), two.into()], "0.1.10").unwrap();
        let [(_, on_trial), (_, behind)] = &plan.renames;
        for (files, again) in [
            (&["crucible-sled_0.1.10+2-1.efi", one][..], true),
            // The last try of it: the version before comes next.
            (&["crucible-sled_0.1.10+0-3.efi", one], true),
            (&[on_trial, behind], true),
            // The way back was in vain, and what is behind it has no try of its own.
            (&["crucible-sled_0.1.9+0-3.efi", "crucible-sled_0.1.10+0-1.efi"], false),
            (&["crucible-sled_0.1.9+0-3.efi", "crucible-sled_0.1.10+0.efi", "debian_1.efi"], false),
            // Nobody could look: a version that cannot mount its loader's partition must give way.
            (&[], true),
            (&["debian_1.efi"], true),
        ] {
            assert_eq!(retries(files), again, "{files:?}");
        }
    }

    #[test]
    fn the_way_back_leads_to_the_highest_version_before() {
        let plan = |files: &[&str], running: &str| {
            plan(&files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>(), running)
        };
        let (one, two) = ("crucible-sled_0.1.9.efi", "crucible-sled_0.1.10.efi");
        let back = plan(&[one, two, "debian_1.efi"], "0.1.10").unwrap();
        assert_eq!(back.version, "0.1.9");
        let renames = [(one, "crucible-sled_0.1.9+3-0.efi"), (two, "crucible-sled_0.1.10+0-0.efi")];
        assert_eq!(back.renames, renames.map(|(from, to)| (from.to_owned(), to.to_owned())));
        // It was cut short before: the file that the boot loader starts gets the other name.
        let again = plan(&["crucible-sled_0.1.10+0-0.efi", "crucible-sled_0.1.9+3-0.efi", two], "0.1.10").unwrap();
        assert_eq!(again.renames[1].0, two);
        // What the new names mean to the boot loader, and to those who read them.
        let read = |file: &str| Installed::parse(file).map(|one| (one.version, one.tries_left));
        assert_eq!(read(&back.renames[0].1), Some(("0.1.9".into(), Some(3))));
        assert_eq!(read(&back.renames[1].1), Some(("0.1.10".into(), Some(0))));
        for (files, running, why) in [
            (&[one, two][..], "0.1.9", Nothing::NoneBefore),
            (&[two], "0.1.10", Nothing::NoneBefore),
            (&["crucible-sled_0.1.9+0-3.efi", two], "0.1.10", Nothing::NoneBefore),
            (&[one, "crucible-sled_0.1.10+2-1.efi"], "0.1.10", Nothing::OnTrial),
            (&["crucible-sled_0.1.10+0-0.efi", one, "crucible-sled_0.1.10+1-1.efi"], "0.1.10", Nothing::OnTrial),
            (&[], "0.1.10", Nothing::NoneBefore),
        ] {
            assert_eq!(plan(files, running), Err(why), "{files:?}");
        }
    }
}
