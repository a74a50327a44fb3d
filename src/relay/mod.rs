//! The relay of a host: an NBD server for the host's own clients, which has upstream's `crucible-nbd-server` do
//! what they ask, one after the other when one is lost, and never lets them see that. It is no cache: nothing is
//! answered before the server has answered it. Where the next server comes from is not its business, but
//! [`Supply`]'s.
//!
//! | module | job |
//! |---|---|
//! | [`engine`] | what is asked, kept and answered, and why nothing is lost. Pure |
//! | [`pieces`] | how a request is cut up for the server. Pure |
//! | [`written`] | which blocks are known to have been written. Pure |
//! | [`log`] | where acknowledged writes are kept |
//! | [`gauge`] | what it has done: latencies, and pauses with their causes |
//! | `clients`, `queue` | those who ask, and what they have asked for |
//! | [`Supply`] | where servers come from |
//! | `server`, `upstream` | how it stands with the server and how long it may be silent, and the connection to it |
//! | `exchange` | what is said to the server and heard from it |

mod clients;
pub mod engine;
mod exchange;
pub mod gauge;
pub mod log;
pub mod pieces;
mod queue;
mod server;
mod supply;
mod upstream;
pub mod written;

pub use clients::REQUEST_LIMIT_BYTES;
pub use upstream::Useless;

use crate::nbd::Errno;
use crate::nbd::flags::{CAN_MULTI_CONN, HAS_FLAGS, SEND_FLUSH};
use crate::nbd::negotiation::Export;
use bytes::Bytes;
use clients::{Asked, Wished};
use engine::{Bounds, Engine, State, Wish};
use gauge::Gauge;
use log::{Log, Records};
use pieces::Kept;
use queue::Queue;
use server::{Patience, Server, happens, seek};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
pub use supply::{Silence, Supply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The most requests that are on their way from the clients to the engine.
const REQUEST_QUEUE: usize = 256;
/// The time that a stop waits until what was acknowledged lasts.
pub const LAST_FLUSH: Duration = Duration::from_secs(15);
/// The pause before a write that found no memory is tried again.
const MEMORY_PAUSE: Duration = Duration::from_millis(100);

/// A volume, as its clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The volume's name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The size of a block of its regions, in bytes.
    pub block: u32,
}

/// The status of a relay, for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The state of what is asked, kept and on its way.
    pub state: State,
    /// The number of servers that there have been.
    pub servers: u64,
    /// The instant since when there is none that serves.
    pub held_since: Option<Instant>,
    /// The number of requests that were answered.
    pub answered: u64,
    /// The instant at which the first of those began that are not answered.
    pub oldest: Option<Instant>,
}

/// The end of a relay.
#[derive(Debug)]
pub enum End<E> {
    /// The relay was stopped; whether all that was acknowledged lasts.
    Stopped {
        /// The state of what does not.
        left: State,
    },
    /// No more servers will come: everything was answered with an error.
    Refused(E),
}

/// The clients' side of a relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    export: Export,
    asked: mpsc::Sender<Asked>,
    /// No more servers will come.
    refused: Arc<AtomicBool>,
}

impl Door {
    /// Serve a client until it leaves.
    pub async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(self, stream: S) {
        if let Err(why) = clients::serve(stream, self.export, self.asked, self.refused).await {
            tracing::warn!("a client was left: {why}");
        }
    }
}

/// A relay that has no server yet.
pub struct Relay {
    engine: Engine,
    log: Log,
    queue: Queue,
    /// The destinations of answers. A request without one is the relay's own.
    waiting: HashMap<u64, clients::To>,
    last: u64,
    servers: u64,
    answered: u64,
    held_since: Option<Instant>,
    /// The server answers nothing, and has a reason.
    silent: bool,
    news: watch::Sender<Option<Status>>,
    refused: Arc<AtomicBool>,
    gauge: Gauge,
}

/// The supply, whose server may live, and how it has ended.
type Ended<S> = (Option<S>, End<<S as Supply>::End>);

impl Relay {
    /// Make a relay of a volume, and the door to it. `records` is what `log` has kept since an earlier one.
    pub fn new(volume: &Volume, log: Log, records: Records, news: watch::Sender<Option<Status>>) -> (Self, Door) {
        let (to, asked) = mpsc::channel(REQUEST_QUEUE);
        let refused = Arc::new(AtomicBool::new(false));
        let export = Export {
            name: volume.name.clone(),
            size: volume.size,
            // All clients are served by one connection, in one order.
            flags: HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN,
            blocks: [1, volume.block.max(4096), REQUEST_LIMIT_BYTES],
        };
        let relay = Self {
            engine: Engine::new(volume.size, volume.block, Bounds::default(), records),
            log,
            queue: Queue::of(asked),
            waiting: HashMap::new(),
            last: 0,
            servers: 0,
            answered: 0,
            held_since: Some(Instant::now()),
            silent: false,
            news,
            refused: refused.clone(),
            gauge: Gauge::default(),
        };
        relay.gauge.pauses(|| "it has only begun".into());
        (relay, Door { export, asked: to, refused })
    }

    /// The descriptor of what is kept.
    pub fn kept(&self) -> std::os::fd::BorrowedFd<'_> {
        self.log.descriptor()
    }

    /// The gauge of the relay, for whoever asks.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// Serve until the relay is stopped, there are no more servers, or `over` says that there will be none, whatever
    /// the one says that there is. Whenever `back` changes, what servers need may be there again. The supply comes
    /// back: its server may live.
    pub async fn run<S: Supply>(
        mut self,
        supply: S,
        mut stop: watch::Receiver<bool>,
        over: impl Future<Output = S::End>,
        mut back: watch::Receiver<()>,
    ) -> Ended<S> {
        let (mut server, mut over, mut patience) = (seek(supply), pin!(over), Patience::new());
        let mut stopping: Option<Instant> = None;
        loop {
            server = self.say(server, &mut patience);
            self.tell();
            if stopping.is_some() && self.engine.is_idle() {
                return self.stopped(server);
            }
            let (due, owes) = (patience.due(), self.engine.expects().is_some());
            // Cancel-safe: a channel and a connection lose nothing, the futures are kept, and the clock is absolute.
            tokio::select! {
                // A stop is not kept waiting by a load; then what the server says: it makes room.
                biased;
                _ = stop.wait_for(|stop| *stop), if stopping.is_none() => stopping = Some(self.stops()),
                why = &mut over => return self.refused(server.supply(), why),
                happened = happens(&mut server) => match self.heed(happened, server, &mut patience) {
                    Ok(now) => server = now,
                    Err(ended) => return ended,
                },
                Some(asked) = self.queue.next(&self.log), if stopping.is_none() => self.take(asked).await,
                // A server that has just said something needs no other.
                Ok(()) = back.changed() => if owes && patience.is_quiet() {
                    server = server.doubted();
                },
                () = sleep_until(due), if owes && matches!(server, Server::Serves(..)) => server = server.doubted(),
                () = sleep_until(stopping.unwrap_or(due)), if stopping.is_some() => return self.stopped(server),
            }
        }
    }

    /// Begin to stop: what was acknowledged is to last. Gives the instant until which that is waited for.
    fn stops(&mut self) -> Instant {
        if !self.engine.is_idle() {
            self.last += 1;
            self.engine.ask(self.last, Wish::Flush);
        }
        Instant::now() + LAST_FLUSH
    }

    /// End because the relay was stopped.
    fn stopped<S: Supply>(&self, server: Server<S>) -> Ended<S> {
        (server.supply(), End::Stopped { left: self.engine.state() })
    }

    /// End because no more servers will come.
    fn refused<S: Supply>(&mut self, supply: Option<S>, why: S::End) -> Ended<S> {
        self.refuse();
        (supply, End::Refused(why))
    }

    /// Take a request, and as many as wait behind it: what is kept is kept before it is sent.
    async fn take(&mut self, first: Asked) {
        let mut next = Some(first);
        while let Some(asked) = next {
            self.last += 1;
            let Some(Asked { wish, reply }) = self.queue.fitting(asked, &self.log) else {
                // Kept writes are needed until a flush has been answered, and nobody else may ask for one.
                self.engine.ask(self.last, Wish::Flush);
                return;
            };
            let wish = match wish {
                Wished::Read(offset, length) => Wish::Read(offset, length),
                Wished::Flush => Wish::Flush,
                Wished::Write(offset, data) => {
                    let kept = self.keep(offset, &data).await;
                    Wish::Write(offset, data, kept)
                }
            };
            self.waiting.insert(self.last, reply);
            self.engine.ask(self.last, wish);
            next = self.queue.another();
        }
    }

    /// Keep a write, however long that takes: a machine that has no memory has some sooner or later.
    async fn keep(&mut self, offset: u64, data: &Bytes) -> Kept {
        let mut told = false;
        loop {
            match self.log.append(offset, data) {
                Ok(kept) => return kept,
                Err(why) if !told => tracing::error!("writes wait, as they cannot be kept: {why}"),
                Err(_) => {}
            }
            told = true;
            sleep(MEMORY_PAUSE).await;
        }
    }

    /// Answer everything with an error: there is no server any more, and will be none.
    fn refuse(&mut self) {
        self.refused.store(true, Ordering::Relaxed);
        for id in self.engine.give_up() {
            if let Some(to) = self.waiting.remove(&id) {
                to.answer(Err(Errno::Io));
            }
        }
        for Asked { reply, .. } in self.queue.closed() {
            reply.answer(Err(Errno::Io));
        }
    }

    fn tell(&self) {
        let Self { servers, held_since, answered, .. } = *self;
        let first = self.engine.first().and_then(|id| self.waiting.get(&id)).map(|to| to.began);
        // Behind a flush of the relay's own, for which nobody waits, may be one that is held for want of room.
        let oldest = first.or(self.queue.since()).map(Into::into);
        let mut state = self.engine.state();
        state.requests += usize::from(self.queue.since().is_some());
        self.news.send_replace(Some(Status { state, servers, held_since, answered, oldest }));
    }
}
