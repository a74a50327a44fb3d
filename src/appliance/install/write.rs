//! Writing of an installation: first the parts, read back and held to their digests, then the table. Cut off in between,
//! a disk that keeps its regions has them still, and it is done again. Decides nothing.

use super::disk::{Disk, Reading};
use super::plan::{Fate, Piece, Plan, SECTOR_BYTES};
use super::table::Table;
use crate::clean;
use crate::files::set_mode;
use crate::kernel::block;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use twox_hash::XxHash64;

/// The bytes that are copied at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// The directory below which a partition is mounted to be looked at.
const MOUNTS: &str = "/run/sled-install";

/// What is told while it is written: what is being done, the bytes of it that are done, and all of them.
pub type Tell<'a> = dyn FnMut(&str, u64, u64) + 'a;

/// Hold of a disk: nobody else has it for himself as long as it lasts, neither by a mount nor by another installation; and
/// no other disk gets its name.
#[derive(Debug)]
pub struct Hold(File);

impl Hold {
    /// Hold a disk that was looked at, if it is that one still, with the same partitions.
    ///
    /// # Errors
    /// Somebody has it, or another is in its place.
    pub fn of(disk: &Disk) -> io::Result<Self> {
        let path = Path::new(&disk.block.path);
        let held = File::options().read(true).write(true).custom_flags(nix::libc::O_EXCL).open(path)?;
        if identity(&held)? != disk.identity {
            return Err(io::Error::other("another disk has its name now"));
        }
        let known = if let Reading::Table(table) = &disk.table { Some(table) } else { None };
        if read_table(path)?.as_ref() != known {
            return Err(io::Error::other("its partitions are others now"));
        }
        Ok(Self(held))
    }

    /// Let it go, and have the kernel look at its new partitions. One that does not see them yet does so when it is
    /// booted.
    pub fn done(self, disk: &Path) {
        drop(self.0);
        _ = run("blockdev", &["--rereadpt"], disk);
    }
}

/// The kernel's own word for an open disk, among all that have had its name.
fn identity(disk: &File) -> io::Result<Option<String>> {
    let number = disk.metadata()?.rdev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    Ok(block::identity(Path::new(&format!("/sys/dev/block/{major}:{minor}"))))
}

/// Write the image of one disk onto another, which is held.
///
/// # Errors
/// A disk cannot be read or written, what is read back is not what was written, or a program has failed. The table of a
/// disk whose regions are kept is as it was, or the new one.
pub fn carry_out(plan: &Plan, from: &Path, to: &Path, _: &Hold, tell: &mut Tell<'_>) -> io::Result<()> {
    let mut source = File::open(from)?;
    if plan.fate == Fate::Erased {
        // It refuses what somebody holds: that is us.
        run("wipefs", &["--quiet", "--all", "--force"], to)?;
    }
    let total = plan.pieces.iter().map(bytes).sum::<u64>().saturating_mul(2);
    let mut done = 0;
    for piece in &plan.pieces {
        let mut step = |doing: &str, count: u64| {
            done += count;
            tell(&format!("{doing} {}", piece.name), done, total);
        };
        copy(piece, &mut source, to, &mut step)?;
    }
    write_table(&plan.table, to)
}

fn bytes(piece: &Piece) -> u64 {
    piece.size.saturating_mul(SECTOR_BYTES)
}

/// Copy one part, and read it back from the disk.
fn copy(piece: &Piece, source: &mut File, to: &Path, step: &mut impl FnMut(&str, u64)) -> io::Result<()> {
    let mut target = File::options().read(true).write(true).open(to)?;
    let wrote = through(piece, source, Some(&mut target), &mut |count| step("writing", count))?;
    target.sync_all()?;
    // From the disk, and not from memory.
    run("blockdev", &["--flushbufs"], to)?;
    let read = through(piece, &mut target, None, &mut |count| step("reading back", count))?;
    if read == wrote {
        return Ok(());
    }
    let name = &piece.name;
    Err(io::Error::other(format!("what is read back from {name} is not what was written: the disk is bad")))
}

/// Digest a part of a disk, and copy it to another if there is one. The digest is for disks that err, and not for
/// somebody who lies: a faster one than those for that.
fn through(piece: &Piece, from: &mut File, mut to: Option<&mut File>, step: &mut impl FnMut(u64)) -> io::Result<u64> {
    let at = SeekFrom::Start(piece.start.saturating_mul(SECTOR_BYTES));
    from.seek(at)?;
    if let Some(to) = &mut to {
        to.seek(at)?;
    }
    let (mut hash, mut left, mut chunk) = (XxHash64::default(), bytes(piece), vec![0; CHUNK_BYTES]);
    while left > 0 {
        let count = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let Some(part) = chunk.get_mut(..count) else { break };
        from.read_exact(part)?;
        hash.write(part);
        if let Some(to) = &mut to {
            to.write_all(part)?;
        }
        left -= count as u64;
        step(count as u64);
    }
    Ok(hash.finish())
}

/// Write a table, and see that it is read as it was written.
fn write_table(table: &Table, to: &Path) -> io::Result<()> {
    let quiet = ["--quiet", "--wipe", "never", "--wipe-partitions", "never", "--no-reread", "--no-tell-kernel"];
    let mut child = Command::new("sfdisk")
        .args(quiet)
        .arg(to)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| io::Error::other(format!("sfdisk: {why}")))?;
    if let Some(mut script) = child.stdin.take() {
        script.write_all(table.script().as_bytes())?;
    }
    succeeded("sfdisk", &child.wait_with_output()?)?;
    File::options().write(true).open(to)?.sync_all()?;
    run("blockdev", &["--flushbufs"], to)?;
    let read = read_table(to)?.ok_or_else(|| io::Error::other("the table that was written is not there"))?;
    if !read.is_as_written(table) {
        return Err(io::Error::other("the table that is read back is not the one that was written: the disk is bad"));
    }
    Ok(())
}

/// Read the table of a disk; `None` if it has none.
///
/// # Errors
/// `sfdisk` cannot be run, or says what is no table.
pub fn read_table(disk: &Path) -> io::Result<Option<Table>> {
    let output = Command::new("sfdisk").arg("--json").arg(disk).stdin(Stdio::null()).output();
    let output = output.map_err(|why| io::Error::other(format!("sfdisk: {why}")))?;
    if !output.status.success() {
        return Ok(None);
    }
    Table::parse(&output.stdout).map(Some).map_err(|why| io::Error::other(format!("sfdisk: {why}")))
}

/// Mount a partition for a moment, and return where.
///
/// # Errors
/// It holds no file system that can be mounted.
pub fn mount(device: &Path, name: &str, options: &str) -> io::Result<PathBuf> {
    let at = Path::new(MOUNTS).join(name);
    fs::create_dir_all(&at)?;
    // What a file system without owners holds may be somebody's secret.
    set_mode(Path::new(MOUNTS), 0o700)?;
    let options = format!("{options},nosuid,nodev,noexec");
    run("mount", &["-o", &options, &device.to_string_lossy()], &at)?;
    Ok(at)
}

/// Unmount it, when all that was written to it is there.
///
/// # Errors
/// It is in use.
pub fn unmount(at: &Path) -> io::Result<()> {
    run("umount", &[], at).map(|_| ())
}

/// Run a program on a path, and return what it says.
///
/// # Errors
/// It cannot be run, or has failed: in its own words.
pub fn run(program: &str, arguments: &[&str], path: &Path) -> io::Result<Vec<u8>> {
    let output = Command::new(program).args(arguments).arg(path).stdin(Stdio::null()).output();
    let output = output.map_err(|why| io::Error::other(format!("{program}: {why}")))?;
    succeeded(program, &output)?;
    Ok(output.stdout)
}

fn succeeded(program: &str, output: &std::process::Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = clean::line(said.trim()).into_owned();
    Err(io::Error::other(format!("{program} ended with {}: {said}", output.status)))
}
