//! Standing of the relay's server: the next one is looked for, it is entered, it serves, or it should and does not.
//! The relay says which comes after which.

use super::upstream::{Turn, Upstream, Useless};
use super::{Silence, Supply};
use crate::nbd::entry::Entered;
use std::future::pending;
use std::io;
use std::mem;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// The silence after which a server is looked at, and the pause between two looks from then on. A replica that is
/// repaired while it serves holds requests up for some seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
const SILENCE_POLL: Duration = Duration::from_secs(5);
/// The number of looks in a row that must find that a silent server has no reason to be.
const SILENCE_LOOKS: u32 = 3;

/// The silence after which a server that owes an answer is looked at when its sleds are back.
const QUIET_LIMIT: Duration = Duration::from_millis(500);

type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The server as the loop has to do with it.
pub(super) enum Server<S: Supply> {
    /// The next one is looked for.
    Sought(Coming<(S, Result<TcpStream, S::End>)>),
    /// The export is entered.
    Entered(S, Coming<io::Result<(Upstream, Entered)>>),
    /// The server serves.
    Serves(S, Upstream),
    /// The server serves, or should: that is being found out.
    Doubted(Coming<(S, Silence)>, Upstream),
    /// For a moment: it is about to become another of these.
    None,
}

/// The event of a server.
pub(super) enum Happened<S: Supply> {
    Turned(io::Result<Turn>),
    Found(S, TcpStream),
    Ended(S, S::End),
    Entered(S, Upstream, u64),
    NotEntered(S, io::Error),
    Judged(S, Upstream, Silence),
}

/// Wait until something happens with the server. Cancel-safe: what is awaited stays where it is, and is taken only
/// when it has come.
pub(super) async fn happens<S: Supply>(server: &mut Server<S>) -> Happened<S> {
    match server {
        Server::Sought(found) => match found.await {
            (supply, Ok(stream)) => Happened::Found(supply, stream),
            (supply, Err(why)) => Happened::Ended(supply, why),
        },
        Server::Entered(_, entered) => {
            let entered = entered.await;
            match (mem::replace(server, Server::None), entered) {
                (Server::Entered(supply, _), Ok((upstream, entered))) => {
                    Happened::Entered(supply, upstream, entered.size)
                }
                (Server::Entered(supply, _), Err(why)) => Happened::NotEntered(supply, why),
                _ => pending().await,
            }
        }
        Server::Serves(_, upstream) => Happened::Turned(upstream.turn().await),
        Server::Doubted(doubt, upstream) => {
            // Both are cancel-safe.
            let (supply, silence) = tokio::select! {
                turned = upstream.turn() => return Happened::Turned(turned),
                judged = doubt => judged,
            };
            match mem::replace(server, Server::None) {
                Server::Doubted(_, upstream) => Happened::Judged(supply, upstream, silence),
                _ => pending().await,
            }
        }
        Server::None => pending().await,
    }
}

/// Enter a server's export. One that does not answer to that is as good as none.
pub(super) fn enter<S: Supply>(supply: S, stream: TcpStream) -> Server<S> {
    let entered =
        async move { timeout(SILENCE_LIMIT, Upstream::enter(stream)).await.unwrap_or_else(|late| Err(late.into())) };
    Server::Entered(supply, Box::pin(entered))
}

/// Look for the next server.
pub(super) fn seek<S: Supply>(mut supply: S) -> Server<S> {
    Server::Sought(Box::pin(async move {
        let found = supply.next().await;
        (supply, found)
    }))
}

impl<S: Supply> Server<S> {
    /// Find out whether it has a reason to be silent.
    pub(super) fn doubted(self) -> Self {
        match self {
            Self::Serves(mut supply, upstream) => {
                let doubt = async move {
                    let silence = supply.silence().await;
                    (supply, silence)
                };
                Self::Doubted(Box::pin(doubt), upstream)
            }
            other => other,
        }
    }

    /// The supply of servers, unless the next one is being looked for.
    pub(super) fn supply(self) -> Option<S> {
        match self {
            Self::Serves(supply, _) | Self::Entered(supply, _) => Some(supply),
            Self::Sought(_) | Self::Doubted(..) | Self::None => None,
        }
    }
}

/// The patience with a server that owes an answer: how long it has been silent, and how often that was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    heard: Instant,
    looks: u32,
}

impl Patience {
    /// Begin with a server that has just said something, or owes nothing.
    pub(super) fn new() -> Self {
        Self { heard: Instant::now(), looks: 0 }
    }

    /// The instant at which it is to be looked at.
    pub(super) fn due(self) -> Instant {
        self.heard + SILENCE_LIMIT + SILENCE_POLL * self.looks
    }

    /// Whether it is to be looked at now: not if it has answered since it was doubted.
    pub(super) fn is_out(self) -> bool {
        Instant::now() >= self.due()
    }

    /// Whether it has said nothing for a while.
    pub(super) fn is_quiet(self) -> bool {
        self.silence() >= QUIET_LIMIT
    }

    /// The time that it has been silent.
    pub(super) fn silence(self) -> Duration {
        self.heard.elapsed()
    }

    /// Note that it is another server.
    pub(super) fn begins_anew(&mut self) {
        self.heard = Instant::now();
    }

    /// Judge a server that was looked at: one that has an excuse has more time; why it is of no use, after some looks
    /// without. A look that was not due yet is none of them.
    pub(super) fn judged(&mut self, silence: &Silence) -> Option<Useless> {
        match silence {
            // The server may have come back to them while that was found out.
            Silence::Adrift => return self.is_quiet().then_some(Useless::Adrift),
            _ if !self.is_out() => return None,
            Silence::Excused(_) => *self = Self::new(),
            Silence::Unexcused => self.looks += 1,
        }
        (self.looks >= SILENCE_LOOKS).then(|| Useless::Silent(self.silence().as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_some_looks_without_an_excuse() {
        let mut patience = Patience::new();
        assert!(!patience.is_out());
        advance(SILENCE_LIMIT).await;
        for look in 1..SILENCE_LOOKS {
            assert!(patience.is_out() && patience.judged(&Silence::Unexcused).is_none(), "{look}");
            assert!(!patience.is_out());
            advance(SILENCE_POLL).await;
        }
        assert!(matches!(patience.judged(&Silence::Unexcused), Some(Useless::Silent(25))));
        assert!(patience.judged(&Silence::Excused("it is degraded".into())).is_none() && !patience.is_out());
    }

    /// The server was asked why it is silent, and has answered before that was known.
    #[tokio::test(start_paused = true)]
    async fn what_has_answered_meanwhile_is_not_judged() {
        let mut patience = Patience::new();
        advance(SILENCE_LIMIT).await;
        assert!(patience.is_out());
        patience = Patience::new();
        advance(SILENCE_LIMIT / 2).await;
        (0..SILENCE_LOOKS).for_each(|look| assert!(patience.judged(&Silence::Unexcused).is_none(), "{look}"));
        assert!(patience.judged(&Silence::Excused("it is degraded".into())).is_none());
        // The silence since then is counted from there.
        advance(SILENCE_LIMIT / 2).await;
        assert!(patience.is_out());
    }

    /// The sleds are back, and it is not: that is no matter of time.
    #[tokio::test(start_paused = true)]
    async fn one_that_is_adrift_is_given_up_at_once() {
        let mut patience = Patience::new();
        assert!(patience.judged(&Silence::Adrift).is_none(), "it has just said something");
        advance(QUIET_LIMIT).await;
        assert!(matches!(patience.judged(&Silence::Adrift), Some(Useless::Adrift)));
    }
}
