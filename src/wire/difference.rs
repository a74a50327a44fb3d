//! What a changed configuration would change, and what that means to hosts. Pure.

use serde::{Deserialize, Serialize};

/// The difference between the configuration in force and the one in the files. The body of
/// `POST /v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The digest of the port map in force.
    pub from: String,
    /// The digest of the port map in the files.
    pub to: String,
    /// What differs, in the order of what it is about.
    pub changes: Vec<Change>,
    /// It is in force now.
    pub applied: bool,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is about, for example `volume still-fawn`.
    pub subject: String,
    /// What differs.
    pub what: String,
    /// What is done about it when it is applied.
    pub effect: String,
    /// A host that is connected now would be cut off or interrupted by it.
    #[serde(default)]
    pub interrupts: bool,
    /// It is not applied to a supervisor that runs: it must be started anew.
    #[serde(default)]
    pub needs_restart: bool,
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
