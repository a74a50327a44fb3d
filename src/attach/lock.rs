//! The lock that keeps a second server off a host: upstream's listens on 127.0.0.1:10809 and
//! nowhere else. The process that runs the server holds it, for it inherits the descriptor; the
//! file says who that is and is of no meaning without the lock.

use super::failure::Failure;
use crate::names::VolumeName;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A lock that is held as long as this is, and by the program that this process becomes.
#[derive(Debug)]
pub(super) struct Lock(Flock<File>);

impl Lock {
    /// Takes the lock for a volume.
    ///
    /// # Errors
    /// If another process has it, which is named, or the file cannot be made.
    pub(super) fn take(path: &Path, volume: &VolumeName) -> Result<Self, Failure> {
        let broken = |why: io::Error| {
            Failure::refused(
                "LOCK_FAILED",
                format!("{}: {why}", path.display()),
                "run it as root, or name another --lock",
            )
        };
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(broken)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let file = options.custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(path).map_err(broken)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                write(&lock, volume).map_err(broken)?;
                Ok(Self(lock))
            }
            Err((file, nix::Error::EWOULDBLOCK)) => Err(taken(path, file)),
            Err((_, why)) => Err(broken(why.into())),
        }
    }

    /// Lets the program that this process becomes have the lock.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub(super) fn outlives_exec(&self) -> io::Result<()> {
        fcntl(&*self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }
}

fn write(mut file: &File, volume: &VolumeName) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{} {volume}\n", std::process::id()).as_bytes())
}

fn taken(path: &Path, file: File) -> Failure {
    let mut text = String::new();
    _ = file.take(200).read_to_string(&mut text);
    let holder = text.trim().split_once(' ').and_then(|(pid, volume)| {
        let (pid, volume): (u32, VolumeName) = (pid.parse().ok()?, volume.parse().ok()?);
        Some(format!("process {pid} has it, for the volume {volume}"))
    });
    let holder = holder.unwrap_or_else(|| format!("see who has it: fuser -v {}", path.display()));
    let message = format!("a server runs on this host already, or is about to ({}): {holder}", path.display());
    Failure::refused("HOST_BUSY", message, "one volume a host: upstream's server listens on 127.0.0.1:10809 only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let (path, volume) = (dir.path().join("a/lock"), "still-fawn".parse().unwrap());
        let lock = Lock::take(&path, &volume).unwrap();
        let said = Lock::take(&path, &volume).unwrap_err().to_string();
        let wanted = format!("process {} has it, for the volume still-fawn", std::process::id());
        assert!(said.contains(&wanted), "{said}");
        drop(lock);
        assert!(Lock::take(&path, &"pve".parse().unwrap()).is_ok());
        assert!(fs::read_to_string(&path).unwrap().ends_with(" pve\n"));
    }
}
