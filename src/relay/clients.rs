//! The relay's clients: each a connection on which requests are read and answered, in whatever order they are
//! done. Never asks the server anything.
//!
//! Requests of a client that it has not read the answers of are bounded: beyond that no more are read. One that never
//! reads holds up itself alone.

use super::gauge::Kind;
use super::pieces::PIECE_BYTES;
use crate::nbd::negotiation::{Export, Negotiation, Next};
use crate::nbd::transmission::{Command, REQUEST, Reply, Request};
use crate::nbd::{Broken, Errno};
use bytes::{Bytes, BytesMut};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// The longest request, in bytes: what the protocol has a client assume that was told of no other.
pub const REQUEST_LIMIT_BYTES: u32 = 32 << 20;
/// The bytes that a client may have asked for, read or written, that it has not had an answer to; one longer request
/// may be alone. Linux' kernel has 128 requests at once as a rule.
const UNANSWERED_LIMIT_BYTES: u32 = 8 << 20;
/// The part of that which a request takes beside its data.
const REQUEST_COST_BYTES: u32 = 4096;
/// How long a handshake may take: what it says is little.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);

/// A request of a client, and where its answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wish: Wished,
    pub(super) reply: To,
}

/// The wish of a request; it is within the volume and not empty.
#[derive(Debug)]
pub(super) enum Wished {
    Read(u64, u32),
    Write(u64, Bytes),
    Flush,
}

/// The destination of an answer.
#[derive(Debug)]
pub(super) struct To {
    pub(super) kind: Kind,
    /// The instant at which the request was read, or the first of it.
    pub(super) began: Instant,
    cookie: u64,
    answers: mpsc::UnboundedSender<Answer>,
    room: OwnedSemaphorePermit,
}

/// An answer, and the room that is its request's until it is written.
#[derive(Debug)]
struct Answer {
    reply: Reply,
    data: Bytes,
    room: OwnedSemaphorePermit,
}

impl To {
    /// Answer. The client may have gone.
    pub(super) fn answer(self, result: Result<Bytes, Errno>) {
        let reply = Reply::of(self.cookie, result.as_ref().map(|_| ()).map_err(|errno| *errno));
        _ = self.answers.send(Answer { reply, data: result.unwrap_or_default(), room: self.room });
    }
}

/// The reason why a client was left.
#[derive(Debug, thiserror::Error)]
pub(super) enum Left {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its handshake took more than {} s", HANDSHAKE_LIMIT.as_secs())]
    Slow,
}

/// Serve one client until it leaves. `refused` says that whatever is asked from now on is to fail. `Ok` if it did so
/// as it should, or before it asked for anything.
pub(super) async fn serve<S>(
    stream: S,
    export: Export,
    to: mpsc::Sender<Asked>,
    refused: Arc<AtomicBool>,
) -> Result<(), Left>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::with_capacity(PIECE_BYTES as usize, read);
    let size = export.size;
    match timeout(HANDSHAKE_LIMIT, shake(&mut read, &mut write, export)).await {
        Err(_) => return Err(Left::Slow),
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Ok(()),
        Ok(Err(why)) => return Err(why),
    }
    let (answers, answered) = mpsc::unbounded_channel();
    let asking = ask(&mut read, size, &to, answers, &refused);
    let answering = answer(write, answered);
    tokio::pin!(asking, answering);
    // Cancel-safe: whichever ends first, nothing more is wanted of the other, or it is waited for.
    tokio::select! {
        asked = &mut asking => {
            asked?;
            // The client has said that it leaves: what it asked for is answered before.
            Ok(answering.await?)
        }
        answered = &mut answering => Ok(answered?),
    }
}

/// Write the answers, until there will be no more.
async fn answer<W: AsyncWrite + Unpin>(mut write: W, mut answered: mpsc::UnboundedReceiver<Answer>) -> io::Result<()> {
    let (mut out, mut rooms) = (Vec::with_capacity(PIECE_BYTES as usize), Vec::new());
    while let Some(first) = answered.recv().await {
        let mut next = Some(first);
        // Answers that are there already go with it: a client that has asked for much at once is woken once.
        while let Some(Answer { reply, data, room }) = next {
            out.extend_from_slice(&reply.written());
            rooms.push(room);
            if data.len() > PIECE_BYTES as usize {
                write.write_all(&out).await?;
                write.write_all(&data).await?;
                out.clear();
            } else {
                out.extend_from_slice(&data);
            }
            next = if out.len() < PIECE_BYTES as usize { answered.try_recv().ok() } else { None };
        }
        write.write_all(&out).await?;
        out.clear();
        rooms.clear();
    }
    Ok(())
}

/// Shake hands; whether requests follow.
async fn shake<R, W>(read: &mut R, write: &mut W, export: Export) -> Result<bool, Left>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut out, mut input) = (Vec::new(), BytesMut::new());
    let mut negotiation = Negotiation::begin(export, &mut out);
    let mut byte = [0; 1];
    loop {
        write.write_all(&std::mem::take(&mut out)).await?;
        // Byte by byte out of the buffer: what follows the handshake is to be left in it.
        match read.read(&mut byte).await? {
            0 if input.is_empty() => return Ok(false),
            0 => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            _ => input.extend_from_slice(&byte),
        }
        match negotiation.hear(&mut input, &mut out)? {
            Next::Options => {}
            Next::Transmission => {
                write.write_all(&out).await?;
                return Ok(true);
            }
            Next::End => {
                write.write_all(&out).await?;
                return Ok(false);
            }
        }
    }
}

/// Read a request; `None` if the client leaves.
async fn request<R: AsyncRead + Unpin>(read: &mut R) -> Result<Option<Request>, Left> {
    let mut header = [0; REQUEST];
    match read.read_exact(&mut header).await {
        Ok(_) => {}
        // A client need not say that it leaves.
        Err(why) if why.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(why) => return Err(why.into()),
    }
    let request = Request::read(&header)?;
    if request.command == Command::Write && request.length > REQUEST_LIMIT_BYTES {
        return Err(Broken(format!("a write of {} bytes", request.length)).into());
    }
    Ok((request.command != Command::Disconnect).then_some(request))
}

/// The part of what a client may have asked for that a request takes; `fits` says that it is within the volume.
fn cost(request: &Request, fits: bool) -> u32 {
    let moves = matches!(request.command, Command::Read | Command::Write) && fits;
    if moves { request.length.clamp(REQUEST_COST_BYTES, UNANSWERED_LIMIT_BYTES) } else { REQUEST_COST_BYTES }
}

/// Read the data that follow a request.
async fn data<R: AsyncRead + Unpin>(read: &mut R, request: &Request) -> io::Result<Bytes> {
    if request.command != Command::Write {
        return Ok(Bytes::new());
    }
    let mut data = BytesMut::zeroed(request.length as usize);
    read.read_exact(&mut data).await?;
    Ok(data.freeze())
}

fn kind(command: Command) -> Kind {
    match command {
        Command::Write => Kind::Write,
        Command::Flush => Kind::Flush,
        _ => Kind::Read,
    }
}

/// Read requests until the client leaves.
async fn ask<R>(
    read: &mut R,
    size: u64,
    to: &mpsc::Sender<Asked>,
    answers: mpsc::UnboundedSender<Answer>,
    refused: &AtomicBool,
) -> Result<(), Left>
where
    R: AsyncRead + Unpin,
{
    let room = Arc::new(Semaphore::new(UNANSWERED_LIMIT_BYTES as usize));
    loop {
        let Some(request) = request(read).await? else { return Ok(()) };
        let began = Instant::now();
        let within = request.is_within(size, REQUEST_LIMIT_BYTES);
        let room = room.clone().acquire_many_owned(cost(&request, within.is_ok())).await.map_err(io::Error::other)?;
        let data = data(read, &request).await?;
        let reply = To { kind: kind(request.command), began, cookie: request.cookie, answers: answers.clone(), room };
        let wish = match (within, request.command) {
            (Err(errno), _) => {
                reply.answer(Err(errno));
                continue;
            }
            (Ok(()), Command::Flush) => Wished::Flush,
            // Nothing of nothing.
            _ if request.length == 0 => {
                reply.answer(Ok(Bytes::new()));
                continue;
            }
            (Ok(()), Command::Write) => Wished::Write(request.offset, data),
            (Ok(()), _) => Wished::Read(request.offset, request.length),
        };
        if let Err(mpsc::error::SendError(asked)) = to.send(Asked { wish, reply }).await {
            if !refused.load(Ordering::Relaxed) {
                // The relay was stopped. The next one is asked, by whoever connects anew: no error is right.
                return Ok(());
            }
            asked.reply.answer(Err(Errno::Io));
        }
    }
}
