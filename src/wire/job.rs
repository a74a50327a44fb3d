//! Long work, and the answers to requests for it.

use super::Error;
use crate::names::RegionName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use uuid::Uuid;

/// How far a job has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waiting for its turn, or at work.
    Running,
    /// Done.
    Done,
    /// Ended without doing what was asked; the error says why.
    Failed,
    /// Ended because it was cancelled; nothing of it is left.
    Cancelled,
}

impl JobState {
    /// The state as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Creates a region.
    Create,
    /// Adopts a region from what served it before.
    Adopt,
    /// Deletes a region.
    Delete,
    /// Gives a deleted region its place again.
    Restore,
    /// Removes a deleted region for good.
    Purge,
    /// Restarts a region's downstairs.
    Restart,
    /// Stops a region, and keeps it from running.
    Hold,
    /// Lets a region run again that was held.
    Release,
    /// Rolls another downstairs program over every region, beginning with the one that is named.
    Upgrade,
}

impl JobKind {
    /// The kind as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Purge => "purge",
            Self::Restart => "restart",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Long work that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number on this machine: 1, 2, 3, over restarts of the supervisor too.
    pub id: u64,
    /// What it does.
    pub kind: JobKind,
    /// The region that it does it to.
    pub region: RegionName,
    /// How far it has got.
    pub state: JobState,
    /// What it is doing, or did last, in a few words.
    pub step: String,
    /// How much of that step is done, of how much; absent if it cannot be told.
    pub progress: Option<JobProgress>,
    /// It can still be cancelled, without a trace.
    pub cancellable: bool,
    /// Why it failed.
    pub error: Option<Error>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// How long it took in milliseconds, the wait for its turn included.
    pub took_ms: Option<u64>,
    /// What it wants to be told before it goes on, by whoever follows it.
    #[serde(default)]
    pub asks: Option<Box<Ask>>,
    /// Nobody asked for it: the supervisor's own.
    #[serde(default)]
    pub unasked: bool,
}

/// A job's question how the other sleds of a volume are. The supervisor has no way to them: whoever follows the
/// job asks them, and gives his [`Word`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The number of the question: the job may ask more than once.
    pub number: u64,
    /// The region that would go away for a moment.
    pub region: RegionName,
    /// Those of the volume's other regions that are not asked about, as the port map has moved them as well.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub moved: BTreeSet<RegionName>,
}

/// What is answered to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The volume's other regions serve, and none of them is about to go away.
    Well,
    /// Another sled has its turn: this job gives up its own, and asks again.
    Yield,
    /// It is not so, and why.
    No(Error),
}

/// How much of a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// So much of it, in whatever the step counts.
    pub done: u64,
    /// Of so much.
    pub total: u64,
}

/// The answer to a request for something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granted {
    /// The region exists already, as it was asked for; with its identity.
    AlreadyThere(Uuid),
    /// A job does it.
    Job(Job),
}

/// The answer to `GET /v1/regions/{region}/adopt`: what adopting it would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The region.
    pub region: RegionName,
    /// The directory that would be taken over, if there is one.
    pub from: Option<String>,
    /// The identity of what lies there.
    pub uuid: Option<Uuid>,
    /// The unit that serves it now, if there is one.
    pub unit: Option<String>,
    /// Who is connected to it.
    pub connected: Vec<IpAddr>,
    /// Why it would be refused; absent if it would be done.
    pub problem: Option<String>,
}
