//! Verdict on a boot: whether it was a good one. Pure.
//!
//! A boot was good if what served before serves again, or cannot for a reason that an older version would share: no
//! cable, no disk. Anything that the new version may be to blame for is waited for, and at last speaks against it;
//! then the machine goes back to the version before.

use super::record::{Before, is_ready};
use crate::check::{Code, Severity};
use crate::names::{RegionName, VolumeName};
use crate::wire::{Check, Sled, State, Volume};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most times that systemd may have started the supervisor anew before it is given up.
pub const RESTART_LIMIT: u32 = 5;
/// The time for which nobody may answer.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// The time that regions may take: a hundred dirty extents take 45 s before they are served.
pub const REGIONS_LIMIT: Duration = Duration::from_secs(600);
/// The time for which a reason that excuses is looked at before it is believed: early at boot a cable has no link
/// yet, and a disk is not mounted.
pub const SECOND_LOOK: Duration = Duration::from_secs(45);

/// The sled as it is seen.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The supervisor's word, or why it says nothing.
    pub sled: Result<&'a Sled, Silence>,
    /// The number of times that systemd has started it anew.
    pub restarts: u32,
    /// The time since the first look.
    pub waited: Duration,
    /// Whether the configuration's files are those of before.
    pub same_config: bool,
    /// Whether the network adapter of before is plugged in, whatever drives it.
    pub adapter_plugged: bool,
    /// Whether the data partition is there, mounted or not.
    pub data_partition: bool,
    /// Whether ssh answers; `None` if nobody may log in.
    pub ssh: Option<bool>,
    /// Whether the gateway answers; `None` if there is none.
    pub gateway: Option<bool>,
}

/// The reason why the supervisor says nothing of the sled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// Nobody answers.
    Unreachable,
    /// The supervisor says that the configuration has faults.
    Faults,
}

/// The verdict on a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet, and what is waited for.
    Wait(String),
    /// The boot is a good one, and why.
    Good(String),
    /// The boot is not, and why.
    Bad(String),
}

/// Judge a boot.
pub fn judge(before: &Before, seen: &Seen<'_>) -> Verdict {
    let sled = match &seen.sled {
        Ok(sled) => sled,
        Err(Silence::Faults) if seen.same_config => {
            return Verdict::Bad("the configuration has faults for this version, and had none for the last".into());
        }
        Err(Silence::Faults) => return Verdict::Good("the supervisor runs; the configuration has faults".into()),
        Err(Silence::Unreachable) if seen.restarts >= RESTART_LIMIT => {
            return Verdict::Bad(format!("the supervisor ends again and again: {} times", seen.restarts));
        }
        Err(Silence::Unreachable) if seen.waited >= SILENCE_LIMIT => {
            return Verdict::Bad(format!("the supervisor does not answer for {} s", SILENCE_LIMIT.as_secs()));
        }
        Err(Silence::Unreachable) => return Verdict::Wait("the supervisor".into()),
    };
    let (mut excused, mut missing) = (Vec::new(), vanished(before, sled, seen));
    for volume in &sled.volumes {
        let lacks = lacks(before, volume);
        if lacks.is_empty() {
            continue;
        }
        let blocking: Vec<_> = volume.checks.iter().filter(|check| check.severity == Severity::Blocking).collect();
        // Without its disk a region is in whatever state that leaves it in.
        let diskless = blocking.iter().any(|check| is_of_the_disk(check.code, seen));
        if diskless || (!blocking.is_empty() && blocking.iter().all(|check| is_shared(check, seen))) {
            excused.extend(blocking.iter().map(|check| check.code.as_str()))
        } else {
            missing.push(reasons(volume, &lacks, &blocking, seen))
        }
    }
    let reach = unreached(before, seen);
    // Without a cable nobody answers; and whoever has hosts has a network.
    let cable = sled.checks.iter().filter(|check| is_of_the_cable(check, seen));
    let cable: Vec<_> = cable.map(|check| check.code.as_str()).collect();
    let alone = sled.volumes.iter().flat_map(|volume| &volume.regions).all(|region| region.connected.is_empty());
    match reach.gateway {
        Some(_) if !cable.is_empty() => excused.extend(cable),
        Some(why) if alone => missing.push(why),
        Some(_) | None => {}
    }
    missing.extend(reach.ssh);
    conclude(excused, &missing, seen.waited)
}

/// What answered before and does not now, in a sentence each.
struct Unreached {
    ssh: Option<String>,
    gateway: Option<String>,
}

fn unreached(before: &Before, seen: &Seen<'_>) -> Unreached {
    let silent = |who: &str| format!("{who} answered before and does not now");
    let ssh = (before.ssh && seen.ssh == Some(false)).then(|| silent("ssh"));
    let gateway = (before.gateway && seen.same_config && seen.gateway == Some(false)).then(|| silent("the gateway"));
    Unreached { ssh, gateway }
}

/// Whether a check tells that there is no link, for a reason that an older version would share.
fn is_of_the_cable(check: &Check, seen: &Seen<'_>) -> bool {
    matches!(check.code, Code::NicNoCarrier | Code::NicMissing | Code::BridgePortMissing) && is_shared(check, seen)
}

fn conclude(mut excused: Vec<&str>, missing: &[String], waited: Duration) -> Verdict {
    excused.sort_unstable();
    excused.dedup();
    match (missing, excused.is_empty()) {
        ([], true) => Verdict::Good("everything that served before serves again".into()),
        ([], false) if waited >= SECOND_LOOK => {
            Verdict::Good(format!("what does not serve would not with any version: {}", excused.join(", ")))
        }
        ([], false) => Verdict::Wait(format!("a second look at {}", excused.join(", "))),
        (missing, _) if waited >= REGIONS_LIMIT => Verdict::Bad(missing.join("; ")),
        (missing, _) => Verdict::Wait(missing.join("; ")),
    }
}

/// The volumes that served before, and of which the same configuration knows nothing now.
fn vanished(before: &Before, sled: &Sled, seen: &Seen<'_>) -> Vec<String> {
    let known = |name: &VolumeName| sled.volumes.iter().any(|volume| volume.volume == *name);
    let all: BTreeSet<_> = before.serving.iter().map(RegionName::volume).chain(&before.ready).collect();
    let gone = all.into_iter().filter(|name| seen.same_config && !known(name));
    gone.map(|name| format!("{name} served before and is not known now")).collect()
}

/// The things that a volume had before and has not now.
fn lacks(before: &Before, volume: &Volume) -> Vec<String> {
    let ready = before.ready.contains(&volume.volume) && !is_ready(volume);
    let regions = volume.regions.iter().filter(|region| before.serving.contains(&region.name));
    let regions = regions.filter(|region| region.state != Some(State::Serving)).map(|region| region.name.to_string());
    let regions: Vec<_> = regions.collect();
    match (regions.is_empty(), ready) {
        (true, true) => vec![volume.volume.to_string()],
        _ => regions,
    }
}

fn reasons(volume: &Volume, lacks: &[String], blocking: &[&Check], seen: &Seen<'_>) -> String {
    let own: Vec<_> =
        blocking.iter().filter(|check| !is_shared(check, seen)).map(|check| check.code.as_str()).collect();
    let why = if own.is_empty() { String::new() } else { format!(" ({})", own.join(", ")) };
    format!("{} of {} served before and does not now{why}", lacks.join(", "), volume.volume)
}

/// Whether an older version would have the same trouble.
fn is_shared(check: &Check, seen: &Seen<'_>) -> bool {
    match check.code {
        code if is_of_the_disk(code, seen) => true,
        Code::NicNoCarrier => true,
        // Unless it is there and this version cannot drive it.
        Code::NicMissing | Code::BridgePortMissing => !seen.adapter_plugged,
        // Conditions that somebody asked for.
        Code::Maintenance | Code::VolumeDraining | Code::RegionHeld | Code::SledStopping => true,
        // A certificate that has ended has ended for all.
        Code::TlsUnusable => true,
        _ => false,
    }
}

/// A disk that is full or fails is so for every version; one that is there and not mounted is not.
fn is_of_the_disk(code: Code, seen: &Seen<'_>) -> bool {
    match code {
        Code::DataReadOnly | Code::DiskReadOnly | Code::DiskFull => true,
        Code::DataNotMounted => !seen.data_partition,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
