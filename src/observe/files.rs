//! The files of the configuration: whether they are what they were. The kernel tells of every change in
//! their directories (inotify(7)); that of a file that a link leads to, or of directories that were
//! replaced, is found by a look at their numbers and times. Reads only.

use super::rhythm::Rhythm;
use super::{NobodyListens, Observation, Publisher, publish, register};
use crate::config::FRAGMENTS;
use crate::config_dir;
use crate::decide::facts::Files;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// How often to look when the kernel has told of no change.
pub const SLOW_LOOK: Duration = Duration::from_secs(15);
/// After a change others mostly follow: an editor writes, renames and sets the mode.
const MOMENT: Duration = Duration::from_millis(100);

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(dir: PathBuf, rhythm: Rhythm, to: Publisher) -> Result<(), NobodyListens> {
    let changes = Changes::open();
    let (mut slow, mut known) = (rhythm.every(SLOW_LOOK), None);
    loop {
        changes.of(&dir);
        // Cancel-safe: a beat or a readiness that is not taken stays.
        tokio::select! {
            _ = slow.next() => {}
            () = changes.next() => {
                sleep(MOMENT).await;
                changes.take();
            }
        }
        let (at, before) = (dir.clone(), known.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let marks = marks(&at);
            (before.as_ref() != Some(&marks)).then(|| (look(&at), marks))
        });
        match looked.await {
            Ok(Some((seen, marks))) => {
                known = Some(marks);
                publish(&to, Observation::Files(Box::new(seen))).await?;
            }
            Ok(None) => {}
            Err(why) => tracing::error!("the look at the configuration's files ended early: {why}"),
        }
    }
}

/// Reads them.
pub fn look(dir: &Path) -> Files {
    let texts = config_dir::texts(dir);
    Files {
        dir: dir.display().to_string(),
        digest: texts.digest(),
        changed: config_dir::changed(dir),
        read: config_dir::read_texts(&texts, dir).map(Arc::new),
    }
}

/// By what each of the files is told from another that takes its place, or from itself before it was
/// changed; of a link also what it leads to.
fn marks(dir: &Path) -> Vec<(PathBuf, Vec<[i64; 4]>)> {
    let mark =
        |found: fs::Metadata| [found.dev().cast_signed(), found.ino().cast_signed(), found.ctime(), found.ctime_nsec()];
    let of = |file: PathBuf| {
        let seen = [fs::symlink_metadata(&file), fs::metadata(&file)].into_iter().flatten().map(mark).collect();
        (file, seen)
    };
    config_dir::files(dir).into_iter().chain([dir.join(FRAGMENTS)]).map(of).collect()
}

/// The kernel's word that something in a directory has changed. Without it (all watches are taken) the
/// slow look is all there is.
struct Changes(Option<AsyncFd<File>>);

impl Changes {
    fn open() -> Self {
        let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let watched = opened.map_err(io::Error::from).and_then(|fd| register(File::from(fd), Interest::READABLE));
        Self(watched.inspect_err(|why| tracing::warn!("the kernel does not tell of changed files: {why}")).ok())
    }

    /// Watches a configuration's directory, and that of its fragments. One that is watched stays so.
    fn of(&self, dir: &Path) {
        let Some(file) = &self.0 else { return };
        let what = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        for dir in [dir, &dir.join(FRAGMENTS)] {
            // One that is not there is made in one that is.
            _ = inotify::add_watch(file.get_ref(), dir, what);
        }
    }

    async fn next(&self) {
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
    fn take(&self) {
        let mut events = [0; 4096];
        if let Some(file) = &self.0 {
            while file.get_ref().read(&mut events).is_ok_and(|length| length > 0) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Told, channel};
    use tokio::sync::mpsc;

    async fn next(told: &mut mpsc::Receiver<Told>) -> Files {
        match tokio::time::timeout(Duration::from_secs(60), told.recv()).await.unwrap().and_then(Told::fact) {
            Some(Observation::Files(files)) => *files,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn every_change_of_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("sled.toml"), include_str!("../../etc/sled.toml")).unwrap();
        fs::write(at("port-map.toml"), include_str!("../../etc/port-map.toml")).unwrap();
        // A rhythm so slow that nothing but the kernel's word comes in time.
        let (rhythm, drum) = Rhythm::new(Duration::from_secs(3600));
        let (source, mut told) = channel(8);
        let (_term, to) = source.begin();
        tokio::spawn(drum);
        tokio::spawn(watch(dir.path().to_owned(), rhythm, to));
        let first = next(&mut told).await;
        assert!(first.read.is_ok() && first.changed.is_some());
        fs::write(at("new"), "[sleds").unwrap();
        fs::rename(at("new"), at("port-map.toml")).unwrap();
        let faulty = next(&mut told).await;
        assert!(faulty.read.is_err() && faulty.digest != first.digest);
        fs::write(at("port-map.toml"), include_str!("../../etc/port-map.toml")).unwrap();
        assert_eq!(next(&mut told).await.digest, first.digest);
        fs::create_dir(at("sled.toml.d")).unwrap();
        // The directory is watched from the look on that its coming has caused.
        next(&mut told).await;
        fs::write(at("sled.toml.d/10.toml"), "[storage]\nprovisioning = \"thin\"\n").unwrap();
        loop {
            let seen = next(&mut told).await;
            if seen.digest != first.digest {
                break assert!(seen.read.is_ok());
            }
        }
    }
}
