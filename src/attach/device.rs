//! The kernel's device of a relayed volume: connected to the relay as soon as it serves, handed another socket
//! when its own has ended, and disconnected when nothing uses it any more. The relay is its server: they are
//! the two ends of one pair of sockets, and no file or port lies between them.
//!
//! The relay's own end says when a link is dead, in whichever network it runs, and also that the kernel has
//! passed a socket over, which it does without a word while it thinks that the one before still lives.

use super::backing::Backing;
use super::failure::Failure;
use super::show::note;
use super::{disk, users};
use crate::backoff::Backoff;
use crate::clean;
use crate::device::backend::Backend;
use crate::device::dial::shake_hands;
use crate::device::failure::Failure as Refused;
use crate::device::kernel::{Kernel, aside};
use crate::device::message::Connect;
use crate::device::{BLOCK_SIZE, DEAD_TIMEOUT, dial::Shaken};
use crate::relay::{Door, Status};
use crate::systemd::machine::machine_stops;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The pauses before a socket that was not taken is handed in again: the kernel sees within microseconds that a link
/// is dead, but for a machine that is busy.
const HAND_OVER_PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(5)];
/// How long a socket is kept that was taken.
const SOCKET_TAKEN: Duration = Duration::from_secs(1);
/// How long what is in use gets to write to the volume before the machine goes down without it.
const SYNC_LIMIT: Duration = Duration::from_secs(10);
/// The longest that the kernel may need to disconnect: it waits for requests that are on their way.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two looks whether the machine goes down, while something waits for an answer.
const SHUTDOWN_POLL: Duration = Duration::from_secs(5);
/// How long systemd may take to say so.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(5);
/// How long something may wait for an answer when the machine goes down: a sled that reboots at the same time is back by
/// then. What is to be unmounted would wait for ever, and the relay is only told to stop after that.
const LAST_CHANCE: Duration = Duration::from_secs(60);

/// How long udev may take to give a device its name: it reads what is on it first.
const NAME_LIMIT: Duration = Duration::from_secs(60);
/// The path that exists while udev runs.
const UDEV: &str = "/run/udev/control";
/// The pause between two looks whether udev has named it, or somebody uses it.
const NAME_POLL: Duration = Duration::from_millis(10);

/// How long a device may be open without being in use.
const PASSING_USE: Duration = Duration::from_secs(2);

/// The directory of the names that udev's rule gives.
fn names() -> &'static Path {
    Path::new("/dev/crucible")
}

/// The device of a volume.
#[derive(Debug)]
pub(super) struct Device {
    kernel: Kernel,
    backend: Backend,
    size: u64,
}

/// The state of a device that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The kernel has no device any more.
    Gone,
    /// The device is in use, and waits for the next relay.
    InUse(u32),
    /// The device is in use, and the machine goes down: nothing will come back to it.
    Doomed(u32),
}

impl Device {
    /// Open the device of a volume.
    ///
    /// # Errors
    /// If the identity of the volume cannot be told to the kernel.
    pub(super) fn of(backing: &Backing) -> Result<Self, Failure> {
        let identity =
            backing.identity().ok_or_else(|| io::Error::other("what the volume is was not put on record"))?;
        let backend = Backend::new(backing.volume().clone(), identity).map_err(io::Error::other)?;
        Ok(Self { kernel: Kernel::default(), backend, size: backing.size_bytes() })
    }

    /// The device's number, if it is connected, its link dead or not.
    pub(super) fn connected(&self) -> Option<u32> {
        // No sysfs, no device.
        self.kernel.sysfs().find(&self.backend).ok().flatten()
    }

    /// Keep the device connected to the relay until it is to be left; never returns. One that an earlier relay has
    /// left is handed a socket at once, so that what waits in it waits here; a new one is connected when the volume
    /// is served for the first time, since whoever sees a new device reads it. `shown` says which it is.
    pub(super) async fn keep(
        &self,
        door: &Door,
        mut served: watch::Receiver<Option<Status>>,
        mut leaving: watch::Receiver<bool>,
        shown: &watch::Sender<Option<u32>>,
    ) {
        let kept = async {
            if self.connected().is_none() {
                _ = served.wait_for(|status| status.is_some_and(|status| status.held_since.is_none())).await;
            }
            let mut backoff = Backoff::new(HAND_OVER_PAUSES[0], HAND_OVER_PAUSES[1]);
            let mut told = String::new();
            loop {
                match self.hand_over(door).await {
                    Ok((index, mut link)) => {
                        // Cancel-safe: it only looks; a link that has ended meanwhile is what udev waits for.
                        tokio::select! {
                            () = self.named(index) => {}
                            _ = &mut link => {
                                backoff.pause().await;
                                continue;
                            }
                        }
                        shown.send_replace(Some(index));
                        if timeout(SOCKET_TAKEN, &mut link).await.is_err() {
                            note(&format!("{} is /dev/nbd{index}", self.backend.volume()));
                            backoff.reset();
                            told.clear();
                            _ = link.await;
                            note(&format!("/dev/nbd{index} has lost its connection; what is asked of it waits"));
                        }
                    }
                    // Each reason once.
                    Err(why) if why.to_string() != told => {
                        told = why.to_string();
                        note(&format!("there is no device yet: {why}; {}; tries again", why.remedy()));
                    }
                    Err(_) => {}
                }
                backoff.pause().await;
            }
        };
        // Cancel-safe: what was handed over stays where it is.
        tokio::select! {
            () = kept => {}
            _ = leaving.wait_for(|leaving| *leaving) => {}
        }
        std::future::pending().await
    }

    /// Give the kernel a socket to the relay: for its device, or for a new one.
    async fn hand_over(&self, door: &Door) -> Result<(u32, JoinHandle<()>), Refused> {
        let (own, mut kernels) = UnixStream::pair()?;
        let link = tokio::spawn(door.clone().serve(own));
        let export = shake_hands(&mut kernels, self.backend.volume().as_str()).await.map_err(|why| match why {
            Shaken::Io(why) => Refused::Io(why),
            Shaken::Handshake(why) => Refused::Handshake { server: "the relay".into(), why },
        })?;
        let kernels = kernels.into_std()?;
        kernels.set_nonblocking(false)?;
        let kernels = OwnedFd::from(kernels);
        if let Some(index) = self.connected() {
            self.kernel.reconfigure(index, &self.backend, kernels).await?;
            return Ok((index, link));
        }
        let device = Connect {
            index: None,
            size: self.size,
            block_size: BLOCK_SIZE,
            server_flags: export.flags,
            client_flags: 0,
            dead_timeout: DEAD_TIMEOUT,
            timeout: None,
            backend: self.backend.clone(),
        };
        Ok((self.kernel.connect(device, kernels).await?, link))
    }

    /// Return when the device has the volume's name: whoever is told that it is there asks for it by that.
    async fn named(&self, index: u32) {
        let (name, device) = (names().join(self.backend.volume().as_str()), PathBuf::from(format!("/dev/nbd{index}")));
        let named = async {
            // Nothing tells of it here but the file itself.
            while std::fs::canonicalize(&name).ok().as_ref() != Some(&device) {
                sleep(NAME_POLL).await;
            }
        };
        // Without udev nothing gives names.
        if Path::new(UDEV).exists() && timeout(NAME_LIMIT, named).await.is_err() {
            note(&format!("{} is not there: is udev's rule in place (66-crucible.rules)?", name.display()));
        }
    }

    /// Leave the device: disconnect it if nothing uses it. Its requests are still answered; if it is `hopeless` that
    /// they will be, nothing is waited for.
    pub(super) async fn leave(&self, hopeless: bool) -> Left {
        let Some(index) = self.connected() else { return Left::Gone };
        match self.users(index).await {
            Ok(None) => {
                self.disconnect().await;
                return Left::Gone;
            }
            Ok(Some(users)) => note(&format!("/dev/nbd{index} is in use: {}", users::named(&users))),
            Err(why) => note(&format!("whether /dev/nbd{index} is in use is not known: {why}")),
        }
        // A hopeless stop knows that already, and systemd may not answer any more.
        if !hopeless && !goes_down().await {
            return Left::InUse(index);
        }
        // The mounts that could not be unmounted: what was written to them should last.
        if hopeless || timeout(SYNC_LIMIT, aside(rustix::fs::sync)).await.is_err() {
            note(&format!("what was written to /dev/nbd{index} last may be lost: no sled has taken it in time"));
        }
        Left::Doomed(index)
    }

    /// The users of the device, if anybody uses it. A program that only has it open for a moment, as udev has, does
    /// not.
    async fn users(&self, index: u32) -> io::Result<Option<Vec<String>>> {
        let until = Instant::now() + PASSING_USE;
        loop {
            let looked = timeout(DISCONNECT_LIMIT, aside(move || used(index))).await???;
            let Some((held, users)) = looked else { return Ok(None) };
            if held || Instant::now() >= until {
                return Ok(Some(users));
            }
            sleep(NAME_POLL).await;
        }
    }

    /// Disconnect the device, whoever uses it: what it waits for fails.
    pub(super) async fn disconnect(&self) {
        let Some(index) = self.connected() else { return };
        match timeout(DISCONNECT_LIMIT, self.kernel.disconnect(index)).await {
            Ok(Ok(())) => note(&format!("/dev/nbd{index} is disconnected")),
            Ok(Err(why)) => note(&format!("/dev/nbd{index} is not disconnected: {why}; {}", why.remedy())),
            Err(_) => note(&format!(
                "/dev/nbd{index} is not disconnected after {} s: the kernel still waits for what was asked of it; see journalctl -k",
                DISCONNECT_LIMIT.as_secs()
            )),
        }
    }
}

/// Return when the machine goes down, and what was asked before that is not answered for too long.
pub(super) async fn is_hopeless(served: watch::Receiver<Option<Status>>) {
    let stuck = |time| served.borrow().and_then(|status| status.oldest).is_some_and(|oldest| oldest.elapsed() >= time);
    let mut down: Option<Instant> = None;
    loop {
        sleep(SHUTDOWN_POLL).await;
        if down.is_none() && stuck(SHUTDOWN_POLL) && goes_down().await {
            down = Some(Instant::now());
        }
        if down.is_some_and(|down| down.elapsed() >= LAST_CHANCE) && stuck(LAST_CHANCE) {
            let waited = LAST_CHANCE.as_secs();
            return note(&format!(
                "the machine goes down, and no sled has answered for {waited} s: it is not waited for"
            ));
        }
    }
}

/// Whether the machine is being switched off or rebooted, as far as systemd says so.
async fn goes_down() -> bool {
    let asked = async {
        match zbus::Connection::system().await {
            Ok(bus) => machine_stops(&bus).await,
            Err(why) => {
                note(&format!("whether the machine goes down is not known: {}", clean::line(&why.to_string())));
                false
            }
        }
    };
    timeout(SYSTEMD_LIMIT, asked).await.unwrap_or_else(|_| {
        note(&format!(
            "whether the machine goes down is not known: systemd has not answered for {} s",
            SYSTEMD_LIMIT.as_secs()
        ));
        false
    })
}

/// The users of a device, and whether it is mounted or otherwise somebody's alone; `None` if nobody uses it.
fn used(index: u32) -> io::Result<Option<(bool, Vec<String>)>> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let held = match rustix::fs::open(format!("/dev/nbd{index}"), flags, Mode::empty()) {
        Ok(_) => false,
        Err(Errno::BUSY) => true,
        Err(why) => return Err(why.into()),
    };
    let users = users::of_device(index, Path::new(""), None, &disk::all_mounts()?);
    Ok(match (held, users.is_empty()) {
        (false, true) => None,
        (true, true) => Some((true, vec!["somebody has it alone".into()])),
        (held, false) => Some((held, users)),
    })
}
