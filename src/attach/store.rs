//! Store of a relay with systemd, so that the next one of the volume comes back to it: its log of unflushed writes,
//! and the socket. Without systemd nothing outlives the process.

use super::failure::Failure;
use super::show::note;
use crate::names::VolumeName;
use crate::relay::Relay;
use crate::relay::log::{Log, Records};
use crate::wire::Refusal;
use sd_notify::NotifyState;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use tokio::net::UnixListener;

/// The names in systemd's descriptor store.
const KEPT: &str = "kept";
const SOCKET: &str = "socket";

/// The descriptors that an earlier relay has left with systemd.
#[derive(Default)]
pub(super) struct Store {
    pub(super) kept: Option<(Log, Records)>,
    pub(super) socket: Option<UnixListener>,
}

impl Store {
    /// The names of what was left, and is used.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let all = [(KEPT, self.kept.is_some()), (SOCKET, self.socket.is_some())];
        all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }

    /// Take what is there of this volume.
    ///
    /// # Errors
    /// `KEPT_UNREADABLE`, or why a descriptor cannot be taken.
    pub(super) fn taken(volume: &VolumeName) -> Result<Self, Failure> {
        let mut store = Self::default();
        let Ok(stored) = sd_notify::listen_fds_with_names() else { return Ok(store) };
        let mut sockets = listenfd::ListenFd::from_env();
        for (index, (descriptor, name)) in stored.enumerate() {
            match name.as_str() {
                KEPT => {
                    // Opened anew, and so this process's own.
                    let file = File::options().read(true).write(true).open(format!("/proc/self/fd/{descriptor}"))?;
                    store.kept = Log::open(OwnedFd::from(file), volume.as_str()).map_err(|why| {
                        let remedy = format!(
                            "to give up what was not flushed: systemctl clean --what=fdstore crucible-attach@{volume}"
                        );
                        Failure::refused(Refusal::KeptUnreadable, why.to_string(), remedy)
                    })?;
                    if store.kept.is_none() {
                        // A log of another volume: no relay of this one has any use for it.
                        forget();
                    }
                }
                SOCKET => {
                    let socket = sockets.take_unix_listener(index)?;
                    let unix = socket.map(|socket| {
                        socket.set_nonblocking(true)?;
                        UnixListener::from_std(socket)
                    });
                    store.socket = unix.transpose()?;
                }
                _ => {}
            }
        }
        Ok(store)
    }
}

/// Leave with systemd what is to outlive this process, unless it has come from there: it stays there until it is
/// taken back. Without systemd nothing outlives it.
pub(super) fn store_away(relay: &Relay, unix: &UnixListener, held: &[&str]) {
    let all = [(KEPT, relay.kept()), (SOCKET, unix.as_fd())];
    for (name, descriptor) in all.into_iter().filter(|(name, _)| !held.contains(name)) {
        let states = [NotifyState::FdStore, NotifyState::FdName(name)];
        if let Err(why) = sd_notify::notify_with_fds(&states, &[descriptor])
            && std::env::var_os("NOTIFY_SOCKET").is_some()
        {
            note(&format!(
                "warning: if this process is killed, what it keeps is lost: systemd does not take it: {why}"
            ));
        }
    }
}

/// Take back the log: nothing is kept any more that the next relay needs.
pub(super) fn forget() {
    let states = [NotifyState::FdStoreRemove, NotifyState::FdName(KEPT)];
    _ = sd_notify::notify(&states);
}
