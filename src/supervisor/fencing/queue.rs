//! Queue of those who wait for a ticket: they are handed out one at a time for a volume, in the order
//! in which they were asked for.
//!
//! A ticket is granted when nobody else is connected and nobody else holds the last one, or after
//! everybody else was cut off; its holder is the only host that the volume's regions let in from before
//! it is answered, unless the map leaves the volume open; and it is on record, durably, before that
//! (`decide::granting` has the order of it). Those that wait for the same host's tickets are granted
//! together: each its own generation, all of them with one write.

use crate::decide::attach::{may_let_go, may_permit};
use crate::decide::facts::{self, Facts, Gap};
use crate::decide::storage::identity;
use crate::desk::answer::Answer;
use crate::desk::request::{Asker, Reply};
use crate::kernel::presence::Presence;
use crate::names::VolumeName;
use crate::port_map::Fence;
use crate::store::generations::Written;
use crate::supervisor::fencing::grant::{Answered, Attempt, Known, Order, Outcome, Recorded, Served, Snapshot, Wanted};
use crate::supervisor::fencing::ground::Ground;
use crate::supervisor::fencing::{Fencing, Report};
use crate::wire::{self, Attach, Refusal};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;
use uuid::Uuid;

/// Queue of those who wait, by volume, and what is remembered from one that was served to the next.
pub(super) struct Queue {
    waiting: BTreeMap<VolumeName, VecDeque<Order>>,
    written: Arc<Written>,
    /// Answers for those who were served, to be given once what was done is published.
    answers: Vec<Answered>,
    /// Enforcement by systemd of whom units let in; `None` as long as that could not be tried.
    enforced: watch::Sender<Option<bool>>,
    /// Sockets that were destroyed and that a downstairs had not let go of when it was last looked
    /// at, by inode.
    lingering: BTreeMap<VolumeName, HashSet<u64>>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            written: Arc::default(),
            answers: Vec::new(),
            enforced: watch::Sender::new(None),
            lingering: BTreeMap::new(),
        }
    }
}

impl Fencing {
    /// Take a host's wish for a ticket.
    pub(in crate::supervisor) fn ask_for_ticket(
        &mut self,
        volume: VolumeName,
        asker: Asker,
        attach: Attach,
        by: &mut Ground,
    ) {
        match by.may_attach(&volume, asker.host) {
            Err(why) => {
                if why.code == Refusal::HostNotAllowed {
                    self.visitors.turned_away(&volume, Some(asker.host), by.facts);
                }
                self.refusals.note(&volume, asker.host, &why, by.facts);
                _ = asker.answer.send(Ok(Answer::Refused(by.refusal(&volume, why))));
            }
            Ok(_) => self.line_up(volume, Order { asker, wish: Wanted::Ticket(attach) }, by),
        }
    }

    /// Take a host's word that it lets go of its ticket.
    pub(in crate::supervisor) fn let_go(
        &mut self,
        volume: VolumeName,
        asker: Asker,
        generation: Option<u64>,
        by: &mut Ground,
    ) {
        match may_let_go(by.config, &volume) {
            Err(why) => _ = asker.answer.send(Ok(Answer::Refused(by.refusal(&volume, why)))),
            Ok(_) => self.line_up(volume, Order { asker, wish: Wanted::LetGo(generation) }, by),
        }
    }

    /// Take an operator's wish that a host is let in again, or cut off.
    pub(in crate::supervisor) fn permit(
        &mut self,
        volume: VolumeName,
        host: &str,
        allow: bool,
        answer: Reply,
        by: &mut Ground,
    ) {
        let named = || by.config.map.hosts.get(&host.parse().ok()?).copied();
        let Some(host) = host.parse().ok().map(|address: IpAddr| address.to_canonical()).or_else(named) else {
            let message = format!("{host:?} is no address, and the port map has no host of that name");
            _ = answer.send(Err(wire::Error::new(Refusal::HostUnknown, message, "for example 192.168.4.17")));
            return;
        };
        let asker = Asker { host, there: Presence::nobody(), answer };
        match may_permit(by.config, &volume, host, allow) {
            Err(why) => _ = asker.answer.send(Err(why)),
            Ok(_) => self.line_up(volume, Order { asker, wish: Wanted::Permit(allow) }, by),
        }
    }

    /// Write what is known of a volume's tickets anew, as its record is not as it was written.
    pub(super) fn write_anew(&mut self, volume: VolumeName, by: &mut Ground) {
        let (answer, _) = tokio::sync::oneshot::channel();
        let asker = Asker { host: by.config.address, there: Presence::nobody(), answer };
        self.line_up(volume, Order { asker, wish: Wanted::Rewrite }, by);
    }

    fn line_up(&mut self, volume: VolumeName, order: Order, by: &mut Ground) {
        self.queue.waiting.entry(volume.clone()).or_default().push_back(order);
        self.serve(&volume, by);
    }

    /// Serve who waits for a volume, unless somebody is being served or its fence is being changed:
    /// what is under way must not come into force behind a ticket.
    pub(in crate::supervisor) fn serve(&mut self, volume: &VolumeName, by: &mut Ground) {
        while !by.facts.granting.contains(volume) && !is_being_fenced(by.facts, volume) {
            let Some(waiting) = self.queue.waiting.get_mut(volume) else { return };
            let batch = next_batch(waiting);
            if waiting.is_empty() {
                self.queue.waiting.remove(volume);
            }
            self.serve_batch(volume, batch, by);
        }
    }

    fn serve_batch(&mut self, volume: &VolumeName, batch: Vec<Order>, by: &mut Ground) {
        let mut good = Vec::new();
        for order in batch {
            match by.judge_again(volume, &order) {
                Ok(()) => good.push(order),
                Err(why) => {
                    if matches!(order.wish, Wanted::Ticket(_)) {
                        self.refusals.note(volume, order.asker.host, &why, by.facts);
                    }
                    order.refuse(&by.refusal(volume, why));
                }
            }
        }
        let Some(first) = good.first() else { return };
        let Some(attempt) = self.attempt(volume, first, by) else {
            let why =
                wire::Error::new(Refusal::NotReady, "the data disk has not been looked at", "ask again in a moment");
            let refusal = by.refusal(volume, why);
            return good.into_iter().for_each(|order| order.refuse(&refusal));
        };
        by.facts.granting.insert(volume.clone());
        let (volume, disk) = (volume.clone(), attempt.disk());
        // A panic is heard of: the volume is not blocked by it.
        let lost = move |_| Some(Report(Served::cut_short(volume, disk), Vec::new()));
        self.tasks.run(lost, async move {
            let (served, answers) = attempt.serve(good).await;
            Some(Report(served, answers))
        });
    }

    /// Gather everything that it takes to serve a host; `None` as long as the disk was not looked at.
    fn attempt(&self, volume: &VolumeName, first: &Order, by: &Ground) -> Option<Attempt> {
        let facts = &*by.facts;
        let disk = facts.disk.as_ref().and_then(identity).filter(|_| facts.grants.is_some())?;
        let regions = by.config.local_regions().into_iter().filter(|local| local.name.volume() == volume);
        let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
        let at = Snapshot {
            host: first.asker.host,
            context: by.context.on(disk),
            bus: by.bus.cloned(),
            disk,
            regions: regions.collect(),
            fences: fences(facts, volume),
            since: facts.seen_at(volume),
            away: self.absences.time(volume),
            written: self.queue.written.clone(),
            uuids: by.publisher.uuids(volume),
            volume: volume.clone(),
            processes: processes(facts, volume),
        };
        let known = Known {
            grant: facts.granted(volume),
            unread: facts.unread_grants.contains_key(volume),
            listed: AtomicBool::new(ledger.is_some_and(|ledger| ledger.tickets.contains(volume))),
        };
        let lingering = self.queue.lingering.get(volume).cloned().unwrap_or_default();
        Some(Attempt::new(at, known, self.queue.enforced.subscribe(), lingering))
    }

    /// Tell whoever waits for it whether systemd enforces whom units let in.
    pub(in crate::supervisor) fn tell_enforced(&self, facts: &Facts) {
        let found = facts.enforcement.as_ref().and_then(|found| match &found.address {
            Ok(()) => Some(true),
            Err(Gap::Untried(_)) => None,
            Err(_) => Some(false),
        });
        self.queue.enforced.send_if_modified(|known| std::mem::replace(known, found) != found);
    }

    /// Take what was done for one, and tell whether who is connected is to be looked at anew. Who was served is
    /// answered when it is published ([`answer_served`](Self::answer_served)). `last_disk` is the one that was last
    /// there.
    pub(in crate::supervisor) fn hear_served(
        &mut self,
        served: Served,
        answers: Vec<Answered>,
        last_disk: Option<Uuid>,
        by: &mut Ground,
    ) -> bool {
        self.queue.answers.extend(answers);
        let Served { volume, disk, recorded, listed, fence, lingering, refused, takeover: _ } = served;
        if let Some((host, why)) = refused {
            self.refusals.note(&volume, host, &why, by.facts);
        }
        by.facts.granting.remove(&volume);
        self.queue.lingering.remove(&volume);
        if !lingering.is_empty() {
            self.queue.lingering.insert(volume.clone(), lingering);
        }
        // Known before the disk is looked at again: each ticket until then would be entered into the ledger anew.
        let found = by.facts.disk.as_mut().filter(|found| identity(found) == Some(disk));
        let ledger = found.and_then(|found| found.ledger.as_mut().ok());
        if let (true, Some(ledger)) = (listed, ledger) {
            ledger.tickets.insert(volume.clone());
        }
        // Only what is on record is believed; and of another disk it says nothing.
        if let (Recorded::Grant(grant), Some(grants), true) =
            (recorded, by.facts.grants.as_mut(), last_disk == Some(disk))
        {
            grants.insert(volume.clone(), grant);
            by.facts.unread_grants.remove(&volume);
            by.facts.damaged_grants.remove(&volume);
        }
        let now = match fence {
            Outcome::Untouched => None,
            Outcome::Now(fence) => Some(Some(fence)),
            // The plan puts it right.
            Outcome::Unknown => Some(None),
        };
        if let Some(fence) = &now {
            let enforced = *self.queue.enforced.borrow() == Some(true);
            see_fence(&volume, fence.as_ref(), enforced, by.facts);
        }
        self.serve(&volume, by);
        now.is_some()
    }

    /// Answer who was served. What came of it is published by now, if anything is: whoever has his answer, and asks
    /// who holds the volume, finds it so.
    pub(in crate::supervisor) fn answer_served(&mut self) {
        for (answer, reply) in self.queue.answers.drain(..) {
            _ = answer.send(reply);
        }
    }
}

fn is_being_fenced(facts: &Facts, volume: &VolumeName) -> bool {
    let mut here = facts.regions.iter().filter(|(name, _)| name.volume() == volume);
    here.any(|(_, region)| region.fencing == facts::Fencing::Asked)
}

/// Tell whom each of the volume's units lets in, as far as is known.
fn fences(facts: &Facts, volume: &VolumeName) -> Vec<Option<Fence>> {
    let here = facts.regions.iter().filter(|(name, _)| name.volume() == volume);
    here.map(|(_, region)| region.unit.as_ref().and_then(|unit| unit.fence.clone())).collect()
}

fn processes(facts: &Facts, volume: &VolumeName) -> Vec<u32> {
    let here = facts.regions.iter().filter(|(name, _)| name.volume() == volume);
    here.filter_map(|(_, region)| region.alive()).collect()
}

/// Record that whom a volume's units let in has changed; `None`: it is not known to whom.
fn see_fence(volume: &VolumeName, fence: Option<&Fence>, enforced: bool, facts: &mut Facts) {
    for (_, region) in facts.regions.iter_mut().filter(|(name, _)| name.volume() == volume) {
        region.unit.iter_mut().for_each(|unit| unit.fence = fence.cloned());
        // Whom it does not let in was found to have gone, or was cut off: what was seen before it came into force
        // says nothing of that. Who is there in spite of it is seen by the next look.
        if let (true, Some(fence), Some(sockets)) = (enforced, fence, &mut region.sockets) {
            sockets.connected.retain(|peer| fence.admits(peer.address));
        }
    }
}

/// Take the first that waits, and all that want the same for the same host. Whoever has hung up is
/// not served: he would not know of it, and others would be cut off for nothing.
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
