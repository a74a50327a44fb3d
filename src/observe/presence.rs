//! Whether whoever has asked something is still there to be answered: by the kernel's word on its
//! connection. That nothing can be read any more is no measure of it: what was sent behind the question
//! may lie there unread, and the end behind that. And whoever sends nothing more may listen still, which
//! across a network looks like one who has closed the connection, until something is said to him.

use super::backoff::Backoff;
use super::line::{Question, Socket, Wire};
use crate::act::connections;
use hyper::Version;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use std::fmt;
use std::io::IoSlice;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// If more bytes than this were sent behind a question, the end may wait behind them where the kernel
/// cannot see it, for want of room: far less than there is room for, far more than anybody sends.
const MOST_BEHIND: u64 = 16 * 1024;
/// What may be said at any time before the answer, and means nothing: whose connection is closed
/// cannot take it, and his kernel says so.
const STILL_AT_IT: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How long until a kernel has told whether it was taken.
const TAKEN: Duration = Duration::from_secs(2);
/// How long until it is looked again where it could not be told.
const LOOK: Duration = Duration::from_secs(1);
/// How long until whoever listened is asked again: some clients count how often they are.
const AGAIN: Duration = Duration::from_secs(20);

/// Whether the other end of a connection is still there. Does not keep it open.
#[derive(Clone)]
pub struct Presence(Weak<Wire>);

/// What is seen of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    There,
    Gone,
    /// It cannot be told now.
    Untold,
}

impl Presence {
    pub(super) fn of(wire: &Arc<Wire>) -> Self {
        Self(Arc::downgrade(wire))
    }

    /// Of nobody: never there.
    pub fn nobody() -> Self {
        Self(Weak::new())
    }

    /// Says that a question is being answered on the connection, as long as what this returns exists.
    pub fn asked(&self, version: Version) -> Question {
        Question::of(self.0.upgrade(), version)
    }

    /// Whether the other end has not closed the connection, and this one has it still. Of one who has
    /// said that he sends nothing more it waits until he was seen to listen, some seconds at most, and
    /// if that cannot be seen, he is not there.
    pub async fn is_there(&self) -> bool {
        self.look().await == Sight::There
    }

    /// Waits until the other end has closed the connection. Cancel-safe: it takes nothing from it.
    pub async fn gone(&self) {
        let Some(wire) = self.0.upgrade() else { return };
        _ = wire.said_all().await;
        loop {
            match self.look().await {
                Sight::Gone => return,
                Sight::Untold => sleep(LOOK).await,
                Sight::There => sleep(AGAIN).await,
            }
        }
    }

    async fn look(&self) -> Sight {
        let Some(wire) = self.0.upgrade() else { return Sight::Gone };
        match (events(&wire.socket), &wire.socket) {
            (seen, _) if is_over(seen) => Sight::Gone,
            // Here the kernel knows both ends.
            (_, Socket::Unix(_)) => Sight::There,
            (seen, Socket::Tcp(stream)) if seen.contains(PollFlags::RDHUP) => listens(&wire, stream).await,
            (_, socket) => match ioctl_fionread(socket) {
                Ok(behind) if behind <= MOST_BEHIND => Sight::There,
                _ => Sight::Untold,
            },
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.strong_count() > 0 { "Presence(connected)" } else { "Presence(gone)" })
    }
}

/// What the kernel has to say about the other end: nothing, if all is well.
fn events(socket: &Socket) -> PollFlags {
    let mut look = [PollFd::new(socket, PollFlags::RDHUP)];
    match poll(&mut look, Some(&Timespec::default())) {
        Ok(_) => look[0].revents(),
        Err(_) => PollFlags::ERR,
    }
}

fn is_over(seen: PollFlags) -> bool {
    seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// Whether somebody takes what is said to one who sends nothing more.
async fn listens(wire: &Wire, stream: &TcpStream) -> Sight {
    if !wire.is_silent() || unsent(stream) != Some(0) {
        return Sight::Untold;
    }
    // There is room for it, as nothing else waits to be sent.
    if !wire.socket.try_write(&[IoSlice::new(STILL_AT_IT)]).is_ok_and(|length| length == STILL_AT_IT.len()) {
        return Sight::Gone;
    }
    let answer = async {
        let mut pause = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        loop {
            // In this order: what is refused is no more waited for either.
            let left = unsent(stream);
            if is_over(events(&wire.socket)) {
                return Sight::Gone;
            }
            if left == Some(0) {
                return Sight::There;
            }
            pause.pause().await;
        }
    };
    timeout(TAKEN, answer).await.unwrap_or(Sight::Untold)
}

/// How many bytes the other end's kernel has not taken yet.
fn unsent(stream: &TcpStream) -> Option<u32> {
    connections::unsent(stream.local_addr().ok()?, stream.peer_addr().ok()?).ok()?
}

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixStream};

    async fn pair() -> (std::net::TcpStream, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, Line::from(listener.accept().await.unwrap().0))
    }

    /// The kernel passes it on in no time, but not in none.
    async fn is_soon(presence: &Presence, there: bool) -> bool {
        let began = Instant::now();
        while presence.is_there().await != there {
            if began.elapsed() > Duration::from_secs(60) {
                return false;
            }
        }
        true
    }

    #[tokio::test]
    async fn a_closed_connection_is_told_from_one_on_which_somebody_listens_whatever_was_sent_before() {
        for behind in [&b""[..], b"x", &[b'x'; 4000]] {
            let (mut near, line) = pair().await;
            let presence = line.presence();
            let _asked = presence.asked(Version::HTTP_11);
            near.write_all(behind).unwrap();
            assert!(presence.is_there().await);
            near.shutdown(Shutdown::Write).unwrap();
            line.0.said_all().await.unwrap();
            assert!(presence.is_there().await, "{} bytes hide that it listens", behind.len());
            let mut said = vec![0; STILL_AT_IT.len()];
            near.read_exact(&mut said).unwrap();
            assert_eq!(said, STILL_AT_IT);
            drop(near);
            timeout(Duration::from_secs(60), presence.gone()).await.unwrap();
            assert!(!presence.is_there().await);

            let (mut near, line) = pair().await;
            let presence = line.presence();
            let _asked = presence.asked(Version::HTTP_11);
            near.write_all(behind).unwrap();
            drop(near);
            assert!(is_soon(&presence, false).await, "{} bytes hide that it has gone", behind.len());
        }
    }

    /// To one who does not understand it nothing is said, nor in the middle of something.
    #[tokio::test]
    async fn who_cannot_be_asked_whether_he_listens_is_not_there_and_has_not_gone() {
        let (mut near, line) = pair().await;
        let presence = line.presence();
        near.shutdown(Shutdown::Write).unwrap();
        line.0.said_all().await.unwrap();
        assert_eq!(presence.look().await, Sight::Untold);
        let old = presence.asked(Version::HTTP_10);
        assert_eq!(presence.look().await, Sight::Untold);
        drop(old);
        let new = presence.asked(Version::HTTP_11);
        assert_eq!(presence.look().await, Sight::There);
        drop(new);
        assert!(!presence.is_there().await);
        drop(line);
        let mut said = Vec::new();
        near.read_to_end(&mut said).unwrap();
        assert_eq!(said, STILL_AT_IT, "it was asked more than once");
    }

    #[tokio::test]
    async fn who_fills_the_line_until_no_end_could_be_seen_is_not_there() {
        let (mut near, line) = pair().await;
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        near.shutdown(Shutdown::Write).unwrap();
        assert!(is_soon(&line.presence(), false).await);
    }

    #[tokio::test]
    async fn on_the_machine_itself_nothing_needs_to_be_said() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut near, line) = (near.into_std().unwrap(), Line::from(far));
        let presence = line.presence();
        near.shutdown(Shutdown::Write).unwrap();
        assert!(presence.is_there().await);
        near.set_nonblocking(true).unwrap();
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(near);
        presence.gone().await;
        assert!(!presence.is_there().await);
    }

    #[tokio::test]
    async fn what_is_said_on_the_line_arrives_and_its_end_too() {
        let (mut near, mut line) = pair().await;
        let presence = line.presence();
        near.write_all(b"question").unwrap();
        let mut question = [0; 8];
        line.read_exact(&mut question).await.unwrap();
        line.write_all(b"answer").await.unwrap();
        assert!(presence.is_there().await);
        line.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!((&question, answer.as_str()), (b"question", "answer"));
        drop(line);
        assert!(!presence.is_there().await && !Presence::nobody().is_there().await);
    }
}
