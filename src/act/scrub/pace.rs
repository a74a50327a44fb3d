//! Pace of a scrub: how much is read in a second, and how far it is.

use crate::kernel::pressure;
use crate::metrics::Counts;
use crate::progress::{Cancelled, Progress};
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest time without a look whether it was cancelled.
const NAP: Duration = Duration::from_millis(100);
/// Time between two looks at who waits for the disk, and between two words of how far it is.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Pieces in a second by which it keeps to its rate: whoever asks the disk for something while one is read waits for that,
/// and each of them wakes a thread. Of the default rate a piece is 256 KiB.
const PIECES_A_SECOND: u64 = 256;
/// Share of the last ten seconds in which a region waited for its disk, in percent, from which a scrub steps back: the
/// disk has work enough.
const CROWDED_PERCENT: u8 = 30;
/// Part of its rate to which it steps back: it comes to its end all the same.
const STEP_BACK: u64 = 8;

/// Pace of a scrub.
pub(super) struct Pace {
    /// The most bytes in a second.
    rate: u64,
    /// The doing, in a word.
    doing: &'static str,
    pressures: Vec<PathBuf>,
    progress: Progress,
    counts: Counts,
    /// Others wait for the disk.
    crowded: bool,
    /// The time at which that was last looked at, if it was.
    looked: Option<Instant>,
    /// The time from which on more may be read.
    next: Instant,
    read: u64,
    expected: u64,
}

impl Pace {
    pub(super) fn new(rate: u64, pressures: Vec<PathBuf>, progress: Progress, counts: Counts) -> Self {
        let next = Instant::now();
        let doing = "scrubbing";
        Self { rate, doing, pressures, progress, counts, crowded: false, looked: None, next, read: 0, expected: 0 }
    }

    /// One that holds nothing back: somebody waits until it is done.
    pub(super) fn unhindered(progress: Progress, counts: Counts) -> Self {
        Self { doing: "verifying", ..Self::new(u64::MAX, Vec::new(), progress, counts) }
    }

    /// So many bytes are to be read in all.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.expected = bytes;
        self.tell();
    }

    /// The bytes that were read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// The bytes that are to be read at once.
    pub(super) fn piece(&self) -> u64 {
        self.rate / PIECES_A_SECOND
    }

    /// Find that the scrub is wanted still.
    pub(super) fn check(&self) -> Result<(), Cancelled> {
        self.progress.check()
    }

    /// Wait until so many bytes may be read.
    ///
    /// # Errors
    /// The scrub was cancelled.
    pub(super) fn before(&mut self, bytes: u64) -> io::Result<()> {
        loop {
            self.progress.check().map_err(io::Error::other)?;
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleep(left.min(NAP));
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_PAUSE) {
            self.looked = Some(Instant::now());
            self.crowded = self.is_crowded();
            self.tell();
        }
        let rate = if self.crowded { (self.rate / STEP_BACK).max(1) } else { self.rate };
        // What was not read in time is not made up for.
        self.next = self.next.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.read += bytes;
        self.counts.scrubbed(bytes);
        Ok(())
    }

    fn is_crowded(&self) -> bool {
        let told = self.pressures.iter().find_map(|file| pressure::lately(file));
        told.is_some_and(|percent| percent >= CROWDED_PERCENT)
    }

    fn tell(&self) {
        let doing = if self.crowded { "scrubbing slowly, as regions wait for the disk" } else { self.doing };
        self.progress.bytes(doing, self.read.min(self.expected), self.expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Course;
    use std::fs;
    use tokio::sync::watch;

    #[test]
    fn no_more_is_read_than_the_rate_and_less_while_others_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (none, file) = (dir.path().join("none"), dir.path().join("io.pressure"));
        let took = |percent: &str| {
            fs::write(&file, format!("some avg10={percent} avg60=0.00 avg300=0.00 total=0\n")).unwrap();
            let progress = Progress::new(|_| (), watch::Sender::new(Course::Open));
            let mut pace = Pace::new(100 << 20, vec![none.clone(), file.clone()], progress, Counts::default());
            let began = Instant::now();
            (0..11).for_each(|_| pace.before(1 << 20).unwrap());
            assert_eq!(pace.read(), 11 << 20);
            began.elapsed()
        };
        // Ten pieces of a hundredth of a second each, and the first at once; on a busy machine it takes longer.
        assert!(took("10.00") >= Duration::from_millis(99));
        assert!(took("31.00") >= Duration::from_millis(799));
    }

    #[test]
    fn a_piece_is_small_at_the_usual_rate_and_as_long_as_is_fastest_without_one() {
        let progress = || Progress::new(|_| (), watch::Sender::new(Course::Open));
        let usual = crate::config::shipped("").sled.scrub.rate;
        assert_eq!(Pace::new(usual, Vec::new(), progress(), Counts::default()).piece(), 256 << 10);
        assert!(Pace::unhindered(progress(), Counts::default()).piece() > 1 << 20);
    }

    #[test]
    fn whoever_cancels_is_heard_while_it_waits() {
        let course = watch::Sender::new(Course::Open);
        let progress = Progress::new(|_| (), course.clone());
        let mut pace = Pace::new(1, Vec::new(), progress, Counts::default());
        pace.before(1 << 40).unwrap();
        let waiting = std::thread::spawn(move || pace.before(1).is_err());
        assert!(crate::progress::cancel(&course));
        assert!(waiting.join().unwrap());
    }
}
