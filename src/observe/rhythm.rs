//! The common rhythm of everything that looks now and then: one timer of the kernel's, and all
//! who wait for its beat are woken together.
//!
//! Timers of tokio's own would each wake the process by themselves, and a long one two or
//! three times on its way through their wheel: twelve that ask every two seconds were most of
//! what an idle supervisor did. Never a clock for anything that has to come sooner.

use crate::observe::{NobodyListens, register};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::fs::File;
use std::future::pending;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time between two beats, unless somebody needs them to come faster.
pub const ROUND: Duration = Duration::from_secs(5);

/// Beat of the rhythm.
#[derive(Debug, Clone, Copy)]
struct Beat {
    number: u64,
    at: Instant,
    /// Time at which it was to come.
    due: Instant,
}

/// Rhythm of the looks: where the beat is heard. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rhythm {
    period: Duration,
    last: watch::Receiver<Beat>,
}

impl Rhythm {
    /// A rhythm with this time between its beats, and the task that beats it for as long as
    /// somebody listens.
    pub fn new(period: Duration) -> (Self, impl Future<Output = Result<(), NobodyListens>>) {
        let now = Instant::now();
        let (tell, last) = watch::channel(Beat { number: 0, at: now, due: now });
        let drum = async move {
            let mut timer = Timer::every(period);
            while !tell.is_closed() {
                let due = timer.expired().await;
                tell.send_modify(|beat| *beat = Beat { number: beat.number + 1, at: Instant::now(), due });
            }
            Err(NobodyListens)
        };
        (Self { period, last }, drum)
    }

    /// The beats that are so far apart, or as near to that as there are any. All who ask for
    /// the same time hear the same ones.
    pub fn every(&self, time: Duration) -> Beats {
        self.in_turn(time, 0)
    }

    /// The same at another place among them: looks that each take a thread for a moment come one after the
    /// other, beat by beat. At the same beat they would take a thread each, and these would wait in turn for the one
    /// heap that there is (`MALLOC_ARENA_MAX=1`), and sleep and be woken each time.
    pub fn in_turn(&self, time: Duration, place: u64) -> Beats {
        let beats = time.as_secs_f64() / self.period.as_secs_f64();
        let apart = (beats.round() as u64).max(1);
        Beats { last: self.last.clone(), due: 0, apart, place: place % apart }
    }
}

/// Selection of the beats.
#[derive(Debug)]
pub struct Beats {
    last: watch::Receiver<Beat>,
    due: u64,
    apart: u64,
    /// Place of this beat among these.
    place: u64,
}

impl Beats {
    /// Waits for the next, and returns when it came; the first comes at once. Several that were
    /// not waited for are one. Cancel-safe: a beat that is not returned is not taken.
    pub async fn next(&mut self) -> Instant {
        loop {
            let Beat { number, at, .. } = *self.last.borrow_and_update();
            if number >= self.due {
                self.skip(number);
                return at;
            }
            if self.last.changed().await.is_err() {
                // Without a drum the supervisor ends as well; nothing is to be done until then.
                pending().await
            }
        }
    }

    /// Tell how long ago the last beat was to come: whoever has just heard it is so late.
    pub fn late(&self) -> Duration {
        self.last.borrow().due.elapsed()
    }

    /// Waits for none that has been: the next comes in its time.
    pub fn skip_past(&mut self) {
        let number = self.last.borrow_and_update().number;
        self.skip(number);
    }

    fn skip(&mut self, number: u64) {
        let past = (number + self.apart - self.place) / self.apart;
        self.due = past * self.apart + self.place;
    }
}

/// The kernel's timer; without it (an odd kernel or sandbox) tokio's has to do.
struct Timer {
    period: Duration,
    file: Option<AsyncFd<File>>,
    /// Time at which it was last to expire.
    due: Instant,
}

impl Timer {
    fn every(period: Duration) -> Self {
        let file = kernel_timer(period).inspect_err(|why| tracing::warn!("the kernel has no timer to wait on: {why}"));
        Self { period, file: file.ok(), due: Instant::now() }
    }

    /// Waits until it expires, and returns when that was to be: of several times the first.
    async fn expired(&mut self) -> Instant {
        if let Some(file) = &self.file {
            match taken(file).await {
                Ok(times) => {
                    let first = self.due + self.period;
                    self.due += self.period * times;
                    return first;
                }
                Err(why) => tracing::warn!("the kernel's timer cannot be read: {why}"),
            }
        }
        self.due = Instant::now() + self.period;
        sleep_until(self.due).await;
        self.due
    }
}

fn kernel_timer(period: Duration) -> io::Result<AsyncFd<File>> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    timer.set(Expiration::Interval(TimeSpec::from_duration(period)), TimerSetTimeFlags::empty())?;
    register(File::from(OwnedFd::from(timer)), Interest::READABLE)
}

/// Waits for the timer, and takes note of its expirations: it stays readable until then.
async fn taken(file: &AsyncFd<File>) -> io::Result<u32> {
    let mut times = [0; 8];
    loop {
        let mut ready = file.readable().await?;
        if let Ok(read) = ready.try_io(|file| file.get_ref().read_exact(&mut times)) {
            return read.map(|()| u64::from_ne_bytes(times).try_into().unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn all_hear_the_same_beats_and_the_first_comes_at_once() {
        let (rhythm, drum) = Rhythm::new(PERIOD);
        let began = Instant::now();
        let (mut one, mut other) = (rhythm.every(PERIOD * 3), rhythm.every(PERIOD * 3));
        assert_eq!(one.next().await, other.next().await);
        assert!(began.elapsed() < PERIOD, "the first beat was waited for");
        tokio::spawn(drum);
        let mut single = rhythm.every(PERIOD);
        single.next().await;
        single.next().await;
        // In the middle of the three: whoever begins now joins the others.
        let mut late = rhythm.every(PERIOD * 3);
        late.skip_past();
        let (one, other, late) = tokio::join!(one.next(), other.next(), late.next());
        assert_eq!((one, one), (other, late));
        assert!(one >= began + PERIOD * 3, "{:?}", one - began);
    }

    #[tokio::test]
    async fn a_beat_is_as_late_as_the_thread_was_busy() {
        let (rhythm, drum) = Rhythm::new(PERIOD);
        tokio::spawn(drum);
        let mut beats = rhythm.every(PERIOD);
        beats.next().await;
        let first = beats.next().await;
        // Nobody else is heard meanwhile: the next beat is to come within a period, and is not.
        std::thread::sleep(PERIOD * 5);
        let second = beats.next().await;
        assert!(beats.late() >= PERIOD * 3 && beats.late() <= second - first + second.elapsed(), "{:?}", beats.late());
    }

    #[tokio::test]
    async fn those_in_turn_come_one_after_the_other() {
        let (rhythm, drum) = Rhythm::new(PERIOD);
        let (_tell, last) = watch::channel(Beat { number: 0, at: Instant::now(), due: Instant::now() });
        for (apart, place, number, due) in
            [(3, 0, 0, 3), (3, 0, 3, 6), (3, 1, 0, 1), (3, 1, 1, 4), (3, 2, 1, 2), (3, 2, 2, 5), (1, 0, 7, 8)]
        {
            let mut beats = Beats { last: last.clone(), due: 0, apart, place };
            beats.skip(number);
            assert_eq!(beats.due, due, "{place} of {apart} after {number}");
        }
        let mut all = [0, 1, 2].map(|place| rhythm.in_turn(PERIOD * 3, place));
        for beats in &mut all {
            beats.next().await;
        }
        tokio::spawn(drum);
        let [zero, one, two] = &mut all;
        let (zero, one, two) = tokio::join!(zero.next(), one.next(), two.next());
        assert!(one < two && two < zero, "{one:?} {two:?} {zero:?}");
    }

    #[tokio::test]
    async fn a_time_below_the_period_is_every_beat() {
        let (rhythm, drum) = Rhythm::new(PERIOD);
        tokio::spawn(drum);
        let mut beats = rhythm.every(PERIOD / 4);
        let first = beats.next().await;
        assert!(beats.next().await >= first + PERIOD);
    }

    #[tokio::test]
    async fn the_drum_ends_when_nobody_listens() {
        let (rhythm, drum) = Rhythm::new(PERIOD);
        drop(rhythm);
        assert!(drum.await.is_err());
    }
}
