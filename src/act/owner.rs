//! Ownership of everything below a directory, given by descriptors: a path may lead elsewhere a moment later, for
//! whoever owns a directory can put a link into it at any time.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, fstat, openat};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A user and a group.
pub type Owner = (u32, u32);

/// The flags with which a directory is opened to be read; a link in its place is an error.
const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The flags with which anything is taken hold of, without following it, waiting for it or reading it.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Give everything below a directory, and it, the owner `to`, and it this mode. Links are given themselves, and never
/// what they lead to.
///
/// # Errors
/// The path is no directory, the file system refused, or a file that is neither `from`'s nor `to`'s has another name
/// somewhere else: what it is there is not known. What came before it has its new owner.
pub fn give(dir: &Path, from: Option<Owner>, to: Owner, mode: u32) -> io::Result<()> {
    let top = openat(CWD, dir, READ, Mode::empty())?;
    give_below(&top, from, to)?;
    fchown(&top, Some(Uid::from_raw(to.0)), Some(Gid::from_raw(to.1)))?;
    Ok(fchmod(&top, Mode::from_raw_mode(mode))?)
}

fn give_below(dir: &OwnedFd, from: Option<Owner>, to: Owner) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let held = openat(dir, name, HOLD, Mode::empty())?;
        let found = fstat(&held)?;
        let owner = (found.st_uid, found.st_gid);
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            // The directory that is held, and not what has its name by now.
            give_below(&openat(&held, c".", READ, Mode::empty())?, from, to)?;
        } else if found.st_nlink > 1 && owner != to && Some(owner) != from {
            let name = name.to_string_lossy();
            return Err(io::Error::other(format!("{name} belongs to {owner:?}, and has another name elsewhere")));
        }
        if owner != to {
            chownat(&held, c"", Some(Uid::from_raw(to.0)), Some(Gid::from_raw(to.1)), AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{RenameFlags, renameat_with};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    const TO: Owner = (54321, 54322);

    fn owner(path: &Path) -> Owner {
        let found = fs::symlink_metadata(path).unwrap();
        (found.uid(), found.gid())
    }

    fn is_root() -> bool {
        let root = nix::unistd::Uid::effective().is_root();
        if !root {
            eprintln!("skipped: only root gives files to others");
        }
        root
    }

    #[test]
    fn everything_below_gets_the_owner_and_nothing_that_links_lead_to() {
        if !is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (region, outside) = (root.path().join("region"), root.path().join("outside"));
        fs::create_dir_all(region.join("00/000")).unwrap();
        fs::write(region.join("00/000/000"), "x").unwrap();
        fs::write(&outside, "x").unwrap();
        symlink(&outside, region.join("link")).unwrap();
        let was = owner(&outside);
        give(&region, Some(was), TO, 0o750).unwrap();
        for path in ["", "00", "00/000", "00/000/000", "link"] {
            assert_eq!(owner(&region.join(path)), TO, "{path:?}");
        }
        assert_eq!(owner(&outside), was);
        assert_eq!(fs::metadata(&region).unwrap().permissions().mode() & 0o7777, 0o750);
        // A link in the place of the directory itself.
        symlink(&region, root.path().join("other")).unwrap();
        assert!(give(&root.path().join("other"), None, TO, 0o750).is_err());
        // Another name of somebody's file.
        fs::hard_link(&outside, region.join("name")).unwrap();
        assert!(give(&region, None, TO, 0o750).unwrap_err().to_string().contains("elsewhere"));
        assert_eq!(owner(&outside), was);
    }

    /// The owner of the directory swaps a directory in it for a link, again and again.
    #[test]
    fn a_link_that_is_put_there_meanwhile_leads_nowhere() {
        if !is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (region, outside) = (root.path().join("region"), root.path().join("outside"));
        fs::create_dir_all(region.join("00")).unwrap();
        fs::create_dir(&outside).unwrap();
        for at in [&region.join("00"), &outside] {
            (0..20).for_each(|number| fs::write(at.join(number.to_string()), "x").unwrap());
        }
        symlink(&outside, region.join("link")).unwrap();
        let (was, done) = (owner(&outside), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (one, other) = (region.join("00"), region.join("link"));
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            for round in 0..300 {
                // A link that is swapped in between may be an error; it must not be another's.
                _ = give(&region, Some(was), (TO.0 + round % 2, TO.1), 0o750);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(owner(&outside), was);
        (0..20).for_each(|number| assert_eq!(owner(&outside.join(number.to_string())), was));
    }
}
