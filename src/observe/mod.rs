//! Observers of the world. Each module watches one thing, publishes a fact when it changes, and
//! does nothing else: events first, with a slow timer that only catches what events missed.
//!
//! | module | watches | told by | slow look |
//! |---|---|---|---|
//! | [`units`] | systemd's units | D-Bus signals | 300 s |
//! | [`deaths`] | the regions' main processes | a pidfd each | – |
//! | [`pulse`] | whether a downstairs answers | nobody: it is asked | 5 s |
//! | [`sockets`] | who listens and who is connected | whoever knows of a change | 15 s |
//! | [`intruders`] | who else writes to a region | whoever knows of a change | 15 s |
//! | [`kernel_log`] | what the kernel says of devices | `/dev/kmsg` | 600 s |
//! | [`network`] | the network interface and the bridge | rtnetlink | 60 s |
//! | [`claims`] | who else has the sled's address | a cable or an address that comes | 600 s |
//! | [`enforcement`] | whether systemd enforces what units ask for | D-Bus signals | – |
//! | [`tls`] | the files of `[tls]`, if there are any | whoever knows of a change | 3600 s |
//! | [`files`] | the configuration's files | inotify | 15 s |
//! | [`image`] | what the image says of itself | nobody | 60 s |
//! | [`disk`] | the data disk and what lies on it | `/proc/self/mountinfo` | 15 s |
//! | [`block`] | the block devices below it | ext4's `errors_count` | 15 s |
//! | [`smart`] | the health of the disks, as they tell of it | nobody: they are asked | 3600 s |
//! | [`stalls`] | which region waits for its disk | nobody | 15 s |
//! | [`machine`] | who waits, what was killed, heat, clock, watchdog | `/proc/pressure`, a timer that ends when the clock is set | 60 s |
//! | [`hardware`] | what the machine is made of | nobody | 300 s |
//!
//! Each declares itself ([`observer`]), and [`ALL`] is the list of them.
//!
//! The slow looks have one [`rhythm`], of 5 s: what is due is done in the same moment, for
//! which the supervisor wakes once. With nothing to do it wakes less than once a second, and
//! whoever makes it wake more often finds out by `tests/run bench`.
//!
//! [`last_words`], [`doing`] and `region_info` look at one thing when somebody asks; `groups` finds a region's control group; [`canary`] is what [`enforcement`] has
//! systemd start to find out.
//!
//! All publish into one bounded channel to the supervisor, and wait when it is full: facts
//! are never dropped, and none of them is so urgent that it may overtake another.

pub mod block;
pub mod call;
pub mod canary;
mod changes;
pub mod claims;
pub mod deaths;
mod directories;
pub mod disk;
pub mod doing;
pub mod enforcement;
pub mod files;
mod groups;
pub mod hardware;
pub mod image;
pub mod intruders;
pub mod kernel_log;
pub mod last_words;
pub mod machine;
pub mod network;
pub mod observer;
pub mod owners;
pub mod pulse;
mod region_info;
pub mod rhythm;
mod ruok;
pub mod scanner;
pub mod smart;
pub mod sockets;
pub mod stalls;
mod surveys;
pub mod tls;
pub mod units;

use crate::decide::facts::{self, Facts};
use crate::names::RegionName;
use observer::{Declared, Observer};
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Every observer there is.
pub const ALL: &[Declared] = &[
    Declared::by::<units::Watch>(),
    Declared::by::<deaths::Watch>(),
    Declared::by::<pulse::Watch>(),
    Declared::by::<sockets::Watch>(),
    Declared::by::<intruders::Watch>(),
    Declared::by::<kernel_log::Watch>(),
    Declared::by::<network::Watch>(),
    Declared::by::<claims::Watch>(),
    Declared::by::<enforcement::Watch>(),
    Declared::by::<tls::Watch>(),
    Declared::by::<files::Watch>(),
    Declared::by::<image::Watch>(),
    Declared::by::<disk::Watch>(),
    Declared::by::<block::Watch>(),
    Declared::by::<smart::Watch>(),
    Declared::by::<stalls::Watch>(),
    Declared::by::<machine::Watch>(),
    Declared::by::<hardware::Watch>(),
];

/// A fact, as an observer sees it.
#[derive(Debug)]
pub enum Observation {
    /// systemd answers on this connection, or does not, and why.
    Bus(Result<zbus::Connection, String>),
    /// A region's unit.
    Unit(RegionName, facts::Unit),
    /// The main process of this run of a region's unit has ended.
    Ended(RegionName, facts::Run),
    /// Holders of the regions' ports; a full picture.
    Sockets(sockets::Picture),
    /// Pulse of a region: whether its downstairs answers; `None` when there is nobody to ask. With an answer, the
    /// time that it took.
    Pulse(RegionName, Option<facts::Pulse>, Option<Duration>),
    /// The disk; a full picture.
    Disk(Box<facts::Disk>),
    /// Change by anything else of what is known.
    Known(Change),
}

impl Observation {
    /// A full picture, which changes this of what is known.
    pub fn known(change: impl FnOnce(&mut Facts) + Send + 'static) -> Self {
        Self::Known(Change(Box::new(change)))
    }
}

/// Change that a fact makes to what is known, and nothing comes of it beside that.
pub struct Change(Box<dyn FnOnce(&mut Facts) + Send>);

impl Change {
    /// Makes the change.
    pub fn apply(self, facts: &mut Facts) {
        (self.0)(facts);
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Change")
    }
}

/// Makes the channel to the supervisor, in which so many facts may wait.
pub fn channel(queue: usize) -> (Source, mpsc::Receiver<Told>) {
    let (to, from) = mpsc::channel(queue);
    (Source(to), from)
}

/// Place where observers are begun.
#[derive(Debug, Clone)]
pub struct Source(mpsc::Sender<Told>);

impl Source {
    /// Begin a term: what an observer, or several that end together, publish by; and as long as the
    /// term lasts they are believed.
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

/// Channel by which observers publish.
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
    by: &'static str,
    fact: Observation,
}

impl Told {
    /// The name of the observer that told it.
    pub fn by(&self) -> &'static str {
        self.by
    }

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
pub async fn publish<O: Observer>(to: &Publisher, fact: O::Fact) -> Result<(), NobodyListens> {
    let told = Told { term: to.term.clone(), by: O::NAME, fact: O::tell(fact) };
    to.to.send(told).await.map_err(|_| NobodyListens)
}

/// Have the runtime wait on a file of the kernel's.
#[expect(unsafe_code, reason = "tokio has no safe way to register such a file")]
fn register(file: File, interest: Interest) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is the file's own, open as long as the file is, and the `AsyncFd`
    // owns the file.
    Ok(unsafe { AsyncFd::register_with_interest(file, interest) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the preface has every observer, in the order of the list, with its slow look.
    #[test]
    fn the_preface_has_every_observer() {
        let rows = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! | [`"));
        let rows: Vec<_> = rows.map(|row| (row.split('`').next(), row.split(" | ").last())).collect();
        let slow = |look: Option<Duration>| look.map_or("– |".to_owned(), |look| format!("{} s |", look.as_secs()));
        let wanted: Vec<_> = ALL.iter().map(|observer| (observer.name, slow(observer.slow_look))).collect();
        let wanted: Vec<_> = wanted.iter().map(|(name, slow)| (Some(*name), Some(slow.as_str()))).collect();
        assert_eq!(rows, wanted);
    }

    #[tokio::test]
    async fn what_was_told_by_one_who_watches_no_more_is_not_believed() {
        let (source, mut heard) = channel(4);
        let ((old, before), (_new, now)) = (source.begin(), source.begin());
        for to in [&before, &now] {
            publish::<network::Watch>(to, facts::Network::default()).await.unwrap();
        }
        drop(old);
        publish::<network::Watch>(&before, facts::Network::default()).await.unwrap();
        let believed = [(); 3].map(|()| heard.try_recv().unwrap().fact().is_some());
        assert_eq!(believed, [false, true, false]);
    }
}
