//! The kernel's word that something in a directory has changed (inotify(7)). Only that it has: whoever
//! asks looks for himself.

use crate::observe::register;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The kernel's word that something in a directory has changed. Without it (all watches are taken) the
/// slow look is all there is.
#[derive(Debug)]
pub(super) struct Changes(Option<AsyncFd<File>>);

impl Changes {
    pub(super) fn open() -> Self {
        let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let watched = opened.map_err(io::Error::from).and_then(|fd| register(File::from(fd), Interest::READABLE));
        Self(watched.inspect_err(|why| tracing::warn!("the kernel does not tell of changed files: {why}")).ok())
    }

    /// Watches directories. One that is watched stays so; one that is not there is made in another that is.
    pub(super) fn of<'a>(&self, dirs: impl IntoIterator<Item = &'a Path>) {
        let Some(file) = &self.0 else { return };
        let what = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        for dir in dirs {
            _ = inotify::add_watch(file.get_ref(), dir, what);
        }
    }

    /// Returns when something has changed. Cancel-safe: a readiness that is not taken stays.
    pub(super) async fn next(&self) {
        match &self.0 {
            None => std::future::pending().await,
            Some(file) => match file.ready(Interest::READABLE).await {
                Ok(mut ready) => {
                    ready.clear_ready();
                    self.take();
                }
                Err(why) => {
                    tracing::warn!("the kernel stopped telling of changed files: {why}");
                    std::future::pending().await
                }
            },
        }
    }

    /// Takes what it has told: only that it did is of interest.
    pub(super) fn take(&self) {
        let mut events = [0; 4096];
        if let Some(file) = &self.0 {
            while file.get_ref().read(&mut events).is_ok_and(|length| length > 0) {}
        }
    }
}
