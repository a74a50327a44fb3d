//! What systemd hears of the daemon over its notification socket.

use sd_notify::NotifyState;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells systemd something; without systemd it says nothing.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {why}");
    }
}

/// A line to systemd that stays open: what is told over it needs no descriptor at that moment, of which
/// there may be none left.
#[derive(Debug)]
pub struct Line(Option<UnixDatagram>);

impl Line {
    /// Opens it, where systemd has named its socket (`NOTIFY_SOCKET`, sd_notify(3)).
    pub fn open() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let line = Self::to(&name.to_string_lossy());
        Self(line.inspect_err(|why| tracing::warn!("systemd cannot be notified: {why}")).ok())
    }

    fn to(name: &str) -> io::Result<UnixDatagram> {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let line = UnixDatagram::unbound()?;
        line.connect_addr(&address)?;
        // The loop does not wait for a systemd that does not read.
        line.set_nonblocking(true)?;
        Ok(line)
    }

    /// Tells systemd something; without systemd it says nothing.
    pub fn tell(&self, state: &NotifyState<'_>) {
        if let Some(Err(why)) = self.0.as_ref().map(|line| line.send(state.to_string().as_bytes())) {
            tracing::warn!("systemd cannot be notified: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

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
        let line = Line(Some(Line::to(socket.to_str().unwrap()).unwrap()));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let none = UnixDatagram::unbound();
        line.tell(&NotifyState::Watchdog);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert!(none.is_err());
        let mut heard = [0; 64];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1");
    }
}
