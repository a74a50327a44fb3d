//! Dialling of a sled by a name that may have several addresses: both families in turn, each a moment after the last
//! (RFC 8305), so that a dead one costs a moment and not the sled.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a name may take to be found.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// How long one address may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The time after which the next address is tried, unless the last has failed before.
const STAGGER: Duration = Duration::from_millis(250);
/// The most addresses that are tried.
const ADDRESS_LIMIT: usize = 16;

/// Connect to a host, by its address or name.
///
/// # Errors
/// The fault of the last address, or of the name.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let late = |what: &str| io::Error::new(io::ErrorKind::TimedOut, what.to_owned());
    let found = timeout(LOOKUP_LIMIT, lookup_host((host, port))).await;
    let found = found.map_err(|_| late("its name is not found in 5 s"))??;
    first(in_turn(found.take(ADDRESS_LIMIT)), STAGGER).await.unwrap_or_else(|| Err(late("its name has no address")))
}

/// The addresses in the order in which they are tried: the families take turns.
fn in_turn(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let found: Vec<_> = found.collect();
    let six_first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == six_first);
    let mut order = VecDeque::new();
    while !(one.is_empty() && other.is_empty()) {
        order.extend(one.pop_front().into_iter().chain(other.pop_front()));
    }
    order
}

/// Take the first of them that answers; the others are given up. `None` if there is none at all.
async fn first(mut order: VecDeque<SocketAddr>, stagger: Duration) -> Option<io::Result<TcpStream>> {
    let mut trying = JoinSet::new();
    let mut last = None;
    loop {
        if let Some(address) = order.pop_front() {
            trying.spawn(async move {
                let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {address} in 5 s"));
                timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.unwrap_or_else(|why| Err(late(why)))
            });
        }
        // Cancel-safe: a task's end is taken whole or not at all.
        tokio::select! {
            ended = trying.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Some(Ok(stream)),
                Some(Ok(Err(why))) => last = Some(Err(why)),
                Some(Err(why)) => last = Some(Err(io::Error::other(why))),
                None => return last,
            },
            () = sleep(stagger), if !order.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns() {
        let found = all(&["[fd00::1]:1", "[fd00::2]:1", "10.0.0.1:1", "[fd00::3]:1"]);
        let order = all(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1", "[fd00::3]:1"]);
        assert_eq!(in_turn(found.into_iter()), order);
    }

    /// The first never answers, for its queue is full.
    #[tokio::test]
    async fn an_address_that_is_dead_does_not_hold_up_the_next() {
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = dead.listen(1).unwrap();
        let there = dead.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(there)).await {
            queue.push(stream);
        }
        let lives = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let order = [there, lives.local_addr().unwrap()];
        let stream =
            timeout(CONNECT_LIMIT, first(order.into(), Duration::from_millis(1))).await.unwrap().unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), order[1]);
        assert!(first(VecDeque::new(), STAGGER).await.is_none());
        drop(lives);
        let refused = first([order[1]].into(), STAGGER).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
