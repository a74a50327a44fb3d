//! Jobs: long work, and the answers to requests for it.

use super::{Asker, Error};
use crate::names::RegionName;
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use uuid::Uuid;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Failed, Self::Cancelled];

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

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// A job that creates a region.
    Create,
    /// A job that adopts a region from what served it before.
    Adopt,
    /// A job that deletes a region.
    Delete,
    /// A job that gives a deleted region its place again.
    Restore,
    /// A job that removes a deleted region for good.
    Purge,
    /// A job that restarts a region's downstairs.
    Restart,
    /// A job that stops a region, and keeps it from running.
    Hold,
    /// A job that lets a region run again that was held.
    Release,
    /// A job that repairs a region's rotten extents from its siblings.
    Repair,
    /// A job that makes a region anew in the place of one that cannot be repaired, and watches how it is filled.
    Rebuild,
    /// A job that rolls another downstairs program over every region, beginning with the one that is named.
    Upgrade,
    /// A job that holds every block of a region to its checksum.
    Scrub,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Create,
        Self::Adopt,
        Self::Delete,
        Self::Restore,
        Self::Purge,
        Self::Restart,
        Self::Hold,
        Self::Release,
        Self::Repair,
        Self::Rebuild,
        Self::Upgrade,
        Self::Scrub,
    ];

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
            Self::Repair => "repair",
            Self::Rebuild => "rebuild",
            Self::Upgrade => "upgrade",
            Self::Scrub => "scrub",
        }
    }
}

/// Long work that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The job's number on this machine: 1, 2, 3, over restarts of the supervisor too.
    pub id: u64,
    /// The kind: what it does.
    pub kind: JobKind,
    /// The region that it does it to.
    pub region: RegionName,
    /// The state: how far it has got.
    pub state: JobState,
    /// The step that it is at, or was at last, in a few words.
    pub step: String,
    /// The part of that step that is done, of how much; absent if it cannot be told.
    pub progress: Option<JobProgress>,
    /// Whether it can still be cancelled, without a trace.
    pub cancellable: bool,
    /// The reason why it failed.
    pub error: Option<Error>,
    /// The time at which it was asked for.
    #[serde(with = "Rfc3339")]
    pub asked: Timestamp,
    /// The time that it took in milliseconds, the wait for its turn included.
    pub took_ms: Option<u64>,
    /// The question that it wants to be told the answer of before it goes on, by whoever follows it.
    #[serde(default)]
    pub asks: Option<Box<Ask>>,
    /// Whether nobody asked for it: the supervisor's own.
    #[serde(default)]
    pub unasked: bool,
    /// The one who asked for it; absent of jobs of an older supervisor.
    #[serde(default)]
    pub by: Option<Asker>,
}

/// A job's question how the other sleds of a volume are. The supervisor has no way to them: whoever follows the
/// job asks them, and gives his [`Word`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ask {
    /// The number of the question: the job may ask more than once.
    pub number: u64,
    /// The region that would go away for a moment.
    pub region: RegionName,
    /// Those of the volume's other regions that are not asked about, as the port map has moved them as well.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub moved: BTreeSet<RegionName>,
    /// Whether the others are asked for more than that they serve: the region is to be filled from them, and a scrub
    /// must have found each of them whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// Whether no host may be connected to any of the volume's regions: it would lose its disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Whether the region is stopped already: it cannot give up its turn, so that no other's is looked at, and what may
    /// pass by itself is waited for, such as a sled that does not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether the supervisor cannot read what the region has flushed; else whoever answers has to know it as well, as the
    /// others are held to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The volume's other regions serve, and none of them is about to go away.
    Well,
    /// Another sled has its turn: this job gives up its own, and asks again.
    Yield,
    /// The volume's other regions are not well, and why.
    No(Error),
}

/// The part of a step that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobProgress {
    /// So much of it, in whatever the step counts.
    pub done: u64,
    /// Of so much.
    pub total: u64,
    /// What both are counted in.
    #[serde(default)]
    pub unit: JobUnit,
}

/// What the parts of a step are counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobUnit {
    /// In whatever the step says.
    #[default]
    Parts,
    /// In bytes.
    Bytes,
}

/// The answer to a request for something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "an answer is made once, and passed on")]
pub enum Granted {
    /// The region exists already, as it was asked for; with its identity.
    AlreadyThere(Uuid),
    /// A job does it.
    Job(Job),
}

/// The answer to `GET /v1/regions/{region}/adopt`: a proposal of what adopting it would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// The region.
    pub region: RegionName,
    /// The directory that would be taken over, if there is one.
    pub from: Option<String>,
    /// The identity of the region that lies there.
    pub uuid: Option<Uuid>,
    /// The unit that serves it now, if there is one.
    pub unit: Option<String>,
    /// The hosts that are connected to it.
    pub connected: Vec<IpAddr>,
    /// The reason why it would be refused; absent if it would be done.
    pub problem: Option<String>,
}
