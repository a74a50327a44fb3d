//! Answers of the supervisor to what it is asked, and the status with which HTTP says each.

use crate::config::Kept;
use crate::wire::{self, ErrorCode};
use http::StatusCode;
use serde::Serialize;

/// Answer, as it is written in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The work is begun as a job, or is done already.
    Granted(wire::Granted),
    /// Proposal of what adopting a region would come to.
    Proposal(wire::Proposal),
    /// The data disk is this sled's.
    Marked(wire::Marked),
    /// Hosts are asked to wait, or not any more.
    Maintenance(Option<wire::Maintenance>),
    /// Difference that another configuration makes.
    Difference(Box<wire::Difference>),
    /// Configurations that were in force.
    Configurations(Box<wire::Configurations>),
    /// One configuration that was in force, with its files.
    Kept(Box<Kept>),
    /// Hosts that are connected to a volume.
    Hosts(wire::Hosts),
    /// How a region's extents stand.
    Extents(Box<wire::Extents>),
    /// What a region has, as a replica of its volume.
    Replica(wire::Replica),
    /// A ticket.
    Ticket(Box<wire::Ticket>),
    /// No ticket, and why.
    Refused(wire::RefusedTicket),
    /// A host is let in again, or was cut off.
    Permitted,
    /// A volume is being drained, or not any more.
    Drain(Option<wire::Drain>),
    /// A host has let go of its ticket.
    Released(wire::Released),
    /// Whether notifications arrive.
    Notified(wire::Notified),
    /// The state that was looked at is shown.
    Looked,
    /// The daemon may end.
    Left,
}

impl Answer {
    /// Find the status with which HTTP says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Granted(wire::Granted::Job(_)) => StatusCode::ACCEPTED,
            // A host takes 4xx for an answer that asking again does not change, and a condition may pass.
            Self::Refused(refused) => match &refused.error.code {
                code @ ErrorCode::Refusal(_) => code.status(),
                ErrorCode::Check(_) | ErrorCode::Other(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
            _ => StatusCode::OK,
        }
    }
}
