//! Upstream's servers of a relayed volume, one after the other: each begins with a ticket of its own, won while no
//! other host was granted the volume. Never touches a request.

use super::arguments::Target;
use super::backing::Backing;
use super::child::Serving;
use super::failure::{Failure, TAKEN};
use super::server::Server;
use super::show::note;
use super::sleds::{Aim, Sleds};
use super::ticket::Won;
use super::win;
use crate::observe::backoff::Backoff;
use crate::relay::Supply;
use crate::relay::log::Shared;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The pauses before a server that did not come up is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// How long the sleds may take to say whether a server has reason to be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// That no other host was granted the volume since this generation: what this one has kept must not be written over
/// what that one wrote.
pub(super) fn still_own(sleds: &Sleds, last: u64) -> Result<(), Failure> {
    let other = sleds.looks().find_map(|look| {
        let holder = look.volume.holder.as_ref()?;
        let other = holder.generation > last && holder.address.to_canonical() != look.from;
        (last > 0 && other).then(|| (look.volume.sled.clone(), holder.clone()))
    });
    let Some((sled, holder)) = other else { return Ok(()) };
    let host = holder.host.map_or_else(|| holder.address.to_string(), |name| format!("{name} ({})", holder.address));
    let message = format!(
        "{} is another host's: {sled} has granted it to {host} with generation {} since {}; what was not flushed here is given up",
        sleds.volume, holder.generation, holder.since
    );
    Err(Failure::refused(TAKEN, message, format!("see crucible-attach status {}", sleds.volume)))
}

/// Upstream's servers of a volume, one after the other.
pub(super) struct Servers {
    pub(super) server: Server,
    pub(super) target: Target,
    pub(super) state: PathBuf,
    pub(super) child: Option<Serving>,
    /// What was won before there was a relay.
    pub(super) won: Option<Box<Won>>,
    /// The last generation that a server began with.
    pub(super) last: u64,
    pub(super) shared: Shared,
}

impl Servers {
    /// The volume, won; and it is the one that it was.
    async fn win(&mut self) -> Result<Won, Failure> {
        let won = match self.won.take() {
            Some(won) => *won,
            None => {
                let last = self.last;
                win(&self.target, false, None, &self.server, &|sleds| still_own(sleds, last)).await?
            }
        };
        Backing::of(&won.ticket).is_known(&self.state)?;
        Ok(won)
    }

    /// A connection to a server; `None` if it did not come so far.
    async fn begin(&mut self, won: &Won) -> Option<TcpStream> {
        // Before it begins: whoever comes after this process knows of it.
        if let Err(why) = self.shared.set_generation(won.generation) {
            note(&format!("the generation cannot be kept: {why}"));
            return None;
        }
        self.last = won.generation;
        let mut child = match Serving::begin(&self.server, won).await {
            Ok(child) => child,
            Err(why) => {
                note(&format!("{why}; tries again"));
                return None;
            }
        };
        match child.listens(self.server.listens()).await {
            Ok(stream) => {
                self.child = Some(child);
                Some(stream)
            }
            Err(why) => {
                note(&format!("the server did not come up: {why}; tries again"));
                None
            }
        }
    }
}

impl Supply for Servers {
    type End = Failure;

    async fn next(&mut self) -> Result<TcpStream, Failure> {
        if let Some(child) = self.child.take() {
            child.end().await;
        }
        let mut backoff = Backoff::new(PAUSES[0], PAUSES[1]);
        loop {
            match self.win().await {
                Ok(won) => {
                    if let Some(stream) = self.begin(&won).await {
                        return Ok(stream);
                    }
                }
                Err(why) if why.is_final() => return Err(why),
                // It may be cured, and whoever asked for something waits for that rather than see an error: sleds that
                // disagree while a port map is being rolled out, for example.
                Err(why) => note(&format!("{why}; {}; tries again", why.error().remedy)),
            }
            backoff.pause().await;
        }
    }

    async fn should_answer(&mut self) -> bool {
        let Some(child) = &self.child else { return false };
        // One that does not even say how it is has stopped altogether.
        let active = child.info().await.map_or(true, |info| info.is_active());
        let given = self.target.sleds().unwrap_or_default();
        let look = Sleds::look(&self.target.volume, given, Aim::Win);
        active && timeout(PATIENCE, look).await.is_ok_and(|sleds| sleds.ready())
    }
}
