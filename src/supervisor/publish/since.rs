//! Times since which things are so, for the next supervisor to be told. This is written whenever it
//! changes, by one writer, aside from the loop.

use crate::check::Code;
use crate::store::since::{self, Since};
use crate::supervisor::tasks::run_unheard;
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time for which what an earlier supervisor saw is waited for to be seen again: some things are looked at
/// late.
const EARLIER_LIFETIME: Duration = Duration::from_secs(60);

/// Memory of what was told, and what is to be.
#[derive(Debug)]
pub(in crate::supervisor) struct Memory {
    earlier: Since,
    boot: Option<String>,
    began: Instant,
    tell: watch::Sender<Since>,
}

impl Memory {
    /// Begin with what an earlier supervisor has told that may be so in this boot, and the writer of what is told the
    /// next.
    pub(in crate::supervisor) fn begin(earlier: Since) -> Self {
        let (tell, mut told) = watch::channel(earlier.clone());
        run_unheard(async move {
            let mut well = true;
            while told.changed().await.is_ok() {
                let now = told.borrow_and_update().clone();
                let written = tokio::task::spawn_blocking(move || since::write(&now)).await;
                let done = written.unwrap_or_else(|why| Err(std::io::Error::other(why)));
                if let (true, Err(why)) = (well, &done) {
                    tracing::warn!("since when things are so is not written for the next supervisor: {why}");
                }
                well = done.is_ok();
            }
        });
        Self { boot: earlier.boot.clone(), earlier, began: Instant::now(), tell }
    }

    /// Return what an earlier supervisor saw, and has not been seen again yet.
    pub(in crate::supervisor) fn earlier(&mut self) -> &mut Since {
        if self.began.elapsed() > EARLIER_LIFETIME {
            self.earlier = Since::default();
        }
        &mut self.earlier
    }

    /// Take the conditions that were not seen again, once nobody waits for them any more: they are over.
    pub(in crate::supervisor) fn forgotten(&mut self) -> Vec<(Code, String, Timestamp)> {
        if self.began.elapsed() > EARLIER_LIFETIME { std::mem::take(&mut self.earlier.conditions) } else { Vec::new() }
    }

    /// Tell the next supervisor how it is, and what may be seen again.
    pub(in crate::supervisor) fn tell(&mut self, mut now: Since) {
        let earlier = self.earlier().clone();
        (now.boot, now.version) = (self.boot.clone(), Some(env!("CARGO_PKG_VERSION").to_owned()));
        now.conditions.extend(earlier.conditions);
        for (name, state) in earlier.states {
            now.states.entry(name).or_insert(state);
        }
        self.tell.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_seen_again_yet_is_told_on() {
        let at = Timestamp::from_second(7).unwrap();
        let earlier = Since { conditions: vec![(Code::DiskLow, "disk".into(), at)], ..Since::default() };
        let mut memory = Memory::begin(earlier);
        memory.tell(Since { conditions: vec![(Code::DiskFull, "disk".into(), at)], ..Since::default() });
        assert_eq!(memory.tell.borrow().conditions.len(), 2);
        memory.earlier().conditions.clear();
        memory.tell(Since::default());
        assert!(memory.tell.borrow().conditions.is_empty());
    }
}
