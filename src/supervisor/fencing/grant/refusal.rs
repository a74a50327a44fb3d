//! Refusals of tickets: what a host or an operator is told who does not get what he wants, and what
//! was done meanwhile.

use crate::check::Code;
use crate::decide::attach::{attached, elsewhere, held};
use crate::decide::granting::{End, Left};
use crate::names::RegionName;
use crate::supervisor::fencing::grant::{Attempt, CANARY_LIMIT};
use crate::wire::{self, ErrorCode, Refusal, RefusedTicket};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

impl Attempt {
    pub(super) fn refusal(&self, error: wire::Error, attached: Vec<wire::Attached>) -> RefusedTicket {
        RefusedTicket { error, generation: self.known.grant.generation, attached }
    }

    fn plain(&self, code: impl Into<ErrorCode>, message: impl Into<String>, remedy: &str) -> RefusedTicket {
        self.refusal(wire::Error::new(code, message, remedy), Vec::new())
    }

    /// Make a refusal say what was done before it came to that.
    pub(super) fn truthful(&self, mut why: RefusedTicket, end: End) -> RefusedTicket {
        let cut: BTreeSet<_> = self.done.cut.iter().map(ToString::to_string).collect();
        let cut = cut.into_iter().collect::<Vec<_>>().join(", ");
        let was_cut = match self.done.destroyed {
            0 => "no connection was cut".to_owned(),
            1 => format!("one connection was cut ({cut})"),
            many => format!("{many} connections were cut ({cut})"),
        };
        let done = match (end.recorded, end.fence) {
            (_, Left::AsItWas) => return why,
            (true, _) => "it is on record all the same, and comes into force as soon as systemd lets it".to_owned(),
            (false, Left::AsRecorded) => format!("{was_cut}; who is let in is what it was"),
            (false, Left::Unknown) => {
                format!("{was_cut}; who is let in becomes what it was as soon as systemd lets it")
            }
        };
        why.error.message = format!("{}; {done}", why.error.message);
        tracing::warn!(VOLUME = %self.at.volume, "{}", why.error.message);
        why
    }

    /// Refuse, as whoever asked is not there to be answered.
    pub(super) fn gone(&self) -> RefusedTicket {
        let message = "the connection on which it was asked was closed at the other end, so nothing was granted";
        self.plain(Refusal::AskerGone, message, "keep the connection open until it is answered")
    }

    /// Refuse, as it could not be seen whether whoever asked is there to be answered.
    pub(super) fn unheard(&self) -> RefusedTicket {
        let message = "whether somebody waits for the answer could not be seen, so nothing was granted: the end of \
                       what is sent was said, and what is said on the connection was not taken in time; or far more \
                       was sent than was asked for";
        self.plain(Refusal::AskerUnseen, message, "ask again; best without saying that nothing more is sent (shutdown)")
    }

    pub(super) fn deaf(&self, why: &str) -> RefusedTicket {
        let message = format!("{}: systemd does not change whom it lets in: {why}", self.at.volume);
        self.plain(Refusal::NotFenced, message, "see systemctl status, and ask again")
    }

    pub(super) fn unseen(&self, why: &io::Error) -> RefusedTicket {
        let message = format!("{}: nothing was granted or changed: {why}", self.at.volume);
        self.plain(Refusal::NotFenced, message, "ask again; see journalctl -u sledd")
    }

    /// Refuse, as a downstairs still has a connection of somebody who was cut off.
    pub(super) fn lingers(&self) -> RefusedTicket {
        let many = self.done.ended.len();
        let message = format!(
            "{}: nothing was granted: a downstairs has not let go of {many} connection(s) that were cut off, and would \
             shut out whoever comes next when it does",
            self.at.volume
        );
        let remedy = "ask again; one that is stopped goes on by systemctl kill -s CONT, or sledctl region restart";
        self.plain(Refusal::NotFenced, message, remedy)
    }

    /// Refuse, as it is not known whether anybody is kept out.
    pub(super) fn unproved(&self) -> RefusedTicket {
        let message = format!(
            "{}: nothing was done: whether systemd enforces whom a region lets in is not known yet, as the canary has \
             not come back in {} s",
            self.at.volume,
            CANARY_LIMIT.as_secs()
        );
        self.plain(Refusal::NotFenced, message, "ask again; see journalctl -u sledd -u 'sled-canary-*'")
    }

    pub(super) fn cannot_cut(&self) -> RefusedTicket {
        let message = "systemd does not enforce whom a region lets in: who is connected cannot be cut off";
        let remedy = "see PORT_MAP_NOT_ENFORCED (sledctl checks); detach the volume where it is attached";
        self.plain(Code::PortMapNotEnforced, message, remedy)
    }

    pub(super) fn attached_elsewhere(&self, hosts: &BTreeMap<IpAddr, BTreeSet<RegionName>>) -> RefusedTicket {
        let since = |address| self.at.since.get(&address).copied().unwrap_or_else(Timestamp::now);
        let attached = attached(self.config(), hosts, since);
        self.refusal(elsewhere(&self.at.volume, &attached), attached)
    }

    pub(super) fn held_elsewhere(&self, holder: IpAddr, since: Timestamp) -> RefusedTicket {
        let name = self.config().map.name_of(holder).map(|name| format!(" ({name})")).unwrap_or_default();
        self.refusal(held(&self.at.volume, &format!("{holder}{name}"), since, self.at.away), Vec::new())
    }

    pub(super) fn not_held(&self, generation: Option<u64>) -> RefusedTicket {
        let what = generation.map(|generation| format!(" with generation {generation}")).unwrap_or_default();
        let message = format!("{} holds no ticket{what} of {}", self.at.host, self.at.volume);
        self.plain(Refusal::NotHeld, message, "there is nothing to let go of")
    }

    pub(super) fn still_attached(&self, region: &RegionName) -> RefusedTicket {
        let message = format!("{} is still connected to {region}, and would lose it", self.at.host);
        self.plain(Refusal::StillAttached, message, "stop what has the volume attached, then let go of it")
    }

    /// Refuse to do this, as it is not known whom the volume lets in.
    pub(super) fn unreadable(&self, what: &str) -> RefusedTicket {
        let message = format!("{}: who holds its last ticket cannot be read: {what}", self.at.volume);
        let remedy = format!("say first which host may have it: sledctl volume allow {} HOST", self.at.volume);
        self.plain(Code::TicketsUnreadable, message, &remedy)
    }
}
