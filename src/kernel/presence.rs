//! Presence of whoever has asked something, to be answered: by the kernel's word on its connection. That nothing can
//! be read any more is no measure of it: what was sent behind the question may lie there unread, and the end behind
//! that. And whoever sends nothing more may listen still, which across a network looks like one who has closed the
//! connection, until something is said to him.
//!
//! The word that is said to him is the answer, a byte of what every one begins with: whoever waits for one
//! understands it, whichever version he speaks, and hears nothing that he would not have heard anyhow. His kernel
//! takes it, or says that nobody listens any more.

use crate::backoff::Backoff;
use crate::kernel::connections;
use crate::kernel::line::{Line, Question, Socket, Wire};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The bytes behind a question from which the end may wait behind them where the kernel cannot see it, for want of
/// room: far less than there is room for, far more than anybody sends.
const BEHIND_LIMIT_BYTES: u64 = 16 * 1024;
/// The time until a kernel has told whether it was taken: a packet that is lost is sent again after 0.2 s, and after
/// ever longer.
const TAKEN_LIMIT: Duration = Duration::from_secs(5);
/// The longest pause between two looks whether it was.
const TAKEN_POLL: Duration = Duration::from_millis(200);
/// The pause before it is looked again where it could not be told.
const UNTOLD_PAUSE: Duration = Duration::from_secs(1);
/// The pause before whoever listened is asked again: there are few bytes to do it with, and no answer is held for
/// longer than three times this.
const LISTENS_PAUSE: Duration = Duration::from_secs(20);

/// The presence of the other end of a connection. Does not keep it open.
#[derive(Clone)]
pub struct Presence(Weak<Wire>);

/// A sight of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The other end has not closed the connection, and this end has it still.
    There,
    /// The other end has closed it.
    Gone,
    /// The other end cannot be told now: it has said that it sends nothing more, and whether it listens was not seen
    /// in time; or more lies unread than it can be seen behind.
    Untold,
}

impl Presence {
    /// The presence of the other end of this line.
    pub fn of(line: &Line) -> Self {
        Self(Arc::downgrade(&line.0))
    }

    /// The presence of nobody: never there.
    pub fn nobody() -> Self {
        Self(Weak::new())
    }

    /// Say that a question is being answered on the connection, as long as what this returns exists.
    pub fn asked(&self) -> Question {
        Question::of(self.0.upgrade())
    }

    /// Look whether the other end is there. Of one who has said that he sends nothing more it waits until he was seen
    /// to listen, some seconds at most. Cancel-safe.
    pub async fn look(&self) -> Sight {
        let Some(wire) = self.0.upgrade() else { return Sight::Gone };
        match (events(&wire.socket), &wire.socket) {
            (Ok(seen), _) if is_over(seen) => Sight::Gone,
            // The kernel knows both ends here.
            (Ok(_), Socket::Unix(_)) => Sight::There,
            (Ok(seen), Socket::Tcp(stream)) if seen.contains(PollFlags::RDHUP) => listens(&wire, stream).await,
            (Ok(_), socket) if ioctl_fionread(socket).is_ok_and(|behind| behind <= BEHIND_LIMIT_BYTES) => Sight::There,
            _ => Sight::Untold,
        }
    }

    /// Wait until the other end has closed the connection. Cancel-safe: it takes nothing from it.
    pub async fn gone(&self) {
        let Some(wire) = self.0.upgrade() else { return };
        _ = wire.said_all().await;
        loop {
            match self.look().await {
                Sight::Gone => return,
                Sight::Untold => sleep(UNTOLD_PAUSE).await,
                Sight::There => sleep(LISTENS_PAUSE).await,
            }
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.strong_count() > 0 { "Presence(connected)" } else { "Presence(gone)" })
    }
}

/// The kernel's word on the other end: nothing, if all is well.
fn events(socket: &Socket) -> Result<PollFlags, Errno> {
    let mut look = [PollFd::new(socket, PollFlags::RDHUP)];
    loop {
        match poll(&mut look, Some(&Timespec::default())) {
            Ok(_) => return Ok(look[0].revents()),
            // A signal that came just then says nothing of it.
            Err(Errno::INTR) => {}
            Err(why) => return Err(why),
        }
    }
}

fn is_over(seen: PollFlags) -> bool {
    seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// Find whether somebody takes what is said to one who sends nothing more. Earlier words have to be taken first: that
/// they were says nothing of now.
async fn listens(wire: &Wire, stream: &TcpStream) -> Sight {
    let look = async {
        let _alone = wire.looking.lock().await;
        if taken(wire, stream).await == Sight::Gone {
            return Sight::Gone;
        }
        loop {
            if !wire.may_begin() {
                return Sight::Untold;
            }
            match wire.begin() {
                Ok(()) => return taken(wire, stream).await,
                // The kernel has room, as nothing waits to be sent; that was not heard of yet.
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => _ = wire.socket.writable().await,
                Err(_) => return Sight::Gone,
            }
        }
    };
    timeout(TAKEN_LIMIT, look).await.unwrap_or(Sight::Untold)
}

/// Wait until the other end has taken all that was said, or is over.
async fn taken(wire: &Wire, stream: &TcpStream) -> Sight {
    let mut pause = Backoff::new(Duration::from_millis(1), TAKEN_POLL);
    loop {
        // In this order: what is refused is no more waited for either.
        let left = unsent(stream);
        if events(&wire.socket).is_ok_and(is_over) {
            return Sight::Gone;
        }
        if left == Some(0) {
            return Sight::There;
        }
        pause.pause().await;
    }
}

/// The bytes that the other end's kernel has not taken yet.
fn unsent(stream: &TcpStream) -> Option<u32> {
    connections::unsent(stream.local_addr().ok()?, stream.peer_addr().ok()?).ok()?
}

#[cfg(test)]
mod tests {
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
    async fn is_soon(presence: &Presence, wanted: Sight) -> bool {
        let began = Instant::now();
        while presence.look().await != wanted {
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
            let presence = Presence::of(&line);
            let _asked = presence.asked();
            near.write_all(behind).unwrap();
            assert_eq!(presence.look().await, Sight::There);
            near.shutdown(Shutdown::Write).unwrap();
            line.0.said_all().await.unwrap();
            assert_eq!(presence.look().await, Sight::There, "{} bytes hide that it listens", behind.len());
            let mut said = [0];
            near.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"H");
            drop(near);
            timeout(Duration::from_secs(60), presence.gone()).await.unwrap();
            assert_eq!(presence.look().await, Sight::Gone);

            let (mut near, line) = pair().await;
            let presence = Presence::of(&line);
            let _asked = presence.asked();
            near.write_all(behind).unwrap();
            drop(near);
            assert!(is_soon(&presence, Sight::Gone).await, "{} bytes hide that it has gone", behind.len());
        }
    }

    /// The answer is what it is, however often it was looked before; what is no answer is not begun, nor in the
    /// middle of another.
    #[tokio::test]
    async fn who_is_asked_whether_he_listens_hears_the_answer_and_nothing_else() {
        for looks in [1, 3, 7] {
            let (mut near, mut line) = pair().await;
            let presence = Presence::of(&line);
            near.shutdown(Shutdown::Write).unwrap();
            line.0.said_all().await.unwrap();
            assert_eq!(presence.look().await, Sight::Untold, "nothing is being answered");
            for answer in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 409 Conflict\r\n\r\n"] {
                let asked = presence.asked();
                for _ in 0..looks {
                    assert_eq!(presence.look().await, Sight::There);
                }
                if looks == 7 {
                    assert_eq!(presence.look().await, Sight::Untold, "there is no more to say");
                }
                drop(asked);
                assert_eq!(presence.look().await, Sight::Untold);
                line.write_all(answer.as_bytes()).await.unwrap();
                let mut said = vec![0; answer.len()];
                near.read_exact(&mut said).unwrap();
                assert_eq!(said, answer.as_bytes());
            }
            drop(line);
            assert_eq!(near.read(&mut [0]).unwrap(), 0);
        }
        let (near, mut line) = pair().await;
        let presence = Presence::of(&line);
        near.shutdown(Shutdown::Write).unwrap();
        line.0.said_all().await.unwrap();
        let _asked = presence.asked();
        assert_eq!(presence.look().await, Sight::There);
        assert!(line.write_all(b"what is no answer").await.is_err());
    }

    /// Across a slow link what was said before is not taken yet; and two may look at once.
    #[tokio::test]
    async fn who_has_not_taken_yet_what_was_said_before_is_not_gone() {
        let (near, mut line) = narrow_pair().await;
        let presence = Presence::of(&line);
        // More than the other end has room for, and less than this end's kernel takes at once.
        let before = vec![b'x'; 48 * 1024];
        line.write_all(&before).await.unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        line.0.said_all().await.unwrap();
        let Socket::Tcp(stream) = &line.0.socket else { panic!("it is of TCP") };
        assert_ne!(unsent(stream), Some(0));
        let _asked = presence.asked();
        let mut near = tokio::net::TcpStream::from_std(near).unwrap();
        let mut said = vec![0; before.len() + 2];
        let (one, other, read) = tokio::join!(presence.look(), presence.look(), near.read_exact(&mut said));
        assert_eq!((one, other, read.unwrap()), (Sight::There, Sight::There, before.len() + 2));
        assert!(said.ends_with(b"xHT"));
    }

    /// A connection whose near end has little room for what is said to it.
    async fn narrow_pair() -> (std::net::TcpStream, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let near = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        (near.into_std().unwrap(), Line::from(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn who_fills_the_line_until_no_end_could_be_seen_is_not_taken_for_one_who_is_there() {
        let (mut near, line) = pair().await;
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        near.shutdown(Shutdown::Write).unwrap();
        assert!(is_soon(&Presence::of(&line), Sight::Untold).await);
    }

    #[tokio::test]
    async fn on_the_machine_itself_nothing_needs_to_be_said() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut near, line) = (near.into_std().unwrap(), Line::from(far));
        let presence = Presence::of(&line);
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(presence.look().await, Sight::There);
        near.set_nonblocking(true).unwrap();
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(near);
        presence.gone().await;
        assert_eq!(presence.look().await, Sight::Gone);
    }

    #[tokio::test]
    async fn what_is_said_on_the_line_arrives_and_its_end_too() {
        let (mut near, mut line) = pair().await;
        let presence = Presence::of(&line);
        near.write_all(b"question").unwrap();
        let mut question = [0; 8];
        line.read_exact(&mut question).await.unwrap();
        line.write_all(b"answer").await.unwrap();
        assert_eq!(presence.look().await, Sight::There);
        line.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!((&question, answer.as_str()), (b"question", "answer"));
        drop(line);
        assert_eq!((presence.look().await, Presence::nobody().look().await), (Sight::Gone, Sight::Gone));
    }
}
