//! Units that are not as they are configured.

use super::facts::{Obstacle, Outdated};
use super::finding::Finding;
use crate::check::Code;

/// The finding about units that are not as they are configured. The last good goes on: what runs is as it was, and so
/// is what is started; but for regions that are configured otherwise than their units.
pub(super) fn finding(outdated: &Outdated) -> Finding {
    let kept = outdated.regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let kept = if outdated.regions.is_empty() {
        "they stay as they were".to_owned()
    } else {
        format!("they stay as they were, and by these none of {kept} is started")
    };
    let (code, subject, cause) = match &outdated.by {
        Obstacle::Programs(why) => (
            Code::ProgramsUnreadable,
            "downstairs",
            format!(
                "which downstairs program each region runs cannot be read, so the units are not written anew: {why}; {kept}"
            ),
        ),
        Obstacle::Systemd(why) => (
            Code::UnitsOutdated,
            "units",
            format!("systemd does not have the units as they are configured: {why}; {kept}"),
        ),
    };
    Finding::new(code, subject, cause, code.remedy())
}
