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
//! [`last_words`], [`doing`] and `region_info` look at one thing when somebody asks; [`canary`] is what [`enforcement`] has
//! systemd start to find out.
//!
//! All publish into one bounded channel to the supervisor, and wait when it is full: facts
//! are never dropped, and none of them is so urgent that it may overtake another.

pub mod call;
pub mod canary;
mod changes;
pub mod deaths;
mod directories;
pub mod disk;
pub mod doing;
pub mod enforcement;
pub mod files;
pub mod image;
pub mod intruders;
pub mod last_words;
pub mod network;
mod owners;
pub mod pulse;
mod region_info;
pub mod rhythm;
mod ruok;
pub mod scanner;
pub mod sockets;
mod surveys;
pub mod tls;
pub mod units;

use crate::decide::facts;
use crate::names::RegionName;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// A fact, as an observer sees it.
#[derive(Debug)]
pub enum Observation {
    /// systemd answers on this connection, or does not, and why.
    Bus(Result<zbus::Connection, String>),
    /// A region's unit.
    Unit(RegionName, facts::Unit),
    /// The main process of this run of a region's unit has ended.
    Ended(RegionName, facts::Run),
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

/// Makes the channel to the supervisor, in which so many facts may wait.
pub fn channel(queue: usize) -> (Source, mpsc::Receiver<Told>) {
    let (to, from) = mpsc::channel(queue);
    (Source(to), from)
}

/// Where observers are begun.
#[derive(Debug, Clone)]
pub struct Source(mpsc::Sender<Told>);

impl Source {
    /// What an observer, or several that end together, publish by; and as long as the term lasts they
    /// are believed.
    pub fn begin(&self) -> (Term, Publisher) {
        let term = Arc::new(());
        let publisher = Publisher { to: self.0.clone(), term: Arc::downgrade(&term) };
        (Term(term), publisher)
    }
}

/// The time for which an observer watches. When it is dropped, what the observer has told and nobody
/// has taken yet is old: it was of something else than is to be watched now.
#[derive(Debug)]
pub struct Term(#[expect(dead_code, reason = "it is there or not")] Arc<()>);

/// By what observers publish.
#[derive(Debug, Clone)]
pub struct Publisher {
    to: mpsc::Sender<Told>,
    term: Weak<()>,
}

impl Publisher {
    /// Returns when the supervisor has ended. Cancel-safe.
    pub async fn closed(&self) {
        self.to.closed().await;
    }
}

/// A fact as it reaches the supervisor: it is the result of an observer's watch, and holds only as
/// long as that watches.
#[derive(Debug)]
pub struct Told {
    term: Weak<()>,
    fact: Observation,
}

impl Told {
    /// The fact, unless whoever told it watches no more.
    pub fn fact(self) -> Option<Observation> {
        (self.term.strong_count() > 0).then_some(self.fact)
    }
}

/// The supervisor is gone, and with it the reason to observe.
#[derive(Debug, thiserror::Error)]
#[error("nobody listens to observations any more")]
pub struct NobodyListens;

/// Publishes a fact.
///
/// # Errors
/// [`NobodyListens`] when the supervisor has ended.
pub async fn publish(to: &Publisher, fact: Observation) -> Result<(), NobodyListens> {
    to.to.send(Told { term: to.term.clone(), fact }).await.map_err(|_| NobodyListens)
}

/// Has the runtime wait on a file of the kernel's.
#[expect(unsafe_code, reason = "tokio has no safe way to register such a file")]
fn register(file: File, interest: Interest) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is the file's own, open as long as the file is, and the `AsyncFd`
    // owns the file.
    Ok(unsafe { AsyncFd::register_with_interest(file, interest) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_told_by_one_who_watches_no_more_is_not_believed() {
        let (source, mut heard) = channel(4);
        let ((old, before), (_new, now)) = (source.begin(), source.begin());
        for to in [&before, &now] {
            publish(to, Observation::Network(facts::Network::default())).await.unwrap();
        }
        drop(old);
        publish(&before, Observation::Network(facts::Network::default())).await.unwrap();
        let believed = [(); 3].map(|()| heard.try_recv().unwrap().fact().is_some());
        assert_eq!(believed, [false, true, false]);
    }
}
