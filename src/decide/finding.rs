//! Finding of a condition: without a time, and with what it concerns.

use crate::check::Code;
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
    /// Make one about a region, which concerns its volume.
    pub(super) fn about_region(local: &LocalRegion, code: Code, cause: String, remedy: String) -> Self {
        let scope = Scope::Volume(local.name.volume().clone());
        Self { code, subject: format!("region {}", local.name), scope, cause, remedy }
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
