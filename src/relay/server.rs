//! How it stands with the relay's server: the next one is looked for, it is entered, it serves, or it should and
//! does not. Which comes after which is the relay's to say.

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

/// A server that has answered nothing for so long is looked at, and how often from then on. A replica that is
/// repaired while it serves holds requests up for some seconds.
const SILENT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_secs(5);
/// How many looks in a row must find that a silent server has no reason to be.
const LOOKS: u32 = 3;

/// A server that owes an answer and has said nothing for so long is looked at when its sleds are back.
const QUIET: Duration = Duration::from_millis(500);

type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the loop has to do with the server.
pub(super) enum Server<S: Supply> {
    /// The next one is looked for.
    Sought(Coming<(S, Result<TcpStream, S::End>)>),
    /// Its export is entered.
    Entered(S, Coming<io::Result<(Upstream, Entered)>>),
    /// It serves.
    Serves(S, Upstream),
    /// It serves, or should: that is being found out.
    Doubted(Coming<(S, Silence)>, Upstream),
    /// For a moment: it is about to become another of these.
    None,
}

/// What has happened with the server.
pub(super) enum Happened<S: Supply> {
    Turned(io::Result<Turn>),
    Found(S, TcpStream),
    Ended(S, S::End),
    Entered(S, Upstream, u64),
    NotEntered(S, io::Error),
    Judged(S, Upstream, Silence),
}

/// Waits until something happens with the server. Cancel-safe: what is awaited stays where it is, and is taken only
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
            // Cancel-safe, both.
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

/// Enters a server's export. One that does not answer to that is as good as none.
pub(super) fn enter<S: Supply>(supply: S, stream: TcpStream) -> Server<S> {
    let entered = async move { timeout(SILENT, Upstream::enter(stream)).await.unwrap_or_else(|late| Err(late.into())) };
    Server::Entered(supply, Box::pin(entered))
}

/// Looks for the next server.
pub(super) fn seek<S: Supply>(mut supply: S) -> Server<S> {
    Server::Sought(Box::pin(async move {
        let found = supply.next().await;
        (supply, found)
    }))
}

impl<S: Supply> Server<S> {
    /// Finds out whether it has a reason to be silent.
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

    /// What servers come from, unless the next one is being looked for.
    pub(super) fn supply(self) -> Option<S> {
        match self {
            Self::Serves(supply, _) | Self::Entered(supply, _) => Some(supply),
            Self::Sought(_) | Self::Doubted(..) | Self::None => None,
        }
    }
}

/// How long the server has been silent that owes an answer, and how often that was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    heard: Instant,
    looks: u32,
}

impl Patience {
    /// It has just said something, or owes nothing.
    pub(super) fn new() -> Self {
        Self { heard: Instant::now(), looks: 0 }
    }

    /// When it is to be looked at.
    pub(super) fn due(self) -> Instant {
        self.heard + SILENT + LOOK * self.looks
    }

    /// Whether it is to be looked at now: not if it has answered since it was doubted.
    pub(super) fn is_out(self) -> bool {
        Instant::now() >= self.due()
    }

    /// Whether it has said nothing for a while.
    pub(super) fn is_quiet(self) -> bool {
        self.silence() >= QUIET
    }

    /// For how long it has been silent.
    pub(super) fn silence(self) -> Duration {
        self.heard.elapsed()
    }

    /// It is another server.
    pub(super) fn begins_anew(&mut self) {
        self.heard = Instant::now();
    }

    /// It was looked at: one that has an excuse has more time; why it is of no use, after some looks without. A look that
    /// was not due yet is none of them.
    pub(super) fn judged(&mut self, silence: &Silence) -> Option<Useless> {
        match silence {
            // It may have come back to them while that was found out.
            Silence::Adrift => return self.is_quiet().then_some(Useless::Adrift),
            _ if !self.is_out() => return None,
            Silence::Excused(_) => *self = Self::new(),
            Silence::Unexcused => self.looks += 1,
        }
        (self.looks >= LOOKS).then(|| Useless::Silent(self.silence().as_secs()))
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
        advance(SILENT).await;
        for look in 1..LOOKS {
            assert!(patience.is_out() && patience.judged(&Silence::Unexcused).is_none(), "{look}");
            assert!(!patience.is_out());
            advance(LOOK).await;
        }
        assert!(matches!(patience.judged(&Silence::Unexcused), Some(Useless::Silent(25))));
        assert!(patience.judged(&Silence::Excused("it is degraded".into())).is_none() && !patience.is_out());
    }

    /// It was asked why it is silent, and has answered before that was known.
    #[tokio::test(start_paused = true)]
    async fn what_has_answered_meanwhile_is_not_judged() {
        let mut patience = Patience::new();
        advance(SILENT).await;
        assert!(patience.is_out());
        patience = Patience::new();
        advance(SILENT / 2).await;
        (0..LOOKS).for_each(|look| assert!(patience.judged(&Silence::Unexcused).is_none(), "{look}"));
        assert!(patience.judged(&Silence::Excused("it is degraded".into())).is_none());
        // That it has been silent since then is counted from there.
        advance(SILENT / 2).await;
        assert!(patience.is_out());
    }

    /// Its sleds are back, and it is not: that is no matter of time.
    #[tokio::test(start_paused = true)]
    async fn one_that_is_adrift_is_given_up_at_once() {
        let mut patience = Patience::new();
        assert!(patience.judged(&Silence::Adrift).is_none(), "it has just said something");
        advance(QUIET).await;
        assert!(matches!(patience.judged(&Silence::Adrift), Some(Useless::Adrift)));
    }
}
