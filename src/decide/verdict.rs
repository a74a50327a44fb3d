//! What is so, from what is wanted and what was seen: the state of every region, and every
//! condition that holds. Without times; the supervisor knows since when.

use super::facts::{Bus, Disk, Facts, Watched};
use super::finding::{Finding, Scope};
use super::{network, region};
use crate::check::{Code, Severity};
use crate::config::{Configuration, Provisioning};
use crate::names::{RegionName, VolumeName};
use crate::size;
use crate::systemd::names;
use crate::wire::State;
use std::collections::BTreeMap;

/// What is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state of every region on this sled.
    pub states: BTreeMap<RegionName, State>,
    /// Every condition that holds, blocking ones first.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Whether a host may attach the volume, as far as this sled is concerned: every region
    /// of it here serves, and nothing blocking concerns it.
    pub fn ready(&self, volume: &VolumeName) -> bool {
        let mut here = self.states.iter().filter(|(name, _)| name.volume() == volume).peekable();
        let some = here.peek().is_some();
        let blocked = self.findings.iter().any(|f| f.code.severity() == Severity::Blocking && f.concerns(volume));
        some && !blocked && here.all(|(_, state)| *state == State::Serving)
    }
}

/// Judges.
pub fn judge(config: &Configuration, facts: &Facts) -> Verdict {
    let mut findings = sled_findings(config, facts);
    findings.extend(network::findings(config, facts));
    let mut states = BTreeMap::new();
    for local in config.local_regions() {
        let unknown = Default::default();
        let seen = facts.regions.get(&local.name).unwrap_or(&unknown);
        let (state, found) = region::judge(config, &local, facts, seen);
        states.insert(local.name, state);
        findings.extend(found);
    }
    findings.extend(open_volumes(config, &states));
    findings.sort_by(|a, b| {
        (a.code.severity(), a.code, &a.cause, &a.subject).cmp(&(b.code.severity(), b.code, &b.cause, &b.subject))
    });
    Verdict { states, findings }
}

fn sled_findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = facts.unseen.iter().map(|(what, seconds)| not_seen(*what, *seconds)).collect();
    if let Some(Bus::Unreachable(why)) = &facts.bus {
        let cause = format!("systemd does not answer on D-Bus: {why}");
        let remedy = "systemctl status dbus; what is shown of the units is what was last known".to_owned();
        found.push(about_sled(Code::SystemdUnreachable, "systemd".into(), cause, remedy));
    }
    if let Some(disk) = &facts.disk {
        found.extend(disk_finding(config, disk).or_else(|| room_finding(config, disk)));
        found.extend(unmapped(config, disk));
    }
    found
}

fn about_sled(code: Code, subject: String, cause: String, remedy: String) -> Finding {
    Finding { code, subject, scope: Scope::Sled, cause, remedy }
}

/// A look that does not come back, for example at a disk that hangs, must not leave an old
/// fact standing as if it were so.
fn not_seen(what: Watched, seconds: u64) -> Finding {
    let what = what.as_str();
    let cause =
        format!("the {what} could not be looked at for {seconds} s: what was known of it may not be so any more");
    let remedy = format!("see journalctl -u sledd and dmesg for why the look at the {what} does not come back");
    about_sled(Code::NotSeen, what.into(), cause, remedy)
}

/// Below this a thin region cannot count on its next write.
const FULL: u64 = 16 << 20;

/// Whether there is room on the data disk.
fn room_finding(config: &Configuration, disk: &Disk) -> Option<Finding> {
    let storage = &config.sled.storage;
    let (root, reserve) = (storage.root.display(), storage.reserve.of(disk.capacity));
    let room = format!("{} of {} is free at {root}", size::spoken(disk.free), size::spoken(disk.capacity));
    let subject = format!("disk {root}");
    if disk.free < FULL && storage.provisioning == Provisioning::Thin {
        let cause = format!("{room}: a region that is written to hangs until there is more");
        let remedy = "make room on it at once; a restart of the regions does not help".to_owned();
        return Some(about_sled(Code::DiskFull, subject, cause, remedy));
    }
    (disk.free < reserve).then(|| {
        let cause = format!("{room}, and {} ({}) is to be kept in reserve", size::spoken(reserve), storage.reserve);
        about_sled(Code::DiskLow, subject, cause, "make room, or add a disk, before it is full".into())
    })
}

/// Regions that exist here and that the map knows nothing of: a volume that was renamed or
/// removed, and whose downstairs may still run.
fn unmapped(config: &Configuration, disk: &Disk) -> Vec<Finding> {
    let local = config.local_regions();
    let recorded = disk.ledger.iter().flat_map(|ledger| ledger.regions.keys());
    let others = recorded.filter(|name| !local.iter().any(|local| local.name == **name));
    let finding = |name: &RegionName| {
        let unit = names::unit(name);
        let cause =
            format!("it is on record, and the port map does not put {name} on this sled; it is not watched over");
        let remedy = format!("put it back into port-map.toml, or, if no host uses it: systemctl stop {unit}");
        about_sled(Code::RegionUnmapped, format!("region {name}"), cause, remedy)
    };
    others.map(finding).collect()
}

/// The first thing that is wrong with the data disk.
fn disk_finding(config: &Configuration, disk: &Disk) -> Option<Finding> {
    let root = config.sled.storage.root.display();
    let (code, cause, remedy) = match &disk.ledger {
        _ if !disk.mounted && !config.sled.storage.require_mount => (
            Code::DataNotMounted,
            format!("there is no directory {root}: nothing is created and nothing is started"),
            format!("make {root}, or correct storage.root of sled.toml"),
        ),
        _ if !disk.mounted => (
            Code::DataNotMounted,
            format!("no file system of its own is mounted at {root}: nothing is created and nothing is started"),
            format!("mount the data disk at {root} (systemctl status '*.mount' shows why it is not)"),
        ),
        _ if disk.read_only => (
            Code::DataReadOnly,
            format!("the file system at {root} cannot be written to"),
            "see dmesg: after an error the kernel makes a file system read-only; check the disk and mount it again"
                .into(),
        ),
        Err(why) => (
            Code::LedgerUnreadable,
            format!("the ledger in {root} cannot be read: {why}"),
            format!(
                "nothing is started or created until it is restored; {root}/.sled/ledger.json.previous is it before the last change"
            ),
        ),
        Ok(_) => return None,
    };
    Some(about_sled(code, format!("disk {root}"), cause, remedy))
}

fn open_volumes(config: &Configuration, states: &BTreeMap<RegionName, State>) -> Vec<Finding> {
    let here = |name: &VolumeName| states.keys().any(|region| region.volume() == name);
    let open = config.map.volumes.iter().filter(|(name, volume)| volume.hosts.is_empty() && here(name));
    open.map(|(name, _)| Finding {
        code: Code::VolumeOpen,
        subject: format!("volume {name}"),
        scope: Scope::Volume(name.clone()),
        cause: "the port map names no hosts for it: any machine on the network may attach it".into(),
        remedy: format!("write hosts = [\"ADDRESS\"] under [volumes.{name}] of port-map.toml"),
    })
    .collect()
}
