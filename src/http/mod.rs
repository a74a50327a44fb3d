//! The HTTP endpoint: hosts poll it over TCP, `sledctl` asks over a unix socket. It renders
//! what the supervisor last published and passes requests on; it knows nothing by itself.

mod admin;
mod answer;
mod attach;
mod door;
mod route;

use crate::observe::backoff::Backoff;
use crate::supervisor::Handle;
use door::Door;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use route::{answer, ended};
use std::collections::HashMap;
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The sockets to answer on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For hosts.
    pub http: Vec<std::net::TcpListener>,
    /// For `sledctl`.
    pub admin: Vec<std::os::unix::net::UnixListener>,
}

/// How many connections are served at once over TCP; further ones wait in the kernel. A
/// fleet has a few hosts, each with a poll or two.
const MOST_CONNECTIONS: usize = 512;
/// The admin socket has places of its own, so that a flood of polls does not lock out `sledctl`.
const MOST_ADMIN_CONNECTIONS: usize = 64;
/// How many of them one address may have.
const MOST_PER_ADDRESS: usize = 64;
/// How long a connection may last; after the answer that is then under way it is closed, and
/// a host that polls makes another.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long that answer may take: longer than any is held.
const LAST_ANSWER: Duration = Duration::from_secs(90);
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The group whose members may use the admin socket, beside root.
const GROUP: &str = "sled";

/// How long a client that was let in may take at the end to say what it wants.
const HEARING: Duration = Duration::from_millis(500);
/// How long the answers that are under way at the end may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers on the sockets, from the first bulletin on: until then, clients wait in the
/// kernel's queue and are not refused. `ready` is called when answering begins. When `end`
/// comes, no further client is taken, and those that are waiting get their answer at once.
///
/// # Errors
/// A socket cannot be used any more.
pub async fn serve(sockets: Sockets, handle: Handle, ready: fn(), end: impl Future<Output = ()>) -> io::Result<()> {
    let mut end = std::pin::pin!(end);
    let mut first = handle.bulletins.clone();
    tokio::select! {
        seen = first.wait_for(Option::is_some) => if seen.is_err() { return Ok(()) },
        () = &mut end => return Ok(()),
    }
    ready();
    let visits = Visits::new();
    let mut doors = open(sockets, &handle, &visits)?;
    let ended = tokio::select! {
        ended = doors.join_next() => match ended {
            Some(ended) => ended.map_err(io::Error::other)?,
            None => Err(io::Error::other("there is no socket to answer on: systemctl restart sledd.socket")),
        },
        () = end => Ok(()),
    };
    doors.shutdown().await;
    visits.end().await;
    ended
}

/// The clients that are being served.
#[derive(Clone)]
struct Visits {
    end: watch::Sender<bool>,
    seats: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that an address takes up as long as this exists.
struct Seat {
    address: IpAddr,
    seats: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.address) {
            *taken -= 1;
        }
        seats.retain(|_, taken| *taken > 0);
    }
}

impl Visits {
    fn new() -> Self {
        Self { end: watch::Sender::new(false), seats: Arc::default() }
    }

    /// A place for a client at this address; `None` if it has too many already.
    fn seat(&self, address: IpAddr) -> Option<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(address).or_default();
        (*taken < MOST_PER_ADDRESS).then(|| {
            *taken += 1;
            Seat { address, seats: self.seats.clone() }
        })
    }

    /// Asks every client's connection to end after its present answer, and waits for that.
    async fn end(self) {
        self.end.send_replace(true);
        _ = timeout(FAREWELL, self.end.closed()).await;
    }
}

fn open(sockets: Sockets, handle: &Handle, visits: &Visits) -> io::Result<JoinSet<io::Result<()>>> {
    let mut doors = JoinSet::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    for listener in sockets.http {
        listener.set_nonblocking(true)?;
        doors.spawn(serve_tcp(TcpListener::from_std(listener)?, handle.clone(), places.clone(), visits.clone()));
    }
    let places = Arc::new(Semaphore::new(MOST_ADMIN_CONNECTIONS));
    for listener in sockets.admin {
        listener.set_nonblocking(true)?;
        doors.spawn(serve_unix(UnixListener::from_std(listener)?, handle.clone(), places.clone(), visits.clone()));
    }
    Ok(doors)
}

async fn serve_tcp(listener: TcpListener, handle: Handle, places: Arc<Semaphore>, visits: Visits) -> io::Result<()> {
    let mut pause = accept_pause();
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!("a poll could not be accepted: {why}");
                pause.pause().await;
                continue;
            }
        };
        pause.reset();
        // One that has too many is hung up on; the others find a place.
        let Some(seat) = visits.seat(peer.ip()) else { continue };
        _ = stream.set_nodelay(true);
        let talk = converse(stream, handle.clone(), Door::Tcp(peer.ip()), &visits);
        tokio::spawn(async move {
            talk.await;
            drop((place, seat));
        });
    }
}

async fn serve_unix(listener: UnixListener, handle: Handle, places: Arc<Semaphore>, visits: Visits) -> io::Result<()> {
    let mut pause = accept_pause();
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(why) => {
                tracing::warn!("a question of sledctl's could not be accepted: {why}");
                pause.pause().await;
                continue;
            }
        };
        pause.reset();
        let door = Door::Admin { admitted: admitted(&stream) };
        let talk = converse(stream, handle.clone(), door, &visits);
        tokio::spawn(async move {
            talk.await;
            drop(place);
        });
    }
}

/// For want of descriptors, or because a client has gone: it passes, and polls wait meanwhile.
fn accept_pause() -> Backoff {
    Backoff::new(Duration::from_millis(1), Duration::from_millis(200))
}

fn converse<S>(stream: S, handle: Handle, door: Door, visits: &Visits) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = visits.end.subscribe();
    let (answering, asked) = (end.clone(), watch::Sender::new(false));
    let mut first = asked.subscribe();
    let service = service_fn(move |request| {
        asked.send_replace(true);
        let (handle, end) = (handle.clone(), answering.clone());
        async move { Ok::<_, std::convert::Infallible>(answer(request, door, &handle, end).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    async move {
        let mut connection = std::pin::pin!(connection);
        // Whoever was let in is heard before the door is shut: hyper hangs up at once on a
        // connection on which nothing was read yet.
        let leave = async {
            _ = timeout(LIFETIME, ended(&mut { end })).await;
            _ = timeout(HEARING, first.wait_for(|asked| *asked)).await;
        };
        let over = tokio::select! {
            over = &mut connection => over,
            () = leave => {
                connection.as_mut().graceful_shutdown();
                timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
            }
        };
        // A client that hangs up or speaks nonsense is its own affair.
        if let Err(why) = over {
            tracing::debug!("a client went away: {why}");
        }
    }
}

/// Whether whoever connected to the admin socket is root or in the group `sled`, by the
/// kernel's word at the time of the connection. The socket's mode says the same.
fn admitted(stream: &UnixStream) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    let (uid, gid) = (Uid::from_raw(peer.uid()), Gid::from_raw(peer.gid()));
    if uid.is_root() {
        return true;
    }
    let Ok(Some(group)) = Group::from_name(GROUP) else { return false };
    let member = || {
        let user = User::from_uid(uid).ok()??;
        let name = CString::new(user.name).ok()?;
        Some(getgrouplist(&name, user.gid).ok()?.contains(&group.gid))
    };
    gid == group.gid || member().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{Bulletin, Page};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep_until};

    /// A host that polls on one connection for longer than a connection may last: its last
    /// question is answered before it is hung up on.
    #[tokio::test(start_paused = true)]
    async fn a_held_answer_outlives_its_connections_time() {
        let page = Page { ready: false, revision: 1, body: "not yet\n".into() };
        let volumes = [("still-fawn".parse().unwrap(), page)].into();
        let bulletin = Bulletin { volumes, ..Bulletin::default() };
        let (_keep, bulletins) = watch::channel(Some(Arc::new(bulletin)));
        let pulse = crate::supervisor::LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse };
        let (mut host, stream) = tokio::io::duplex(4096);
        let visits = Visits::new();
        tokio::spawn(converse(stream, handle, Door::Tcp("192.168.4.17".parse().unwrap()), &visits));

        let began = Instant::now();
        let ask = |wait: u32| format!("GET /v1/volumes/still-fawn?wait={wait} HTTP/1.1\r\nHost: sled\r\n\r\n");
        let mut answer = vec![0; 4096];
        for second in (0..300).step_by(6) {
            sleep_until(began + Duration::from_secs(second)).await;
            let wait = if second == 294 { 60 } else { 5 };
            host.write_all(ask(wait).as_bytes()).await.unwrap();
            let length = host.read(&mut answer).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 503"), "at {second} s: {length} bytes");
        }
        assert_eq!(began.elapsed().as_secs(), 354);
        assert_eq!(host.read(&mut answer).await.unwrap(), 0, "the connection lasts for ever");
    }
}
