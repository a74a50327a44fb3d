//! Network in which upstream's server of a volume runs: the host's, as the one that may listen there, or one of its
//! own, where nothing else is.

use super::apart::{Apart, Ways};
use super::failure::Failure;
use super::lock::BUSY;
use crate::wire::Refusal;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a server that has just been killed may go on listening, and the pause between two looks.
const LISTENER_GONE_LIMIT: Duration = Duration::from_secs(2);
const LISTENER_POLL: Duration = Duration::from_millis(20);

/// The network of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Network {
    /// The network of this process.
    Host,
    /// A network of the server's own.
    Apart(Arc<Apart>),
}

impl Network {
    /// Make a network of the server's own.
    ///
    /// # Errors
    /// As [`Apart::new`].
    pub(super) async fn apart() -> io::Result<Self> {
        Ok(Self::Apart(Arc::new(Apart::new().await?)))
    }

    /// Find that a server can listen there.
    ///
    /// # Errors
    /// The process that does already.
    pub(super) fn can_listen(&self, at: SocketAddr) -> Result<(), Failure> {
        match self {
            Self::Host => can_listen(at),
            // No other process is there.
            Self::Apart(_) => Ok(()),
        }
    }

    /// Make the ways that a server needs to reach its sleds, for as long as it lives.
    ///
    /// # Errors
    /// If these cannot be had.
    pub(super) async fn ways(&self, targets: &[SocketAddr]) -> io::Result<Ways> {
        match self {
            Self::Host => Ok(Ways::default()),
            Self::Apart(apart) => apart.ways(targets).await,
        }
    }

    /// Connect to what listens there.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connect(&self, at: SocketAddr) -> io::Result<TcpStream> {
        match self {
            Self::Host => TcpStream::connect(at).await,
            Self::Apart(apart) => apart.connect(at).await,
        }
    }

    /// Begin a program there.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        match self {
            Self::Host => command.spawn(),
            Self::Apart(apart) => apart.spawn(command).await,
        }
    }

    /// Find an address there on which nobody listens just now.
    pub(super) async fn free(&self) -> Option<SocketAddr> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        match self {
            Self::Host => free().ok(),
            Self::Apart(apart) => apart.within(async move { free() }).await.ok(),
        }
    }
}

/// Find that the server is going to be able to listen: one that was not started by this program has no lock.
pub(super) fn can_listen(at: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(at) {
        Ok(_) => Ok(()),
        Err(why) if why.kind() == ErrorKind::AddrInUse => {
            let message = format!("something listens on {at} already");
            let remedy = format!("a host has one server: end the other first (ss -tlnp 'sport = :{}')", at.port());
            Err(Failure::refused(Refusal::HostBusy, message, remedy))
        }
        Err(why) => {
            let message = format!("the server could not listen on {at}: {why}");
            Err(Failure::refused(Refusal::NoServer, message, "see ip address show lo"))
        }
    }
}

/// Wait until nothing listens there: the server of a relay that was killed ends a moment later than it.
pub(super) async fn ends_listening(at: SocketAddr) -> Result<(), Failure> {
    let until = Instant::now() + LISTENER_GONE_LIMIT;
    loop {
        match can_listen(at) {
            Err(busy) if busy.error().code == BUSY && Instant::now() < until => sleep(LISTENER_POLL).await,
            looked => return looked,
        }
    }
}
