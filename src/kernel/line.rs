//! Line of a talk: a connection that can be watched beside the talk. Who asks may go away while he is answered, and
//! whoever has only said that he sends nothing more is still to be answered.

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// The pause between two looks where nothing can tell of an end.
const END_POLL: Duration = Duration::from_secs(1);
/// The beginning of every answer, whatever it is and in whichever version of HTTP/1 it was asked for.
const BEGINNING: &[u8] = b"HTTP/1.";

/// One end of a connection.
#[derive(Debug)]
pub(super) enum Socket {
    /// Across the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

/// A connection, and what is known of the talk on it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: Socket,
    /// The kernel has not taken all of what was to be said.
    owes: AtomicBool,
    /// A question is being answered.
    asked: AtomicBool,
    /// The bytes of the answer that were said before there was one.
    ahead: AtomicUsize,
    /// A lock by which one at a time sees whether what is said is taken.
    pub(super) looking: Mutex<()>,
}

/// A connection to talk on, of which somebody may be shown whether the other end is still there.
#[derive(Debug)]
pub struct Line(pub(super) Arc<Wire>);

/// A question under way: its connection is marked as one on which it is being answered, for as long as this exists.
#[derive(Debug)]
pub struct Question(Option<Arc<Wire>>);

impl From<TcpStream> for Line {
    fn from(stream: TcpStream) -> Self {
        Self::new(Socket::Tcp(stream))
    }
}

impl From<UnixStream> for Line {
    fn from(stream: UnixStream) -> Self {
        Self::new(Socket::Unix(stream))
    }
}

impl Line {
    fn new(socket: Socket) -> Self {
        let (owes, asked, ahead) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
        Self(Arc::new(Wire { socket, owes, asked, ahead, looking: Mutex::new(()) }))
    }
}

impl Question {
    pub(super) fn of(wire: Option<Arc<Wire>>) -> Self {
        if let Some(wire) = &wire {
            wire.asked.store(true, Ordering::Relaxed);
        }
        Self(wire)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(wire) = &self.0 {
            wire.asked.store(false, Ordering::Relaxed);
        }
    }
}

impl Wire {
    /// Whether something of the answer may be said now, although it is not known yet: a question is being
    /// answered, nothing is half said, and of what every answer begins with there is something left.
    pub(super) fn may_begin(&self) -> bool {
        let begun = self.ahead.load(Ordering::Relaxed);
        self.asked.load(Ordering::Relaxed) && !self.owes.load(Ordering::Relaxed) && begun < BEGINNING.len()
    }

    /// Say the next byte of what every answer begins with; what is written next goes on behind it. To be called only
    /// if it may be, with nothing awaited in between.
    ///
    /// # Errors
    /// The kernel does not take it: [`WouldBlock`](io::ErrorKind::WouldBlock), if that passes.
    pub(super) fn begin(&self) -> io::Result<()> {
        let begun = self.ahead.load(Ordering::Relaxed);
        let next = BEGINNING.get(begun..=begun).unwrap_or_default();
        if self.socket.try_write(&[IoSlice::new(next)])? == 1 {
            self.ahead.store(begun + 1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The bytes of what is to be said now that were said ahead of it, if any.
    ///
    /// # Errors
    /// The bytes do not begin with these: no answer does that.
    fn said_ahead(&self, bytes: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let begun = BEGINNING.get(..self.ahead.load(Ordering::Relaxed)).unwrap_or_default();
        if begun.is_empty() {
            return Ok(None);
        }
        if !bytes.iter().flat_map(|part| part.iter()).take(begun.len()).eq(begun) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what was begun as an answer is none"));
        }
        self.ahead.store(0, Ordering::Relaxed);
        Ok(Some(begun.len()))
    }

    /// Wait until the other end has said that it sends nothing more, or is gone. Cancel-safe: it takes nothing from
    /// the connection.
    pub(super) async fn said_all(&self) -> io::Result<()> {
        loop {
            if self.socket.ready().await?.is_read_closed() {
                return Ok(());
            }
            // Bytes that nobody has read yet are told of again and again.
            if self.socket.has_unread() {
                sleep(END_POLL).await;
            }
        }
    }
}

impl Socket {
    async fn ready(&self) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
            Self::Unix(stream) => stream.ready(Interest::READABLE).await,
        }
    }

    /// Whether something lies there unread; if not, the next that comes is told of.
    fn has_unread(&self) -> bool {
        let peek = || Ok(recv(self, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)?);
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, peek),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, peek),
        }
        .is_ok()
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Wait until the kernel may take something. Cancel-safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(room),
            Self::Unix(stream) => stream.try_read(room),
        }
    }

    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(bytes),
            Self::Unix(stream) => stream.try_write_vectored(bytes),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = &self.0.socket;
        loop {
            ready!(socket.poll_readable(cx))?;
            match socket.try_read(buffer.initialize_unfilled()) {
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
        let wanted: usize = bytes.iter().map(|part| part.len()).sum();
        self.0.owes.store(true, Ordering::Relaxed);
        if let Some(said) = self.0.said_ahead(bytes)? {
            return Poll::Ready(Ok(said));
        }
        loop {
            ready!(self.0.socket.poll_writable(cx))?;
            match self.0.socket.try_write(bytes) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    let all = written.as_ref().is_ok_and(|length| *length == wanted);
                    self.0.owes.store(!all, Ordering::Relaxed);
                    return Poll::Ready(written);
                }
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
        Poll::Ready(shutdown(&self.0.socket, Shutdown::Write).map_err(io::Error::from))
    }
}
