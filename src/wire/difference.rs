//! Difference of a changed configuration, and what it means to hosts. Pure.

use super::Error;
use crate::check::{Code, Severity};
use crate::config::Kept;
use crate::names::VolumeName;
use crate::source::Fault;
use crate::times::OptionalRfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The difference between the configuration in force and the one in the files. The body of
/// `POST /v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The digest of the port map in force.
    pub from: String,
    /// The digest of the port map in the files.
    pub to: String,
    /// The digest of all files in force, as they are.
    #[serde(default)]
    pub from_files: String,
    /// The digest of all files of the other one.
    #[serde(default)]
    pub to_files: String,
    /// The changes, in the order of what they are about.
    pub changes: Vec<Change>,
    /// The conditions that would hold and do not now, by what is so at this moment.
    #[serde(default)]
    pub come: Vec<Condition>,
    /// Those that hold now and would not.
    #[serde(default)]
    pub go: Vec<Condition>,
    /// The volumes that a host may attach now and could not then.
    #[serde(default)]
    pub unattachable: Vec<Unattachable>,
    /// The reason why it would not be taken over without `--yes`; told when it is only shown.
    #[serde(default)]
    pub refused: Option<Error>,
    /// The number under which it is kept, once it is in force.
    #[serde(default)]
    pub number: Option<u64>,
    /// Whether it is in force now.
    pub applied: bool,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The subject, for example `volume still-fawn`.
    pub subject: String,
    /// The difference, in words.
    pub what: String,
    /// The effect when it is applied.
    pub effect: String,
    /// Whether a host that is connected now would be cut off or interrupted by it.
    #[serde(default)]
    pub interrupts: bool,
    /// Whether it is not applied to a supervisor that runs: it must be started anew.
    #[serde(default)]
    pub needs_restart: bool,
    /// Whether it stops a region, keeps it from starting again, or destroys what is kept.
    #[serde(default)]
    pub needs_yes: bool,
}

/// A condition without a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// The condition's stable code.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// The subject.
    pub subject: String,
    /// The cause, in a sentence.
    pub cause: String,
    /// The remedy, in a sentence.
    pub remedy: String,
}

/// A volume that could not be attached any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unattachable {
    /// The volume.
    pub volume: VolumeName,
    /// The first reason.
    pub why: String,
}

/// The body of `GET /v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Configurations {
    /// The directory of the files.
    pub dir: String,
    /// The number of the one in force; absent if it could not be kept, or none is in force.
    pub in_force: Option<u64>,
    /// The files as they lie in the directory now.
    pub files: Files,
    /// The last ten that were in force, the last one first; without their files.
    pub kept: Vec<Kept>,
}

/// The files of the configuration's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Files {
    /// `sha256:` and their digest as they are, in hexadecimal.
    pub digest: String,
    /// The time at which one of them was changed last.
    #[serde(default, with = "OptionalRfc3339")]
    pub changed: Option<Timestamp>,
    /// The faults of the files.
    pub faults: Vec<Fault>,
}

impl Difference {
    /// Whether a host that is connected now would be cut off or interrupted.
    pub fn interrupts(&self) -> bool {
        self.changes.iter().any(|change| change.interrupts)
    }

    /// Whether not all of it is in force before the supervisor is started anew.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|change| change.needs_restart)
    }
}
