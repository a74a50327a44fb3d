//! The end of a region's main process, by the kernel's word: a pidfd is readable the moment its
//! process has ended, long before systemd has cleaned up after it and told.
//!
//! A pidfd means one process for ever, but is opened by a number, and numbers are given again.
//! So the process behind it must be one of the region's own unit *after* it was opened: then the
//! pidfd is its, whoever had the number before.

use crate::config::Configuration;
use crate::decide::facts::{Facts, Run};
use crate::names::RegionName;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::{NobodyListens, Observation, Publisher, publish, register};
use crate::systemd::names;
use futures_util::FutureExt;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{self, File};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// The end of a region's main process.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "deaths";
    const SLOW_LOOK: Option<Duration> = None;
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::ByRegion(|_, region, to| watch(region.local.name, region.run, to).boxed());
    type Fact = (RegionName, Run);

    fn tell((region, run): Self::Fact) -> Observation {
        Observation::Ended(region, run)
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Watches the main processes of one region, one after the other, until nobody listens any more.
/// `run` tells the run that its unit is in.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    region: RegionName,
    mut run: watch::Receiver<Option<Run>>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let own = names::unit(&region);
    loop {
        let watched = run.borrow_and_update().clone();
        // Cancel-safe: a pidfd that is dropped with the wish to watch it is of no use.
        let ended = tokio::select! {
            _ = end(watched.as_ref().map(|run| run.pid), &own) => watched,
            changed = run.changed() => {
                changed.map_err(|_| NobodyListens)?;
                continue;
            }
        };
        if let Some(ended) = ended {
            publish::<Watch>(&to, (region.clone(), ended)).await?;
        }
        run.changed().await.map_err(|_| NobodyListens)?;
    }
}

/// Returns the process, which must be one of this unit, when it has ended. Without one it never
/// returns.
pub async fn end(pid: Option<u32>, own: &str) -> u32 {
    let Some(pid) = pid else { return std::future::pending().await };
    match open(pid, own) {
        Ok(None) => pid,
        Ok(Some(process)) => match process.readable().await {
            Ok(_) => pid,
            Err(why) => unknown(pid, &why).await,
        },
        Err(why) => unknown(pid, &why).await,
    }
}

/// Without a pidfd systemd's word has to do.
async fn unknown(pid: u32, why: &io::Error) -> u32 {
    tracing::warn!("the kernel does not tell the end of process {pid}: {why}");
    std::future::pending().await
}

/// Opens a process; `None` if it has ended, or if its number means another by now.
fn open(pid: u32, own: &str) -> io::Result<Option<AsyncFd<File>>> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let process = match pidfd_open(id, PidfdFlags::NONBLOCK) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        opened => opened?,
    };
    if is_of(id, own)? { register(File::from(process), Interest::READABLE).map(Some) } else { Ok(None) }
}

/// Tell whether a process is of this unit. One that has gone is not; what procfs does not tell is
/// an error, never an end.
fn is_of(id: Pid, own: &str) -> io::Result<bool> {
    match fs::read_to_string(format!("/proc/{}/cgroup", id.as_raw_nonzero())) {
        Err(why) if matches!(why.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => Ok(false),
        groups => Ok(groups?.lines().any(|line| line.rsplit('/').any(|part| part == own))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;
    use tokio::time::timeout;

    const ANSWER_LIMIT: Duration = Duration::from_secs(20);

    /// The unit that this test runs in, as a downstairs' would be its own.
    fn here() -> Option<String> {
        crate::kernel::processes::unit(&procfs::process::Process::myself().unwrap())
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_told_when_it_comes() {
        let Some(own) = here() else { return };
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let mut ending = std::pin::pin!(end(Some(pid), &own));
        assert!(timeout(Duration::from_millis(50), &mut ending).await.is_err(), "it has not ended");
        child.kill().unwrap();
        // Not waited for: to have ended is enough.
        assert_eq!(timeout(ANSWER_LIMIT, ending).await.unwrap(), pid);
        child.wait().unwrap();
    }

    /// A number that was given again: what runs under it is not the region's.
    #[tokio::test]
    async fn a_number_that_means_another_process_is_an_end() {
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let unit = "crucible-downstairs@still-fawn-0.service";
        assert_eq!(timeout(ANSWER_LIMIT, end(Some(other.id()), unit)).await.unwrap(), other.id());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(timeout(ANSWER_LIMIT, end(Some(other.id()), unit)).await.unwrap(), other.id());
    }

    #[tokio::test]
    async fn the_watch_goes_from_one_process_to_the_next() {
        let (source, mut heard) = crate::observe::channel(4);
        let (_term, told) = source.begin();
        let (runs, watched) = watch::channel(None);
        let name: RegionName = "still-fawn-0".parse().unwrap();
        let watching = tokio::spawn(super::watch(name, watched, told));
        for _ in 0..2 {
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            let run = Run { pid: child.id(), invocation: Some("a".into()) };
            runs.send_replace(Some(run.clone()));
            match timeout(ANSWER_LIMIT, heard.recv()).await.unwrap().and_then(crate::observe::Told::fact) {
                Some(Observation::Ended(_, ended)) => assert_eq!(ended, run),
                other => panic!("{other:?}"),
            }
        }
        drop(runs);
        assert!(timeout(ANSWER_LIMIT, watching).await.unwrap().unwrap().is_err());
    }
}
