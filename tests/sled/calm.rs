//! A clock for limits that a busy machine must not break: it stands still while anybody on this machine
//! waits for a processor or for a disk. On a quiet machine it goes as any other does.

use std::fs;
use std::time::{Duration, Instant};
use support::hosts::EVENT_LIMIT;

/// The files in which the kernel tells how long somebody had to wait (Documentation/accounting/psi.rst).
const PRESSURES: [&str; 2] = ["/proc/pressure/cpu", "/proc/pressure/io"];

/// A time that is being taken.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    began: Instant,
    stalled: Duration,
}

impl Calm {
    /// From now on.
    pub fn begin() -> Self {
        Self { began: Instant::now(), stalled: stalled() }
    }

    /// How much of the time since was calm.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed().saturating_sub(stalled().saturating_sub(self.stalled))
    }

    /// Whether this much calm time is over, or more than anything is waited for.
    pub fn is_over(&self, limit: Duration) -> bool {
        self.elapsed() >= limit || self.began.elapsed() >= EVENT_LIMIT
    }
}

/// How long somebody has had to wait since the machine was booted. Where the kernel does not tell, nobody is
/// taken to have waited.
fn stalled() -> Duration {
    let of = |file: &str| {
        let text = fs::read_to_string(file).ok()?;
        let some = text.lines().find(|line| line.starts_with("some"))?;
        some.rsplit_once("total=")?.1.parse().ok().map(Duration::from_micros)
    };
    PRESSURES.into_iter().filter_map(of).sum()
}
