//! Forwarding of a server's connections from a network of its own ([`apart`](super::apart)) to the regions: what the
//! server says to a region's address there is said to the region from the host's network, and what the region answers
//! is answered there.
//!
//! Bytes go on as they come: how each side ends is passed on, the end of what it says as well as a reset. While a sled
//! is away its connection is taken and waits: it goes on within moments of the region's coming back, where
//! upstream's server would look again after ten seconds, and one that was to speak TLS would end if it were closed.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// The bytes that may be on their way in one direction of a connection: two pieces of a request.
const DIRECTION_LIMIT_BYTES: usize = 128 * 1024;
/// How long a region may take to be connected to, and the pause before that is tried again.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Lead those who connect to a listener to the region at this address, which is reached from `outside`; never ends.
/// To drop it is to reset all of its connections.
pub(super) async fn lead(listener: TcpListener, target: SocketAddr, outside: Handle) {
    let mut carried = FuturesUnordered::new();
    loop {
        // Cancel-safe: a connection that is not taken waits, and those that were are kept.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((inner, _)) => carried.push(carry(inner, target, &outside)),
                Err(why) => {
                    tracing::warn!("a connection to {target} was not taken: {why}");
                    sleep(CONNECT_PAUSE).await;
                }
            },
            Some(()) = carried.next() => {}
        }
    }
}

/// Carry one connection to its end.
async fn carry(mut inner: TcpStream, target: SocketAddr, outside: &Handle) {
    if is_set(&inner).is_err() {
        return;
    }
    let mut said = vec![0; DIRECTION_LIMIT_BYTES];
    let Some((mut outer, length)) = reached(&mut inner, &mut said, target, outside).await else { return };
    let whole = {
        let ((from_inner, to_inner), (from_outer, to_outer)) = (inner.split(), outer.split());
        // Cancel-safe: if one direction fails, neither is wanted any more.
        tokio::try_join!(
            pass(from_inner, to_outer, said, length),
            pass(from_outer, to_inner, vec![0; DIRECTION_LIMIT_BYTES], 0)
        )
    };
    if whole.is_ok() {
        let all = [&inner, &outer];
        _ = all.map(|stream| rustix::net::sockopt::set_socket_linger(stream, None));
    }
}

/// Set the options of both sides: a side that ends before it has said all that it wanted to is told of by a reset.
fn is_set(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_zero_linger()
}

/// Connect to a region, however long that takes, and hear meanwhile what it is to be told: how many bytes of `said`.
/// `None` if the server has gone.
async fn reached(
    inner: &mut TcpStream,
    said: &mut [u8],
    target: SocketAddr,
    outside: &Handle,
) -> Option<(TcpStream, usize)> {
    let mut length = 0;
    let reach = reach(target, outside);
    tokio::pin!(reach);
    loop {
        // Cancel-safe: what is read is counted, and the other future is kept.
        tokio::select! {
            outer = &mut reach => return Some((outer, length)),
            read = inner.read(&mut said[length..]), if length < said.len() => match read {
                Ok(0) | Err(_) => return None,
                Ok(read) => length += read,
            },
        }
    }
}

/// Connect to a region from `outside`, as soon as that can be done.
async fn reach(target: SocketAddr, outside: &Handle) -> TcpStream {
    let mut told = false;
    loop {
        let reaching = outside.spawn(async move {
            let stream = timeout(CONNECT_LIMIT, TcpStream::connect(target)).await??;
            is_set(&stream)?;
            // Of that network for good, and watched from now on where it is used.
            stream.into_std()
        });
        match reaching.await.map_err(io::Error::other).and_then(|reached| TcpStream::from_std(reached?)) {
            Ok(stream) => return stream,
            Err(why) if !told => tracing::warn!("{target} is not reached: {why}; tries again"),
            Err(_) => {}
        }
        told = true;
        sleep(CONNECT_PAUSE).await;
    }
}

/// Pass on what one side says, of which so much has been heard, and that it says no more.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut said: Vec<u8>, mut length: usize) -> io::Result<()> {
    loop {
        to.write_all(&said[..length]).await?;
        length = from.read(&mut said).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        // A sender that waits for that before it says more need not (tcp(7): it is not permanent).
        from.as_ref().set_quickack(true)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpSocket;
    use tokio::task::JoinHandle;

    /// A way to a listener at an address, and where it begins.
    async fn way(target: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        (listener.local_addr().unwrap(), tokio::spawn(lead(listener, target, Handle::current())))
    }

    async fn region() -> (TcpListener, SocketAddr) {
        let region = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = region.local_addr().unwrap();
        (region, at)
    }

    #[tokio::test]
    async fn each_side_may_end_what_it_says_and_still_hear() {
        let (region, target) = region().await;
        let (at, _way) = way(target).await;
        for turned in [false, true] {
            let mut one = TcpStream::connect(at).await.unwrap();
            let mut other = region.accept().await.unwrap().0;
            if turned {
                std::mem::swap(&mut one, &mut other);
            }
            let long: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 3) as u8).collect();
            let sent = long.clone();
            let says = tokio::spawn(async move {
                one.write_all(&sent).await.unwrap();
                one.shutdown().await.unwrap();
                let mut heard = Vec::new();
                one.read_to_end(&mut heard).await.unwrap();
                heard
            });
            let mut heard = Vec::new();
            other.read_to_end(&mut heard).await.unwrap();
            assert!(heard == long);
            other.write_all(&long).await.unwrap();
            drop(other);
            assert!(says.await.unwrap() == long);
        }
    }

    #[tokio::test]
    async fn a_reset_is_a_reset_on_the_other_side_whichever_that_is() {
        let (region, target) = region().await;
        let (at, way) = way(target).await;
        for turned in [false, true] {
            let mut one = TcpStream::connect(at).await.unwrap();
            let mut other = region.accept().await.unwrap().0;
            if turned {
                std::mem::swap(&mut one, &mut other);
            }
            one.write_all(b"x").await.unwrap();
            assert_eq!(other.read_u8().await.unwrap(), b'x');
            one.set_zero_linger().unwrap();
            drop(one);
            assert_eq!(other.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        // And so is the end of the way itself.
        let mut one = TcpStream::connect(at).await.unwrap();
        let mut other = region.accept().await.unwrap().0;
        way.abort();
        for side in [&mut one, &mut other] {
            assert_eq!(side.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    /// Words said while nobody is there are heard when somebody is; and a server that has left meanwhile is not
    /// waited for.
    #[tokio::test]
    async fn a_region_that_is_away_is_waited_for() {
        // Bound, so that nobody else is there meanwhile; who connects is refused until it listens.
        let away = TcpSocket::new_v4().unwrap();
        away.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (at, _way) = way(away.local_addr().unwrap()).await;
        let mut waits = TcpStream::connect(at).await.unwrap();
        waits.write_all(b"b").await.unwrap();
        let mut leaves = TcpStream::connect(at).await.unwrap();
        leaves.write_all(b"a").await.unwrap();
        leaves.shutdown().await.unwrap();
        assert_eq!(leaves.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let region = away.listen(8).unwrap();
        let mut reached = region.accept().await.unwrap().0;
        assert_eq!(reached.read_u8().await.unwrap(), b'b');
        reached.write_all(b"c").await.unwrap();
        assert_eq!(waits.read_u8().await.unwrap(), b'c');
    }

    /// A side that does not read holds up who writes to it, and no memory.
    #[tokio::test]
    async fn what_is_on_its_way_is_bounded() {
        let (region, target) = region().await;
        let (at, _way) = way(target).await;
        let one = TcpStream::connect(at).await.unwrap();
        let _other = region.accept().await.unwrap().0;
        let mut sent = 0;
        while timeout(Duration::from_millis(300), one.writable()).await.is_ok() {
            sent += one.try_write(&[0; 65536]).unwrap_or_default();
            // The capacity of four sockets, and much more than a way's.
            assert!(sent < 64 << 20, "{sent}");
        }
    }
}
