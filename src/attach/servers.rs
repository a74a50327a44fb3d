//! Upstream's servers of a relayed volume, one after the other: each begins with a ticket of its own, won while no
//! other host was granted the volume. Never touches a request.

use super::account::{Account, ServerSeen};
use super::activity::{Activity, Info};
use super::arguments::Target;
use super::backing::Backing;
use super::ballot::majority;
use super::child::Serving;
use super::client::Look;
use super::failure::{Failure, TAKEN};
use super::server::Server;
use super::show::note;
use super::sleds::{Aim, Sleds};
use super::ticket::Won;
use super::win;
use crate::backoff::Backoff;
use crate::relay::log::Shared;
use crate::relay::{Silence, Supply};
use crate::wire::{Holder, Refusal};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// The pauses before a server that did not come up is tried again.
const SERVER_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// How long the sleds may take to say whether a server has reason to be silent.
const SLEDS_LIMIT: Duration = Duration::from_secs(5);
/// The most reasons of a server's silence that are told.
const REASON_LIMIT: usize = 3;

/// Find the volume to be another host's, as a majority of its sleds say: they have cut this one off, and what is
/// asked of its server waits for ever. Of a host that won fewer of them it is not the volume.
pub(super) fn lost(sleds: &Sleds, last: u64) -> Option<Failure> {
    let others = sleds.looks().filter(|look| other_holder(look, last).is_some());
    // A sled that was named twice is one.
    let others: BTreeSet<_> = others.map(|look| &look.volume.sled).collect();
    (others.len() >= majority(sleds.carriers().len())).then(|| still_own(sleds, last).err()).flatten()
}

/// Another host that a sled has granted the volume since this generation.
fn other_holder(look: &Look, last: u64) -> Option<&Holder> {
    let holder = look.volume.holder.as_ref()?;
    let other = holder.generation > last && holder.address.to_canonical() != look.from;
    (last > 0 && other).then_some(holder)
}

/// Find that no other host was granted the volume since this generation: what this one has kept must not be written
/// over what that one wrote.
fn still_own(sleds: &Sleds, last: u64) -> Result<(), Failure> {
    let other = sleds.looks().find_map(|look| Some((&look.volume.sled, other_holder(look, last)?)));
    let Some((sled, holder)) = other else { return Ok(()) };
    let host =
        holder.host.as_ref().map_or_else(|| holder.address.to_string(), |name| format!("{name} ({})", holder.address));
    let message = format!(
        "{} is another host's: {sled} has granted it to {host} with generation {} since {}; what was not flushed here is given up",
        sleds.volume, holder.generation, holder.since
    );
    Err(Failure::refused(TAKEN, message, format!("see crucible-attach status {}", sleds.volume)))
}

/// The same of what was won: between a look and a ticket another host may have had the volume, and let go of it
/// again.
fn not_since(won: Won, last: u64) -> Result<Won, Failure> {
    let Some((others, sled)) = won.others.clone().filter(|(others, _)| last > 0 && *others > last) else {
        return Ok(won);
    };
    let volume = &won.ticket.volume;
    let message = format!(
        "{volume} was another host's meanwhile: {sled} has granted it to another with generation {others}, after this \
         host's {last}; what was not flushed here is given up"
    );
    Err(Failure::refused(TAKEN, message, format!("see crucible-attach status {volume}")))
}

/// Upstream's servers of a volume, one after the other.
pub(super) struct Servers {
    pub(super) server: Server,
    pub(super) target: Target,
    pub(super) state: PathBuf,
    pub(super) child: Option<Serving>,
    /// The win from before there was a relay.
    pub(super) won: Option<Box<Won>>,
    /// The last generation that a server began with.
    pub(super) last: u64,
    pub(super) shared: Shared,
    pub(super) account: Account,
    /// The record of the volume.
    pub(super) backing: Option<Backing>,
}

impl Servers {
    /// Win the volume before there is a relay, and tell what it is. Others may be cut off, and time may be up.
    ///
    /// # Errors
    /// Why the volume is not won, or not what it was.
    pub(super) async fn first(&mut self, takeover: bool, deadline: Option<Instant>) -> Result<Backing, Failure> {
        let won = self.own(takeover, deadline).await?;
        let backing = Backing::of(&won.ticket).is_known(&self.state)?;
        self.won = Some(Box::new(won));
        Ok(backing)
    }

    /// Win the volume as nobody else's since the last server began.
    async fn own(&self, takeover: bool, deadline: Option<Instant>) -> Result<Won, Failure> {
        let last = self.last;
        let won = win(&self.target, takeover, deadline, &self.server, &|sleds| still_own(sleds, last)).await?;
        not_since(won, last)
    }

    /// Win the volume, and find it to be the one that it was.
    async fn win(&mut self) -> Result<Won, Failure> {
        let won = match self.won.take() {
            Some(won) => *won,
            None => self.own(false, None).await?,
        };
        self.backing = Some(Backing::of(&won.ticket).is_known(&self.state)?);
        Ok(won)
    }

    /// Begin a server and connect to it; `None` if it did not come so far.
    async fn begin(&mut self, won: &Won) -> Option<TcpStream> {
        // The generation before the server begins: whoever comes after this process knows of it.
        if let Err(why) = self.shared.set_generation(won.generation) {
            note(&format!("the generation cannot be kept: {why}; tries again"));
            return None;
        }
        if let Some(Err(why)) = self.backing.as_mut().map(|known| known.begins_with(&self.state, won.generation)) {
            // An earlier one is on record: whoever goes by that believes too soon that another host had the volume,
            // and never too late. A host's full disk is no reason to hold what is asked.
            note(&format!("warning: {why}; {}; goes on with what is kept in memory", why.error().remedy));
        }
        self.last = won.generation;
        self.account.won(won, self.backing.as_ref());
        let mut child = match Serving::begin(&self.server, won).await {
            Ok(child) => child,
            Err(why) => {
                note(&format!("{why}; tries again"));
                self.account.troubled(Some(&why));
                return None;
            }
        };
        self.account.server(self.seen(&child));
        match child.listens(self.server.listens()).await {
            Ok(stream) => {
                self.account.serves();
                self.child = Some(child);
                Some(stream)
            }
            Err(why) => {
                note(&format!("the server did not come up: {why}; tries again"));
                let remedy = format!("journalctl -u crucible-attach@{}, and crucible-attach(1)", self.target.volume);
                let message = format!("the server did not come up: {why}");
                self.account.troubled(Some(&Failure::refused(Refusal::NoServer, message, remedy)));
                self.account.server(None);
                None
            }
        }
    }

    /// The account of a server.
    fn seen(&self, child: &Serving) -> Option<ServerSeen> {
        Some(ServerSeen {
            pid: child.pid()?,
            program: self.server.program().display().to_string(),
            listens: self.server.listens(),
            control: child.control(),
            since: Instant::now(),
            serves: false,
        })
    }
}

impl Supply for Servers {
    type End = Failure;

    async fn next(&mut self) -> Result<TcpStream, Failure> {
        self.account.server(None);
        if let Some(child) = self.child.take() {
            child.end().await;
        }
        let mut backoff = Backoff::new(SERVER_PAUSES[0], SERVER_PAUSES[1]);
        loop {
            match self.win().await {
                Ok(won) => {
                    if let Some(stream) = self.begin(&won).await {
                        return Ok(stream);
                    }
                }
                Err(why) if why.is_final() => return Err(why),
                // A cure may come, and whoever asked for something waits for that rather than see an error: sleds
                // that disagree while a port map is being rolled out, for example.
                Err(why) => {
                    note(&format!("{why}; {}; tries again", why.error().remedy));
                    self.account.troubled(Some(&why));
                }
            }
            backoff.pause().await;
        }
    }

    async fn silence(&mut self) -> Silence {
        let Some(child) = &self.child else { return Silence::Excused("it has only begun".into()) };
        // A server that does not even say how it is has stopped altogether.
        let info = child.info().await.ok();
        let adrift = info.as_ref().is_some_and(Info::is_adrift);
        if let Some(activity) = info.map(|info| info.activity()).filter(|activity| *activity != Activity::Active)
            && !adrift
        {
            return Silence::Excused(format!("it is {activity}"));
        }
        let given = self.target.sleds().unwrap_or_default();
        match timeout(SLEDS_LIMIT, Sleds::look(&self.target.volume, given, Aim::Win)).await {
            Err(_) => Silence::Excused("the sleds do not say how they are".into()),
            Ok(sleds) if sleds.ready() && adrift => Silence::Adrift,
            Ok(sleds) if sleds.ready() => Silence::Unexcused,
            Ok(sleds) => {
                let reasons: Vec<_> = sleds.reasons().iter().take(REASON_LIMIT).map(ToString::to_string).collect();
                let reasons = if reasons.is_empty() { "not all sleds answer".into() } else { reasons.join("; ") };
                Silence::Excused(reasons)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::read_look;
    use super::*;
    use serde_json::{Value, json};
    use std::net::IpAddr;

    /// Sleds as told by the first of three, the second, and the first once more by another of its addresses: which
    /// host each has granted the volume with which generation.
    fn told(granted: [(&str, u64); 3]) -> Sleds {
        let volume = "still-fawn".parse().unwrap();
        let endpoints = ["10.0.0.1", "10.0.0.2", "10.1.0.1"].map(|address| address.parse().unwrap());
        let mut sleds = Sleds::new(&volume, endpoints.into(), Aim::Win);
        let from: IpAddr = "192.168.4.17".parse().unwrap();
        for (index, (sled, (address, generation))) in ["a", "b", "a"].into_iter().zip(granted).enumerate() {
            let mut body: Value = serde_json::from_str(include_str!("tests/volume.json")).unwrap();
            body["sled"] = json!(sled);
            for (region, sled) in ["a", "b", "c"].into_iter().enumerate() {
                body["regions"][region]["sled"] = json!(sled);
                body["regions"][region]["address"] = json!(format!("10.0.0.{}", region + 1));
            }
            let since = "2026-01-25T00:00:00Z";
            body["holder"] = json!({"address": address, "generation": generation, "since": since});
            sleds.hears(index, Ok(read_look(&volume, body.to_string().as_bytes(), from).unwrap()));
        }
        sleds
    }

    #[test]
    fn a_volume_is_lost_to_whoever_a_majority_has_granted_it() {
        let (own, other) = (("192.168.4.17", 7), ("10.0.0.7", 8));
        let why = lost(&told([other, other, other]), 7).unwrap().error();
        assert!(why.code == TAKEN && why.message.contains("10.0.0.7 with generation 8"), "{why:?}");
        // One of three is no majority, however often it is asked; the next server's ticket is another matter.
        assert!(lost(&told([other, own, other]), 7).is_none() && still_own(&told([other, own, other]), 7).is_err());
        // Grants from before, and those that nobody has begun with yet.
        assert!(lost(&told([other, other, other]), 8).is_none() && lost(&told([other, other, other]), 0).is_none());
        assert!(lost(&told([own, own, own]), 6).is_none());
    }
}
