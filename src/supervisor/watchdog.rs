//! Watchdog, by which systemd hears of the supervisor: that it is ready, that its loop turns, and a
//! line of status. Fed by the loop's own turns, so that a loop that is stuck is restarted.

use crate::desk::pulse::LoopPulse;
use crate::observe::rhythm::ROUND;
use crate::systemd::notify::Line;
use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// Connection to systemd's notification socket. It stays open: a supervisor that has no descriptor
/// left turns still, and is not killed for it.
#[derive(Debug)]
pub(in crate::supervisor) struct Watchdog {
    line: Line,
    turn: Duration,
    fed: Option<Instant>,
    said: Option<String>,
    pulse: LoopPulse,
}

impl Watchdog {
    /// Make one that is fed as the unit wants it (`WatchdogSec=`).
    pub(in crate::supervisor) fn new() -> Self {
        Self::within(sd_notify::watchdog_enabled())
    }

    fn within(limit: Option<Duration>) -> Self {
        let limit = limit.filter(|limit| !limit.is_zero());
        let turn = limit.map_or(ROUND, |limit| ROUND.min(limit / 2));
        Self { turn, fed: None, said: None, line: Line::open(), pulse: LoopPulse::new(turn) }
    }

    /// Share whether the loop turns, for others.
    pub(in crate::supervisor) fn pulse(&self) -> LoopPulse {
        self.pulse.clone()
    }

    /// Tell how often the loop must turn: at least once in half of the time that systemd waits
    /// (sd_watchdog_enabled(3) recommends the half), and once a round.
    pub(in crate::supervisor) fn turn(&self) -> Duration {
        self.turn
    }

    /// Record that the loop has turned once, and tell systemd.
    pub(in crate::supervisor) fn turned(&mut self, status: impl FnOnce() -> Option<String>) {
        self.pulse.beat();
        let status = status();
        // What systemd does not take is said again at the next turn.
        if let Some(status) = status.filter(|status| self.said.as_ref() != Some(status))
            && self.line.tell(&[NotifyState::Status(&status)])
        {
            self.said = Some(status);
        }
        // In a burst of turns it is fed now and then.
        if self.fed.is_none_or(|fed| fed.elapsed() >= self.turn / 10) && self.line.tell(&[NotifyState::Watchdog]) {
            self.fed = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn the_loop_turns_twice_while_systemd_waits_and_once_a_round() {
        let seconds = Duration::from_secs;
        let turns =
            [None, Some(0), Some(1), Some(10), Some(60)].map(|limit| Watchdog::within(limit.map(seconds)).turn());
        assert_eq!(turns, [ROUND, ROUND, Duration::from_millis(500), seconds(5), ROUND]);
    }

    /// systemd is busy for a while: its queue is full.
    #[test]
    fn what_systemd_did_not_take_is_said_at_the_next_turn() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&place).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let heard = || {
            let mut text = [0; 64];
            let all = std::iter::from_fn(|| systemd.recv(&mut text).ok().map(|length| text[..length].to_vec()));
            all.map(|text| String::from_utf8(text).unwrap()).filter(|text| text != "x").collect::<Vec<_>>()
        };
        let others = UnixDatagram::unbound().unwrap();
        others.set_nonblocking(true).unwrap();
        while others.send_to(b"x", &place).is_ok() {}
        let mut watchdog = Watchdog { line: Line::to(place.as_os_str()), ..Watchdog::within(None) };
        let mut turned = || watchdog.turned(|| Some("well".into()));
        turned();
        assert!(heard().is_empty());
        turned();
        assert_eq!(heard(), ["STATUS=well\n", "WATCHDOG=1\n"]);
        turned();
        assert!(heard().is_empty(), "it was said already");
    }
}
