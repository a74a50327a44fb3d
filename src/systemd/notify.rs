//! What systemd hears of the daemon over its notification socket.

use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells systemd something; without systemd it says nothing.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {why}");
    }
}

/// A notification socket that stays open: for what has to be told even when no descriptor is left.
#[derive(Debug)]
pub struct Line(Option<UnixDatagram>);

impl Line {
    /// Opens it where `NOTIFY_SOCKET` says; without systemd nobody is told anything.
    pub fn open() -> Self {
        let place = std::env::var_os("NOTIFY_SOCKET");
        let opened = place.map(|place| connect(&place)).transpose();
        Self(opened.inspect_err(|why| tracing::warn!("systemd cannot be notified: {why}")).ok().flatten())
    }

    /// Tells systemd something. It is not waited for: a systemd that does not listen is told the next
    /// time.
    pub fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else { return };
        let mut text = String::new();
        states.iter().for_each(|state| _ = writeln!(text, "{state}"));
        match socket.send(text.as_bytes()) {
            Err(why) if why.kind() != io::ErrorKind::WouldBlock => {
                tracing::warn!("systemd cannot be notified: {why}");
            }
            _ => {}
        }
    }
}

/// A path, or with an `@` in front an abstract name (sd_notify(3)).
fn connect(place: &OsStr) -> io::Result<UnixDatagram> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    #[test]
    fn systemd_is_told_by_a_path_and_by_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("sled-notify-{}", std::process::id());
        let abstractly = SocketAddr::from_abstract_name(&name).unwrap();
        for (heard, place) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstractly).unwrap(), format!("@{name}").into()),
        ] {
            let line = Line(Some(connect(&place).unwrap()));
            line.tell(&[NotifyState::Status("well"), NotifyState::Watchdog]);
            let mut text = [0; 64];
            let length = heard.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"STATUS=well\nWATCHDOG=1\n");
            // One that does not listen is not waited for.
            (0..10_000).for_each(|_| line.tell(&[NotifyState::Watchdog]));
        }
    }

    #[test]
    fn what_is_told_needs_no_descriptor() {
        // In a process of its own: its limit is every thread's.
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "systemd::notify::tests::without_descriptors", "--ignored"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "a part of the test before it"]
    fn without_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        let line = Line(Some(connect(socket.as_os_str()).unwrap()));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let none = UnixDatagram::unbound();
        line.tell(&[NotifyState::Watchdog]);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert!(none.is_err());
        let mut heard = [0; 64];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1\n");
    }
}
