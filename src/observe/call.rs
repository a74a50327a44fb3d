//! Reaching a region's downstairs at its data port, as a host does: a connection, and with `[tls]` the hands
//! that are shaken on it.
//!
//! What a process was started with decides how it could be spoken to; one that was started with the other
//! is not spoken to at all.

use crate::config::Tls;
use crate::kernel::broker::{Dialer, NoConnection};
use crate::names::RegionName;
use crate::observe::ruok::Line;
use crate::observe::tls::dial;
use jiff::Timestamp;
use std::io;
use std::net::SocketAddr;

/// Whom to reach, and how.
pub(super) struct Caller<'a> {
    region: &'a RegionName,
    data: SocketAddr,
    pid: u32,
    tls: Option<&'a Tls>,
    presents: Option<Timestamp>,
    dialer: Dialer,
}

impl<'a> Caller<'a> {
    /// Make a call to the region that the process `pid` serves at `data`; with `tls` over TLS, by
    /// these files.
    pub(super) fn new(region: &'a RegionName, data: SocketAddr, pid: u32, tls: Option<&'a Tls>) -> Self {
        Self { region, data, pid, tls, presents: None, dialer: Dialer::default() }
    }

    /// End of the certificate that the region showed last; `None` before it has shown one.
    pub(super) fn presents(&self) -> Option<Timestamp> {
        self.presents
    }

    /// Connects, and shakes hands if it is to. Cancel-safe: half a connection is of no use.
    pub(super) async fn call(&mut self) -> Result<Line, NoCall> {
        let stream = self.dialer.connect(self.data).await.map_err(NoCall::from)?;
        if started_with_tls(self.pid).is_some_and(|tls| tls != self.tls.is_some()) {
            return Err(NoCall::Otherwise);
        }
        let Some(tls) = self.tls else { return Line::new(stream).map_err(NoCall::Lost) };
        let session = dial::shake(tls, self.region, stream).await.map_err(NoCall::Lost)?;
        self.presents = dial::end(&session);
        Line::secret(session).map_err(NoCall::Lost)
    }
}

/// Reasons why there is nobody to ask.
pub(super) enum NoCall {
    /// Nobody listens.
    Refused,
    /// The downstairs speaks TLS and should not, or the other way round.
    Otherwise,
    /// The socket to call with cannot be made.
    NoSocket(io::Error),
    /// Hands were not shaken.
    Lost(io::Error),
}

impl From<NoConnection> for NoCall {
    fn from(none: NoConnection) -> Self {
        match none {
            NoConnection::NoSocket(why) => Self::NoSocket(why),
            NoConnection::Refused(_) => Self::Refused,
        }
    }
}

/// Tell whether a process was started to speak TLS, if that can be told.
pub fn started_with_tls(pid: u32) -> Option<bool> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|words| !words.is_empty())?;
    Some(words.split(|byte| *byte == 0).any(|word| word.starts_with(b"--cert-pem")))
}
