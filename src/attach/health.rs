//! Health of a volume, in the words of monitoring.

use super::status::Seen;
use crate::check::Severity;
use serde::Serialize;

/// The health of a volume; the worst of several is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    Ok,
    Unknown,
    Warning,
    Critical,
}

impl Health {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The exit code.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// The health of a volume.
    pub(super) fn of(seen: &Seen) -> Self {
        let worst = seen.findings.iter().map(|finding| finding.severity).min();
        match worst {
            Some(Severity::Blocking) => Self::Critical,
            // A relay that may not be asked is not known to be wrong.
            _ if seen.here.relay.is_none() || !seen.here.concerns() => Self::Unknown,
            Some(Severity::Warning) => Self::Warning,
            _ => Self::Ok,
        }
    }
}
