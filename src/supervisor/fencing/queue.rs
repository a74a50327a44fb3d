//! The desk at which tickets are handed out: one at a time for a volume, in the order in which
//! they were asked for.
//!
//! A ticket is granted when nobody else is connected and nobody else holds the last one, or after
//! everybody else was cut off; its holder is the only host that the volume's regions let in from before
//! it is answered, unless the map leaves the volume open; and it is on record, durably, before that
//! (`decide::granting` has the order of it). Those that wait for the same host's tickets are granted
//! together: each its own generation, all of them with one write.

use crate::decide::attach::{attached, may_attach, may_let_go, may_permit};
use crate::decide::facts::{Fencing, Gap};
use crate::decide::storage::identity;
use crate::kernel::presence::Presence;
use crate::names::VolumeName;
use crate::port_map::{Fence, LocalRegion};
use crate::store::generations::Written;
use crate::supervisor::Supervisor;
use crate::supervisor::event::Event;
use crate::supervisor::fencing::grant::{Answered, Asker, Counter, Order, Outcome, Recorded, Reply, Served, Wanted};
use crate::supervisor::fencing::holder_absence::Absences;
use crate::supervisor::fencing::lacking_hosts::Lacks;
use crate::supervisor::requests::Answer;
use crate::wire::{self, Attach, Refusal, RefusedTicket};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

/// Who waits at the desk, by volume, and what is remembered there.
pub(in crate::supervisor) struct Desk {
    waiting: BTreeMap<VolumeName, VecDeque<Order>>,
    written: Arc<Written>,
    /// What those who were served are answered once it is published.
    answers: Vec<Answered>,
    /// Whether systemd enforces whom units let in; `None` as long as that could not be tried.
    enforced: watch::Sender<Option<bool>>,
    /// The sockets that were destroyed and that a downstairs had not let go of when it was last
    /// looked at, by inode.
    lingering: BTreeMap<VolumeName, HashSet<u64>>,
    pub(in crate::supervisor) absences: Absences,
    /// Which hosts lack a region.
    pub(in crate::supervisor) lacks: Lacks,
    /// The last entries that were read of records that have later ones, by their serial.
    pub(in crate::supervisor) behind: BTreeMap<VolumeName, u64>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            written: Arc::default(),
            answers: Vec::new(),
            enforced: watch::Sender::new(None),
            lingering: BTreeMap::new(),
            absences: Absences::default(),
            lacks: Lacks::default(),
            behind: BTreeMap::new(),
        }
    }
}

impl Supervisor {
    /// Takes a host's wish for a ticket.
    pub(in crate::supervisor) fn ask_for_ticket(&mut self, volume: VolumeName, asker: Asker, attach: Attach) {
        match self.may_attach(&volume, asker.host) {
            Err(why) => {
                if why.code == Refusal::HostNotAllowed {
                    self.knocked(&volume, Some(asker.host));
                }
                _ = asker.answer.send(Ok(Answer::Refused(self.refusal(&volume, why))));
            }
            Ok(_) => self.queue(volume, Order { asker, wish: Wanted::Ticket(attach) }),
        }
    }

    /// Takes a host's word that it lets go of its ticket.
    pub(in crate::supervisor) fn let_go(&mut self, volume: VolumeName, asker: Asker, generation: Option<u64>) {
        match may_let_go(&self.config, &volume) {
            Err(why) => _ = asker.answer.send(Ok(Answer::Refused(self.refusal(&volume, why)))),
            Ok(_) => self.queue(volume, Order { asker, wish: Wanted::LetGo(generation) }),
        }
    }

    /// Takes an operator's wish that a host is let in again, or cut off.
    pub(in crate::supervisor) fn permit(&mut self, volume: VolumeName, host: &str, allow: bool, answer: Reply) {
        let named = || self.config.map.hosts.get(&host.parse().ok()?).copied();
        let Some(host) = host.parse().ok().map(|address: IpAddr| address.to_canonical()).or_else(named) else {
            let message = format!("{host:?} is no address, and the port map has no host of that name");
            _ = answer.send(Err(wire::Error::new(Refusal::HostUnknown, message, "for example 192.168.4.17")));
            return;
        };
        let asker = Asker { host, there: Presence::nobody(), answer };
        match may_permit(&self.config, &volume, host, allow) {
            Err(why) => _ = asker.answer.send(Err(why)),
            Ok(_) => self.queue(volume, Order { asker, wish: Wanted::Permit(allow) }),
        }
    }

    /// Writes what is known of a volume's tickets anew, as its record is not as it was written.
    pub(in crate::supervisor) fn write_anew(&mut self, volume: VolumeName) {
        let (answer, _) = tokio::sync::oneshot::channel();
        let asker = Asker { host: self.config.address, there: Presence::nobody(), answer };
        self.queue(volume, Order { asker, wish: Wanted::Rewrite });
    }

    /// Whether a host may have a ticket, as far as can be told without looking who is connected.
    fn may_attach(&self, volume: &VolumeName, host: IpAddr) -> Result<Vec<LocalRegion>, wire::Error> {
        let may = may_attach(&self.config, self.ready_for(volume, host), volume, host);
        match (self.is_kept_from(volume, host), may) {
            // Who may not attach it at all is told that.
            (Some(why), Ok(_)) => Err(why),
            (Some(why), Err(refused)) if refused.code == Refusal::NotReady => Err(why),
            (_, may) => may,
        }
    }

    pub(in crate::supervisor) fn refusal(&self, volume: &VolumeName, error: wire::Error) -> RefusedTicket {
        // Who may not attach it at all is told nothing of those who may.
        let (hosts, generation) = if error.code == Refusal::HostNotAllowed {
            (BTreeMap::new(), 0)
        } else {
            (self.facts.visitors(&self.config, volume), self.facts.granted(volume).generation)
        };
        let attached = attached(&self.config, &hosts, |address| self.since(volume, address));
        RefusedTicket { error, generation, attached }
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

    /// Serves who waits for a volume, unless somebody is being served or its fence is being changed:
    /// what is under way must not come into force behind a ticket.
    pub(in crate::supervisor) fn serve(&mut self, volume: &VolumeName) {
        while !self.facts.granting.contains(volume) && !self.is_being_fenced(volume) {
            let Some(waiting) = self.desk.waiting.get_mut(volume) else { return };
            let batch = next_batch(waiting);
            if waiting.is_empty() {
                self.desk.waiting.remove(volume);
            }
            self.serve_batch(volume, batch);
        }
    }

    fn is_being_fenced(&self, volume: &VolumeName) -> bool {
        let mut here = self.facts.regions.iter().filter(|(name, _)| name.volume() == volume);
        here.any(|(_, region)| region.fencing == Fencing::Asked)
    }

    /// Whether an order is still one that may be carried out: what was right when it came in may
    /// not be so any more when its turn has come.
    fn judge_again(&self, volume: &VolumeName, order: &Order) -> Result<(), wire::Error> {
        let host = order.asker.host;
        match order.wish {
            Wanted::Ticket(_) => self.may_attach(volume, host),
            Wanted::Permit(allow) => may_permit(&self.config, volume, host, allow),
            Wanted::LetGo(_) | Wanted::Rewrite => may_let_go(&self.config, volume),
        }
        .map(|_| ())
    }

    fn serve_batch(&mut self, volume: &VolumeName, batch: Vec<Order>) {
        let mut good = Vec::new();
        for order in batch {
            match self.judge_again(volume, &order) {
                Ok(()) => good.push(order),
                Err(why) => order.refuse(&self.refusal(volume, why)),
            }
        }
        let Some(first) = good.first() else { return };
        let Some(counter) = self.counter(volume, first) else {
            let why =
                wire::Error::new(Refusal::NotReady, "the data disk has not been looked at", "ask again in a moment");
            let refusal = self.refusal(volume, why);
            return good.into_iter().for_each(|order| order.refuse(&refusal));
        };
        self.facts.granting.insert(volume.clone());
        let (volume, disk) = (volume.clone(), counter.disk);
        // A panic is heard of: the volume is not blocked by it.
        let lost = move |_| Some(Event::Served(Served::cut_short(volume, disk), Vec::new()));
        self.errands.run(lost, async move {
            let (served, answers) = counter.serve(good).await;
            Some(Event::Served(served, answers))
        });
    }

    /// Everything that it takes to serve a host; `None` as long as the disk was not looked at.
    fn counter(&self, volume: &VolumeName, first: &Order) -> Option<Counter> {
        let disk = self.disk().filter(|_| self.facts.grants.is_some())?;
        let regions = self.config.local_regions().into_iter().filter(|local| local.name.volume() == volume);
        let ledger = self.facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
        Some(Counter {
            host: first.asker.host,
            shop: self.shop.on(disk),
            bus: self.bus.clone(),
            disk,
            regions: regions.collect(),
            grant: self.facts.granted(volume),
            fences: self.fences(volume),
            since: self.seen_since(volume),
            away: self.away_for(volume),
            written: self.desk.written.clone(),
            uuids: self.editor.uuids(volume),
            volume: volume.clone(),
            processes: self.processes(volume),
            unread: self.facts.unread_grants.contains_key(volume),
            listed: AtomicBool::new(ledger.is_some_and(|ledger| ledger.tickets.contains(volume))),
            enforced: self.desk.enforced.subscribe(),
            attempt: crate::supervisor::fencing::grant::Attempt::with(
                self.desk.lingering.get(volume).cloned().unwrap_or_default(),
            ),
        })
    }

    /// Whom each of the volume's units lets in, as far as is known.
    fn fences(&self, volume: &VolumeName) -> Vec<Option<Fence>> {
        let here = self.facts.regions.iter().filter(|(name, _)| name.volume() == volume);
        here.map(|(_, region)| region.unit.as_ref().and_then(|unit| unit.fence.clone())).collect()
    }

    /// Tells whoever waits for it whether systemd enforces whom units let in.
    pub(in crate::supervisor) fn tell_enforced(&self) {
        let found = self.facts.enforcement.as_ref().and_then(|found| match &found.address {
            Ok(()) => Some(true),
            Err(Gap::Untried(_)) => None,
            Err(_) => Some(false),
        });
        self.desk.enforced.send_if_modified(|known| std::mem::replace(known, found) != found);
    }

    fn processes(&self, volume: &VolumeName) -> Vec<u32> {
        let here = self.facts.regions.iter().filter(|(name, _)| name.volume() == volume);
        here.filter_map(|(_, region)| region.alive()).collect()
    }

    pub(in crate::supervisor) fn seen_since(&self, volume: &VolumeName) -> BTreeMap<IpAddr, Timestamp> {
        let here = self.facts.seen_since.iter().filter(|((at, _), _)| at == volume);
        here.map(|((_, address), since)| (*address, *since)).collect()
    }

    /// Takes what was done at the desk. Who was served is answered when it is published
    /// ([`answer_served`](Self::answer_served)).
    pub(in crate::supervisor) fn hear_served(&mut self, served: Served, answers: Vec<Answered>) {
        self.desk.answers.extend(answers);
        let Served { volume, disk, recorded, listed, fence, lingering } = served;
        self.facts.granting.remove(&volume);
        self.desk.lingering.remove(&volume);
        if !lingering.is_empty() {
            self.desk.lingering.insert(volume.clone(), lingering);
        }
        // Known before the disk is looked at again: each ticket until then would be entered into the ledger anew.
        let found = self.facts.disk.as_mut().filter(|found| identity(found) == Some(disk));
        let ledger = found.and_then(|found| found.ledger.as_mut().ok());
        if let (true, Some(ledger)) = (listed, ledger) {
            ledger.tickets.insert(volume.clone());
        }
        // Only what is on record is believed; and of another disk it says nothing.
        if let (Recorded::Grant(grant), Some(grants), true) =
            (recorded, self.facts.grants.as_mut(), self.last_disk == Some(disk))
        {
            grants.insert(volume.clone(), grant);
            self.facts.unread_grants.remove(&volume);
            self.facts.damaged_grants.remove(&volume);
        }
        let now = match fence {
            Outcome::Untouched => None,
            Outcome::Now(fence) => Some(Some(fence)),
            // The plan puts it right.
            Outcome::Unknown => Some(None),
        };
        if let Some(fence) = now {
            let enforced = *self.desk.enforced.borrow() == Some(true);
            for (_, region) in self.facts.regions.iter_mut().filter(|(name, _)| *name.volume() == volume) {
                region.unit.iter_mut().for_each(|unit| unit.fence.clone_from(&fence));
                // Whom it does not let in was found to have gone, or was cut off: what was seen before it came into force
                // says nothing of that. Who is there in spite of it is seen by the next look.
                if let (true, Some(fence), Some(sockets)) = (enforced, &fence, &mut region.sockets) {
                    sockets.connected.retain(|peer| fence.admits(peer.address));
                }
            }
            self.observers.look_at_sockets();
        }
        self.serve(&volume);
    }

    /// Answers who was served. What came of it is published by now, if anything is: whoever has his answer, and asks
    /// who holds the volume, finds it so.
    pub(in crate::supervisor) fn answer_served(&mut self) {
        for (answer, reply) in self.desk.answers.drain(..) {
            _ = answer.send(reply);
        }
    }
}

/// The first that waits, and all that want the same for the same host. Whoever has hung up is not
/// served: he would not know of it, and others would be cut off for nothing.
fn next_batch(waiting: &mut VecDeque<Order>) -> Vec<Order> {
    waiting.retain(|order| order.wish == Wanted::Rewrite || !order.asker.answer.is_closed());
    let Some(first) = waiting.pop_front() else { return Vec::new() };
    let alike = |order: &Order| match (first.wish, order.wish) {
        (Wanted::Ticket(one), Wanted::Ticket(other)) => {
            order.asker.host == first.asker.host && one.takeover == other.takeover
        }
        _ => false,
    };
    let (with, rest): (Vec<_>, Vec<_>) = waiting.drain(..).partition(alike);
    waiting.extend(rest);
    std::iter::once(first).chain(with).collect()
}
