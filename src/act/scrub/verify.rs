//! Verification of a region after the machine ended without a shutdown: the extents of which it may be so are held to
//! their contexts as a scrub does it, as fast as the disk reads, as the region waits for it. What is wrong is put on the
//! region's record of scrubs, which knows of no scrub by that.

use super::pace::Pace;
use super::{ScrubError, Scrubber, Wish};
use crate::kernel::block::mount_at;
use crate::metrics::Counts;
use crate::progress::{Cancelled, Progress};
use crate::region::Geometry;
use crate::region::extent::Layout;
use crate::region::scrub::Scrubs;
use crate::region::verification::{Outcome, Verified, is_suspect};
use crate::store::region_dir;
use crate::times;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Time after which it is put on record how far it is: a region waits for it, and whoever comes after a supervisor that was
/// killed begins there.
const RECORD_PAUSE: Duration = Duration::from_secs(1);
/// Time for which the reading may go on that was cancelled, until what it has found is on record. One that hangs in the
/// disk is left to itself.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// Choose the extents of a region, from one on, that may be wrong: clean ones whose files have changed `since` (`None`: all
/// clean ones), and those of which that cannot be told. Reads two places of each, as a start of the downstairs does.
pub fn choose(wish: &Wish, since: Option<Timestamp>, from: u32) -> Vec<u32> {
    // The time of a file says little where it is written down late.
    let since = since.filter(|_| !mount_at(&wish.storage.root).is_some_and(|mount| mount.late_times));
    chosen(&wish.dir(&wish.region.0), wish.region.1.geometry, since, from)
}

fn chosen(dir: &Path, geometry: Geometry, since: Option<Timestamp>, from: u32) -> Vec<u32> {
    let may_be_wrong =
        |number: &u32| region_dir::extent(dir, geometry, *number).map_or(true, |seen| is_suspect(&seen, since));
    (from..geometry.extent_count).filter(may_be_wrong).collect()
}

/// Verify extents of a region, and return what is known of it then. `tell` hears how far it is.
///
/// # Errors
/// It has not come to its end.
pub async fn verify(
    wish: Wish,
    (extents, known): (Vec<u32>, Verified),
    progress: Progress,
    counts: Counts,
    tell: impl Fn(Verified) + Send + 'static,
) -> Result<Verified, ScrubError> {
    let (done, mut ended) = oneshot::channel();
    let left = Arc::new(AtomicBool::new(false));
    let (cancel, abandoned) = (progress.clone(), left.clone());
    let work = move || {
        let verifier = Verifier::begin(wish, known, progress, counts, abandoned);
        _ = done.send(verifier.run(&extents, &tell));
    };
    let begun = std::thread::Builder::new().name("verify".into()).spawn(work);
    begun.map_err(|why| ScrubError::Failed(format!("no thread can be had: {why}")))?;
    let ended = tokio::select! {
        ended = &mut ended => ended,
        () = cancel.cancelled() => match timeout(CANCEL_LIMIT, ended).await {
            Ok(ended) => ended,
            Err(_) => {
                left.store(true, Ordering::Relaxed);
                return Err(Cancelled.into());
            }
        },
    };
    ended.unwrap_or_else(|_| Err(ScrubError::Failed("it was cut short".into())))
}

/// A verification under way.
struct Verifier {
    scrubber: Scrubber,
    known: Verified,
    /// What was found is not on record yet.
    news: bool,
    /// Nobody waits for it any more, and others may write the record.
    abandoned: Arc<AtomicBool>,
    /// Time between two records of how far it is.
    pause: Duration,
}

impl Verifier {
    fn begin(wish: Wish, known: Verified, progress: Progress, counts: Counts, abandoned: Arc<AtomicBool>) -> Self {
        let region = &wish.region.1;
        let record = wish.known().unwrap_or_else(|| Scrubs::first_verified(region.uuid, times::now()));
        let layout = Layout::of(region.geometry);
        let pace = Pace::unhindered(progress, counts);
        let scrubber = Scrubber { wish, layout, record, pace, recorded: Instant::now() };
        Self { scrubber, known, news: false, abandoned, pause: RECORD_PAUSE }
    }

    fn run(mut self, extents: &[u32], tell: &impl Fn(Verified)) -> Result<Verified, ScrubError> {
        self.scrubber.wish.identify()?;
        self.scrubber.measure(extents.iter().copied());
        let through = self.extents(extents, tell);
        self.note()?;
        through?;
        self.known.next = self.scrubber.wish.region.1.geometry.extent_count;
        self.known.outcome = Some(Outcome::Through);
        Ok(self.known)
    }

    fn extents(&mut self, extents: &[u32], tell: &impl Fn(Verified)) -> Result<(), ScrubError> {
        let mut told = Instant::now();
        for number in extents {
            let passed = self.scrubber.extent(*number)?;
            self.known.next = number.saturating_add(1);
            self.known.extents = self.known.extents.saturating_add(1);
            self.known.rotten += passed.rotten;
            self.known.unreadable += passed.unreadable;
            self.news |= self.scrubber.record.verify(*number, passed, times::now());
            if told.elapsed() >= self.pause {
                told = Instant::now();
                self.note()?;
                tell(self.known.clone());
            }
        }
        Ok(())
    }

    /// Put on record what was found: before how far it is may be told.
    ///
    /// # Errors
    /// It is not on record; of one that was left to itself it never is, as others may write the record.
    fn note(&mut self) -> Result<(), ScrubError> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Cancelled.into());
        }
        if self.news {
            self.scrubber.write()?;
            self.news = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sled;
    use super::*;
    use crate::progress::Course;
    use crate::region::format::{TRAILER_BYTES, extent_path};
    use crate::region::scrub::End;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::time::SystemTime;
    use tokio::sync::watch;

    /// Of real files: clean and dirty ones, written long ago and just now, and one that is none.
    #[test]
    fn the_clean_ones_are_chosen_that_have_changed_and_what_cannot_be_told() {
        let dir = tempfile::tempdir().unwrap();
        let geometry = Geometry { block_size: 512, extent_size: 8, extent_count: 6 };
        let (long_ago, late) = (Timestamp::from_second(1000).unwrap(), Timestamp::from_second(5000).unwrap());
        for (number, dirty, modified) in [(0, 0, long_ago), (1, 0, late), (2, 1, long_ago), (3, 1, late), (4, 0, late)]
        {
            let path = dir.path().join(extent_path(number));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            let mut trailer = [0; TRAILER_BYTES];
            (trailer[0], trailer[17]) = (dirty, 2);
            file.write_all_at(&trailer, geometry.extent_file_bytes() - TRAILER_BYTES as u64).unwrap();
            file.set_modified(SystemTime::from(modified)).unwrap();
        }
        let of = |since: Option<i64>, from| {
            chosen(dir.path(), geometry, since.map(|second| Timestamp::from_second(second).unwrap()), from)
        };
        assert_eq!(of(Some(5000), 0), [1, 4, 5], "the last has no file: whoever reads it finds out");
        assert_eq!(of(Some(5001), 0), [5]);
        assert_eq!(of(None, 0), [0, 1, 4, 5], "all that are clean");
        assert_eq!(of(Some(5000), 2), [4, 5], "what was looked at before is not again");
    }

    fn verified(sled: &Sled, extents: &[u32], course: Course) -> Result<Verified, ScrubError> {
        let (wish, course) = (sled.wish(), watch::Sender::new(course));
        let known = Verified::due(wish.region.1.uuid);
        let progress = Progress::new(|_| (), course);
        Verifier::begin(wish, known, progress, Counts::default(), Arc::default()).run(extents, &|_| ())
    }

    /// As after a read that hung in the disk, and has ended after all.
    #[test]
    fn one_that_was_left_to_itself_neither_records_nor_tells_anything() {
        let sled = Sled::new();
        sled.rot(1, 5);
        let (wish, told) = (sled.wish(), AtomicBool::new(false));
        let known = Verified::due(wish.region.1.uuid);
        let progress = Progress::new(|_| (), watch::Sender::new(Course::Open));
        let abandoned = Arc::new(AtomicBool::new(true));
        let mut verifier = Verifier::begin(wish, known, progress, Counts::default(), abandoned);
        // It is told after each extent.
        verifier.pause = Duration::ZERO;
        let ended = verifier.run(&[1, 2], &|_| told.store(true, Ordering::Relaxed));
        assert!(matches!(ended, Err(ScrubError::Cancelled(_))), "{ended:?}");
        assert!(!told.load(Ordering::Relaxed) && sled.wish().known().is_none());
    }

    /// What is found is on the region's record, what cannot be read is no rot, and neither is a scrub.
    #[test]
    fn what_is_found_is_on_record_and_no_scrub_was_done() {
        let sled = Sled::new();
        let known = verified(&sled, &[1, 2], Course::Open).unwrap();
        assert_eq!((known.extents, known.rotten, known.next, known.outcome), (2, 0, 3, Some(Outcome::Through)));
        assert_eq!(sled.wish().known(), None, "nothing is wrong, and nothing was written down");

        sled.rot(1, 5);
        sled.rot(1, 299);
        sled.extent(0, 2).set_len(7).unwrap();
        let known = verified(&sled, &[1, 2], Course::Open).unwrap();
        assert_eq!((known.rotten, known.unreadable), (2, 1));
        let record = sled.wish().known().unwrap();
        assert_eq!((record.rotten(), record.unreadable(), record.completed), (2, 1, None));
        assert!(record.is_only_verified() && record.faults[0].siblings.iter().all(|sibling| sibling.right));

        // One that was scrubbed keeps what is known of that.
        let scrubbed = sled.scrub(sled.wish()).unwrap();
        sled.rot(1, 5);
        assert_eq!(verified(&sled, &[1], Course::Open).unwrap().rotten, 1);
        let record = sled.wish().known().unwrap();
        assert_eq!((record.rotten(), &record.last), (1, &scrubbed.last));
        assert_eq!(record.last.ended.unwrap().how, End::Through);
    }

    #[test]
    fn one_that_is_cancelled_or_whose_region_is_gone_has_no_end() {
        let sled = Sled::new();
        let ended = verified(&sled, &[1], Course::Cancelled);
        assert!(matches!(ended, Err(ScrubError::Cancelled(_))), "{ended:?}");
        fs::rename(sled.dir(0), sled.dir(0).with_extension("away")).unwrap();
        let ended = verified(&sled, &[1], Course::Open);
        assert!(matches!(ended, Err(ScrubError::Gone(_))), "{ended:?}");
    }
}
