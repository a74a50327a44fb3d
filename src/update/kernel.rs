//! Kernels' files of the versions on the boot loader's partition: each is held to what its release says of it, and
//! removed where it is not whole, so that the version is taken again.
//!
//! The firmware reads FAT only, which keeps a file's length and place beside its name: when a file is renamed, the new
//! name is written first, these with the file, and then the old name goes (Linux 6.12, `vfat_rename`). A power cut behind
//! the first of the three leaves a new name without contents, also of a file that was synced before; one behind the
//! second leaves two names of the same contents, of which fsck.fat takes those of one. So the partition is mounted with
//! `dirsync`, which leaves no more than a moment between them, and what that may have left is looked for.
//!
//! The version that runs keeps its file, unless another of its own is whole: never is its last one removed.

use super::NAME;
use super::record::{Attempt, Outcome};
use super::release::{Installed, LOADER, files, mount_loader};
use nix::unistd::syncfs;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// First bytes of every program of the firmware's (PE/COFF, its MS-DOS header).
const MAGIC: &[u8] = b"MZ";

/// A kernel's file that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The name of the file.
    pub file: String,
    /// The version of which it is.
    pub version: String,
    /// The reason why it is not whole.
    pub why: String,
}

/// The outcome of a look at the kernels' files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The files that were removed.
    pub removed: Vec<Torn>,
    /// The file of the version that runs, if it has no whole one: it does not start again.
    pub lost: Option<Torn>,
    /// The files that could not be looked at or removed, by their names, and why.
    pub unknown: Vec<(String, String)>,
}

/// Name the kernel's file of a version, as a release has it.
pub fn source(version: &str) -> String {
    format!("{NAME}_{version}.efi")
}

/// Remove the files that are not whole: that of the last attempt by its digest, as long as it has not been started;
/// others only where nothing of a program is in them.
///
/// # Errors
/// The loader's partition cannot be read or synced.
pub fn sweep(running: &str) -> io::Result<Swept> {
    sweep_at(Path::new(LOADER), &files()?, running, Attempt::load().as_ref())
}

fn sweep_at(loader: &Path, files: &[String], running: &str, last: Option<&Attempt>) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let (mut own_torn, mut own_whole) = (Vec::new(), false);
    for (file, one) in files.iter().filter_map(|file| Some((file, Installed::parse(file)?))) {
        let own = one.version == running;
        match File::open(loader.join(file)).and_then(|open| fault(open, digest_of(&one.version, last))) {
            Ok(None) => own_whole |= own,
            Ok(Some(why)) => {
                let torn = Torn { file: file.clone(), version: one.version, why };
                if own { own_torn.push(torn) } else { swept.remove(loader, torn) }
            }
            // Somebody else takes or removes one just now.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => swept.unknown.push((file.clone(), why.to_string())),
        }
    }
    if own_whole {
        own_torn.into_iter().for_each(|torn| swept.remove(loader, torn));
    } else {
        swept.lost = own_torn.pop();
    }
    if !swept.removed.is_empty() {
        sync(loader)?;
    }
    Ok(swept)
}

/// The digest that a version's file is to have, where it is known and nothing has been started of it that would show:
/// afterwards the record may be of another disk, or of another release of that number.
fn digest_of<'a>(version: &str, last: Option<&'a Attempt>) -> Option<&'a str> {
    let last =
        last.filter(|last| last.to == version && matches!(last.outcome, None | Some(Outcome::CutShort { .. })))?;
    last.kernel.as_deref()
}

impl Swept {
    fn remove(&mut self, loader: &Path, torn: Torn) {
        match fs::remove_file(loader.join(&torn.file)) {
            Ok(()) => self.removed.push(torn),
            Err(why) => self.unknown.push((torn.file, why.to_string())),
        }
    }
}

/// Make everything on the loader's partition durable: names, and what they stand for.
///
/// # Errors
/// The partition cannot be mounted, or not written.
pub fn settle() -> io::Result<()> {
    mount_loader()?;
    sync(Path::new(LOADER))
}

/// Give some of the loader's files other names, durably, one after the other.
///
/// # Errors
/// One of them stays as it is, and those behind it.
pub fn rename(renames: &[(String, String)]) -> io::Result<()> {
    mount_loader()?;
    let loader = Path::new(LOADER);
    for (from, to) in renames {
        fs::rename(loader.join(from), loader.join(to))?;
        // What the new name stands for, before the directory.
        File::open(loader.join(to))?.sync_all()?;
        sync(loader)?;
    }
    Ok(())
}

/// Make durable what the file system has on which this directory is: of a renamed file on FAT, to sync the directory
/// writes the name alone, and to sync the file system does not have the disk write what it caches.
fn sync(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    syncfs(&dir)?;
    dir.sync_all()
}

/// Find what a kernel's file lacks; `None` if it is whole, as far as is known of it.
fn fault(mut file: impl Read, digest: Option<&str>) -> io::Result<Option<String>> {
    let mut start = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start)?;
    if start.is_empty() {
        return Ok(Some("it is empty".into()));
    }
    if start != MAGIC {
        return Ok(Some("no program is in it".into()));
    }
    let Some(digest) = digest else { return Ok(None) };
    let mut hash = Sha256::new_with_prefix(start);
    io::copy(&mut file, &mut hash)?;
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((found != digest).then(|| format!("its digest is {found}, and by the release {digest}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn digest(text: &[u8]) -> String {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// One taken of which the kernel's file is to be this.
    fn taken(kernel: Option<&[u8]>) -> Attempt {
        let (from, to, boot, kernel) = ("1.0".into(), "1.1".into(), "b".into(), kernel.map(digest));
        Attempt { from, to, at: Timestamp::UNIX_EPOCH, boot, rolled: false, kernel, outcome: None }
    }

    const OWN: &str = "crucible-sled_1.0.efi";
    const NEW: &str = "crucible-sled_1.1+3-0.efi";
    const WHOLE: &[u8] = b"MZ and the rest of it";

    /// Sweeps files of these contents, and tells what was found and which are left.
    fn sweep(files: &[(&str, &[u8])], last: Option<&Attempt>) -> (Swept, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let names: Vec<_> = files.iter().map(|(file, _)| (*file).to_owned()).collect();
        let swept = sweep_at(dir.path(), &names, "1.0", last).unwrap();
        (swept, names.into_iter().filter(|file| dir.path().join(file).exists()).collect())
    }

    #[test]
    fn a_file_that_is_not_whole_goes_and_no_other() {
        let removed = |text: &[u8], last: Option<&Attempt>| {
            let others: [(&str, &[u8]); 3] = [(OWN, WHOLE), ("debian.efi", b""), ("crucible-sled_1.1.efi.new", b"")];
            let (swept, left) = sweep(&[&others[..], &[(NEW, text)]].concat(), last);
            assert_eq!(left.len(), 4 - swept.removed.len(), "nothing else is touched");
            assert_eq!(left.iter().any(|file| file == NEW), swept.removed.is_empty());
            assert!(swept.lost.is_none() && swept.unknown.is_empty());
            assert!(swept.removed.iter().all(|one| one.version == "1.1" && one.file == NEW), "{swept:?}");
            swept.removed.into_iter().next().map(|one| one.why)
        };
        let last = taken(Some(WHOLE));
        assert_eq!(removed(WHOLE, Some(&last)), None);
        assert_eq!(removed(b"", Some(&last)), Some("it is empty".into()));
        assert_eq!(removed(b"", None), Some("it is empty".into()));
        assert_eq!(removed(&[0; 4096], None), Some("no program is in it".into()));
        // Of the right length, and a block of it never came to the disk.
        assert!(removed(b"MZ and the \0\0\0\0 of it", Some(&last)).unwrap().contains("its digest is"));
        assert!(removed(&WHOLE[..9], Some(&last)).is_some());
        // Nobody has said what it is to be: an older version took it, or the record is of another.
        assert_eq!(removed(&WHOLE[..9], None), None);
        assert_eq!(removed(&WHOLE[..9], Some(&taken(None))), None);
        assert_eq!(removed(&WHOLE[..9], Some(&Attempt { to: "1.2".into(), ..last.clone() })), None);
        // It has been started: what is on record may be of another release of that number.
        let outcome = Some(Outcome::Good { why: String::new(), at: Timestamp::UNIX_EPOCH });
        assert_eq!(removed(&WHOLE[..9], Some(&Attempt { outcome, ..last.clone() })), None);
        let outcome = Some(Outcome::CutShort { at: Timestamp::UNIX_EPOCH });
        assert!(removed(&WHOLE[..9], Some(&Attempt { outcome, ..last })).is_some());
    }

    #[test]
    fn the_version_that_runs_loses_no_file_but_a_torn_one_beside_a_whole_one() {
        let counted = "crucible-sled_1.0+2-1.efi";
        // Its renaming was cut short: fsck.fat leaves one of the two names its contents.
        for (torn, whole) in [(OWN, counted), (counted, OWN)] {
            let (swept, left) = sweep(&[(torn, b""), (whole, WHOLE)], None);
            assert_eq!((swept.removed.len(), swept.lost), (1, None));
            assert_eq!(left, [whole]);
        }
        let (swept, left) = sweep(&[(OWN, b""), (NEW, WHOLE)], None);
        assert_eq!((swept.removed.len(), left.len()), (0, 2));
        assert_eq!(swept.lost.unwrap().file, OWN);
        // What is not there any more when it is looked at, and what cannot be looked at, keeps nobody from the others.
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(OWN)).unwrap();
        fs::write(dir.path().join(NEW), "").unwrap();
        let names = ["crucible-sled_0.9.efi", OWN, NEW].map(str::to_owned);
        let swept = sweep_at(dir.path(), &names, "1.0", None).unwrap();
        assert_eq!((swept.removed.len(), swept.unknown.len(), swept.lost), (1, 1, None));
    }
}
