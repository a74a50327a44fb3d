//! Volumes that are being drained: the host that has one is asked to detach it, by the answer that it waits for,
//! and until somebody ends that nobody else gets a ticket. What is asked for is in force once it is written.
//!
//! Requests and what hosts say are written by one hand, one after the other: what is known here is always what was
//! last written.

use crate::clean;
use crate::config::Configuration;
use crate::decide::attach::{may_drain, may_let_go};
use crate::decide::facts::Facts;
use crate::desk::answer::Answer;
use crate::desk::request::{Asker, Reply};
use crate::names::VolumeName;
use crate::store;
use crate::store::drains::{read, write};
use crate::supervisor::fencing::ground::refusal;
use crate::supervisor::hosts::Report;
use crate::supervisor::tasks::Tasks;
use crate::times;
use crate::wire::{self, Drain, DrainSaid, Drained, Refusal};
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;

/// Number of a volume's users that are remembered, and length of each text, in characters.
const USERS_LIMIT: usize = 20;
const TEXT_LIMIT_CHARS: usize = 300;

/// Orders of what is to be written of drains, one after the other.
pub(in crate::supervisor) struct Drains {
    waiting: VecDeque<Order>,
    writing: bool,
    tasks: Tasks<Report>,
}

/// Knowledge by which it is judged who may say what of a drain.
type Known<'a> = (&'a Configuration, &'a Facts);

/// Order of what is to become of a volume's drain.
struct Order {
    volume: VolumeName,
    change: Change,
    /// Channel to whoever waits for it; beside it the host that it is for, if it is for one.
    reply: Reply,
    host: Option<IpAddr>,
}

/// Order that was to be written, and what became of it.
pub(in crate::supervisor) struct Written {
    /// Order, and what is known of all drains by it; `None`: the writing was cut short.
    order: Option<Box<(Order, store::drains::Drains)>>,
    written: io::Result<()>,
}

enum Change {
    /// The drain begins, for this reason; one that is under way is asked anew.
    Begin(Option<String>),
    /// The drain is over.
    End,
    /// The host has said this.
    Said(Drained),
}

impl Drains {
    /// Begin with no drain that is known. What is asked for is written aside from the loop.
    pub(in crate::supervisor) fn new(tasks: Tasks<Report>) -> Self {
        Self { waiting: VecDeque::new(), writing: false, tasks }
    }

    /// Take up again what an earlier supervisor knew of them.
    pub(in crate::supervisor) fn resume(&self, facts: &mut Facts) {
        match read() {
            Ok(known) => facts.drains = known,
            Err(why) => {
                tracing::error!("which volumes are being drained cannot be read: {why}; it is taken for none");
            }
        }
    }

    /// Take an operator's wish that a volume is drained, or not any more.
    pub(in crate::supervisor) fn ask(
        &mut self,
        volume: VolumeName,
        wanted: Option<Option<String>>,
        reply: Reply,
        (config, facts): Known,
    ) {
        match may_drain(config, &volume) {
            Err(why) => _ = reply.send(Err(why)),
            Ok(()) => {
                let change = wanted.map_or(Change::End, |reason| Change::Begin(reason.map(|reason| short(&reason))));
                self.queue(Order { volume, change, reply, host: None }, (config, facts));
            }
        }
    }

    /// Take what a host says to being asked to detach.
    pub(in crate::supervisor) fn hear_host(
        &mut self,
        volume: VolumeName,
        asker: Asker,
        said: Drained,
        (config, facts): Known,
    ) {
        let Asker { host, answer, .. } = asker;
        match may_let_go(config, &volume) {
            Err(why) => _ = answer.send(Ok(Answer::Refused(refusal(config, facts, &volume, why)))),
            Ok(_) => {
                let order = Order { volume, change: Change::Said(said), reply: answer, host: Some(host) };
                self.queue(order, (config, facts));
            }
        }
    }

    fn queue(&mut self, order: Order, known: Known) {
        self.waiting.push_back(order);
        self.write(known);
    }

    fn write(&mut self, (config, facts): Known) {
        while !self.writing {
            let Some(order) = self.waiting.pop_front() else { return };
            let wanted = match drained(&order, (config, facts)) {
                Ok(wanted) => wanted,
                Err(why) => {
                    _ = order.reply.send(match order.host {
                        Some(_) => Ok(Answer::Refused(refusal(config, facts, &order.volume, why))),
                        None => Err(why),
                    });
                    continue;
                }
            };
            self.writing = true;
            let lost =
                move |why: String| Some(Report::Drains(Written { order: None, written: Err(io::Error::other(why)) }));
            self.tasks.run(lost, async move {
                let text = wanted.clone();
                let written = tokio::task::spawn_blocking(move || write(&text)).await;
                let written = written.unwrap_or_else(|why| Err(io::Error::other(why)));
                Some(Report::Drains(Written { order: Some(Box::new((order, wanted))), written }))
            });
        }
    }

    /// Take what became of something that was to be written. Whoever waits for it is to be answered this, when it
    /// is shown.
    pub(in crate::supervisor) fn hear(
        &mut self,
        Written { order, written }: Written,
        config: &Configuration,
        facts: &mut Facts,
    ) -> Option<(Reply, Result<Answer, wire::Error>)> {
        self.writing = false;
        let answer = order.map(|order| {
            let (order, drains) = *order;
            let result = match written {
                Ok(()) => {
                    facts.drains = drains;
                    tell(&order);
                    Ok(Answer::Drain(facts.drains.get(&order.volume).cloned()))
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
            (order.reply, result)
        });
        self.write((config, facts));
        answer
    }
}

/// Work out what is known of all of them when that has been done.
fn drained(order: &Order, (config, facts): Known) -> Result<store::drains::Drains, wire::Error> {
    let Order { volume, change, host, .. } = order;
    let mut drains = facts.drains.clone();
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
            let host = host.unwrap_or(config.address);
            let drain = drains.get_mut(volume).filter(|drain| drain.id == said.id).ok_or_else(|| not_asked(volume))?;
            if !has(volume, host, (config, facts)) && drain.said.as_ref().is_none_or(|before| before.host != host) {
                return Err(not_holder(volume, host));
            }
            drain.said = Some(DrainSaid {
                host,
                state: said.state,
                users: said.users.iter().take(USERS_LIMIT).map(|user| short(user)).collect(),
                message: said.message.as_deref().map(short),
                at: now,
            });
        }
    }
    Ok(drains)
}

/// Tell whether a host has a volume: it holds the last ticket, or is connected.
fn has(volume: &VolumeName, host: IpAddr, (config, facts): Known) -> bool {
    let holds = facts.granted(volume).holder.is_some_and(|(holder, _)| holder == host);
    holds || facts.visitors(config, volume).contains_key(&host)
}

/// Shorten what somebody else says: to one line, and not any length.
fn short(text: &str) -> String {
    clean::line(text).chars().take(TEXT_LIMIT_CHARS).collect()
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
