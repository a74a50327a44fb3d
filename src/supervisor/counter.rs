//! What is done at the ticket desk for one host: others are made way, the ticket is put on record,
//! and only then is it handed over. Aside from the loop, which hears of it before the host does.

use super::requests::Answer;
use super::workshop::Workshop;
use crate::act::written::Written;
use crate::act::{fence, mark, tickets};
use crate::config::Configuration;
use crate::decide::attach::{attached, elsewhere, others};
use crate::decide::generation::{self, NoGeneration};
use crate::names::{RegionName, VolumeName};
use crate::port_map::{Fence, LocalRegion, Placement};
use crate::region::Grant;
use crate::wire::{self, Attach, Refusal};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;
use uuid::Uuid;
use zbus::Connection;

/// Where an answer goes.
pub(super) type Reply = oneshot::Sender<Result<Answer, wire::Error>>;

/// What somebody waits for.
pub(super) struct Order {
    pub(super) host: IpAddr,
    pub(super) wish: Wanted,
    pub(super) answer: Reply,
}

/// What is wanted of a volume, for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A ticket.
    Ticket(Attach),
    /// That it is let in again, or cut off.
    Permit(bool),
}

/// What was done at the desk for a volume: what is on record now, and whom its units let in.
pub(super) struct Served {
    pub(super) volume: VolumeName,
    /// The disk that it is on record on.
    pub(super) disk: Uuid,
    pub(super) grant: Option<Grant>,
    pub(super) fence: Outcome,
}

/// What became of whom the units let in.
pub(super) enum Outcome {
    /// It is as it was.
    Untouched,
    /// It is this now.
    Now(Fence),
    /// It may have been changed in part.
    Unknown,
}

impl Order {
    pub(super) fn refuse(self, refusal: &Refusal) {
        _ = self.answer.send(self.wish.refused(refusal));
    }
}

impl Wanted {
    /// The generation as it is, for a wish that needs none of its own.
    fn permitted(self, generation: u64) -> Option<u64> {
        matches!(self, Self::Permit(_)).then_some(generation)
    }

    pub(super) fn refused(self, refusal: &Refusal) -> Result<Answer, wire::Error> {
        match self {
            Self::Ticket(_) => Ok(Answer::Refused(refusal.clone())),
            Self::Permit(_) => Err(refusal.error.clone()),
        }
    }
}

/// Everything that it takes to serve a host.
pub(super) struct Counter {
    pub(super) volume: VolumeName,
    pub(super) host: IpAddr,
    pub(super) shop: Workshop,
    pub(super) bus: Option<Connection>,
    pub(super) disk: Uuid,
    pub(super) regions: Vec<LocalRegion>,
    /// What is on record.
    pub(super) grant: Grant,
    /// Whom the units let in.
    pub(super) fences: Vec<Option<Fence>>,
    pub(super) since: BTreeMap<IpAddr, Timestamp>,
    pub(super) written: Arc<Written>,
    pub(super) uuids: BTreeMap<RegionName, Uuid>,
    /// The main processes of the volume's units.
    pub(super) processes: Vec<u32>,
    /// The sockets that were destroyed, by inode.
    pub(super) ended: HashSet<u64>,
    /// What is on record could not be read.
    pub(super) unread: bool,
    /// Whether systemd enforces whom the units let in, as was found out by trying.
    pub(super) enforced: Option<bool>,
    /// systemd was asked to change whom the units let in.
    pub(super) touched: bool,
}

/// An answer, and where it goes.
type Said = (Reply, Result<Answer, wire::Error>);
/// What generation each order gets.
type Given = Vec<Result<u64, wire::Error>>;

impl Counter {
    pub(super) async fn serve(mut self, batch: Vec<Order>) -> (Served, Vec<Said>) {
        let takeover = batch.iter().any(|order| matches!(order.wish, Wanted::Ticket(Attach { takeover: true, .. })));
        let permit = batch.iter().find_map(|order| match order.wish {
            Wanted::Permit(allow) => Some(allow),
            Wanted::Ticket(_) => None,
        });
        let done = match permit {
            Some(allow) => self.change(allow).await,
            None => self.make_way(takeover, &batch).await,
        };
        let said = match done {
            Err(refusal) => {
                batch.into_iter().map(|order| (order.answer, order.wish.refused(&refusal))).collect::<Vec<_>>()
            }
            Ok((fence, cut)) => {
                let said = self.grant(batch, permit, &cut).await;
                let fence = fence.map_or(Outcome::Untouched, Outcome::Now);
                return (Served { volume: self.volume, disk: self.disk, grant: Some(self.grant), fence }, said);
            }
        };
        let fence = if self.touched { Outcome::Unknown } else { Outcome::Untouched };
        (Served { volume: self.volume, disk: self.disk, grant: None, fence }, said)
    }

    fn config(&self) -> &Configuration {
        &self.shop.config
    }

    /// Whom the units are to let in when this is on record.
    fn around(&self, grant: &Grant) -> Fence {
        Fence::around(&self.config().map, &self.volume, Some(grant))
    }

    /// Whether any of them can be granted a generation: if not, nobody is cut off for it.
    async fn may_grant(&self, batch: &[Order]) -> Result<(), wire::Error> {
        let (written, now) = (self.highest_written().await?, Timestamp::now());
        let mut refused = Ok(());
        for order in batch {
            if let Wanted::Ticket(attach) = order.wish {
                match self.generation(&attach, self.grant.generation, written, now) {
                    Ok(_) => return Ok(()),
                    Err(why) => refused = Err(why),
                }
            }
        }
        refused
    }

    /// Sees to it that nobody but the host and those that are always let in can talk to the
    /// volume. Whom the units let in now, if that was changed; and who was cut off.
    async fn make_way(
        &mut self,
        takeover: bool,
        batch: &[Order],
    ) -> Result<(Option<Fence>, BTreeSet<IpAddr>), Refusal> {
        let (grant, host) = (self.grant.clone(), self.host);
        let next = |cut: &BTreeSet<IpAddr>| grant.to(host, 0, Timestamp::now(), cut);
        let known = self.grant.holder.is_some_and(|(holder, _)| holder == self.host);
        let none = BTreeSet::new();
        if known && self.enforced == Some(true) && self.is_around(&self.around(&next(&none))) && !self.is_open() {
            // It is the only one that could be there.
            return Ok((None, none));
        }
        let before = self.others()?;
        if !before.is_empty() && !takeover {
            return Err(self.attached_elsewhere(&before));
        }
        if !before.is_empty() && self.enforced == Some(false) {
            return Err(self.cannot_cut());
        }
        self.may_grant(batch).await.map_err(|why| self.refusal(why, Vec::new()))?;
        let cut: BTreeSet<_> = before.keys().copied().collect();
        self.cut(|address| cut.contains(&address))?;
        let wanted = self.around(&next(&cut));
        self.enclose(&wanted).await?;
        // One that came before the fence stood is in the way like those before it.
        let after = self.others()?;
        if let (Some(_), false) = (after.first_key_value(), takeover) {
            return Err(self.attached_elsewhere(&after));
        }
        let cut: BTreeSet<_> = cut.into_iter().chain(after.into_keys()).collect();
        // Where the map lets anybody in, who came meanwhile is not kept out yet.
        let whole = self.around(&next(&cut));
        if whole != wanted {
            self.enclose(&whole).await?;
        }
        // Whom the fence keeps out has nothing left here, whether it was still connected or not. A
        // fence that may not hold ends nothing for good: then it is those that were found.
        let holds = self.enforced == Some(true);
        self.destroy(|address| cut.contains(&address) || holds && !whole.admits(address)).await?;
        Ok((Some(whole), cut))
    }

    /// An operator's word: whom the units let in now.
    async fn change(&mut self, allow: bool) -> Result<(Option<Fence>, BTreeSet<IpAddr>), Refusal> {
        let wanted = self.around(&self.permitted(allow));
        if !allow {
            let host = self.host;
            self.cut(|address| address == host)?;
        }
        self.enclose(&wanted).await?;
        if !allow {
            let host = self.host;
            self.destroy(|address| address == host).await?;
        }
        Ok((Some(wanted), BTreeSet::new()))
    }

    /// What is on record when an operator has had his way. If what was there cannot be read, the host
    /// that he allows is the holder: of the others nobody knows whether they were cut off.
    fn permitted(&self, allow: bool) -> Grant {
        match self.unread && allow {
            true => self.grant.to(self.host, self.grant.generation, Timestamp::now(), &BTreeSet::new()),
            false => self.grant.with(self.host, allow),
        }
    }

    /// Whether the map lets anybody attach the volume.
    fn is_open(&self) -> bool {
        self.config().map.volumes.get(&self.volume).is_none_or(|volume| volume.hosts.is_empty())
    }

    fn is_around(&self, wanted: &Fence) -> bool {
        self.fences.iter().all(|fence| fence.as_ref() == Some(wanted))
    }

    async fn enclose(&mut self, wanted: &Fence) -> Result<(), Refusal> {
        let failed = |why: String| {
            let message =
                format!("{}: nothing was done, as systemd does not change whom it lets in: {why}", self.volume);
            self.refusal(wire::Error::new("NOT_FENCED", message, "see systemctl status, and ask again"), Vec::new())
        };
        let bus = self.bus.clone().ok_or_else(|| failed("it does not answer".into()))?;
        let done = fence::set_all(&bus, &self.regions, wanted).await.map_err(failed);
        self.touched = true;
        done
    }

    /// The other hosts that are connected now.
    fn others(&self) -> Result<BTreeMap<IpAddr, BTreeSet<RegionName>>, Refusal> {
        let connected = fence::connected(&self.regions).map_err(|why| self.unseen(&why))?;
        Ok(others(self.config(), &connected, Some(self.host)))
    }

    /// Ends connections at once: systemd takes tens of milliseconds for each unit, in which it
    /// loads programs into the kernel, and the last one's packets pass until its turn. Who comes
    /// again before that is destroyed when the fence stands. If systemd is not there, nobody will
    /// be fenced, and nobody is disturbed.
    fn cut(&mut self, whose: impl Fn(IpAddr) -> bool) -> Result<(), Refusal> {
        if self.bus.is_some() {
            let ended = fence::cut(&self.regions, whose).map_err(|why| self.unseen(&why))?;
            self.ended.extend(ended);
        }
        Ok(())
    }

    /// Ends connections for good, now that the fence stands, and waits until the downstairs have let
    /// go of them.
    async fn destroy(&mut self, whose: impl Fn(IpAddr) -> bool) -> Result<(), Refusal> {
        let more = fence::destroy(&self.regions, whose).await.map_err(|why| self.unseen(&why))?;
        self.ended.extend(more);
        let ended = std::mem::take(&mut self.ended);
        if ended.is_empty() {
            return Ok(());
        }
        tracing::warn!(VOLUME = %self.volume, "{}: {} connection(s) were cut off", self.volume, ended.len());
        if !fence::let_go(self.processes.clone(), ended).await {
            tracing::warn!(VOLUME = %self.volume, "{}: a downstairs has not closed them yet", self.volume);
        }
        Ok(())
    }

    fn unseen(&self, why: &io::Error) -> Refusal {
        let message = format!("{}: nothing was granted or changed: {why}", self.volume);
        self.refusal(wire::Error::new("NOT_FENCED", message, "ask again; see journalctl -u sledd"), Vec::new())
    }

    fn cannot_cut(&self) -> Refusal {
        let message = "systemd does not enforce whom a region lets in: who is connected cannot be cut off";
        let remedy = "see PORT_MAP_NOT_ENFORCED (sledctl checks); detach the volume where it is attached";
        self.refusal(wire::Error::new("PORT_MAP_NOT_ENFORCED", message, remedy), Vec::new())
    }

    fn attached_elsewhere(&self, hosts: &BTreeMap<IpAddr, BTreeSet<RegionName>>) -> Refusal {
        let since = |address| self.since.get(&address).copied().unwrap_or_else(Timestamp::now);
        let attached = attached(self.config(), hosts, since);
        self.refusal(elsewhere(&self.volume, &attached), attached)
    }

    fn refusal(&self, error: wire::Error, attached: Vec<wire::Attached>) -> Refusal {
        Refusal { error, generation: self.grant.generation, attached }
    }

    /// Grants each of them a generation of its own, or changes what an operator wants, and puts
    /// that on record.
    async fn grant(&mut self, mut batch: Vec<Order>, permit: Option<bool>, cut: &BTreeSet<IpAddr>) -> Vec<Said> {
        // Whoever has hung up meanwhile would not know of what he holds; the fence is put back.
        batch.retain(|order| !order.answer.is_closed());
        if batch.is_empty() {
            return Vec::new();
        }
        let now = Timestamp::now();
        let mut next = match permit {
            Some(allow) => self.permitted(allow),
            None => self.grant.to(self.host, self.grant.generation, now, cut),
        };
        let (generations, recorded) = self.put_on_record(&mut next, &batch, now).await;
        if recorded.is_ok() {
            self.grant = next;
        }
        let answer = |wish: Wanted, generation| match (wish, &recorded, generation) {
            // What was not put on record was not granted.
            (wish, _, Err(why)) | (wish, Err(why), _) => wish.refused(&self.refusal(why.clone(), Vec::new())),
            (Wanted::Permit(_), ..) => Ok(Answer::Permitted),
            (Wanted::Ticket(_), _, Ok(&generation)) => Ok(Answer::Ticket(Box::new(self.ticket(generation, now)))),
        };
        let with = generations.iter().map(Result::as_ref);
        batch.into_iter().zip(with).map(|(order, given)| (order.answer, answer(order.wish, given))).collect()
    }

    /// Puts the next grant on record; of each order, the generation that is in it.
    ///
    /// What was written to the regions is looked at meanwhile, for a host waits for both: hardly
    /// ever does it tell anything new, and then the record, which nobody was told of, is made again.
    async fn put_on_record(
        &self,
        next: &mut Grant,
        batch: &[Order],
        now: Timestamp,
    ) -> (Given, Result<(), wire::Error>) {
        let base = next.generation;
        let highest = |given: &Given| given.iter().flatten().max().copied();
        let given = self.generations(batch, base, 0, now);
        let Some(first) = highest(&given) else {
            // Nothing is put on record when nobody is granted anything.
            return (given, Err(wire::Error::new("NOT_READY", "nothing was granted", "ask again")));
        };
        next.generation = first;
        let (written, recorded) = tokio::join!(self.highest_written(), self.record(next.clone()));
        let right = match written {
            Ok(written) => self.generations(batch, base, written, now),
            // Only a ticket asks for it.
            Err(why) => batch.iter().map(|order| order.wish.permitted(base).ok_or(why.clone())).collect(),
        };
        // If none can be granted after all, what is on record now is one that nobody holds.
        match highest(&right).filter(|_| right != given) {
            None => (right, recorded),
            Some(more) => {
                next.generation = more;
                (right, self.record(next.clone()).await)
            }
        }
    }

    /// The generations for these orders, one above the other.
    fn generations(&self, batch: &[Order], mut last: u64, written: u64, now: Timestamp) -> Given {
        let one = |order: &Order| match order.wish {
            Wanted::Permit(_) => Ok(last),
            Wanted::Ticket(attach) => self.generation(&attach, last, written, now).inspect(|given| last = *given),
        };
        batch.iter().map(one).collect()
    }

    fn generation(&self, attach: &Attach, last: u64, written: u64, now: Timestamp) -> Result<u64, wire::Error> {
        let clock = now.as_second().try_into().unwrap_or_default();
        generation::next(attach.at_least, last, written, clock).map_err(|why| {
            let (code, remedy) = match why {
                NoGeneration::TooFar { .. } => {
                    ("GENERATION_TOO_HIGH", "ask with an at_least near what other sleds have granted, or without one")
                }
                NoGeneration::UsedUp(_) => {
                    ("GENERATIONS_USED_UP", "an extent's trailer is damaged: crucible-downstairs verify finds which")
                }
            };
            wire::Error::new(code, why.to_string(), remedy)
        })
    }

    async fn highest_written(&self) -> Result<u64, wire::Error> {
        let (written, config, regions) = (self.written.clone(), self.shop.config.clone(), self.regions.clone());
        let look = move || {
            let mut each = regions.iter().map(|local| written.highest(&config.region_dir(&local.name), local.geometry));
            each.try_fold(0, |highest, one| one.map(|one| highest.max(one)))
        };
        let looked = tokio::task::spawn_blocking(look).await.unwrap_or_else(|why| Err(why.to_string()));
        looked.map_err(|why| {
            let message = format!("which generations were written cannot be told: {why}");
            wire::Error::new("NOT_READY", message, "sledctl checks")
        })
    }

    async fn record(&self, grant: Grant) -> Result<(), wire::Error> {
        let (config, disk, volume) = (self.shop.config.clone(), self.disk, self.volume.clone());
        let write = move || -> io::Result<()> {
            mark::is_mounted(&config.sled.storage, disk)?;
            tickets::record(&config.sled.storage.root, &volume, &grant)
        };
        let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|why| Err(io::Error::other(why)));
        written.map_err(|why| {
            let message = format!("it could not be put on record, so it was not granted: {why}");
            wire::Error::new("NOT_RECORDED", message, "see sledctl storage and dmesg, and ask again")
        })
    }

    fn ticket(&self, generation: u64, granted: Timestamp) -> wire::Ticket {
        let config = self.config();
        let map = &config.map;
        let wanted = &map.volumes[&self.volume];
        let named = wanted.regions.iter().enumerate().filter_map(|(index, placement)| {
            let name = RegionName::new(self.volume.clone(), index)?;
            Some((name, placement))
        });
        let regions = named.map(|(name, placement)| wire::TicketRegion {
            uuid: self.uuids.get(&name).copied(),
            sled: placement.sled.clone(),
            name,
        });
        let target =
            |placement: &Placement| map.sleds.get(&placement.sled).map(|sled| (sled.address, placement.port).into());
        wire::Ticket {
            volume: self.volume.clone(),
            generation,
            sled: config.sled.name.clone(),
            host: self.host,
            granted,
            targets: wanted.regions.iter().filter_map(target).collect(),
            regions: regions.collect(),
            size_bytes: wanted.geometry.data_bytes(),
            port_map: map.digest.clone(),
            fault_tolerance: wanted.fault_tolerance(),
            tls: config.sled.tls.is_some(),
        }
    }
}
