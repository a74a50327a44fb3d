//! Clock of the machine: whether it is kept in step with others, and that somebody has set it. Asks only; sets nothing.

use nix::libc;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The time until the timer expires that waits for the clock to be set: never, as far as anybody cares.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Where systemd-timesyncd notes what it does, while it runs.
const TIMESYNC: &str = "/run/systemd/timesync";

/// Tell whether the clock is kept in step with others, as NTP has told the kernel (adjtimex(2)); where the kernel may not
/// be asked, as systemd-timesyncd has noted. `None` if nobody says.
#[expect(unsafe_code, reason = "no library asks this of the kernel")]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: all zeros is a value of it: numbers, and no mode that changes anything.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the value, which lives as long as the call.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    if state < 0 { noted(Path::new(TIMESYNC)) } else { Some(asked.status & libc::STA_UNSYNC == 0) }
}

/// Tell what systemd-timesyncd has noted: it has a directory while it runs, and a file there once the clock is right.
fn noted(dir: &Path) -> Option<bool> {
    dir.is_dir().then(|| dir.join("synchronized").exists())
}

/// The time since the epoch, by the clock that is set, and the time since boot, which nobody sets. `None` if the kernel
/// does not say.
pub fn now() -> Option<(Duration, Duration)> {
    let read = |clock| clock_gettime(clock).ok().map(Duration::from);
    Some((read(nix::time::ClockId::CLOCK_REALTIME)?, read(nix::time::ClockId::CLOCK_BOOTTIME)?))
}

/// Open a file that becomes readable when the clock is set, once: for the next time another one is opened.
///
/// # Errors
/// The kernel has no such timer.
pub fn step() -> io::Result<File> {
    let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
    let at = now().map_or(FAR, |(time, _)| time + FAR);
    timer.set(Expiration::OneShot(TimeSpec::from_duration(at)), flags)?;
    Ok(File::from(OwnedFd::from(timer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_it_knows_of_the_clock() {
        let (time, since_boot) = now().unwrap();
        assert!(time > since_boot && step().is_ok());
        // In a container it may refuse to.
        _ = is_synchronised();
    }

    #[test]
    fn what_was_noted_is_believed_while_somebody_notes_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((noted(&dir.path().join("none")), noted(dir.path())), (None, Some(false)));
        std::fs::write(dir.path().join("synchronized"), "").unwrap();
        assert_eq!(noted(dir.path()), Some(true));
    }
}
