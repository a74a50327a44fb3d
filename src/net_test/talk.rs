//! Talk of a host and a sled about a network test, from its beginning to its end. A sled serves one host, and nobody
//! who may not.

use super::stream::{read_line, receive, send, write_line};
use super::{Here, Leg, Outcome, SECONDS, Wanted};
use crate::wire::{Error, ErrorBody, Refusal};
use serde::Deserialize;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Time that a direction may take longer than it was asked for: what is on its way still arrives.
const GRACE: Duration = Duration::from_secs(20);
/// Time within which a host has to say what it wants: whoever says it byte by byte keeps no other waiting for longer.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// Time within which a sled answers that listens.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Beginning of what a sled answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Begin(Here),
    Refused(ErrorBody),
}

/// Test the way to a sled that listens at an address.
///
/// # Errors
/// Nobody listens there, the sled refuses, or the way does not last.
pub async fn ask(sled: SocketAddr, wanted: Wanted) -> Result<Outcome, Error> {
    let connect = timeout(CONNECT_LIMIT, TcpStream::connect(sled)).await;
    let connect = connect.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut stream = connect.map_err(|why| {
        let message = format!("nobody listens for a test at {sled}: {why}");
        Error::new(Refusal::Unreachable, message, "on the sled: sledctl network test")
    })?;
    let failed = |why: io::Error| {
        let message = format!("the test with {sled} has not come to its end: {why}");
        Error::new(Refusal::NetTestFailed, message, "sledctl network shows the sled's side of the way; then try again")
    };
    let begun = async {
        stream.set_nodelay(true)?;
        write_line(&mut stream, &wanted).await?;
        read_line(&mut stream).await
    };
    let here = match begun.await.map_err(failed)? {
        Answer::Begin(here) => here,
        Answer::Refused(ErrorBody { error }) => return Err(error),
    };
    let tested = async {
        let time = Duration::from_secs(wanted.seconds);
        send(&mut stream, time, wanted.rate_mbps).await?;
        let to_sled: Leg = read_line(&mut stream).await?;
        let from_sled = receive(&mut stream, time + GRACE).await?;
        write_line(&mut stream, &from_sled).await?;
        Ok(Outcome::of(here, stream.local_addr()?.ip(), wanted, to_sled, from_sled))
    };
    tested.await.map_err(failed)
}

/// Serve a test to the first host that may have one, and return how it went. Whoever may not is told so, and
/// whoever says nothing of a test is let go.
///
/// # Errors
/// The way does not last once the test has begun.
pub async fn serve(listener: &TcpListener, here: &Here, admits: impl Fn(IpAddr) -> bool) -> io::Result<Outcome> {
    loop {
        let (mut stream, peer) = listener.accept().await?;
        let host = peer.ip().to_canonical();
        let greeted = timeout(GREETING_LIMIT, greet(&mut stream, host, here, &admits)).await;
        match greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(wanted) => return test(&mut stream, host, here.clone(), wanted).await,
            Err(why) => tracing::debug!("{host} is not served: {why}"),
        }
    }
}

async fn greet(
    stream: &mut TcpStream,
    host: IpAddr,
    here: &Here,
    admits: &impl Fn(IpAddr) -> bool,
) -> io::Result<Wanted> {
    stream.set_nodelay(true)?;
    let wanted: Wanted = read_line(stream).await?;
    let refusal = if !admits(host) {
        let message = format!("{host} is no host of the port map's volumes on {}", here.sled);
        Some(Error::new(Refusal::NetTestRefused, message, "on the sled: sledctl network test --from ADDRESS"))
    } else if wanted.net_test != 1 || !SECONDS.contains(&wanted.seconds) || wanted.rate_mbps == Some(0) {
        let message = format!("a test takes from {} to {} s each way", SECONDS.start(), SECONDS.end());
        Some(Error::new(Refusal::NetTestRefused, message, "ask for one that does"))
    } else {
        None
    };
    if let Some(error) = refusal {
        let why = io::Error::other(error.message.clone());
        write_line(stream, &ErrorBody { error }).await?;
        return Err(why);
    }
    write_line(stream, here).await?;
    Ok(wanted)
}

async fn test(stream: &mut TcpStream, host: IpAddr, here: Here, wanted: Wanted) -> io::Result<Outcome> {
    let time = Duration::from_secs(wanted.seconds);
    let to_sled = receive(stream, time + GRACE).await?;
    write_line(stream, &to_sled).await?;
    send(stream, time, wanted.rate_mbps).await?;
    let from_sled: Leg = read_line(stream).await?;
    Ok(Outcome::of(here, host, wanted, to_sled, from_sled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn here() -> Here {
        Here { sled: "proper-raptor".parse().unwrap(), link_mbps: None }
    }

    const WANTED: Wanted = Wanted { net_test: 1, seconds: 1, rate_mbps: Some(80) };

    #[tokio::test]
    async fn both_sides_are_told_the_same_of_both_directions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sled = listener.local_addr().unwrap();
        let (here, served) =
            (here(), async |listener: &TcpListener, here: &Here| serve(listener, here, |_| true).await);
        let (served, asked) = tokio::join!(served(&listener, &here), ask(sled, WANTED));
        let (served, asked) = (served.unwrap(), asked.unwrap());
        assert_eq!(served, asked);
        for leg in [asked.to_sled, asked.from_sled] {
            // Never more than was asked for, but for what the last piece is too long.
            assert!(leg.bytes > 0 && leg.bytes <= 10_000_000 + 128 * 1024 && leg.resent.is_some(), "{leg:?}");
        }
    }

    #[tokio::test]
    async fn strangers_and_noise_are_not_served_and_leave_the_place_to_a_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sled = listener.local_addr().unwrap();
        let here = here();
        let admits = |host: IpAddr| host == IpAddr::from([127, 0, 0, 2]);
        let asking = async {
            let refused = ask(sled, WANTED).await.unwrap_err();
            assert!(refused.code == Refusal::NetTestRefused && refused.message.contains("127.0.0.1"), "{refused:?}");
            let mut noise = TcpStream::connect(sled).await.unwrap();
            noise.write_all(&[b'x'; 9000]).await.unwrap();
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut host = socket.connect(sled).await.unwrap();
            let long = Wanted { seconds: 31, ..WANTED };
            write_line(&mut host, &long).await.unwrap();
            let Answer::Refused(body) = read_line(&mut host).await.unwrap() else { panic!("it was not refused") };
            assert_eq!(body.error.code, Refusal::NetTestRefused);
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut host = socket.connect(sled).await.unwrap();
            write_line(&mut host, &WANTED).await.unwrap();
            let Answer::Begin(_) = read_line(&mut host).await.unwrap() else { panic!("it was refused") };
            // A piece that is longer than any.
            host.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        };
        let (served, ()) = tokio::join!(serve(&listener, &here, admits), asking);
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// A host that says what it wants byte by byte, each within the time for which nothing may move. Time is the
    /// runtime's own here, and passes when nobody has anything to do.
    #[tokio::test(start_paused = true)]
    async fn whoever_is_slow_to_say_what_it_wants_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sled = listener.local_addr().unwrap();
        let slow = async {
            let began = tokio::time::Instant::now();
            let mut host = TcpStream::connect(sled).await.unwrap();
            for byte in [b' '; 40] {
                host.write_all(&[byte]).await.unwrap();
                let let_go = timeout(Duration::from_secs(6), host.read_u8()).await;
                if let_go.is_ok() {
                    return began.elapsed();
                }
            }
            panic!("it is waited for after {:?}", began.elapsed());
        };
        let here = here();
        let waited = tokio::select! {
            served = serve(&listener, &here, |_| true) => panic!("{served:?}"),
            waited = slow => waited,
        };
        assert!(waited <= GREETING_LIMIT + Duration::from_secs(1), "{waited:?}");
    }

    #[tokio::test]
    async fn where_nobody_listens_the_remedy_is_the_sleds_command() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = listener.local_addr().unwrap();
        drop(listener);
        let refused = ask(gone, WANTED).await.unwrap_err();
        assert!(refused.code == Refusal::Unreachable && refused.remedy.contains("sledctl network test"), "{refused:?}");
    }
}
