//! Dialling of an NBD server, up to where its requests begin: the kernel is handed such a socket.

use super::failure::Failure;
use crate::nbd::handshake::{Export, Handshake, HandshakeError, Next};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// The address at which a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a unix socket.
    Unix(PathBuf),
    /// By TCP.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(to),
            Self::Tcp(address) => address.fmt(to),
        }
    }
}

/// A handshake that came to nothing, and why.
#[derive(Debug, thiserror::Error)]
pub enum Shaken {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server does not serve what was asked.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Shake hands on a stream that was just connected: after it, the server waits for the first request. Nothing is read
/// that does not belong to the handshake.
///
/// # Errors
/// The server's refusal, or that the connection broke.
pub async fn shake_hands(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), name: &str) -> Result<Export, Shaken> {
    let (mut handshake, mut length) = Handshake::begin(name)?;
    loop {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        match handshake.take(&bytes)? {
            Next::Done(export) => return Ok(export),
            Next::Exchange(send, then) => {
                stream.write_all(&send).await?;
                stream.flush().await?;
                length = then;
            }
        }
    }
}

/// Connect to the export of this name: its socket, as the kernel wants it, and what it is. Not in `patience`: not at
/// all.
///
/// # Errors
/// Why there is no connection.
pub async fn dial(address: &Address, name: &str, patience: Duration) -> Result<(OwnedFd, Export), Failure> {
    timeout(patience, connected(address, name))
        .await
        .unwrap_or_else(|_| Err(Failure::Late { server: address.to_string(), patience }))
}

async fn connected(address: &Address, name: &str) -> Result<(OwnedFd, Export), Failure> {
    let server = || address.to_string();
    let unreachable = |why| Failure::Unreachable { server: server(), why };
    let shaken = |why| match why {
        Shaken::Io(why) => Failure::Dropped { server: server(), why },
        Shaken::Handshake(why) => Failure::Handshake { server: server(), why },
    };
    Ok(match address {
        Address::Unix(path) => {
            let mut stream = UnixStream::connect(path).await.map_err(unreachable)?;
            let export = shake_hands(&mut stream, name).await.map_err(shaken)?;
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            (stream.into(), export)
        }
        Address::Tcp(address) => {
            let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
            // Requests would each wait for the answer to the one before.
            stream.set_nodelay(true)?;
            let export = shake_hands(&mut stream, name).await.map_err(shaken)?;
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            (stream.into(), export)
        }
    })
}

#[cfg(test)]
mod tests;
