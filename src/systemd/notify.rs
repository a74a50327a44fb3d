//! Notifications of systemd by the daemon, over its notification socket.

use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;
use std::time::Duration;

/// The pause before systemd is told again what it did not take: at first, and at most.
const RETELL_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// Tell systemd what it must hear: that the daemon is ready, or ends. A notification that it does not take at once is
/// said again, aside, until it does. Without systemd nobody is told anything.
pub fn tell(states: &[NotifyState<'_>]) {
    tell_until_heard(Line::open(), text(states));
}

fn tell_until_heard(mut line: Line, text: String) {
    if line.say(&text) {
        return;
    }
    let aside = thread::Builder::new().name("notify".into());
    let until_it_is_heard = move || {
        let [mut pause, longest] = RETELL_PAUSES;
        while !line.say(&text) {
            thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    };
    if let Err(why) = aside.spawn(until_it_is_heard) {
        tracing::warn!("systemd is not told again what it did not take: {why}");
    }
}

/// A notification socket that stays open: for what has to be told even when no descriptor is left.
#[derive(Debug)]
pub struct Line(Option<Open>);

#[derive(Debug)]
struct Open {
    place: SocketAddr,
    socket: UnixDatagram,
    /// Whether it could not be told the last time: which was said.
    failed: bool,
}

impl Line {
    /// Open the socket where `NOTIFY_SOCKET` says; without systemd nobody is told anything.
    pub fn open() -> Self {
        let place = std::env::var_os("NOTIFY_SOCKET");
        let opened = place.map(|place| Open::at(&place)).transpose();
        Self(opened.inspect_err(|why| tracing::warn!("systemd cannot be notified: {why}")).ok().flatten())
    }

    /// Open one to whoever listens at a path.
    #[cfg(test)]
    pub(crate) fn to(place: &OsStr) -> Self {
        Self(Some(Open::at(place).unwrap()))
    }

    /// Tell systemd something, and return whether it has it, or there is none. It is not waited for: what a systemd
    /// that does not listen has not taken is to be told again.
    #[must_use]
    pub fn tell(&mut self, states: &[NotifyState<'_>]) -> bool {
        self.say(&text(states))
    }

    fn say(&mut self, text: &str) -> bool {
        self.0.as_mut().is_none_or(|open| open.say(text))
    }
}

impl Open {
    /// Open a socket to a path, or with an `@` in front to an abstract name (sd_notify(3)).
    fn at(place: &OsStr) -> io::Result<Self> {
        let place = match place.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(place)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // A systemd that is not there yet, or not at the moment, is looked for when there is something to say.
        _ = socket.connect_addr(&place);
        Ok(Self { place, socket, failed: false })
    }

    fn say(&mut self, text: &str) -> bool {
        let said = self.socket.send(text.as_bytes()).or_else(|why| match why.kind() {
            io::ErrorKind::WouldBlock => Err(why),
            // Another socket may be there by now: the same one of ours goes to that, and no descriptor is
            // needed for it.
            _ => self.socket.connect_addr(&self.place).and_then(|()| self.socket.send(text.as_bytes())),
        });
        let Err(why) = said else {
            self.failed = false;
            return true;
        };
        if why.kind() != io::ErrorKind::WouldBlock && !std::mem::replace(&mut self.failed, true) {
            tracing::warn!("systemd cannot be notified: {why}");
        }
        false
    }
}

fn text(states: &[NotifyState<'_>]) -> String {
    let mut text = String::new();
    states.iter().for_each(|state| _ = writeln!(text, "{state}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::is_alone;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use std::ffi::OsString;

    fn heard(by: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let length = by.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_is_told_by_a_path_and_by_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("sled-notify-{}", std::process::id());
        let abstractly = SocketAddr::from_abstract_name(&name).unwrap();
        let places: [(_, OsString); 2] = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstractly).unwrap(), format!("@{name}").into()),
        ];
        for (systemd, place) in places {
            let mut line = Line::to(&place);
            assert!(line.tell(&[NotifyState::Status("well"), NotifyState::Watchdog]));
            assert_eq!(heard(&systemd), "STATUS=well\nWATCHDOG=1\n");
            // A systemd that does not listen is not waited for, and it is known that it did not hear.
            assert!((0..10_000).any(|_| !line.tell(&[NotifyState::Watchdog])), "nobody took them all");
            while heard(&systemd) == "WATCHDOG=1\n" && !line.tell(&[NotifyState::Status("again")]) {}
            while heard(&systemd) != "STATUS=again\n" {}
        }
    }

    /// A start whose end is not heard of would be given up.
    #[test]
    fn what_nobody_hears_is_said_until_somebody_does() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("notify");
        tell_until_heard(Line::to(place.as_os_str()), text(&[NotifyState::Ready]));
        let systemd = UnixDatagram::bind(&place).unwrap();
        assert_eq!(heard(&systemd), "READY=1\n");
    }

    /// The listener there is another than before, or comes only after it was looked for.
    #[test]
    fn another_systemd_at_the_same_place_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("notify");
        let mut line = Line::to(place.as_os_str());
        assert!(!line.tell(&[NotifyState::Watchdog]), "nobody is there");
        for _ in 0..2 {
            let systemd = UnixDatagram::bind(&place).unwrap();
            assert!(line.tell(&[NotifyState::Watchdog]));
            assert_eq!(heard(&systemd), "WATCHDOG=1\n");
            drop(systemd);
            assert!(!line.tell(&[NotifyState::Watchdog]), "nobody listens any more");
            std::fs::remove_file(&place).unwrap();
        }
    }

    #[test]
    fn what_is_told_needs_no_descriptor() {
        // Its limit is every thread's.
        if !is_alone("systemd::notify::tests::what_is_told_needs_no_descriptor") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        let mut line = Line::to(socket.as_os_str());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let none = UnixDatagram::unbound();
        let told = line.tell(&[NotifyState::Watchdog]);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert!(none.is_err() && told);
        assert_eq!(heard(&systemd), "WATCHDOG=1\n");
    }
}
