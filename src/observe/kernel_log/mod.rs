//! The kernel's log: what it says of devices that fail ([`signs`]), by device and for a day. The kernel wakes whoever
//! waits for more; as long as it says nothing, nobody is woken but by the slow look, which forgets what is old.
//!
//! The log is opened by systemd (`OpenFile=` of sledd.service), as it takes a right to read it that the supervisor has
//! not. It is read from its beginning, so that a supervisor that is started anew knows what was before it; what the
//! kernel had no room to keep is passed over. Reads only.

mod record;
mod signs;
mod tally;

use crate::config::Configuration;
use crate::decide::facts::{Facts, KernelLog};
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish, register};
use futures_util::FutureExt;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tally::{Now, Tally};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// The name by which systemd passes the log.
pub const PASSED: &str = "kmsg";

/// Time between looks at what is older than a day.
const SLOW_LOOK: Duration = Duration::from_secs(600);
/// The pause after something was read: a kernel that says much wakes nobody more often than that.
const PAUSE: Duration = Duration::from_secs(1);
/// The most bytes of a record (`PRINTK_MESSAGE_MAX` of the kernel, with what it writes out).
const RECORD_BYTES: usize = 8192;
/// The most records that are read before others have their turn.
const MOST_AT_ONCE: usize = 2000;

/// The kernel's log.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "kernel_log";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::Once(|ground, to| {
        let log = ground.kernel.log.clone()?;
        Some(watch(log, ground.rhythm.clone(), to).boxed())
    });
    type Fact = KernelLog;

    fn tell(log: Self::Fact) -> Observation {
        Observation::known(|facts| facts.kernel_log = log)
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Take over the log that systemd has passed as this descriptor.
#[expect(unsafe_code, reason = "a descriptor that was passed has no owner yet")]
pub fn passed(descriptor: RawFd) -> File {
    // SAFETY: systemd has opened it for this process, and it is taken once.
    File::from(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Open a log at another place than the kernel's own.
///
/// # Errors
/// The file cannot be opened.
pub fn open(file: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(file, flags, rustix::fs::Mode::empty())?))
}

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(log: Arc<File>, rhythm: Rhythm, to: Publisher) -> Result<(), NobodyListens> {
    let (mut log, mut tally, mut slow) = (Log::new(&log), Tally::default(), rhythm.every(SLOW_LOOK));
    loop {
        // Cancel-safe: a beat or a readiness that is not taken stays.
        let more = tokio::select! {
            _ = slow.next() => false,
            () = log.more() => true,
        };
        let noted = log.read(&mut tally);
        if tally.forget(now()) || noted {
            publish::<Watch>(&to, tally.shown()).await?;
        }
        if more {
            sleep(PAUSE).await;
        }
    }
}

fn now() -> Now {
    // The log's clock does not count what the machine sleeps either.
    let since_boot = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Now { since_boot, time: Timestamp::now() }
}

/// The log, and whether the kernel tells of more.
struct Log {
    file: Option<AsyncFd<File>>,
}

impl Log {
    /// Begin at its beginning. One that cannot be waited for is told, and not read.
    fn new(log: &File) -> Self {
        let nonblocking = |log: &File| fcntl_setfl(log, fcntl_getfl(log)? | OFlags::NONBLOCK);
        let file =
            nonblocking(log).map_err(io::Error::from).and_then(|()| register(log.try_clone()?, Interest::READABLE));
        let file = file.inspect_err(|why| tracing::warn!("the kernel's log cannot be waited for: {why}")).ok();
        Self { file }
    }

    /// Wait until there is more of it. Cancel-safe.
    async fn more(&self) {
        match &self.file {
            Some(file) if file.readable().await.is_ok() => {}
            _ => pending().await,
        }
    }

    /// Take note of what there is, and tell whether there was a sign.
    fn read(&mut self, tally: &mut Tally) -> bool {
        let (mut buffer, mut noted, now) = (vec![0; RECORD_BYTES], false, now());
        for _ in 0..MOST_AT_ONCE {
            let Some(file) = &self.file else { break };
            let read = file.try_io(Interest::READABLE, |file| Ok(rustix::io::read(file, &mut buffer)?));
            match read {
                // The end of something that is not the kernel's: there is no more.
                Ok(0) => self.file = None,
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                    noted |= record::records(&text).iter().fold(false, |noted, record| tally.note(record, now) | noted);
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                // What came next was overwritten: the kernel goes on with the oldest that it has.
                Err(why) if [Errno::PIPE, Errno::INTR].contains(&Errno::from_io_error(&why).unwrap_or(Errno::IO)) => {}
                Err(why) => {
                    tracing::warn!("the kernel's log cannot be read: {why}");
                    self.file = None;
                }
            }
        }
        noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Sign;
    use crate::observe::channel;
    use std::io::Write;
    use std::os::unix::net::UnixDatagram;

    const RESET: &str =
        "6,9,1000000,-;usb 2-1: reset SuperSpeed USB device number 3 using xhci_hcd\n DEVICE=c189:130\n";

    #[tokio::test]
    async fn what_is_said_is_told_and_an_end_wakes_nobody() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let log = Arc::new(File::from(OwnedFd::from(ours)));
        let (rhythm, drum) = Rhythm::new(Duration::from_secs(3600));
        let (source, mut told) = channel(8);
        let (_term, to) = source.begin();
        tokio::spawn(drum);
        tokio::spawn(watch(log, rhythm, to));
        theirs.send(b"6,8,1000,-;random: crng init done\n").unwrap();
        theirs.send(RESET.as_bytes()).unwrap();
        let told = tokio::time::timeout(Duration::from_secs(60), told.recv()).await.unwrap().unwrap();
        let Some(Observation::Known(change)) = told.fact() else { panic!() };
        let mut facts = Facts::default();
        change.apply(&mut facts);
        let seen = facts.kernel_log.of(["2-1"]);
        assert_eq!(seen.iter().map(|incident| &incident.signs).collect::<Vec<_>>(), [&[Sign::UsbReset].into()]);
    }

    #[tokio::test]
    async fn a_log_that_ends_is_not_read_again() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(RESET.as_bytes()).unwrap();
        let mut log = Log::new(&File::from(OwnedFd::from(reader)));
        let mut tally = Tally::default();
        log.more().await;
        assert!(log.read(&mut tally) && log.file.is_some());
        drop(writer);
        log.more().await;
        assert!(!log.read(&mut tally) && log.file.is_none());
    }
}
