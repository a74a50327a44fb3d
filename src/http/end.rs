//! The end of the daemon, as whoever waits for an answer hears of it.

use tokio::sync::watch;

/// News of the daemon's end: whoever waits is answered at once.
pub(super) type End = watch::Receiver<bool>;

/// Wait for the end of the daemon.
pub(super) async fn ended(end: &mut End) {
    // Without its sender the end has come as well.
    _ = end.wait_for(|end| *end).await;
}
