//! Grant of a ticket: what is done for one host that wants one, or of the one that it has, aside from the loop,
//! which hears of it before the host does. In which order is `decide::granting`'s; here is what each step of it is.

mod order;
mod record;
mod refusal;

use crate::act::fence;
use crate::config::Configuration;
use crate::decide::attach::{InTheWay, in_the_way, others};
use crate::decide::granting::{End, Kind, Left, Next, Step};
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::kernel::presence::Sight;
use crate::names::{RegionName, VolumeName};
use crate::port_map::{Fence, LocalRegion};
use crate::region::Grant;
use crate::store::generations::Written;
use crate::store::grants;
use crate::supervisor::jobs::context::Context;
use crate::wire::{self, Attach, RefusedTicket};
use futures_util::future::join_all;
use jiff::Timestamp;
pub(in crate::supervisor) use order::{Order, Outcome, Recorded, Served, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;
use zbus::Connection;

/// Time that systemd may take to say that it is there. It answers within a millisecond; while it
/// starts units, after some tens of them.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Time for which it is waited until it is known whether anybody is kept out: for longer than the
/// first canary takes, and for less than a host waits for its ticket.
const CANARY_LIMIT: Duration = Duration::from_secs(15);

/// Snapshot of everything by which a host is served, as it was when its turn came.
pub(in crate::supervisor) struct Snapshot {
    pub(in crate::supervisor) volume: VolumeName,
    pub(in crate::supervisor) host: IpAddr,
    pub(in crate::supervisor) context: Context,
    pub(in crate::supervisor) bus: Option<Connection>,
    pub(in crate::supervisor) disk: Uuid,
    pub(in crate::supervisor) regions: Vec<LocalRegion>,
    /// Fences of the units: whom each lets in.
    pub(in crate::supervisor) fences: Vec<Option<Fence>>,
    pub(in crate::supervisor) since: BTreeMap<IpAddr, Timestamp>,
    /// Time for which the holder on record has been away, if it is.
    pub(in crate::supervisor) away: Option<Duration>,
    pub(in crate::supervisor) written: Arc<Written>,
    pub(in crate::supervisor) uuids: BTreeMap<RegionName, Uuid>,
    /// Main processes of the volume's units.
    pub(in crate::supervisor) processes: Vec<u32>,
}

/// Knowledge of what is on record of a volume's tickets.
pub(in crate::supervisor) struct Known {
    pub(in crate::supervisor) grant: Grant,
    /// The record could not be read.
    pub(in crate::supervisor) unread: bool,
    /// The ledger knows that there is a record.
    pub(in crate::supervisor) listed: AtomicBool,
}

/// An attempt to serve a host.
pub(in crate::supervisor) struct Attempt {
    at: Snapshot,
    known: Known,
    /// Enforcement by systemd of whom the units let in, as is found out by trying.
    enforced: watch::Receiver<Option<bool>>,
    done: Done,
}

/// Steps that were done so far.
#[derive(Default)]
struct Done {
    /// Record, open to be written.
    book: Option<Arc<grants::Book>>,
    /// Hosts that are to be cut off.
    cut: BTreeSet<IpAddr>,
    /// Grant that is to be on record.
    next: Grant,
    /// Fence of the units meanwhile.
    narrow: Fence,
    /// Sockets that were destroyed, by inode, and that no downstairs is known to have let go of.
    ended: HashSet<u64>,
    /// Number of sockets that were destroyed now.
    destroyed: usize,
    /// The record says again what it said before, by a later entry.
    taken_back: bool,
    /// Another host was in the way, and is to give way.
    takeover: bool,
    /// Generations that the orders get.
    given: Vec<Result<u64, wire::Error>>,
}

/// Answer, and the channel that it goes to.
pub(in crate::supervisor) type Answered = (Reply, Result<Answer, wire::Error>);

impl Attempt {
    /// Prepare an attempt of which nothing was done yet; the sockets in `ended` were destroyed by an
    /// earlier one.
    pub(in crate::supervisor) fn new(
        at: Snapshot,
        known: Known,
        enforced: watch::Receiver<Option<bool>>,
        ended: HashSet<u64>,
    ) -> Self {
        Self { at, known, enforced, done: Done { ended, ..Done::default() } }
    }

    /// Name the disk on which it is.
    pub(in crate::supervisor) fn disk(&self) -> Uuid {
        self.at.disk
    }

    /// Serve those who want the same for the same host.
    pub(in crate::supervisor) async fn serve(mut self, mut batch: Vec<Order>) -> (Served, Vec<Answered>) {
        let Some(wish) = batch.first().map(|order| order.wish) else {
            return (Served::cut_short(self.at.volume, self.at.disk), Vec::new());
        };
        let (kind, mut said) = (self.kind(wish), Vec::new());
        let (mut step, mut failed) = (kind.first(), None);
        let end = loop {
            let went = self.step(step, &mut batch, &mut said).await;
            let next = kind.after(step, went.is_ok());
            // What failed first is why; what failed after it is for the journal.
            if let Err(why) = went {
                tracing::debug!(VOLUME = %self.at.volume, "{}: {step:?}: {}", self.at.volume, why.error.message);
                failed.get_or_insert(why);
            }
            match next {
                Next::Do(next) => step = next,
                Next::Over(end) => break end,
            }
        };
        let failed = failed.map(|why| self.truthful(why, end));
        if let (Some(why), Wanted::Rewrite) = (&failed, wish) {
            tracing::error!(VOLUME = %self.at.volume, "{}: its record is not written anew: {}", self.at.volume, why.error.message);
        }
        said.extend(self.answers(batch, failed.as_ref()));
        let refused = failed.filter(|_| matches!(wish, Wanted::Ticket(_))).map(|why| (self.at.host, why.error));
        (self.served(end, refused), said)
    }

    fn served(self, end: End, refused: Option<(IpAddr, wire::Error)>) -> Served {
        let fence = match end.fence {
            Left::AsItWas => Outcome::Untouched,
            Left::AsRecorded => self.on_record().map_or(Outcome::Unknown, Outcome::Now),
            Left::Unknown => Outcome::Unknown,
        };
        let recorded =
            if end.recorded || self.done.taken_back { Recorded::Grant(self.known.grant) } else { Recorded::Nothing };
        Served {
            volume: self.at.volume,
            disk: self.at.disk,
            recorded,
            listed: self.known.listed.into_inner(),
            fence,
            lingering: self.done.ended,
            refused,
            takeover: self.done.takeover,
        }
    }

    fn config(&self) -> &Configuration {
        &self.at.context.config
    }

    /// Tell whom the units are to let in when this is on record.
    fn around(&self, grant: &Grant) -> Fence {
        Fence::around(&self.config().map, &self.at.volume, Some(grant))
    }

    /// Tell whom the units are to let in by what is on record; if that cannot be read, those that
    /// they let in now, if they agree on it.
    fn on_record(&self) -> Option<Fence> {
        if !self.known.unread {
            return Some(self.around(&self.known.grant));
        }
        let first = self.at.fences.first()?.clone()?;
        self.at.fences.iter().all(|fence| fence.as_ref() == Some(&first)).then_some(first)
    }

    /// Tell whether the map lets anybody attach the volume.
    fn is_open(&self) -> bool {
        self.config().map.volumes.get(&self.at.volume).is_none_or(|volume| volume.hosts.is_empty())
    }

    fn kind(&self, wish: Wanted) -> Kind {
        let stands = || self.at.fences.iter().all(|fence| fence.as_ref() == Some(&self.around(&self.known.grant)));
        let holds = || self.known.grant.in_hand().is_some_and(|(holder, _)| holder == self.at.host);
        let alone = || holds() && self.known.grant.allowed.is_empty();
        match wish {
            Wanted::Rewrite => Kind::Rewrite,
            // It is the only one that could be there.
            Wanted::Ticket(_) if alone() && *self.enforced.borrow() == Some(true) && !self.is_open() && stands() => {
                Kind::Renewal
            }
            _ => Kind::Change,
        }
    }

    async fn step(
        &mut self,
        step: Step,
        batch: &mut Vec<Order>,
        said: &mut Vec<Answered>,
    ) -> Result<(), RefusedTicket> {
        match step {
            Step::Asker | Step::StillThere => self.dismiss(batch, said).await,
            Step::Prepare => self.prepare(batch).await,
            Step::Judge => self.judge(batch).await,
            Step::Narrow => self.narrow().await,
            Step::Cut => self.cut_off(batch).await,
            Step::Record => self.record(batch).await,
            Step::Open => self.open().await,
            Step::PutBack => self.put_back().await,
        }
    }

    /// Dismiss who is not there any more, with nothing: he would not know of what he holds.
    async fn dismiss(&self, batch: &mut Vec<Order>, said: &mut Vec<Answered>) -> Result<(), RefusedTicket> {
        let there = join_all(batch.iter().map(Order::is_awaited)).await;
        let nobody = self.somebody(&there);
        for (order, there) in std::mem::take(batch).into_iter().zip(there) {
            match there {
                Sight::There => batch.push(order),
                Sight::Gone => said.push((order.asker.answer, order.wish.refused(&self.gone()))),
                Sight::Untold => said.push((order.asker.answer, order.wish.refused(&self.unheard()))),
            }
        }
        nobody
    }

    /// Make sure that systemd answers, and open the record to be written.
    async fn prepare(&mut self, batch: &[Order]) -> Result<(), RefusedTicket> {
        let rewrite = batch.iter().all(|order| order.wish == Wanted::Rewrite);
        if !rewrite {
            let bus = self.at.bus.clone().ok_or_else(|| self.deaf("it does not answer"))?;
            match timeout(ANSWER_LIMIT, fence::answers(&bus)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return Err(self.deaf(&why)),
                Err(_) => return Err(self.deaf(&format!("it has not answered for {} s", ANSWER_LIMIT.as_secs()))),
            }
        }
        let ticket = batch.iter().any(|order| matches!(order.wish, Wanted::Ticket(_)));
        let book = self.open_book(ticket).await.map_err(|why| self.refusal(why, Vec::new()))?;
        if rewrite {
            self.done.next = self.known.grant.again();
        }
        self.done.book = Some(Arc::new(book));
        Ok(())
    }

    /// Judge whether what is wanted may be; who is cut off for it, and what is to be on record then.
    async fn judge(&mut self, batch: &[Order]) -> Result<(), RefusedTicket> {
        let host = self.at.host;
        match batch.first().map(|order| order.wish) {
            Some(Wanted::Permit(allow)) => {
                self.done.next = self.permitted(allow)?;
                self.done.cut = if allow { BTreeSet::new() } else { BTreeSet::from([host]) };
            }
            Some(Wanted::LetGo(generation)) => {
                self.done.next = self.left(generation)?;
                self.done.cut = BTreeSet::from([host]);
            }
            _ => {
                let takeover = takes_over(batch);
                self.done.cut = self.free(takeover).await?;
                self.may_grant(batch).await.map_err(|why| self.refusal(why, Vec::new()))?;
                self.done.next = self.known.grant.to(host, 0, Timestamp::now(), &self.done.cut);
            }
        }
        // All that may have taken a while, and now somebody is disturbed.
        let there = join_all(batch.iter().map(Order::is_awaited)).await;
        self.somebody(&there)
    }

    /// Make sure that somebody of these is there.
    fn somebody(&self, seen: &[Sight]) -> Result<(), RefusedTicket> {
        match (seen.contains(&Sight::There), seen.contains(&Sight::Untold)) {
            (true, _) => Ok(()),
            (false, true) => Err(self.unheard()),
            (false, false) => Err(self.gone()),
        }
    }

    /// Find who has to be cut off before the host may have a ticket.
    async fn free(&mut self, takeover: bool) -> Result<BTreeSet<IpAddr>, RefusedTicket> {
        if self.known.unread {
            return Err(self.unreadable("nobody gets a ticket"));
        }
        let others = self.others()?;
        let connected: BTreeSet<_> = others.keys().copied().collect();
        match in_the_way(&self.config().map, &self.at.volume, &self.known.grant, self.at.host, others, self.at.away) {
            InTheWay::Nobody => {}
            InTheWay::Connected(hosts) if !takeover => return Err(self.attached_elsewhere(&hosts)),
            InTheWay::Holder(holder, since) if !takeover => return Err(self.held_elsewhere(holder, since)),
            InTheWay::Connected(_) | InTheWay::Holder(..) => {
                if self.is_enforced().await? || connected.is_empty() {
                    self.done.takeover = true;
                    return Ok(connected);
                }
                return Err(self.cannot_cut());
            }
        }
        Ok(connected)
    }

    /// Tell whether anybody is kept out at all. As long as that is not known, it is waited for.
    async fn is_enforced(&mut self) -> Result<bool, RefusedTicket> {
        let known = timeout(CANARY_LIMIT, self.enforced.wait_for(Option::is_some)).await;
        let known = known.ok().and_then(|known| known.ok().and_then(|known| *known));
        known.ok_or_else(|| self.unproved())
    }

    /// Put together an operator's word, as it is on record then. If what was there cannot be read, the host
    /// that he allows is the holder, as of the others nobody knows whether they were cut off; and to cut
    /// off one of them would let in all the others.
    fn permitted(&self, allow: bool) -> Result<Grant, RefusedTicket> {
        match (self.known.unread, allow) {
            (true, true) => {
                Ok(self.known.grant.to(self.at.host, self.known.grant.generation, Timestamp::now(), &BTreeSet::new()))
            }
            (true, false) => Err(self.unreadable("nobody is cut off")),
            (false, allow) => Ok(self.known.grant.with(self.at.host, allow)),
        }
    }

    /// Work out what is on record when the host has let go of its ticket.
    fn left(&self, generation: Option<u64>) -> Result<Grant, RefusedTicket> {
        if self.known.unread {
            return Err(self.unreadable("nobody lets go of it"));
        }
        let holds = self.known.grant.holder.is_some_and(|(holder, _)| holder == self.at.host);
        if !holds || generation.is_some_and(|generation| generation != self.known.grant.generation) {
            return Err(self.not_held(generation));
        }
        let talks = fence::talking(&self.at.regions).map_err(|why| self.unseen(&why))?;
        match talks.iter().find(|(address, _)| *address == self.at.host) {
            Some((_, region)) => Err(self.still_attached(region)),
            None => Ok(self.known.grant.let_go()),
        }
    }

    /// Narrow whom the units let in from now on: to those alone that what is on record and what is
    /// to be there have in common.
    ///
    /// Connections end before: systemd takes tens of milliseconds for each unit, in which it loads
    /// programs into the kernel, and the last one's packets pass until its turn. Who comes again before
    /// that is destroyed when the fence stands.
    async fn narrow(&mut self) -> Result<(), RefusedTicket> {
        let cut = self.done.cut.clone();
        if !cut.is_empty() {
            let ended = fence::cut(&self.at.regions, |address| cut.contains(&address));
            let ended = ended.map_err(|why| self.unseen(&why))?;
            self.done.destroyed += ended.len();
            self.done.ended.extend(ended);
        }
        let wanted = self.around(&self.done.next);
        let standing = self.on_record().unwrap_or_else(|| Fence::shut(&self.config().map));
        self.done.narrow = standing.narrow(&wanted);
        self.enclose(self.done.narrow.clone()).await
    }

    /// End the connections of whoever is not let in any more, and wait until the downstairs have
    /// let go of them.
    async fn cut_off(&mut self, batch: &[Order]) -> Result<(), RefusedTicket> {
        let ticket = batch.iter().any(|order| matches!(order.wish, Wanted::Ticket(_)));
        if ticket {
            // One that came before the fence stood is in the way like those before it.
            let after = self.others()?;
            if !after.is_empty() && !takes_over(batch) {
                return Err(self.attached_elsewhere(&after));
            }
            self.done.takeover |= !after.is_empty();
            self.done.cut.extend(after.into_keys());
            self.done.next = self.known.grant.to(self.at.host, 0, Timestamp::now(), &self.done.cut);
            // Where the map lets anybody in, who came meanwhile is not kept out yet.
            let whole = self.done.narrow.narrow(&self.around(&self.done.next));
            if whole != self.done.narrow {
                self.done.narrow = whole.clone();
                self.enclose(whole).await?;
            }
        }
        // Whom the fence keeps out has nothing left here, whether it was still connected or not. A
        // fence that may not hold ends nothing for good: then it is those that were found.
        let (cut, narrow) = (self.done.cut.clone(), self.done.narrow.clone());
        let holds = *self.enforced.borrow() == Some(true);
        let whose = |address| cut.contains(&address) || holds && !narrow.admits(address);
        let more = fence::destroy(&self.at.regions, whose).await.map_err(|why| self.unseen(&why))?;
        self.done.destroyed += more.len();
        self.done.ended.extend(more);
        if self.done.destroyed > 0 {
            let message = format!("{}: {} connection(s) were cut off", self.at.volume, self.done.destroyed);
            tracing::warn!(VOLUME = %self.at.volume, "{message}");
        }
        self.done.ended = fence::let_go(self.at.processes.clone(), std::mem::take(&mut self.done.ended)).await;
        // To whoever is only kept out it makes no difference; a newcomer would be demoted by it.
        if ticket && !self.done.ended.is_empty() { Err(self.lingers()) } else { Ok(()) }
    }

    /// Let in whom the record lets in.
    async fn open(&mut self) -> Result<(), RefusedTicket> {
        let whole = self.around(&self.known.grant);
        if whole == self.done.narrow { Ok(()) } else { self.enclose(whole).await }
    }

    /// Let in again whom what is on record lets in, as nothing else was put there.
    async fn put_back(&mut self) -> Result<(), RefusedTicket> {
        let before = self.on_record().ok_or_else(|| self.deaf("it is not known whom it let in"))?;
        self.enclose(before).await
    }

    async fn enclose(&self, wanted: Fence) -> Result<(), RefusedTicket> {
        let bus = self.at.bus.clone().ok_or_else(|| self.deaf("it does not answer"))?;
        fence::set_all(&bus, &self.at.regions, &wanted).await.map_err(|why| self.deaf(&why))
    }

    /// Find the other hosts that are connected now.
    fn others(&self) -> Result<BTreeMap<IpAddr, BTreeSet<RegionName>>, RefusedTicket> {
        let connected = fence::connected(&self.at.regions).map_err(|why| self.unseen(&why))?;
        Ok(others(self.config(), &connected, Some(self.at.host)))
    }
}

fn takes_over(batch: &[Order]) -> bool {
    batch.iter().any(|order| matches!(order.wish, Wanted::Ticket(Attach { takeover: true, .. })))
}
