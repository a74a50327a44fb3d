//! The desk at which tickets are handed out: one at a time for a volume, in the order in which
//! they were asked for.
//!
//! A ticket is granted when nobody else is connected, or after everybody else was cut off; its
//! holder is the only host that the volume's regions let in from before it is answered; and it is
//! on record, durably, before that. Those that wait for the same host's tickets are granted
//! together: each its own generation, all of them with one write.

use super::requests::Answer;
use super::workshop::Workshop;
use super::{Event, Supervisor};
use crate::act::written::Written;
use crate::act::{fence, mark, tickets};
use crate::config::Configuration;
use crate::decide::attach::{attached, elsewhere, may_attach, may_permit, others};
use crate::decide::generation;
use crate::names::{RegionName, VolumeName};
use crate::port_map::{Fence, LocalRegion};
use crate::region::Grant;
use crate::wire::{self, Attach, Refusal};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;
use uuid::Uuid;
use zbus::Connection;

/// Where an answer goes.
type Reply = oneshot::Sender<Result<Answer, wire::Error>>;

/// What somebody waits for.
pub(super) struct Order {
    host: IpAddr,
    wish: Wanted,
    answer: Reply,
}

/// What is wanted of a volume, for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A ticket.
    Ticket(Attach),
    /// That it is let in again, or cut off.
    Permit(bool),
}

/// Who waits at the desk, by volume.
#[derive(Default)]
pub(super) struct Desk {
    waiting: BTreeMap<VolumeName, VecDeque<Order>>,
    written: Arc<Written>,
}

/// What was done at the desk for a volume: what is on record now, and whom its units let in.
pub(super) struct Served {
    volume: VolumeName,
    grant: Option<Grant>,
    fence: Outcome,
}

/// What became of whom the units let in.
enum Outcome {
    /// It is as it was.
    Untouched,
    /// It is this now.
    Now(Fence),
    /// It may have been changed in part.
    Unknown,
}

impl Supervisor {
    /// Takes a host's wish for a ticket.
    pub(super) fn ask_for_ticket(&mut self, volume: VolumeName, host: IpAddr, attach: Attach, answer: Reply) {
        let ready = self.editor.ready(&volume);
        match may_attach(&self.config, ready, &volume, host) {
            Err(why) => {
                if why.code == "HOST_NOT_ALLOWED" {
                    self.knocked(&volume, Some(host));
                }
                _ = answer.send(Ok(Answer::Refused(self.refusal(&volume, why))));
            }
            Ok(_) => self.queue(volume, Order { host, wish: Wanted::Ticket(attach), answer }),
        }
    }

    /// Takes an operator's wish that a host is let in again, or cut off.
    pub(super) fn permit(&mut self, volume: VolumeName, host: &str, allow: bool, answer: Reply) {
        let named = || self.config.map.hosts.get(&host.parse().ok()?).copied();
        let Some(host) = host.parse().ok().map(|address: IpAddr| address.to_canonical()).or_else(named) else {
            let message = format!("{host:?} is no address, and the port map has no host of that name");
            _ = answer.send(Err(wire::Error::new("HOST_UNKNOWN", message, "for example 192.168.4.17")));
            return;
        };
        match may_permit(&self.config, &volume, host, allow) {
            Err(why) => _ = answer.send(Err(why)),
            Ok(_) => self.queue(volume, Order { host, wish: Wanted::Permit(allow), answer }),
        }
    }

    fn refusal(&self, volume: &VolumeName, error: wire::Error) -> Refusal {
        let hosts = match error.code.as_str() {
            "HOST_NOT_ALLOWED" => BTreeMap::new(),
            _ => self.facts.visitors(&self.config, volume),
        };
        let generation = match error.code.as_str() {
            "HOST_NOT_ALLOWED" => 0,
            _ => self.facts.granted(volume).generation,
        };
        let attached = attached(&self.config, &hosts, |address| self.since(volume, address));
        Refusal { error, generation, attached }
    }

    /// Since when a host has been seen at a volume.
    fn since(&self, volume: &VolumeName, address: IpAddr) -> Timestamp {
        let seen = self.facts.seen_since.get(&(volume.clone(), address)).copied();
        seen.unwrap_or_else(Timestamp::now)
    }

    fn queue(&mut self, volume: VolumeName, order: Order) {
        self.desk.waiting.entry(volume.clone()).or_default().push_back(order);
        self.serve(&volume);
    }

    /// Serves who waits for a volume, unless somebody is being served.
    fn serve(&mut self, volume: &VolumeName) {
        if self.facts.granting.contains(volume) {
            return;
        }
        let Some(waiting) = self.desk.waiting.get_mut(volume) else { return };
        let batch = next_batch(waiting);
        if waiting.is_empty() {
            self.desk.waiting.remove(volume);
        }
        let Some(first) = batch.first() else { return };
        let known = self.facts.grants.is_some();
        let (Some(disk), true) = (self.disk(), known) else {
            let why = wire::Error::new("NOT_READY", "the data disk has not been looked at", "ask again in a moment");
            let refusal = self.refusal(volume, why);
            batch.into_iter().for_each(|order| order.refuse(&refusal));
            return;
        };
        let regions = self.config.local_regions().into_iter().filter(|local| local.name.volume() == volume);
        let counter = Counter {
            host: first.host,
            shop: self.shop.on(disk),
            bus: self.bus.clone(),
            disk,
            regions: regions.collect(),
            grant: self.facts.granted(volume),
            fences: self.fences(volume),
            since: self.seen_since(volume),
            written: self.desk.written.clone(),
            uuids: self.editor.uuids(volume),
            volume: volume.clone(),
            enforced: self.facts.enforcement.as_ref().is_some_and(|found| found.address.is_ok()),
            touched: false,
        };
        self.facts.granting.insert(volume.clone());
        let (events, volume) = (self.events.clone(), volume.clone());
        tokio::spawn(async move {
            // Even a panic is an end that is heard of: the volume is not blocked by it.
            let done = tokio::spawn(counter.serve(batch)).await;
            let served = done.unwrap_or_else(|why| {
                tracing::error!("what was asked for {volume} was cut short: {why}");
                (Served { volume, grant: None, fence: Outcome::Unknown }, Vec::new())
            });
            _ = events.send(Event::Served(served.0)).await;
            // The loop hears of it before the host does: whoever asks next finds it so.
            for (answer, reply) in served.1 {
                _ = answer.send(reply);
            }
        });
    }

    /// Whom each of the volume's units lets in, as far as is known.
    fn fences(&self, volume: &VolumeName) -> Vec<Option<Fence>> {
        let here = self.facts.regions.iter().filter(|(name, _)| name.volume() == volume);
        here.map(|(_, region)| region.unit.as_ref().and_then(|unit| unit.fence.clone())).collect()
    }

    fn seen_since(&self, volume: &VolumeName) -> BTreeMap<IpAddr, Timestamp> {
        let here = self.facts.seen_since.iter().filter(|((at, _), _)| at == volume);
        here.map(|((_, address), since)| (*address, *since)).collect()
    }

    /// Takes what was done at the desk.
    pub(super) fn hear_served(&mut self, Served { volume, grant, fence }: Served) {
        self.facts.granting.remove(&volume);
        if let (Some(grant), Some(grants)) = (grant, self.facts.grants.as_mut()) {
            grants.insert(volume.clone(), grant);
        }
        let now = match fence {
            Outcome::Untouched => None,
            Outcome::Now(fence) => Some(Some(fence)),
            // The plan puts it right.
            Outcome::Unknown => Some(None),
        };
        if let Some(fence) = now {
            for (_, region) in self.facts.regions.iter_mut().filter(|(name, _)| *name.volume() == volume) {
                region.unit.iter_mut().for_each(|unit| unit.fence.clone_from(&fence));
            }
            self.observers.look_at_sockets();
        }
        self.serve(&volume);
    }
}

impl Order {
    fn refuse(self, refusal: &Refusal) {
        _ = self.answer.send(self.wish.refused(refusal));
    }
}

impl Wanted {
    fn refused(self, refusal: &Refusal) -> Result<Answer, wire::Error> {
        match self {
            Self::Ticket(_) => Ok(Answer::Refused(refusal.clone())),
            Self::Permit(_) => Err(refusal.error.clone()),
        }
    }
}

/// The first that waits, and all that want the same for the same host.
fn next_batch(waiting: &mut VecDeque<Order>) -> Vec<Order> {
    let Some(first) = waiting.pop_front() else { return Vec::new() };
    let alike = |order: &Order| match (first.wish, order.wish) {
        (Wanted::Ticket(one), Wanted::Ticket(other)) => order.host == first.host && one.takeover == other.takeover,
        _ => false,
    };
    let (with, rest): (Vec<_>, Vec<_>) = waiting.drain(..).partition(alike);
    waiting.extend(rest);
    std::iter::once(first).chain(with).collect()
}

/// Everything that it takes to serve a host.
struct Counter {
    volume: VolumeName,
    host: IpAddr,
    shop: Workshop,
    bus: Option<Connection>,
    disk: Uuid,
    regions: Vec<LocalRegion>,
    /// What is on record.
    grant: Grant,
    /// Whom the units let in.
    fences: Vec<Option<Fence>>,
    since: BTreeMap<IpAddr, Timestamp>,
    written: Arc<Written>,
    uuids: BTreeMap<RegionName, Uuid>,
    /// It was proved that systemd enforces whom the units let in.
    enforced: bool,
    /// systemd was asked to change whom the units let in.
    touched: bool,
}

/// An answer, and where it goes.
type Said = (Reply, Result<Answer, wire::Error>);

impl Counter {
    async fn serve(mut self, batch: Vec<Order>) -> (Served, Vec<Said>) {
        let takeover = batch.iter().any(|order| matches!(order.wish, Wanted::Ticket(Attach { takeover: true, .. })));
        let permit = batch.iter().find_map(|order| match order.wish {
            Wanted::Permit(allow) => Some(allow),
            Wanted::Ticket(_) => None,
        });
        let done = match permit {
            Some(allow) => self.change(allow).await,
            None => self.make_way(takeover).await,
        };
        let said = match done {
            Err(refusal) => {
                batch.into_iter().map(|order| (order.answer, order.wish.refused(&refusal))).collect::<Vec<_>>()
            }
            Ok((fence, cut)) => {
                let said = self.grant(batch, permit, &cut).await;
                let fence = fence.map_or(Outcome::Untouched, Outcome::Now);
                return (Served { volume: self.volume, grant: Some(self.grant), fence }, said);
            }
        };
        let fence = if self.touched { Outcome::Unknown } else { Outcome::Untouched };
        (Served { volume: self.volume, grant: None, fence }, said)
    }

    fn config(&self) -> &Configuration {
        &self.shop.config
    }

    /// Whom the units are to let in when this is on record.
    fn around(&self, grant: &Grant) -> Fence {
        Fence::around(&self.config().map, &self.volume, Some(grant))
    }

    /// Sees to it that nobody but the host and those that are always let in can talk to the
    /// volume. Whom the units let in now, if that was changed; and who was cut off.
    async fn make_way(&mut self, takeover: bool) -> Result<(Option<Fence>, BTreeSet<IpAddr>), Refusal> {
        let (grant, host) = (self.grant.clone(), self.host);
        let next = |cut: &BTreeSet<IpAddr>| grant.to(host, 0, Timestamp::now(), cut);
        let known = self.grant.holder.is_some_and(|(holder, _)| holder == self.host);
        let none = BTreeSet::new();
        if known && self.enforced && self.is_around(&self.around(&next(&none))) && !self.is_open() {
            // It is the only one that could be there.
            return Ok((None, none));
        }
        let before = self.others()?;
        if !before.is_empty() && !takeover {
            return Err(self.attached_elsewhere(&before));
        }
        let cut: BTreeSet<_> = before.keys().copied().collect();
        let wanted = self.around(&next(&cut));
        self.enclose(&wanted).await?;
        // One that came before the fence stood is in the way like those before it.
        let after = self.others()?;
        if let (Some(_), false) = (after.first_key_value(), takeover) {
            return Err(self.attached_elsewhere(&after));
        }
        self.destroy(|address| after.contains_key(&address)).await?;
        let cut = cut.into_iter().chain(after.into_keys()).collect();
        if !self.is_open() {
            return Ok((Some(wanted), cut));
        }
        let wanted = self.around(&next(&cut));
        self.enclose(&wanted).await?;
        Ok((Some(wanted), cut))
    }

    /// An operator's word: whom the units let in now.
    async fn change(&mut self, allow: bool) -> Result<(Option<Fence>, BTreeSet<IpAddr>), Refusal> {
        let wanted = self.around(&self.grant.with(self.host, allow));
        self.enclose(&wanted).await?;
        if !allow {
            self.destroy(|address| address == self.host).await?;
        }
        Ok((Some(wanted), BTreeSet::new()))
    }

    /// Whether the map lets anybody attach the volume.
    fn is_open(&self) -> bool {
        self.config().map.volumes.get(&self.volume).is_none_or(|volume| volume.hosts.is_empty())
    }

    fn is_around(&self, wanted: &Fence) -> bool {
        self.fences.iter().all(|fence| fence.as_ref() == Some(wanted))
    }

    async fn enclose(&mut self, wanted: &Fence) -> Result<(), Refusal> {
        if self.is_around(wanted) {
            return Ok(());
        }
        let failed = |why: String| {
            let message =
                format!("nobody was granted anything: systemd does not change whom {} lets in: {why}", self.volume);
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

    async fn destroy(&self, whose: impl Fn(IpAddr) -> bool) -> Result<(), Refusal> {
        let ended = fence::destroy(&self.regions, whose).await.map_err(|why| self.unseen(&why))?;
        if ended > 0 {
            tracing::warn!(VOLUME = %self.volume, "{}: {ended} connection(s) of others were cut off", self.volume);
        }
        Ok(())
    }

    fn unseen(&self, why: &io::Error) -> Refusal {
        let message = format!("nobody was granted anything: {why}");
        self.refusal(wire::Error::new("NOT_FENCED", message, "ask again; see journalctl -u sledd"), Vec::new())
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
    async fn grant(&mut self, batch: Vec<Order>, permit: Option<bool>, cut: &BTreeSet<IpAddr>) -> Vec<Said> {
        let now = Timestamp::now();
        let mut next = match permit {
            Some(allow) => self.grant.with(self.host, allow),
            None => self.grant.to(self.host, self.grant.generation, now, cut),
        };
        let written = match permit {
            Some(_) => Ok(0),
            None => self.highest_written().await,
        };
        let mut said: Vec<Said> = Vec::new();
        for order in batch {
            let answer = match (order.wish, &written) {
                (Wanted::Permit(_), _) => Ok(Answer::Permitted),
                (Wanted::Ticket(attach), Ok(written)) => match self.generation(&attach, &next, *written, now) {
                    Ok(generation) => {
                        next.generation = generation;
                        Ok(Answer::Ticket(Box::new(self.ticket(generation, now))))
                    }
                    Err(why) => Ok(Answer::Refused(self.refusal(why, Vec::new()))),
                },
                (Wanted::Ticket(_), Err(why)) => Ok(Answer::Refused(self.refusal(why.clone(), Vec::new()))),
            };
            said.push((order.answer, answer));
        }
        match self.record(next.clone()).await {
            Ok(()) => self.grant = next,
            Err(why) => {
                // What was not put on record was not granted.
                let refusal = self.refusal(why, Vec::new());
                said.iter_mut().for_each(|(_, answer)| *answer = Ok(Answer::Refused(refusal.clone())));
            }
        }
        said
    }

    fn generation(&self, attach: &Attach, last: &Grant, written: u64, now: Timestamp) -> Result<u64, wire::Error> {
        let clock = now.as_second().try_into().unwrap_or_default();
        generation::next(attach.at_least, last.generation, written, clock).map_err(|why| {
            let remedy = "ask with an at_least near what other sleds have granted, or without one";
            wire::Error::new("GENERATION_TOO_HIGH", why.to_string(), remedy)
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
        let target = |placement: &crate::port_map::Placement| {
            map.sleds.get(&placement.sled).map(|sled| (sled.address, placement.port).into())
        };
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
