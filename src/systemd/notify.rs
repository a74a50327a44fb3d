//! What systemd hears of the daemon over its notification socket.

use sd_notify::NotifyState;

/// Tells systemd something; without systemd it says nothing.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {why}");
    }
}
