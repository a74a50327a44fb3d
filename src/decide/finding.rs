//! A condition as it is found: without a time, and with what it concerns.

use crate::check::Code;
use crate::names::VolumeName;
use crate::port_map::LocalRegion;

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its code.
    pub code: Code,
    /// What it is about, for example `region still-fawn-0`.
    pub subject: String,
    /// What it concerns.
    pub scope: Scope,
    /// What is wrong, in a sentence.
    pub cause: String,
    /// What to do, in a sentence.
    pub remedy: String,
}

/// What a finding concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The sled, and so every volume on it.
    Sled,
    /// One volume.
    Volume(VolumeName),
    /// Whoever looks after the sled, and no volume.
    Operator,
}

impl Finding {
    /// One about a region, which concerns its volume.
    pub(super) fn about_region(local: &LocalRegion, code: Code, cause: String, remedy: String) -> Self {
        let scope = Scope::Volume(local.name.volume().clone());
        Self { code, subject: format!("region {}", local.name), scope, cause, remedy }
    }

    /// Whether it concerns a volume.
    pub fn concerns(&self, volume: &VolumeName) -> bool {
        match &self.scope {
            Scope::Sled => true,
            Scope::Volume(name) => name == volume,
            Scope::Operator => false,
        }
    }
}
