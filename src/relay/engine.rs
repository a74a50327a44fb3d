//! Engine of the relay: what is asked of the server and when, what is kept until it lasts, and what is answered.
//! Pure.
//!
//! **The promise**: a client never sees an error that another server would not have seen, and what was
//! acknowledged to it is read back, whatever server dies in between.
//!
//! Why it holds. (1) Requests are sent in the order in which they came, over one connection, to a
//! server that does one at a time and answers in order: when a flush is answered, every write that was sent
//! before it lasts. (2) Nothing is answered to a client before the server has answered it; so a write that was
//! answered is kept here, from before it was sent until a flush that was sent after it is answered. (3) After
//! a server is lost, the next one is first given all that was kept, in the order in which it was written, and
//! a flush; then everything that was not answered, in its order, from its beginning. A write that the lost
//! server had done in part or whole is done again, after all that came before it and before all that came after
//! it: what is on the disk in the end is what the order says. (4) Only one server at a time can write: the sleds
//! grant the next ticket over the one before, and the lost one's process is ended before the next begins.
//! `engine/model.rs` checks it: each interleaving of requests, answers, and ends of the server and of the relay itself.
//!
//! An upstairs gives up a replica that is away when 1,000 jobs or 50 MiB wait for it, and with a second one
//! fails every request at once. Half of that is never exceeded: at [`Bounds`] nothing more is sent until a
//! flush, which is sent by itself before, has been answered.

use super::pieces::{Kept, Order, Piece, certain, cut};
use super::written::Written;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// The bounds of what waits for a flush, and of what is on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Jobs of the upstairs since the last flush: one a piece, reads as well.
    pub jobs: u64,
    /// Bytes that were written since the last flush.
    pub bytes: u64,
    /// The pieces that may be on their way.
    pub pieces: usize,
}

impl Default for Bounds {
    /// Half of the 1,000 jobs and less than the 50 MiB at which an upstairs gives a replica up.
    fn default() -> Self {
        Self { jobs: 500, bytes: 32 << 20, pieces: 64 }
    }
}

/// The wish of a client. It lies within the volume, and is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wish {
    /// So many bytes from an offset on.
    Read(u64, u32),
    /// These bytes at an offset; where they are kept.
    Write(u64, Bytes, Kept),
    /// A flush: what was acknowledged is to last.
    Flush,
}

/// A request of a client, by a number that tells it from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    id: u64,
    wish: Wish,
    /// The part that has been sent, and the part that has been answered: bytes, or 1 of a flush.
    sent: u32,
    answered: u32,
    /// The bytes that were read.
    read: BytesMut,
}

/// A piece that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sent {
    cookie: u64,
    /// The number of bytes that the answer has.
    expects: u32,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    /// So much of the first request that is not answered yet.
    Part(u32),
    /// A flush that no client asked for, and what had been sent before it.
    OwnFlush(Tally),
    /// The same of a client.
    Flush(Tally),
    /// A write that was kept, again.
    Again,
    /// The flush after all of that.
    LastOfAll(Tally),
}

/// A write that was acknowledged, and does not last yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Acknowledged {
    kept: Kept,
    offset: u64,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Server {
    /// No server is there.
    Lost,
    /// The server is given what was kept: which one is next, and how much of that was sent.
    Catches { next: usize, sent: u32 },
    /// The server has everything, and serves.
    Serves,
}

/// Jobs and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Tally {
    jobs: u64,
    bytes: u64,
}

/// The effect of a server's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that anybody waits for.
    Nothing,
    /// A request is done; what was read.
    Done(u64, Bytes),
}

/// The reply is not the one that was due, or says that something failed: this server is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The server has answered something else.
    #[error("it answered what it was not asked")]
    Astray,
    /// The server could not do what it was asked, by this number of errno.
    #[error("a request failed in it (errno {0})")]
    Failed(u32),
}

/// The engine of one relay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Engine {
    size: u64,
    bounds: Bounds,
    written: Written,
    server: Server,
    /// The requests in their order, those first that are on their way.
    requests: VecDeque<Request>,
    /// The number of these that have been sent whole.
    begun: usize,
    sent: VecDeque<Sent>,
    kept: VecDeque<Acknowledged>,
    /// The jobs and bytes that this server has been sent, ever, and how much of it lasts.
    total: Tally,
    lasts: Tally,
    flushes: usize,
    cookie: u64,
}

impl Engine {
    /// Make an engine that has no server yet, of a volume of `size` bytes in blocks of `block`. `kept` is what an
    /// earlier relay had not seen last: where it lies, its offset and its length, in the order in which it was
    /// written.
    pub fn new(size: u64, block: u32, bounds: Bounds, kept: impl IntoIterator<Item = (Kept, u64, u32)>) -> Self {
        let kept = kept.into_iter().map(|(kept, offset, length)| Acknowledged { kept, offset, length });
        let mut engine = Self {
            size,
            bounds,
            written: Written::nothing(size, block),
            server: Server::Lost,
            requests: VecDeque::new(),
            begun: 0,
            sent: VecDeque::new(),
            kept: kept.collect(),
            total: Tally::default(),
            lasts: Tally::default(),
            flushes: 0,
            cookie: 0,
        };
        for Acknowledged { offset, length, .. } in engine.kept.clone() {
            engine.written.note(offset, length);
        }
        engine
    }

    /// The size of the volume, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Take a request.
    pub fn ask(&mut self, id: u64, wish: Wish) {
        self.requests.push_back(Request { id, wish, sent: 0, answered: 0, read: BytesMut::new() });
    }

    /// Note that there is a server, which has been asked nothing yet.
    pub fn has_server(&mut self) {
        self.forget_server();
        self.server = if self.kept.is_empty() { Server::Serves } else { Server::Catches { next: 0, sent: 0 } };
    }

    /// Lose the server, with all that it had not answered.
    pub fn lost(&mut self) {
        self.forget_server();
        self.server = Server::Lost;
    }

    fn forget_server(&mut self) {
        self.sent.clear();
        self.begun = 0;
        // Each server has a connection of its own, on which they begin anew.
        (self.total, self.lasts, self.flushes, self.cookie) = (Tally::default(), Tally::default(), 0, 0);
        for request in &mut self.requests {
            (request.sent, request.answered) = (0, 0);
        }
    }

    /// Decide what is to be sent next, if anything may be now.
    pub fn to_send(&mut self) -> Option<Piece> {
        if self.server == Server::Lost || self.sent.len() >= self.bounds.pieces {
            return None;
        }
        let waits = Tally { jobs: self.total.jobs - self.lasts.jobs, bytes: self.total.bytes - self.lasts.bytes };
        if self.flushes == 0 && (waits.jobs >= self.bounds.jobs / 2 || waits.bytes >= self.bounds.bytes / 2) {
            return Some(self.send(Order::Flush, What::OwnFlush));
        }
        let order = match self.server {
            Server::Lost => return None,
            Server::Catches { next, sent } => self.catch_up(next, sent)?,
            Server::Serves => self.part()?,
        };
        let bytes = match &order {
            Order::Write(_, data) => data.len() as u64,
            Order::Again(.., length) => u64::from(*length),
            Order::Read(..) | Order::Flush => 0,
        };
        let fits = waits.jobs < self.bounds.jobs && (waits.bytes == 0 || waits.bytes + bytes <= self.bounds.bytes);
        if !fits && order != Order::Flush {
            return None;
        }
        let length = bytes as u32;
        match (&order, &mut self.server) {
            (Order::Again(_, _, behind, length), Server::Catches { next, sent }) => {
                *sent = behind + length;
                if self.kept.get(*next).is_some_and(|kept| *sent == kept.length) {
                    (*next, *sent) = (*next + 1, 0);
                }
                self.total.bytes += bytes;
                return Some(self.send(order, |_| What::Again));
            }
            (Order::Flush, Server::Catches { .. }) => return Some(self.send(order, What::LastOfAll)),
            _ => {}
        }
        let request = self.requests.get_mut(self.begun)?;
        let part = match &order {
            Order::Read(_, length) => *length,
            Order::Flush => 1,
            Order::Write(..) => length,
            Order::Again(..) => return None,
        };
        request.sent += part;
        self.begun += usize::from(request.sent == request.whole());
        self.total.bytes += bytes;
        let flush = order == Order::Flush;
        Some(self.send(order, |tally| if flush { What::Flush(tally) } else { What::Part(part) }))
    }

    /// The next part of what was kept; the flush after it once.
    fn catch_up(&self, next: usize, sent: u32) -> Option<Order> {
        let Some(Acknowledged { kept, offset, length }) = self.kept.get(next) else {
            let over = self.sent.iter().any(|sent| matches!(sent.what, What::LastOfAll(_)));
            return (!over).then_some(Order::Flush);
        };
        let at = offset + u64::from(sent);
        Some(Order::Again(at, *kept, sent, cut(self.written.block(), at, length - sent)))
    }

    /// The next part of the first request that has not been sent whole.
    fn part(&self) -> Option<Order> {
        let request = self.requests.get(self.begun)?;
        let sent = request.sent;
        Some(match &request.wish {
            Wish::Flush => Order::Flush,
            Wish::Write(offset, data, _) => {
                let at = offset + u64::from(sent);
                let length = cut(self.written.block(), at, request.whole() - sent);
                Order::Write(at, data.slice(sent as usize..(sent + length) as usize))
            }
            Wish::Read(offset, length) => {
                let at = offset + u64::from(sent);
                Order::Read(at, certain(&self.written, at, length - sent))
            }
        })
    }

    fn send(&mut self, order: Order, what: impl FnOnce(Tally) -> What) -> Piece {
        self.total.jobs += 1;
        self.flushes += usize::from(order == Order::Flush);
        self.cookie += 1;
        let expects = if let Order::Read(_, length) = order { length } else { 0 };
        self.sent.push_back(Sent { cookie: self.cookie, expects, what: what(self.total) });
        Piece { cookie: self.cookie, order }
    }

    /// The number of bytes of data that the next reply brings, if it says that it worked; `None` if none is due.
    pub fn expects(&self) -> Option<u32> {
        self.sent.front().map(|sent| sent.expects)
    }

    /// Take the server's next reply, and the data that came with it.
    ///
    /// # Errors
    /// [`Unusable`]: then the server is to be given up, and [`lost`](Self::lost) to be said.
    pub fn reply(&mut self, cookie: u64, error: u32, data: &[u8]) -> Result<Outcome, Unusable> {
        let due = self.sent.front().filter(|sent| sent.cookie == cookie).ok_or(Unusable::Astray)?;
        if error != 0 {
            return Err(Unusable::Failed(error));
        }
        if data.len() != due.expects as usize {
            return Err(Unusable::Astray);
        }
        let Some(Sent { what, .. }) = self.sent.pop_front() else { return Err(Unusable::Astray) };
        match what {
            What::Part(length) => return Ok(self.answered(length, data)),
            What::Again => {}
            What::OwnFlush(before) => {
                self.flushed(before);
                // While it catches up nothing is let go: all of it is given to the next one if this one is lost.
                if self.server == Server::Serves {
                    self.kept.clear();
                }
            }
            What::Flush(before) => {
                self.flushed(before);
                self.kept.clear();
                return Ok(self.answered(1, data));
            }
            What::LastOfAll(before) => {
                self.flushed(before);
                self.kept.clear();
                self.server = Server::Serves;
            }
        }
        Ok(Outcome::Nothing)
    }

    fn flushed(&mut self, before: Tally) {
        self.flushes -= 1;
        self.lasts = before;
    }

    /// Note that so much more of the first request was answered.
    fn answered(&mut self, length: u32, data: &[u8]) -> Outcome {
        let Some(request) = self.requests.front_mut() else { return Outcome::Nothing };
        if let Wish::Read(offset, whole) = request.wish {
            if request.answered == 0 {
                request.read.clear();
                request.read.reserve(whole as usize);
            }
            request.read.extend_from_slice(data);
            self.written.learn(offset, request.answered, &request.read);
        }
        if let Wish::Write(offset, ..) = request.wish {
            // Not before: a read that comes before it may have to be sent once more.
            self.written.note(offset + u64::from(request.answered), length);
        }
        request.answered += length;
        if request.answered < request.whole() {
            return Outcome::Nothing;
        }
        self.begun -= 1;
        let Some(Request { id, wish, read, .. }) = self.requests.pop_front() else { return Outcome::Nothing };
        if let Wish::Write(offset, data, kept) = wish {
            self.kept.push_back(Acknowledged { kept, offset, length: data.len() as u32 });
        }
        Outcome::Done(id, read.freeze())
    }

    /// End everything that was asked: the requests that nobody will ever answer.
    pub fn give_up(&mut self) -> Vec<u64> {
        self.lost();
        self.requests.drain(..).map(|request| request.id).collect()
    }

    /// The place from where on something is still needed of what was kept; `None` if nothing is.
    pub fn needs(&self) -> Option<Kept> {
        let write = |request: &Request| if let Wish::Write(_, _, kept) = request.wish { Some(kept) } else { None };
        self.kept.front().map(|first| first.kept).or_else(|| self.requests.iter().find_map(write))
    }

    /// The first request that is not answered.
    pub fn first(&self) -> Option<u64> {
        self.requests.front().map(|request| request.id)
    }

    /// Whether nothing is asked, kept, or on its way.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.kept.is_empty() && self.sent.is_empty()
    }

    /// The state of the engine.
    pub fn state(&self) -> State {
        State {
            requests: self.requests.len(),
            on_the_way: self.sent.len(),
            kept_writes: self.kept.len(),
            kept_bytes: self.kept.iter().map(|kept| u64::from(kept.length)).sum(),
            serves: self.server == Server::Serves,
        }
    }
}

/// The state of a relay's engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The requests that are not answered.
    pub requests: usize,
    /// The pieces of them that the server has, and has not answered.
    pub on_the_way: usize,
    /// The writes that were acknowledged and do not last yet.
    pub kept_writes: usize,
    /// Their bytes.
    pub kept_bytes: u64,
    /// A server serves, and has all that was kept.
    pub serves: bool,
}

impl Request {
    /// The length of the request: bytes, or 1 of a flush.
    fn whole(&self) -> u32 {
        match &self.wish {
            Wish::Read(_, length) => *length,
            Wish::Write(_, data, _) => data.len() as u32,
            Wish::Flush => 1,
        }
    }
}

#[cfg(test)]
mod model;
