//! HTTP endpoint of a sled: hosts poll it over TCP, `sledctl` asks over a unix socket. It renders
//! what the supervisor last published and passes requests on; it knows nothing by itself.

mod answer;
mod door;
mod end;
mod events;
mod following;
mod indent;
mod intake;
mod manners;
mod origin;
mod people;
mod published;
mod route;
mod seats;
mod target;

use crate::backoff::Backoff;
use crate::desk::Handle;
use crate::kernel::line::Line;
use crate::kernel::presence::Presence;
use door::{Door, Peer};
use end::ended;
use following::{Following, Place};
use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use route::answer;
pub use seats::Limits;
use seats::{Seat, Seats};
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Sockets to answer on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For hosts.
    pub http: Vec<std::net::TcpListener>,
    /// For `sledctl`.
    pub admin: Vec<std::os::unix::net::UnixListener>,
    /// Limits of the places for hosts.
    pub limits: Limits,
}

/// Greatest number of connections to the admin socket at once: they are counted apart, so that a flood of polls does
/// not lock out `sledctl`.
const ADMIN_CONNECTION_LIMIT: usize = 64;
/// Greatest number of those who follow the events over the admin socket: the other connections are for questions.
const ADMIN_FOLLOWERS_LIMIT: usize = 32;
/// Time that a connection may last; after the answer that is then under way it is closed, and
/// a host that polls makes another.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);
/// Time that the last answer of a connection may take: longer than any is held.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(90);
/// Time that a client may take to send a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Group whose members may use the admin socket, beside root.
const GROUP: &str = "sled";

/// Time that a client that was let in may take to send a request once the endpoint is ending.
const LAST_REQUEST_LIMIT: Duration = Duration::from_millis(500);
/// Time that the answers that are under way may take once the endpoint is ending.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Answer on the sockets, from the first bulletin on: until then, clients wait in the
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
    let visits = Visits::new(sockets.limits);
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

/// Clients that are being served.
#[derive(Clone)]
struct Visits {
    end: watch::Sender<bool>,
    seats: Seats,
    /// Places of those who follow the events over the admin socket.
    followers: Arc<Semaphore>,
}

impl Visits {
    fn new(limits: Limits) -> Self {
        let followers = Arc::new(Semaphore::new(ADMIN_FOLLOWERS_LIMIT));
        Self { end: watch::Sender::new(false), seats: Seats::within(limits), followers }
    }

    /// Ask every client's connection to end after its present answer, and wait for that.
    async fn end(self) {
        self.end.send_replace(true);
        _ = timeout(SHUTDOWN_LIMIT, self.end.closed()).await;
    }
}

fn open(sockets: Sockets, handle: &Handle, visits: &Visits) -> io::Result<JoinSet<io::Result<()>>> {
    let mut doors = JoinSet::new();
    for listener in sockets.http {
        listener.set_nonblocking(true)?;
        doors.spawn(serve_tcp(TcpListener::from_std(listener)?, handle.clone(), visits.clone()));
    }
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTION_LIMIT));
    for listener in sockets.admin {
        listener.set_nonblocking(true)?;
        doors.spawn(serve_unix(UnixListener::from_std(listener)?, handle.clone(), places.clone(), visits.clone()));
    }
    Ok(doors)
}

async fn serve_tcp(listener: TcpListener, handle: Handle, visits: Visits) -> io::Result<()> {
    let mut pause = accept_pause();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!("a poll could not be accepted: {why}");
                pause.pause().await;
                continue;
            }
        };
        pause.reset();
        // A client that has too many connections is hung up on; the others find a place.
        let Some(mut seat) = visits.seats.seat(peer.ip(), is_known(&handle, peer.ip())) else { continue };
        let Ok(at) = stream.local_addr() else { continue };
        _ = stream.set_nodelay(true);
        let line = Line::from(stream);
        let presence = Presence::of(&line);
        let front = Some((at, &seat));
        let talk = converse(line, handle.clone(), Door::Tcp(peer.ip()), presence.clone(), front, &visits);
        tokio::spawn(async move {
            // Cancel-safe: whichever ends first, the connection is closed.
            tokio::select! {
                () = talk => {}
                () = seat.given_up() => {}
                () = presence.gone() => {}
            }
        });
    }
}

/// Decide whether a client has one of the places that are kept: a host or a sled of the map, or this machine.
fn is_known(handle: &Handle, address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || handle.bulletins.borrow().as_ref().is_some_and(|last| last.known.contains(&address))
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
        let door = Door::Admin { admitted: admitted(&stream), peer: peer(&stream) };
        let line = Line::from(stream);
        let presence = Presence::of(&line);
        let talk = converse(line, handle.clone(), door, presence.clone(), None, &visits);
        tokio::spawn(async move {
            // Cancel-safe: whichever ends first, the connection is closed.
            tokio::select! {
                () = talk => {}
                () = presence.gone() => {}
            }
            drop(place);
        });
    }
}

/// Pause after a connection that could not be accepted, for want of descriptors or because a client has gone: that
/// passes, and polls wait meanwhile.
fn accept_pause() -> Backoff {
    Backoff::new(Duration::from_millis(1), Duration::from_millis(200))
}

/// Answer a client until it has gone. `front`: its end of a TCP connection at this sled, and its place.
fn converse<S>(
    stream: S,
    handle: Handle,
    door: Door,
    presence: Presence,
    front: Option<(SocketAddr, &Seat)>,
    visits: &Visits,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let following = following(front.map(|(_, seat)| seat), visits);
    let (at, answering_it) = front.map(|(at, seat)| (at, seat.answering())).unzip();
    let end = visits.end.subscribe();
    let (answering, asked) = (end.clone(), watch::Sender::new(false));
    let leave = may_leave(end, asked.subscribe(), following.clone());
    let stalled = following.clone();
    let service = service_fn(move |mut request: Request<_>| {
        asked.send_replace(true);
        request.extensions_mut().insert(presence.clone());
        request.extensions_mut().insert(following.clone());
        let (handle, end) = (handle.clone(), answering.clone());
        let busy = (presence.asked(), answering_it.as_ref().map(|begin| begin()));
        async move {
            let answer = answer(request, door, at, &handle, end).await;
            drop(busy);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = server().serve_connection(TokioIo::new(stream), service);
    async move {
        let mut connection = std::pin::pin!(connection);
        let over = tokio::select! {
            over = &mut connection => over,
            () = stalled.stalled() => Ok(()),
            () = leave => {
                connection.as_mut().graceful_shutdown();
                timeout(LAST_ANSWER_LIMIT, connection).await.unwrap_or(Ok(()))
            }
        };
        // A client that hangs up or speaks nonsense is its own affair.
        if let Err(why) = over {
            tracing::debug!("a client went away: {why}");
        }
    }
}

/// The manner of serving a connection.
fn server() -> http1::Builder {
    let mut server = http1::Builder::new();
    // Whoever sends nothing more is answered all the same; whether he has gone is seen to beside this.
    server.half_close(true);
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(16 * 1024);
    server
}

/// Wait until a connection has had its time, or the endpoint is ending. Whoever was let in is heard before the door is
/// shut: hyper hangs up at once on a connection on which nothing was read yet.
async fn may_leave(mut end: watch::Receiver<bool>, mut asked: watch::Receiver<bool>, following: Following) {
    _ = timeout(CONNECTION_LIMIT, ended(&mut end)).await;
    // Who follows the events does so for as long as he reads.
    tokio::select! {
        () = following.is_over() => {}
        () = ended(&mut end) => {}
    }
    _ = timeout(LAST_REQUEST_LIMIT, asked.wait_for(|asked| *asked)).await;
}

/// Make the way to a stream on a connection: at this place over TCP, or over the admin socket.
fn following(seat: Option<&Seat>, visits: &Visits) -> Following {
    match seat.map(Seat::follower) {
        Some(place) => Following::new(move || place().map(|place| Box::new(place) as Place)),
        None => {
            let followers = visits.followers.clone();
            Following::new(move || followers.clone().try_acquire_owned().ok().map(|place| Box::new(place) as Place))
        }
    }
}

/// The process at the other end of the admin socket.
fn peer(stream: &UnixStream) -> Peer {
    let peer = stream.peer_cred().ok();
    let uid = peer.as_ref().map_or(u32::MAX, tokio::net::unix::UCred::uid);
    Peer { uid, pid: peer.and_then(|peer| peer.pid()) }
}

/// Decide whether a client of the admin socket is root or in the group `sled`, by the
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
    use crate::desk::body::Body;
    use crate::desk::bulletin::{Bulletin, Page};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep_until};

    /// A host that polls on one connection for longer than a connection may last: its last
    /// question is answered before it is hung up on.
    #[tokio::test(start_paused = true)]
    async fn a_held_answer_outlives_its_connections_time() {
        let page = Page { ready: false, revision: 1, body: Body::from("not yet\n") };
        let volumes = [("still-fawn".parse().unwrap(), page)].into();
        let bulletin = Bulletin { volumes, ..Bulletin::default() };
        let (_keep, bulletins) = watch::channel(Some(Arc::new(bulletin)));
        let pulse = crate::desk::pulse::LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse, events: Default::default() };
        let (mut host, stream) = tokio::io::duplex(4096);
        let visits = Visits::new(Limits::default());
        let (door, nobody) = (Door::Tcp("192.168.4.17".parse().unwrap()), Presence::nobody());
        tokio::spawn(converse(stream, handle, door, nobody, None, &visits));

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

    /// A question with the end behind it is answered, at once or when it was held for so long; and who
    /// has closed the connection does not keep his place until then.
    #[tokio::test]
    async fn who_sends_nothing_more_is_answered_and_who_has_gone_is_not_waited_for() {
        let page = Page { ready: false, revision: 1, body: Body::from("not yet\n") };
        let volumes = [("still-fawn".parse().unwrap(), page)].into();
        let (_keep, bulletins) = watch::channel(Some(Arc::new(Bulletin { volumes, ..Bulletin::default() })));
        let pulse = crate::desk::pulse::LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse, events: Default::default() };
        let visits = Visits::new(Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_tcp(listener, handle, visits.clone()));
        let ask = async |wait: &str, version: &str| {
            let mut host = tokio::net::TcpStream::connect(address).await.unwrap();
            let ask = format!("GET /v1/volumes/still-fawn{wait} HTTP/{version}\r\nHost: localhost\r\n\r\n");
            host.write_all(ask.as_bytes()).await.unwrap();
            host
        };
        for (wait, times) in [("", 50), ("?wait=0.2", 5)] {
            for version in ["1.1", "1.0"].into_iter().cycle().take(times) {
                let mut host = ask(wait, version).await;
                host.shutdown().await.unwrap();
                let mut answer = String::new();
                host.read_to_string(&mut answer).await.unwrap();
                // The answer, and nothing before it.
                let whole =
                    answer.starts_with(&format!("HTTP/{version} 503 ")) && answer.ends_with("\r\n\r\nnot yet\n");
                assert!(whole, "{wait}: {answer:?}");
            }
        }
        let gone = [ask("?wait=60", "1.1").await, ask("?wait=60", "1.0").await];
        while visits.seats.answered() < gone.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(gone);
        let left = Instant::now();
        while visits.seats.answered() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(left.elapsed() < Duration::from_secs(50), "they were waited for");
    }
}
