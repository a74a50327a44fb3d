//! What systemd hears of the supervisor: that it is ready, that its loop turns, and a line of
//! status. Fed by the loop's own turns, so that a loop that is stuck is restarted.

use crate::systemd::notify::tell;
use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// The least time between two notifications.
const RARELY: Duration = Duration::from_millis(500);

/// The connection to systemd's notification socket.
pub(super) struct Watchdog {
    fed: Option<Instant>,
    said: String,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { fed: None, said: String::new() }
    }

    /// The loop has turned once. `status` is asked only when it is time to say it.
    pub(super) fn turned(&mut self, status: impl FnOnce() -> Option<String>) {
        if self.fed.is_some_and(|fed| fed.elapsed() < RARELY) {
            return;
        }
        self.fed = Some(Instant::now());
        tell(&[NotifyState::Watchdog]);
        if let Some(status) = status()
            && status != self.said
        {
            tell(&[NotifyState::Status(&status)]);
            self.said = status;
        }
    }
}
