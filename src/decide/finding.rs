//! Finding of a condition: without a time, and with what it concerns.

use crate::check::{self, Code};
use crate::names::VolumeName;
use crate::port_map::LocalRegion;

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The condition's code.
    pub code: Code,
    /// The subject, for example `region still-fawn-0`.
    pub subject: String,
    /// The scope of its concern.
    pub scope: Scope,
    /// The cause: what is wrong, in a sentence.
    pub cause: String,
    /// The remedy: what to do, in a sentence.
    pub remedy: String,
}

/// The scope of a finding's concern.
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
    /// Make one that concerns no volume more than another: the sled or its operator, as the table of checks has it.
    pub(super) fn new(
        code: Code,
        subject: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let scope = if code.about().scope == check::Scope::Operator { Scope::Operator } else { Scope::Sled };
        Self { code, subject: subject.into(), scope, cause: cause.into(), remedy: remedy.into() }
    }

    /// Make one about a volume.
    pub(super) fn about_volume(
        volume: &VolumeName,
        code: Code,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let scope = Scope::Volume(volume.clone());
        Self { scope, ..Self::new(code, format!("volume {volume}"), cause, remedy) }
    }

    /// Make one about a region, which concerns its volume.
    pub(super) fn about_region(local: &LocalRegion, code: Code, cause: String, remedy: String) -> Self {
        let scope = Scope::Volume(local.name.volume().clone());
        Self { scope, ..Self::new(code, format!("region {}", local.name), cause, remedy) }
    }

    /// Whether it concerns no more than the table of checks has it.
    pub(super) fn keeps_to_the_table(&self) -> bool {
        match self.code.about().scope {
            check::Scope::Sled => self.scope != Scope::Operator,
            check::Scope::Volume | check::Scope::Region => matches!(self.scope, Scope::Volume(_)),
            check::Scope::Operator => self.scope == Scope::Operator,
        }
    }

    /// Tell what another one tells that is the same condition.
    fn unite(&mut self, other: Self) {
        for (told, more) in [(&mut self.cause, other.cause), (&mut self.remedy, other.remedy)] {
            let known = *told == more || told.starts_with(&format!("{more}; ")) || told.ends_with(&format!("; {more}"));
            if !known {
                *told += &format!("; {more}");
            }
        }
        if self.scope == Scope::Operator || other.scope == Scope::Sled {
            self.scope = other.scope;
        }
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

/// Unite the findings, so that there is one for each condition. A condition is its code and its subject, by which
/// since when it is so is told: if it is found more than once, for example of each of several processes, it is told
/// in one.
pub(super) fn united(findings: Vec<Finding>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for one in findings {
        match all.iter_mut().find(|known| known.code == one.code && known.subject == one.subject) {
            Some(known) => known.unite(one),
            None => all.push(one),
        }
    }
    all
}
