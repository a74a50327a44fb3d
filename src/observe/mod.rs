//! What is seen of the world. Each module watches one thing, publishes a fact when it
//! changes, and does nothing else: events first, with a slow timer that only catches what
//! events missed.
//!
//! | module | watches | told by | slow look |
//! |---|---|---|---|
//! | [`units`] | systemd's units | D-Bus signals | 60 s |
//! | [`deaths`] | the regions' main processes | a pidfd each | – |
//! | [`pulse`] | whether a downstairs answers | nobody: it is asked | 5 s |
//! | [`sockets`] | who listens and who is connected | whoever knows of a change | 15 s |
//! | [`intruders`] | who else writes to a region | whoever knows of a change | 15 s |
//! | [`network`] | the network interface and the bridge | rtnetlink | 60 s |
//! | [`enforcement`] | whether systemd enforces what units ask for | D-Bus signals | – |
//! | [`tls`] | the files of `[tls]`, if there are any | whoever knows of a change | an hour |
//! | [`files`] | the configuration's files | inotify | 15 s |
//! | [`disk`] | the data disk and what lies on it | `/proc/self/mountinfo` | 15 s |
//!
//! The slow looks have one [`rhythm`], of 5 s: what is due is done in the same moment, for
//! which the supervisor wakes once. With nothing to do it wakes less than once a second, and
//! whoever makes it wake more often finds out by `tests/run bench`.
//!
//! [`last_words`], [`doing`], [`presence`] of a [`line`]'s other end, and `region_info` look at one thing when somebody asks.
//!
//! All publish into one bounded channel to the supervisor, and wait when it is full: facts
//! are never dropped, and none of them is so urgent that it may overtake another.

pub mod backoff;
pub mod deaths;
pub mod disk;
pub mod doing;
pub mod enforcement;
pub mod files;
pub mod image;
pub mod intruders;
pub mod last_words;
pub mod line;
pub mod network;
mod owners;
pub mod presence;
pub mod pulse;
mod region_info;
pub mod rhythm;
mod ruok;
pub mod sockets;
pub mod tls;
pub mod units;

use crate::decide::facts;
use crate::names::RegionName;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// A fact, as it reaches the supervisor.
#[derive(Debug)]
pub enum Observation {
    /// systemd answers on this connection, or does not, and why.
    Bus(Result<zbus::Connection, String>),
    /// A region's unit.
    Unit(RegionName, facts::Unit),
    /// A region's main process has ended.
    Ended(RegionName, u32),
    /// Who else has a region's files open for writing; a full picture.
    Intruders(BTreeMap<RegionName, Vec<facts::Stranger>>),
    /// Who holds the regions' ports; a full picture.
    Sockets(BTreeMap<RegionName, facts::Sockets>),
    /// Whether a region's downstairs answers; `None` when there is nobody to ask.
    Pulse(RegionName, Option<facts::Pulse>),
    /// The network; a full picture.
    Network(facts::Network),
    /// Whether systemd enforces what the regions' units ask for.
    Enforcement(facts::Enforcement),
    /// The files of `[tls]`; a full picture.
    Tls(facts::Tls),
    /// What the image says of itself; `None` on a machine that runs none.
    Image(Option<facts::Image>),
    /// The configuration's files; a full picture.
    Files(Box<facts::Files>),
    /// The disk; a full picture.
    Disk(Box<facts::Disk>),
}

/// Where observers publish.
pub type Publisher = mpsc::Sender<Observation>;

/// The supervisor is gone, and with it the reason to observe.
#[derive(Debug, thiserror::Error)]
#[error("nobody listens to observations any more")]
pub struct NobodyListens;

/// Publishes a fact.
///
/// # Errors
/// [`NobodyListens`] when the supervisor has ended.
pub async fn publish(to: &Publisher, fact: Observation) -> Result<(), NobodyListens> {
    to.send(fact).await.map_err(|_| NobodyListens)
}

/// Has the runtime wait on a file of the kernel's.
#[expect(unsafe_code, reason = "tokio has no safe way to register such a file")]
fn register(file: File, interest: Interest) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is the file's own, open as long as the file is, and the `AsyncFd`
    // owns the file.
    Ok(unsafe { AsyncFd::register_with_interest(file, interest) }?)
}
