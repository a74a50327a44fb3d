//! Files that must survive a power cut, and files that somebody else owns, beyond what the standard library has: a
//! region's directory belongs to the service user, and is read by root.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Make the names in a directory durable.
///
/// # Errors
/// The error of fsync(2).
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Write a small file so that after a crash it is the old one or the new one: aside, synced, renamed, and the rename
/// synced.
///
/// # Errors
/// The file system's error. A file that was written aside may be left; the next write takes it.
pub fn replace(dir: &Path, file: &str, text: &[u8]) -> io::Result<()> {
    let aside = write_aside(dir, file, text)?;
    fs::rename(aside, dir.join(file))?;
    sync_dir(dir)
}

/// Write a small file, synced, under another name than its own, and return where.
///
/// # Errors
/// The file system's error.
pub fn write_aside(dir: &Path, file: &str, text: &[u8]) -> io::Result<PathBuf> {
    let aside = aside(dir, file);
    // A file that is there already keeps its blocks: on a full disk there may be no others.
    let mut new = File::options().write(true).create(true).truncate(false).open(&aside)?;
    new.write_all(text)?;
    new.set_len(text.len() as u64)?;
    new.sync_all()?;
    Ok(aside)
}

fn aside(dir: &Path, file: &str) -> PathBuf {
    dir.join(format!("{file}.new"))
}

/// Give what was written aside the file's own name, which is not synced yet. The file that had that name is kept
/// aside: so the next write needs no inode, and as a rule no block, when there are none left.
///
/// # Errors
/// The file system's error.
pub fn swap_in(dir: &Path, file: &str) -> io::Result<()> {
    let (new, own) = (aside(dir, file), dir.join(file));
    match renameat2(AT_FDCWD, &new, AT_FDCWD, &own, RenameFlags::RENAME_EXCHANGE) {
        // There was none; or a file system that cannot exchange two.
        Err(Errno::ENOENT | Errno::EINVAL | Errno::ENOSYS) => fs::rename(new, own),
        swapped => Ok(swapped?),
    }
}

/// Keep an inode for the next write of a file, unless there is one.
///
/// # Errors
/// The file system's error: that there is none left, above all.
pub fn keep_aside(dir: &Path, file: &str) -> io::Result<()> {
    File::options().write(true).create(true).truncate(false).open(aside(dir, file)).map(|_| ())
}

/// Make a directory, durably, if it is not there. `mode` holds whatever the umask is.
///
/// # Errors
/// The file system's error, or that something else is there.
pub fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(dir)?.is_dir() => {}
        made => made?,
    }
    set_mode(dir, mode)?;
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Set a directory's mode whatever the umask is.
///
/// # Errors
/// The error of chmod(2).
pub fn set_mode(dir: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

/// Give a directory its name, unless something has it already, and make that durable.
///
/// # Errors
/// The error of rename(2); nothing is ever replaced.
pub fn move_dir(from: &Path, to: &Path) -> io::Result<()> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)?;
    // Both names change in one transaction of the journal: to sync the new parent syncs the old one's loss.
    to.parent().map_or(Ok(()), sync_dir)
}

/// The room on a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// The capacity in bytes.
    pub capacity: u64,
    /// The bytes of it that are free.
    pub free: u64,
    /// The files that it can hold; 0 if there is no such limit.
    pub inodes: u64,
    /// The files that can still be made on it.
    pub inodes_free: u64,
    /// Whether it cannot be written to.
    pub read_only: bool,
}

/// The room on the file system at a path.
///
/// # Errors
/// The error of statvfs(3).
pub fn room(path: &Path) -> io::Result<Room> {
    let stat = statvfs(path)?;
    Ok(Room {
        capacity: stat.blocks() * stat.fragment_size(),
        free: stat.blocks_available() * stat.fragment_size(),
        inodes: stat.files(),
        inodes_free: stat.files_available(),
        read_only: stat.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// Whether the storage root may be used: a directory and, if that is required, a file system
/// of its own. Told by the device number, which a directory has in common with its parent
/// unless something is mounted there.
pub fn may_use(root: &Path, require_mount: bool) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let parent = root.parent().and_then(device);
    root.is_dir() && (!require_mount || parent.is_some_and(|parent| device(root) != Some(parent)))
}

/// Open a regular file below a directory of somebody else's. Neither a symbolic link nor a `..` leads out of it, and
/// a pipe in its place does not hold up whoever opens it.
///
/// # Errors
/// No file is there, or it is something else than a regular one.
pub fn open_below(dir: &Path, file: &str) -> io::Result<File> {
    // One step at a time, each without following a link: as openat2(2) with RESOLVE_BENEATH
    // would, which older containers do not let through.
    let step = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut at = File::open(dir)?;
    let (parents, name) = file.rsplit_once('/').unwrap_or(("", file));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        plain(part)?;
        at = openat(&at, part, step | OFlag::O_DIRECTORY, Mode::empty())?.into();
    }
    plain(name)?;
    let file = File::from(openat(&at, name, step | OFlag::O_NONBLOCK, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

fn plain(part: &str) -> io::Result<()> {
    match part {
        "" | "." | ".." => Err(io::Error::other("the path leads elsewhere")),
        _ => Ok(()),
    }
}

/// Read a small file of somebody else's, as [`open_below`] opens it; at most `most` bytes.
///
/// # Errors
/// As [`open_below`]; or it has more than `most` bytes.
pub fn read_below(dir: &Path, file: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_below(dir, file)?.take(most + 1).read_to_end(&mut text)?;
    if text.len() as u64 > most { Err(io::Error::other(format!("it has more than {most} bytes"))) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_small_regular_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        assert_eq!(read_below(dir.path(), "file", 5).unwrap(), b"12345");
        assert!(read_below(dir.path(), "file", 4).is_err());
        assert!(read_below(dir.path(), "none", 5).is_err());
        symlink("file", at("link")).unwrap();
        assert!(read_below(dir.path(), "link", 5).is_err());
        assert!(read_below(dir.path(), "../file", 5).is_err());
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        assert!(read_below(dir.path(), "pipe", 5).is_err());
        fs::create_dir(at("sub")).unwrap();
        assert!(read_below(dir.path(), "sub", 5).is_err());
        symlink("/etc", at("out")).unwrap();
        assert!(open_below(dir.path(), "out/passwd").is_err());
    }

    #[test]
    fn what_a_file_was_is_kept_aside_for_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
        for text in ["one and more", "two", "three"] {
            write_aside(dir.path(), "file", text.as_bytes()).unwrap();
            swap_in(dir.path(), "file").unwrap();
            assert_eq!(fs::read_to_string(at("file")).unwrap(), text);
        }
        assert_eq!(fs::read_to_string(at("file.new")).unwrap(), "two");
        let both = [inode("file"), inode("file.new")];
        keep_aside(dir.path(), "file").unwrap();
        write_aside(dir.path(), "file", b"4").unwrap();
        swap_in(dir.path(), "file").unwrap();
        assert_eq!([inode("file.new"), inode("file")], both);
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "4");
    }

    #[test]
    fn a_directory_is_moved_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        make_dir(&at("one"), 0o750).unwrap();
        make_dir(&at("one"), 0o700).unwrap();
        assert_eq!(fs::metadata(at("one")).unwrap().mode() & 0o7777, 0o700);
        make_dir(&at("two"), 0o700).unwrap();
        assert!(move_dir(&at("one"), &at("two")).is_err());
        move_dir(&at("one"), &at("three")).unwrap();
        assert!(at("three").is_dir() && !at("one").exists());
        fs::write(at("file"), "").unwrap();
        assert!(make_dir(&at("file"), 0o700).is_err());
    }

    #[test]
    fn a_mount_point_is_told_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(may_use(Path::new("/proc"), true) && may_use(dir.path(), false));
        assert!(!may_use(dir.path(), true) && !may_use(Path::new("/nonexistent"), false));
    }
}
