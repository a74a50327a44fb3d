//! The locks of a host: one for the one server that has the host's 127.0.0.1:10809, as upstream's listens nowhere
//! else, and one for each volume, which nobody attaches twice. The process that runs the server holds them, and where
//! it becomes the server, for it inherits the descriptors; the file says who that is and is of no meaning without
//! the lock.

use super::failure::Failure;
use crate::names::VolumeName;
use crate::wire::Refusal;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Another process has the host's place.
pub(super) const BUSY: Refusal = Refusal::HostBusy;

/// A lock that is held as long as this is, and by the program that this process becomes.
#[derive(Debug)]
pub(super) struct Lock(Flock<File>);

impl Lock {
    /// Take the host's lock for a volume.
    ///
    /// # Errors
    /// If another process has it, which is named, or the file cannot be made.
    pub(super) fn take(path: &Path, volume: &VolumeName) -> Result<Self, Failure> {
        Self::of(path, volume, |holder| {
            let message = format!("a server runs on this host already, or is about to ({}): {holder}", path.display());
            let remedy = "run: one volume a host, as upstream's server listens on 127.0.0.1:10809 only; of several, serve each: crucible-attach serve";
            Failure::refused(BUSY, message, format!("{remedy} {volume}"))
        })
    }

    /// Take a volume's own lock, which lies beside the host's.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub(super) fn take_own(host: &Path, volume: &VolumeName) -> Result<Self, Failure> {
        let path = host.with_file_name(format!("{volume}.lock"));
        Self::of(&path, volume, |holder| {
            let message =
                format!("{volume} is attached to this host already, or about to be ({}): {holder}", path.display());
            let remedy =
                format!("a volume is served once: end the other first (systemctl status crucible-attach@{volume})");
            Failure::refused(Refusal::VolumeBusy, message, remedy)
        })
    }

    /// Take a lock, or say by `busy` who has it.
    fn of(path: &Path, volume: &VolumeName, busy: impl FnOnce(String) -> Failure) -> Result<Self, Failure> {
        let broken = |why: io::Error| {
            Failure::refused(
                Refusal::LockFailed,
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
            Err((file, nix::Error::EWOULDBLOCK)) => Err(busy(holder(path, file))),
            Err((_, why)) => Err(broken(why.into())),
        }
    }

    /// Let the program that this process becomes have the lock.
    ///
    /// # Errors
    /// The error of fcntl(2).
    pub(super) fn outlives_exec(&self) -> io::Result<()> {
        fcntl(&*self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }
}

fn write(mut file: &File, volume: &VolumeName) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{} {volume}\n", std::process::id()).as_bytes())
}

/// The process that has the lock, as its file says.
fn holder(path: &Path, file: File) -> String {
    let mut text = String::new();
    _ = file.take(200).read_to_string(&mut text);
    let holder = text.trim().split_once(' ').and_then(|(pid, volume)| {
        let (pid, volume): (u32, VolumeName) = (pid.parse().ok()?, volume.parse().ok()?);
        Some(format!("process {pid} has it, for the volume {volume}"))
    });
    holder.unwrap_or_else(|| format!("see who has it: fuser -v {}", path.display()))
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

    #[test]
    fn a_volume_has_a_lock_of_its_own_beside_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let (path, [one, other]) = (dir.path().join("lock"), ["pve", "still-fawn"].map(|name| name.parse().unwrap()));
        let _host = Lock::take(&path, &one).unwrap();
        let (_one, _other) = (Lock::take_own(&path, &one).unwrap(), Lock::take_own(&path, &other).unwrap());
        let said = Lock::take_own(&path, &other).unwrap_err();
        assert_eq!(said.error().code, Refusal::VolumeBusy);
        assert!(said.to_string().contains(&format!("process {} has it", std::process::id())), "{said}");
        assert_eq!(Lock::take(&path, &other).unwrap_err().error().code, BUSY);
    }
}
