//! Health of the disks below the data, as they tell of themselves, and what that means. Of one of which nothing is known
//! that is said, and no more: neither that it is well.

use super::facts::{Facts, Health, Smart};
use super::finding::Finding;
use crate::check::Code;

/// The percentage of its life from which a disk is worn: time to get another one.
const WORN_PERCENT: u16 = 90;
/// The temperature in degrees Celsius from which a disk is hot that names no limit: most SSDs are made for 70.
const HOT_DEGREES: i64 = 70;
/// The beginnings of the names that the kernel gives to virtual disks: virtio's and Xen's.
const VIRTUAL: [&str; 2] = ["vd", "xvd"];

/// The findings of the disks' health.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let found = facts.health.iter().flat_map(|(disk, health)| match health {
        Health::Known(told) => of(disk, told, facts),
        Health::Unknown(why) => unknown(disk, why, facts).into_iter().collect(),
    });
    found.collect()
}

fn about(disk: &str, code: Code, cause: String) -> Finding {
    Finding::new(code, format!("disk {disk}"), cause, code.remedy().replace("DISK", disk))
}

/// The finding that a disk does not tell of its health. In a container the disk is its host's to ask, and of a virtual one
/// whoever serves it knows.
fn unknown(disk: &str, why: &str, facts: &Facts) -> Option<Finding> {
    let own = facts.machine.is_some() && !VIRTUAL.iter().any(|prefix| disk.starts_with(prefix));
    own.then(|| about(disk, Code::DiskHealthUnknown, format!("nobody knows whether {disk} is well: {why}")))
}

fn of(disk: &str, told: &Smart, facts: &Facts) -> Vec<Finding> {
    let about = |code: Code, cause: String| about(disk, code, cause);
    let failing = (!told.failing.is_empty())
        .then(|| about(Code::DiskFailing, format!("{} is failing: {}", named(disk, told), told.failing.join("; "))));
    let recorded = (!told.recorded.is_empty()).then(|| {
        let cause = format!("{disk} has on record, by its own word: {}", told.recorded.join("; "));
        let remedy = format!(
            "see how many and how old (smartctl -x /dev/{disk}); of new ones: look at its cable and port, and have what \
             lies there elsewhere before anything else"
        );
        Finding::new(Code::DiskErrors, format!("disk {disk}"), cause, remedy)
    });
    let worn = told.used_percent.filter(|used| *used >= WORN_PERCENT).map(|used| {
        about(Code::DiskWear, format!("{} has used {used} % of the life that it was made for", named(disk, told)))
    });
    // The kernel's own sensor is newer.
    let sensed = facts.machine.iter().flat_map(|machine| &machine.sensors).any(|of| of.disk.as_deref() == Some(disk));
    let limit = told.limit_degrees.unwrap_or(HOT_DEGREES);
    let hot = told
        .degrees
        .filter(|degrees| (*degrees >= limit || told.too_hot) && !sensed)
        .map(|degrees| about(Code::DiskHot, format!("{disk} has {degrees} °C, and {limit} °C is its limit")));
    [failing, recorded, worn, hot].into_iter().flatten().collect()
}

/// The disk with its model, for whoever has to find it. Its serial number is the operator's alone to see, and hosts are
/// told of conditions.
fn named(disk: &str, told: &Smart) -> String {
    told.model.as_ref().map_or_else(|| disk.to_owned(), |model| format!("{disk} ({model})"))
}
