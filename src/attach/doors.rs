//! Doors of a relay, by which its clients come in: a socket for root alone, and TCP on loopback if that is asked for.

use super::failure::Failure;
use super::show::note;
use crate::relay::Door;
use crate::wire::Refusal;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Clients that are served at once: a device or a virtual machine has one or two.
const CLIENT_LIMIT: usize = 16;
/// The pause after a client that could not be let in.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bind a socket for root alone, in place of what an earlier relay has left there.
pub(super) fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let broken = |why: io::Error| {
        let message = format!("{} cannot be listened on: {why}", path.display());
        Failure::refused(Refusal::NoSocket, message, "name another --socket")
    };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(broken)?;
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(broken(why)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(broken)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(broken)?;
    Ok(listener)
}

/// Let clients in.
pub(super) async fn accept(unix: &UnixListener, tcp: Option<&TcpListener>, door: &Door) {
    let room = Arc::new(Semaphore::new(CLIENT_LIMIT));
    loop {
        let Ok(room) = room.clone().acquire_owned().await else { return };
        let door = door.clone();
        // Cancel-safe: a connection that is not taken waits.
        tokio::select! {
            accepted = unix.accept() => match accepted {
                Ok((stream, _)) => _ = tokio::spawn(async move {
                    door.serve(stream).await;
                    drop(room);
                }),
                Err(why) => refused(&why).await,
            },
            accepted = from(tcp) => match accepted {
                Ok(stream) => _ = tokio::spawn(async move {
                    door.serve(stream).await;
                    drop(room);
                }),
                Err(why) => refused(&why).await,
            },
        }
    }
}

async fn from(tcp: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    let Some(tcp) = tcp else { return std::future::pending().await };
    let (stream, _) = tcp.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn refused(why: &io::Error) {
    note(&format!("a client was not let in: {why}"));
    sleep(ACCEPT_PAUSE).await;
}
