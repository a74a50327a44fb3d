//! Following: what a stream has of its connection. There is room for so many streams, they do not take the places of
//! those who poll, and whoever does not read what he is sent is hung up on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Time that a reader may take to read what he is sent. A heartbeat is sent several times in it.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// The way from a connection to a stream on it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Following {
    place: Arc<dyn Fn() -> Option<Place> + Send + Sync>,
    streams: watch::Sender<bool>,
    marked: Arc<Mutex<Instant>>,
}

/// Place of a stream, for as long as this exists.
pub(super) type Place = Box<dyn Send + Sync>;

/// Pace of a stream: whether its connection takes what is sent.
pub(super) struct Pace {
    _place: Place,
    streams: watch::Sender<bool>,
    marked: Arc<Mutex<Instant>>,
}

impl Following {
    /// Make the way of one connection; `place` finds a place for a stream on it, if there is one.
    pub(super) fn new(place: impl Fn() -> Option<Place> + Send + Sync + 'static) -> Self {
        Self {
            place: Arc::new(place),
            streams: watch::Sender::new(false),
            marked: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Begin a stream; `None` if there is no place for it.
    pub(super) fn begin(&self) -> Option<Pace> {
        let place = (self.place)()?;
        let pace = Pace { _place: place, streams: self.streams.clone(), marked: self.marked.clone() };
        pace.mark();
        self.streams.send_replace(true);
        Some(pace)
    }

    /// Wait until a stream has not been read from for too long. Cancel-safe: nothing is taken.
    pub(super) async fn stalled(&self) {
        let mut streams = self.streams.subscribe();
        loop {
            if streams.wait_for(|streams| *streams).await.is_err() {
                return std::future::pending().await;
            }
            let until = *self.marked.lock().unwrap_or_else(PoisonError::into_inner) + STALL_LIMIT;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Wait until there is no stream.
    pub(super) async fn is_over(&self) {
        _ = self.streams.subscribe().wait_for(|streams| !*streams).await;
    }
}

impl Pace {
    /// Record that the connection takes more.
    pub(super) fn mark(&self) {
        *self.marked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.streams.send_replace(false);
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("streams", &*self.streams.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_stays_and_who_does_not_is_told_of() {
        let following = Following::new(|| Some(Box::new(())));
        let pace = following.begin().unwrap();
        for _ in 0..20 {
            tokio::select! {
                () = following.stalled() => panic!("he reads"),
                () = tokio::time::sleep(Duration::from_secs(15)) => pace.mark(),
            }
        }
        let last = Instant::now();
        following.stalled().await;
        assert_eq!(last.elapsed(), STALL_LIMIT);
        drop(pace);
        following.is_over().await;
        tokio::select! {
            () = following.stalled() => panic!("there is no stream"),
            () = tokio::time::sleep(2 * STALL_LIMIT) => {}
        }
        assert!(Following::new(|| None).begin().is_none());
    }
}
