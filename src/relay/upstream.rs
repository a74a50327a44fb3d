//! Upstream of the relay: the one connection to the server. Pieces out, replies in. Never decides what is asked.
//!
//! Upstream's server sets no `TCP_NODELAY` and writes a reply in several small pieces, the second of which waits
//! until the first is acknowledged: 40 ms on loopback, unless this side acknowledges at once. So it says
//! that anew before it sleeps (tcp(7): `TCP_QUICKACK` is not permanent).

use super::engine::{Engine, Outcome, Unusable};
use crate::nbd::Broken;
use crate::nbd::entry::{Entered, Entry};
use crate::nbd::transmission::{REPLY, Reply};
use bytes::{Buf, BytesMut};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::{self, ErrorKind, IoSlice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The connection to one server.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: TcpStream,
    input: BytesMut,
    /// The bytes that the kernel did not take yet.
    out: BytesMut,
}

/// The event of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The server has said more.
    Heard,
    /// The kernel has taken all that waited.
    PassedOn,
}

impl Upstream {
    /// Enter the export of a server that is connected to.
    pub(super) async fn enter(stream: TcpStream) -> io::Result<(Self, Entered)> {
        stream.set_nodelay(true)?;
        let mut upstream = Self { stream, input: BytesMut::new(), out: BytesMut::new() };
        let (mut entry, mut said) = (Entry::default(), Vec::new());
        loop {
            upstream.turn().await?;
            let entered = entry.hear(&mut upstream.input, &mut said).map_err(broken)?;
            if !said.is_empty() {
                upstream.say(&[&std::mem::take(&mut said)])?;
            }
            if let Some(entered) = entered {
                return Ok((upstream, entered));
            }
        }
    }

    /// Say these bytes, or as many of them as the kernel takes; the others in their time.
    pub(super) fn say(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut sent = 0;
        if self.out.is_empty() {
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            // The end of a record: the next piece begins a segment of its own, which the server finds whole.
            let flags = SendFlags::EOR | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let send = || Ok(sendmsg(&self.stream, &slices, &mut SendAncillaryBuffer::default(), flags)?);
            sent = match self.stream.try_io(Interest::WRITABLE, send) {
                Err(why) if why.kind() == ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
        }
        for part in parts {
            let skipped = sent.min(part.len());
            sent -= skipped;
            self.out.extend_from_slice(&part[skipped..]);
        }
        Ok(())
    }

    /// Whether something waits until the kernel takes it.
    pub(super) fn is_full(&self) -> bool {
        !self.out.is_empty()
    }

    /// Wait until the server has said more, or the kernel has taken what waited. Cancel-safe: what was taken is kept,
    /// what was sent is gone from here.
    pub(super) async fn turn(&mut self) -> io::Result<Turn> {
        self.input.reserve(CHUNK_BYTES);
        loop {
            let writes = if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let ready = self.stream.ready(writes).await?;
            if ready.is_readable() {
                match self.stream.try_read_buf(&mut self.input) {
                    Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
                    Ok(_) => return self.stream.set_quickack(true).map(|()| Turn::Heard),
                    Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                    Err(why) => return Err(why),
                }
            }
            if ready.is_writable() && !self.out.is_empty() {
                match self.stream.try_write(&self.out) {
                    Ok(sent) => self.out.advance(sent),
                    Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                    Err(why) => return Err(why),
                }
                if self.out.is_empty() {
                    return Ok(Turn::PassedOn);
                }
            }
        }
    }

    /// Take the next reply that is there whole, by the engine.
    pub(super) fn reply(&mut self, engine: &mut Engine) -> Result<Option<Outcome>, Useless> {
        let Some(header) = self.input.first_chunk::<REPLY>() else { return Ok(None) };
        let Reply { error, cookie } = Reply::read(header).map_err(broken)?;
        let expects = engine.expects().filter(|_| error == 0).unwrap_or_default() as usize;
        if self.input.len() < REPLY + expects {
            return Ok(None);
        }
        let outcome = engine.reply(cookie, error, &self.input[REPLY..REPLY + expects])?;
        self.input.advance(REPLY + expects);
        Ok(Some(outcome))
    }
}

/// The reason why a server is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Useless {
    /// Its connection broke.
    #[error("the connection to it broke: {0}")]
    Gone(#[from] io::Error),
    /// The server answered wrongly, or could not do something.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The server has not answered for so many seconds, though nothing keeps it from that.
    #[error("it has answered nothing for {0} s, though its sleds serve and it says that it is active")]
    Silent(u64),
    /// The server's sleds were away, and are back; it is not.
    #[error("its sleds serve again, and it has not come back to them")]
    Adrift,
}

fn broken(why: Broken) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
