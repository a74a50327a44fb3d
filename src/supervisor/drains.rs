//! Volumes that are being drained: who has one is asked to detach it, by the answer that it waits for, and until somebody
//! ends that nobody else gets a ticket. What is asked for is in force once it is written.
//!
//! What is asked for and what hosts say is written by one hand, one after the other: what is known here is always what
//! was last written.

use crate::check::Code;
use crate::clean;
use crate::decide::attach::{may_drain, may_let_go};
use crate::names::VolumeName;
use crate::store::drains::{Drains, read, write};
use crate::supervisor::Supervisor;
use crate::supervisor::event::Event;
use crate::supervisor::fencing::grant::{Asker, Reply};
use crate::supervisor::requests::Answer;
use crate::times;
use crate::wire::{self, Drain, DrainSaid, Drained, Refusal};
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;

/// So many users of a volume are remembered, and so much of each text, in characters.
const USERS: usize = 20;
const LONGEST: usize = 300;

/// What is to be written of drains, one after the other.
#[derive(Default)]
pub(in crate::supervisor) struct Queue {
    waiting: VecDeque<Order>,
    writing: bool,
}

/// What is to become of a volume's drain.
pub(in crate::supervisor) struct Order {
    volume: VolumeName,
    change: Change,
    /// Who waits for it, and for whom it is, if that is a host.
    reply: Reply,
    host: Option<IpAddr>,
}

enum Change {
    /// It begins, for this reason; one that is under way is asked anew.
    Begin(Option<String>),
    /// It is over.
    End,
    /// The host has said this.
    Said(Drained),
}

impl Supervisor {
    /// Takes up again what an earlier supervisor knew of them.
    pub(in crate::supervisor) fn resume_drains(&mut self) {
        match read() {
            Ok(known) => self.facts.drains = known,
            Err(why) => {
                tracing::error!("which volumes are being drained cannot be read: {why}; it is taken for none");
            }
        }
    }

    /// Takes an operator's wish that a volume is drained, or not any more.
    pub(in crate::supervisor) fn drain(&mut self, volume: VolumeName, wanted: Option<Option<String>>, reply: Reply) {
        match may_drain(&self.config, &volume) {
            Err(why) => _ = reply.send(Err(why)),
            Ok(()) => {
                let change = wanted.map_or(Change::End, |reason| Change::Begin(reason.map(|reason| short(&reason))));
                self.queue_drain(Order { volume, change, reply, host: None });
            }
        }
    }

    /// Takes what a host says to that it is to detach.
    pub(in crate::supervisor) fn hear_drained(&mut self, volume: VolumeName, asker: Asker, said: Drained) {
        let Asker { host, answer, .. } = asker;
        match may_let_go(&self.config, &volume) {
            Err(why) => _ = answer.send(Ok(Answer::Refused(self.refusal(&volume, why)))),
            Ok(_) => self.queue_drain(Order { volume, change: Change::Said(said), reply: answer, host: Some(host) }),
        }
    }

    fn queue_drain(&mut self, order: Order) {
        self.drains.waiting.push_back(order);
        self.write_drains();
    }

    fn write_drains(&mut self) {
        while !self.drains.writing {
            let Some(order) = self.drains.waiting.pop_front() else { return };
            let wanted = match self.drained(&order) {
                Ok(wanted) => wanted,
                Err(why) => {
                    _ = order.reply.send(match order.host {
                        Some(_) => Ok(Answer::Refused(self.refusal(&order.volume, why))),
                        None => Err(why),
                    });
                    continue;
                }
            };
            self.drains.writing = true;
            let lost = move |why: String| Some(Event::Drains(None, Err(io::Error::other(why))));
            self.errands.run(lost, async move {
                let text = wanted.clone();
                let written = tokio::task::spawn_blocking(move || write(&text)).await;
                let written = written.unwrap_or_else(|why| Err(io::Error::other(why)));
                Some(Event::Drains(Some(Box::new((order, wanted))), written))
            });
        }
    }

    /// What is known of all of them when that has been done.
    fn drained(&self, order: &Order) -> Result<Drains, wire::Error> {
        let Order { volume, change, host, .. } = order;
        let mut drains = self.facts.drains.clone();
        let now = times::now();
        match change {
            Change::End => _ = drains.remove(volume),
            Change::Begin(reason) => {
                let last = drains.get(volume).map(|drain| drain.id);
                // Later than any that a host has heard of, whatever the clock says.
                let id = last.unwrap_or_default().max(now.as_millisecond().unsigned_abs()) + 1;
                drains.insert(volume.clone(), Drain { id, since: now, reason: reason.clone(), said: None });
            }
            Change::Said(said) => {
                let host = host.unwrap_or(self.config.address);
                let drain =
                    drains.get_mut(volume).filter(|drain| drain.id == said.id).ok_or_else(|| not_asked(volume))?;
                if !self.has(volume, host) && drain.said.as_ref().is_none_or(|before| before.host != host) {
                    return Err(not_holder(volume, host));
                }
                drain.said = Some(DrainSaid {
                    host,
                    state: said.state,
                    users: said.users.iter().take(USERS).map(|user| short(user)).collect(),
                    message: said.message.as_deref().map(short),
                    at: now,
                });
            }
        }
        Ok(drains)
    }

    /// Whether a host has a volume: it holds the last ticket, or is connected.
    fn has(&self, volume: &VolumeName, host: IpAddr) -> bool {
        let holds = self.facts.granted(volume).holder.is_some_and(|(holder, _)| holder == host);
        holds || self.facts.visitors(&self.config, volume).contains_key(&host)
    }

    /// Takes what became of something that was to be written.
    pub(in crate::supervisor) fn hear_drains(&mut self, order: Option<Box<(Order, Drains)>>, written: io::Result<()>) {
        self.drains.writing = false;
        if let Some((order, drains)) = order.map(|order| *order) {
            let result = match written {
                Ok(()) => {
                    self.facts.drains = drains;
                    tell(&order);
                    Ok(Answer::Drain(self.facts.drains.get(&order.volume).cloned()))
                }
                Err(why) => {
                    tracing::warn!("what is drained cannot be written down: {why}");
                    let message = format!("it is as it was, as it cannot be written down: {why}");
                    Err(wire::Error::new(
                        Refusal::NotRecorded,
                        message,
                        "see df -h /var/lib/sled and dmesg, and ask again",
                    ))
                }
            };
            self.answer_when_shown(order.reply, result);
        }
        self.write_drains();
    }

    /// Why a host gets no ticket of a volume that is being drained. Who holds it may have one: it may need another
    /// server to detach what it has.
    pub(in crate::supervisor) fn is_kept_from(&self, volume: &VolumeName, host: IpAddr) -> Option<wire::Error> {
        let drain = self.facts.drains.get(volume)?;
        let holds = self.facts.granted(volume).in_hand().is_some_and(|(holder, _)| holder == host);
        (!holds).then(|| {
            let message =
                format!("{volume} is being drained since {}: no host gets a ticket", times::in_seconds(drain.since));
            let remedy = format!("wait; or on this sled: sledctl volume drain {volume} --end");
            wire::Error::new(Code::VolumeDraining, message, remedy)
        })
    }

    /// Whether a volume may be attached, as was last published; that it is being drained keeps its holder from nothing.
    pub(in crate::supervisor) fn ready_for(&self, volume: &VolumeName, host: IpAddr) -> Result<(), &[wire::Check]> {
        let ready = self.editor.ready(volume);
        let holds = || self.facts.granted(volume).in_hand().is_some_and(|(holder, _)| holder == host);
        match ready {
            Err(checks) if !checks.is_empty() && holds() => {
                let blocking = checks.iter().filter(|check| check.severity == crate::check::Severity::Blocking);
                let mut blocking = blocking.peekable();
                let only = blocking.peek().is_some() && blocking.all(|check| check.code == Code::VolumeDraining);
                if only { Ok(()) } else { ready }
            }
            ready => ready,
        }
    }
}

/// What somebody else says: on one line, and not at any length.
fn short(text: &str) -> String {
    clean::line(text).chars().take(LONGEST).collect()
}

fn tell(order: &Order) {
    let volume = &order.volume;
    match &order.change {
        Change::Begin(_) => {
            tracing::info!(VOLUME = %volume, "{volume} is being drained: who has it is asked to detach it")
        }
        Change::End => tracing::info!(VOLUME = %volume, "{volume} is not being drained any more"),
        Change::Said(said) => {
            let host = order.host.map(|host| host.to_string()).unwrap_or_default();
            tracing::info!(VOLUME = %volume, "{volume}: {host} says to that it is to detach: {:?}", said.state);
        }
    }
}

fn not_asked(volume: &VolumeName) -> wire::Error {
    let message = format!("{volume} is not being drained, or that was asked for anew meanwhile");
    wire::Error::new(Refusal::NotDraining, message, format!("see GET /v1/volumes/{volume}"))
}

fn not_holder(volume: &VolumeName, host: IpAddr) -> wire::Error {
    wire::Error::new(
        Refusal::NotHeld,
        format!("{host} does not have {volume}"),
        "only who has it says that it has detached it",
    )
}
