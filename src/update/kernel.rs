//! Kernels' files of the versions on the boot loader's partition: each is held to what its release says of it, and
//! removed where it is not whole, so that the version is taken again. The file of the version that runs is never
//! touched.
//!
//! The firmware reads FAT only, which keeps a file's length and place beside its name: when a file is renamed, the new
//! name is written first, and these with the file. A power cut between the two leaves a file of that name without
//! contents (Linux 6.12, `vfat_rename`), also of one that was synced before. So the partition is mounted with `dirsync`,
//! which leaves no more than a moment, and what that may have left is looked for.

use super::NAME;
use super::record::Attempt;
use super::release::{Installed, LOADER, files, mount_loader};
use nix::unistd::syncfs;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// First bytes of every program of the firmware's (PE/COFF, its MS-DOS header).
const MAGIC: &[u8] = b"MZ";

/// A kernel's file that was not whole, and was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The name of the file.
    pub file: String,
    /// The version of which it was.
    pub version: String,
    /// The reason why it was not whole.
    pub why: String,
}

/// Name the kernel's file of a version, as a release has it.
pub fn source(version: &str) -> String {
    format!("{NAME}_{version}.efi")
}

/// Remove the files that are not whole: that of the last attempt by its digest, others only where nothing of a program
/// is in them. The version that runs keeps its file.
///
/// # Errors
/// The loader's partition cannot be read or written.
pub fn sweep(running: &str) -> io::Result<Vec<Removed>> {
    sweep_at(Path::new(LOADER), &files()?, running, Attempt::load().as_ref())
}

fn sweep_at(loader: &Path, files: &[String], running: &str, last: Option<&Attempt>) -> io::Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for (file, one) in files.iter().filter_map(|file| Some((file, Installed::parse(file)?))) {
        if one.version == running {
            continue;
        }
        let digest = last.filter(|last| last.to == one.version).and_then(|last| last.kernel.as_deref());
        if let Some(why) = fault(File::open(loader.join(file))?, digest)? {
            fs::remove_file(loader.join(file))?;
            removed.push(Removed { file: file.clone(), version: one.version, why });
        }
    }
    if !removed.is_empty() {
        sync(loader)?;
    }
    Ok(removed)
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
/// writes the name alone.
fn sync(dir: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(dir)?)?)
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

    #[test]
    fn a_file_that_is_not_whole_goes_and_no_other() {
        let whole = b"MZ and the rest of it".as_slice();
        let left = |text: &[u8], last: Option<&Attempt>| {
            let dir = tempfile::tempdir().unwrap();
            let own = "crucible-sled_1.0.efi";
            let files = [own, "crucible-sled_1.1+3-0.efi", "debian.efi", "crucible-sled_1.1.efi.new"];
            for file in files {
                fs::write(dir.path().join(file), if file == files[1] { text } else { b"" }).unwrap();
            }
            let files = files.map(str::to_owned);
            let removed = sweep_at(dir.path(), &files, "1.0", last).unwrap();
            let there = |file: &str| dir.path().join(file).exists();
            assert!(there(own) && there(&files[2]) && there(&files[3]), "nothing else is touched");
            assert_eq!(there(&files[1]), removed.is_empty());
            assert!(removed.iter().all(|one| one.version == "1.1" && one.file == files[1]), "{removed:?}");
            removed.into_iter().next().map(|one| one.why)
        };
        let last = taken(Some(whole));
        assert_eq!(left(whole, Some(&last)), None);
        assert_eq!(left(b"", Some(&last)), Some("it is empty".into()));
        assert_eq!(left(b"", None), Some("it is empty".into()));
        assert_eq!(left(&[0; 4096], None), Some("no program is in it".into()));
        // Of the right length, and a block of it never came to the disk.
        assert!(left(b"MZ and the \0\0\0\0 of it", Some(&last)).unwrap().contains("its digest is"));
        assert!(left(&whole[..9], Some(&last)).is_some());
        // Nobody has said what it is to be: an older version took it, or the record is of another.
        assert_eq!(left(&whole[..9], None), None);
        assert_eq!(left(&whole[..9], Some(&taken(None))), None);
        assert_eq!(left(&whole[..9], Some(&Attempt { to: "1.2".into(), ..last })), None);
    }
}
