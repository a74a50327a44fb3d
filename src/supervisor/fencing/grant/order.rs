//! Orders of tickets: what somebody wants of a volume, who it is, and what was done for him.

use crate::desk::answer::Answer;
use crate::desk::request::Asker;
use crate::kernel::presence::Sight;
use crate::names::VolumeName;
use crate::port_map::Fence;
use crate::region::Grant;
use crate::wire::{self, Attach, RefusedTicket};
use std::collections::HashSet;
use std::net::IpAddr;
use uuid::Uuid;

/// Order that somebody waits for.
pub(in crate::supervisor) struct Order {
    pub(in crate::supervisor) asker: Asker,
    pub(in crate::supervisor) wish: Wanted,
}

/// Wish that somebody has of a volume, for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Wanted {
    /// A ticket.
    Ticket(Attach),
    /// The host is to be let in again, or cut off.
    Permit(bool),
    /// The host is not to hold its ticket any more: the one with this generation, or whichever.
    LetGo(Option<u64>),
    /// The record is to say again what it said.
    Rewrite,
}

/// Result of what was done for a volume's ticket.
pub(in crate::supervisor) struct Served {
    pub(in crate::supervisor) volume: VolumeName,
    /// Disk that it is on record on.
    pub(in crate::supervisor) disk: Uuid,
    pub(in crate::supervisor) recorded: Recorded,
    /// The ledger knows that there is a record.
    pub(in crate::supervisor) listed: bool,
    pub(in crate::supervisor) fence: Outcome,
    /// Sockets that were destroyed and that a downstairs has not let go of yet, by inode.
    pub(in crate::supervisor) lingering: HashSet<u64>,
    /// Host that wanted a ticket and did not get it, and why.
    pub(in crate::supervisor) refused: Option<(IpAddr, wire::Error)>,
    /// Another host was in the way of a ticket, and gave way to it as was asked.
    pub(in crate::supervisor) takeover: bool,
}

/// Grant that was put on record: nothing that is not is ever believed.
pub(in crate::supervisor) enum Recorded {
    /// This grant was.
    Grant(Grant),
    /// Nothing was: the record says what it said.
    Nothing,
}

/// Outcome for the fence, whom the units let in.
pub(in crate::supervisor) enum Outcome {
    /// The fence is as it was.
    Untouched,
    /// The fence is this now.
    Now(Fence),
    /// The fence may have been changed in part.
    Unknown,
}

impl Served {
    /// Report that nobody knows what was done.
    pub(in crate::supervisor) fn cut_short(volume: VolumeName, disk: Uuid) -> Self {
        let (recorded, fence) = (Recorded::Nothing, Outcome::Unknown);
        Self { volume, disk, recorded, listed: false, fence, lingering: HashSet::new(), refused: None, takeover: false }
    }
}

impl Order {
    pub(in crate::supervisor) fn refuse(self, refusal: &RefusedTicket) {
        _ = self.asker.answer.send(self.wish.refused(refusal));
    }

    /// Tell whether whoever asked is there to be answered. What an operator wants is done all the
    /// same, once it was begun.
    pub(super) async fn is_awaited(&self) -> Sight {
        match self.wish {
            Wanted::Ticket(_) | Wanted::LetGo(_) if self.asker.answer.is_closed() => Sight::Gone,
            Wanted::Ticket(_) | Wanted::LetGo(_) => self.asker.there.look().await,
            Wanted::Permit(_) | Wanted::Rewrite => Sight::There,
        }
    }
}

impl Wanted {
    pub(super) fn refused(self, refusal: &RefusedTicket) -> Result<Answer, wire::Error> {
        match self {
            Self::Ticket(_) | Self::LetGo(_) => Ok(Answer::Refused(refusal.clone())),
            Self::Permit(_) | Self::Rewrite => Err(refusal.error.clone()),
        }
    }
}
