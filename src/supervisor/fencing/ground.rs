//! Ground on which it is decided who gets a ticket: what is known, and what was last published.

use crate::check::{Code, Severity};
use crate::config::Configuration;
use crate::decide::attach::{attached, may_attach, may_let_go, may_permit};
use crate::decide::facts::Facts;
use crate::names::VolumeName;
use crate::port_map::LocalRegion;
use crate::supervisor::fencing::grant::{Order, Wanted};
use crate::supervisor::jobs::context::Context;
use crate::supervisor::publish::publisher::Publisher;
use crate::times;
use crate::wire::{self, Refusal, RefusedTicket};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use zbus::Connection;

/// Ground on which it is decided who gets a ticket, and what it takes to grant one.
pub(in crate::supervisor) struct Ground<'a> {
    pub(in crate::supervisor) config: &'a Configuration,
    pub(in crate::supervisor) facts: &'a mut Facts,
    pub(in crate::supervisor) publisher: &'a Publisher,
    pub(in crate::supervisor) context: &'a Context,
    pub(in crate::supervisor) bus: Option<&'a Connection>,
}

impl Ground<'_> {
    /// Tell whether a host may have a ticket, as far as can be told without looking who is
    /// connected.
    pub(super) fn may_attach(&self, volume: &VolumeName, host: IpAddr) -> Result<Vec<LocalRegion>, wire::Error> {
        let may = may_attach(self.config, self.ready_for(volume, host), volume, host);
        match (self.is_kept_from(volume, host), may) {
            // Who may not attach it at all is told that.
            (Some(why), Ok(_)) => Err(why),
            (Some(why), Err(refused)) if refused.code == Refusal::NotReady => Err(why),
            (_, may) => may,
        }
    }

    /// Judge anew whether an order may be carried out: what was right when it came in may not be so
    /// any more when its turn has come.
    pub(super) fn judge_again(&self, volume: &VolumeName, order: &Order) -> Result<(), wire::Error> {
        let host = order.asker.host;
        match order.wish {
            Wanted::Ticket(_) => self.may_attach(volume, host),
            Wanted::Permit(allow) => may_permit(self.config, volume, host, allow),
            Wanted::LetGo(_) | Wanted::Rewrite => may_let_go(self.config, volume),
        }
        .map(|_| ())
    }

    pub(super) fn refusal(&self, volume: &VolumeName, error: wire::Error) -> RefusedTicket {
        refusal(self.config, self.facts, volume, error)
    }

    /// Tell why a host gets no ticket of a volume that is being drained. The one that holds it may have one: it
    /// may need another server to detach what it has.
    fn is_kept_from(&self, volume: &VolumeName, host: IpAddr) -> Option<wire::Error> {
        let drain = self.facts.drains.get(volume)?;
        let holds = self.facts.granted(volume).in_hand().is_some_and(|(holder, _)| holder == host);
        (!holds).then(|| {
            let message =
                format!("{volume} is being drained since {}: no host gets a ticket", times::in_seconds(drain.since));
            let remedy = format!("wait; or on this sled: sledctl volume drain {volume} --end");
            wire::Error::new(Code::VolumeDraining, message, remedy)
        })
    }

    /// Tell whether a volume may be attached, as was last published; that it is being drained keeps its
    /// holder from nothing.
    fn ready_for(&self, volume: &VolumeName, host: IpAddr) -> Result<(), &[wire::Check]> {
        let ready = self.publisher.ready(volume);
        let holds = || self.facts.granted(volume).in_hand().is_some_and(|(holder, _)| holder == host);
        match ready {
            Err(checks) if !checks.is_empty() && holds() => {
                let blocking = checks.iter().filter(|check| check.severity == Severity::Blocking);
                let mut blocking = blocking.peekable();
                let only = blocking.peek().is_some() && blocking.all(|check| check.code == Code::VolumeDraining);
                if only { Ok(()) } else { ready }
            }
            ready => ready,
        }
    }
}

/// Word what somebody is told who does not get what he wants of a volume, with who has it.
pub(in crate::supervisor) fn refusal(
    config: &Configuration,
    facts: &Facts,
    volume: &VolumeName,
    error: wire::Error,
) -> RefusedTicket {
    let stranger = error.code == Refusal::HostNotAllowed;
    let hosts = if stranger { BTreeMap::new() } else { facts.visitors(config, volume) };
    let generation = if stranger { 0 } else { facts.granted(volume).generation };
    // Since when each has been seen at the volume.
    let since = |address| facts.seen_since.get(&(volume.clone(), address)).copied().unwrap_or_else(Timestamp::now);
    RefusedTicket { error, generation, attached: attached(config, &hosts, since) }
}
