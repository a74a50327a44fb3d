//! Whether whoever has asked something is still there to be answered: by the kernel's word on its
//! connection. That nothing can be read any more is no measure of it: what was sent behind the question
//! may lie there unread, and the end behind that.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// If more bytes than this were sent behind a question, the end may wait behind them where the kernel
/// cannot see it, for want of room: far less than there is room for, far more than anybody sends.
const MOST_BEHIND: u64 = 16 * 1024;

/// A connection to talk on, of which somebody may be shown whether the other end is still there.
#[derive(Debug)]
pub struct Line(Arc<TcpStream>);

/// Whether the other end of a connection is still there. Does not keep it open.
#[derive(Clone)]
pub struct Presence(Weak<TcpStream>);

impl Line {
    /// A connection.
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Who shows whether its other end is still there.
    pub fn presence(&self) -> Presence {
        Presence(Arc::downgrade(&self.0))
    }
}

impl Presence {
    /// Of nobody: never there.
    pub fn nobody() -> Self {
        Self(Weak::new())
    }

    /// Whether the other end has neither closed the connection nor said that it sends nothing more,
    /// and this one has it still. Waits for nothing.
    pub fn is_there(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return false };
        let mut look = [PollFd::new(&*stream, PollFlags::RDHUP)];
        // An end, a reset and an error are told as well.
        let quiet = poll(&mut look, Some(&Timespec::default())) == Ok(0);
        quiet && ioctl_fionread(&*stream).is_ok_and(|behind| behind <= MOST_BEHIND)
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_there() { "Presence(there)" } else { "Presence(gone)" })
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match self.0.try_read(room) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Poll::Ready(Err(why)),
            }
        }
    }
}

impl Line {
    fn poll_writing(&self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(bytes) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (std::net::TcpStream, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, Line::new(listener.accept().await.unwrap().0))
    }

    /// The kernel passes it on in no time, but not in none.
    fn is_soon_gone(presence: &Presence) -> bool {
        let began = Instant::now();
        while presence.is_there() {
            if began.elapsed() > Duration::from_secs(10) {
                return false;
            }
        }
        true
    }

    #[tokio::test]
    async fn an_end_is_seen_whatever_was_sent_before_it_and_was_not_read() {
        use std::io::Write;
        for behind in [&b""[..], b"x", &[b'x'; 4000]] {
            let (mut near, line) = pair().await;
            let presence = line.presence();
            near.write_all(behind).unwrap();
            assert!(presence.is_there());
            near.shutdown(Shutdown::Write).unwrap();
            assert!(is_soon_gone(&presence), "{} bytes hide it", behind.len());
        }
        let (near, line) = pair().await;
        drop(near);
        assert!(is_soon_gone(&line.presence()));
    }

    #[tokio::test]
    async fn who_fills_the_line_until_no_end_could_be_seen_is_not_there() {
        use std::io::Write;
        let (mut near, line) = pair().await;
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        near.shutdown(Shutdown::Write).unwrap();
        assert!(is_soon_gone(&line.presence()));
    }

    #[tokio::test]
    async fn what_is_said_on_the_line_arrives_and_its_end_too() {
        use std::io::{Read, Write};
        let (mut near, mut line) = pair().await;
        let presence = line.presence();
        near.write_all(b"question").unwrap();
        let mut question = [0; 8];
        line.read_exact(&mut question).await.unwrap();
        line.write_all(b"answer").await.unwrap();
        assert!(presence.is_there());
        line.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!((&question, answer.as_str()), (b"question", "answer"));
        drop(line);
        assert!(!presence.is_there() && !Presence::nobody().is_there());
    }
}
