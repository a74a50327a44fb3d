//! The files of the configuration: whether they are what they were. The kernel tells of every change in
//! their directories (inotify(7)); that of a file that a link leads to, or of directories that were
//! replaced, is found by a look at their numbers and times. Reads only.

use crate::config::{Configuration, FRAGMENTS};
use crate::config_dir;
use crate::decide::facts::{Facts, Files};
use crate::observe::directories::Changes;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use futures_util::FutureExt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Time between looks when the kernel has told of no change.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// After a change others mostly follow: an editor writes, renames and sets the mode.
const MOMENT: Duration = Duration::from_millis(100);

/// The configuration's files.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "files";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin =
        Begin::Once(|ground, to| Some(watch(ground.config_dir.clone(), ground.rhythm.clone(), to).boxed()));
    type Fact = Files;

    fn tell(files: Self::Fact) -> Observation {
        Observation::known(|facts| facts.files = Some(files))
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(dir: PathBuf, rhythm: Rhythm, to: Publisher) -> Result<(), NobodyListens> {
    let changes = Changes::open();
    let (mut slow, mut known) = (rhythm.in_turn(SLOW_LOOK, 0), None);
    loop {
        changes.of([dir.as_path(), &dir.join(FRAGMENTS)]);
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
                publish::<Watch>(&to, seen).await?;
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

/// Read the marks by which each of the files is told from another that takes its place, or from
/// itself before it was changed; of a link also what it leads to.
fn marks(dir: &Path) -> Vec<(PathBuf, Vec<[i64; 4]>)> {
    let mark =
        |found: fs::Metadata| [found.dev().cast_signed(), found.ino().cast_signed(), found.ctime(), found.ctime_nsec()];
    let of = |file: PathBuf| {
        let seen = [fs::symlink_metadata(&file), fs::metadata(&file)].into_iter().flatten().map(mark).collect();
        (file, seen)
    };
    config_dir::files(dir).into_iter().chain([dir.join(FRAGMENTS)]).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Told, channel};
    use tokio::sync::mpsc;

    async fn next(told: &mut mpsc::Receiver<Told>) -> Files {
        match tokio::time::timeout(Duration::from_secs(60), told.recv()).await.unwrap().and_then(Told::fact) {
            Some(Observation::Known(change)) => {
                let mut facts = Facts::default();
                change.apply(&mut facts);
                facts.files.unwrap()
            }
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
