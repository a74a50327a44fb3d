//! Verdict on the sled, from what is wanted and what was seen: the state of every region, and every condition that
//! holds. Without times; the supervisor knows since when.

use super::facts::{Awaited, Bus, Facts};
use super::finding::{Finding, united};
use super::plan::is_queued;
use super::turns::reason;
use super::{JUDGES, block, region, single};
use crate::check::{Code, Severity};
use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use crate::port_map::LocalRegion;
use crate::region::Ledger;
use crate::wire::{self, Drain, DrainState, Maintenance, Refusal, State};
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state of every region on this sled.
    pub states: BTreeMap<RegionName, State>,
    /// Every condition that holds, blocking ones first; no two with the same code about the same thing.
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

/// Judge the sled, and say beside it what is no fault, and follows from how things are laid out.
pub fn judge_with_remarks(config: &Configuration, facts: &Facts) -> Verdict {
    let Verdict { states, mut findings } = judge(config, facts);
    // Information comes last as it is.
    findings.extend(single::findings(config, facts));
    findings.sort_by_key(|finding| (finding.code.severity(), finding.code));
    Verdict { states, findings }
}

/// Judge the sled.
pub fn judge(config: &Configuration, facts: &Facts) -> Verdict {
    let mut findings = own_findings(config, facts);
    findings.extend(JUDGES.iter().flat_map(|judge| judge(config, facts)));
    let mut states = BTreeMap::new();
    for local in config.local_regions() {
        let unknown = Default::default();
        let seen = facts.regions.get(&local.name).unwrap_or(&unknown);
        let (state, found) = region::judge(config, &local, facts, seen, is_queued(config, &local, facts));
        findings.extend(found);
        findings.extend(block::stalled(&local, seen));
        states.insert(local.name, state);
    }
    findings.extend(config.local_regions().iter().filter_map(|local| awaits(config, local, facts)));
    findings.extend(open_volumes(config, &states));
    if let Some(Ok(ledger)) = facts.disk.as_ref().map(|disk| &disk.ledger) {
        findings.extend(shared_uuids(ledger));
    }
    debug_assert!(findings.iter().all(Finding::keeps_to_the_table), "{findings:?}");
    let mut findings = united(findings);
    findings.sort_by(|a, b| {
        (a.code.severity(), a.code, &a.cause, &a.subject).cmp(&(b.code.severity(), b.code, &b.cause, &b.subject))
    });
    Verdict { states, findings }
}

/// The findings of what the supervisor does itself, and of its own state.
fn own_findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = facts.unseen.iter().map(|(what, seconds)| not_seen(what, *seconds)).collect();
    if let Some(Bus::Unreachable(why)) = &facts.bus {
        let cause = format!("systemd does not answer on D-Bus: {why}");
        found.push(Finding::new(Code::SystemdUnreachable, "systemd", cause, Code::SystemdUnreachable.remedy()));
    }
    if facts.unfinished_upgrade {
        found.push(as_it_stands(Code::UpgradeUnfinished, "downstairs"));
    }
    found.extend(facts.maintenance.as_ref().map(maintenance));
    found.extend(facts.drains.iter().filter(|(volume, _)| config.map.volumes.contains_key(volume)).map(drain));
    found.extend(facts.unnotified.as_ref().filter(|_| config.sled.notify.is_some()).map(|why| unnotified(why)));
    if facts.leaving {
        found.push(as_it_stands(Code::SledStopping, "sled"));
    }
    found
}

/// The finding that somebody is at work on the sled: who would attach a volume now is asked to wait.
fn maintenance(maintenance: &Maintenance) -> Finding {
    let reason = maintenance.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (end, remedy) = match maintenance.until {
        Some(until) => (format!(" until {until}"), format!("wait until {until}, or: sledctl maintenance off")),
        None => (String::new(), "sledctl maintenance off".into()),
    };
    let cause = format!("no host may attach a volume{end}, as somebody is at work on the sled{reason}");
    Finding::new(Code::Maintenance, "sled", cause, remedy)
}

/// The finding that nobody can be told of what is found.
fn unnotified(why: &str) -> Finding {
    let cause = format!("notifications are not delivered: {why}");
    Finding::new(Code::NotifyFailed, "notify", cause, Code::NotifyFailed.remedy())
}

/// The finding that a volume is to be free.
fn drain((volume, drain): (&VolumeName, &Drain)) -> Finding {
    let reason = drain.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let said = match &drain.said {
        None => "who has it has not answered".to_owned(),
        Some(said) => match said.state {
            DrainState::Detaching => format!("{} is detaching it", said.host),
            DrainState::Detached => format!("{} has detached it", said.host),
            DrainState::InUse => format!("at {} it is in use: {}", said.host, said.users.join(", ")),
            DrainState::Failed => {
                format!(
                    "{} could not detach it: {}",
                    said.host,
                    said.message.as_deref().unwrap_or("it does not say why")
                )
            }
        },
    };
    let cause = format!("it is being drained{reason}, and no host gets a ticket; {said}");
    let remedy = format!("when it may be attached again: sledctl volume drain {volume} --end");
    Finding::about_volume(volume, Code::VolumeDraining, cause, remedy)
}

/// The finding that a region is to be restarted, as the map or an upgrade has it, and the volume's other sleds keep
/// it back.
fn awaits(config: &Configuration, local: &LocalRegion, facts: &Facts) -> Option<Finding> {
    let Awaited { job, why } = facts.awaiting.get(&local.name)?;
    let cause = format!("job {job} is to restart it, and waits: {}", reason(&local.name, &why.message));
    let anyway = if facts.upgrading == Some(*job) {
        "sledctl downstairs upgrade --force".to_owned()
    } else {
        format!("sledctl region restart {} --force", local.name)
    };
    let remedy = format!(
        "{}; it goes on by itself then; to give it up: sledctl jobs cancel {job}; to have it all the same: that, and \
         then {anyway}",
        what_helps(config, local, facts, *job, why)
    );
    Some(Finding::about_region(local, Code::TurnAwaited, cause, remedy))
}

/// The help for a job that nobody follows and that has no `--force`, for what is said to somebody who asks.
fn what_helps(config: &Configuration, local: &LocalRegion, facts: &Facts, job: u64, why: &wire::Error) -> String {
    let said = why.remedy.strip_suffix("; with --force it is done all the same").unwrap_or(&why.remedy);
    if why.code != Refusal::HostAlone {
        return said.replace(": --sled ADDRESS:PORT", &format!(": sledctl jobs follow {job} --sled ADDRESS:PORT"));
    }
    let meant = |host: &IpAddr| why.message.split_whitespace().any(|word| word == host.to_string());
    let hosts = facts.visitors(config, local.name.volume()).into_keys().filter(meant);
    let named = hosts.map(|host| match config.map.name_of(host) {
        Some(name) => format!("{name} ({host})"),
        None => host.to_string(),
    });
    let named = named.collect::<Vec<_>>().join(" and ");
    let on = if named.is_empty() { "that host".to_owned() } else { named };
    format!("{said}; if it does not come back by itself: detach the volume on {on}, and attach it again")
}

/// Make one of which the table of checks says all that there is to say.
fn as_it_stands(code: Code, subject: &str) -> Finding {
    let about = code.about();
    Finding::new(code, subject, about.cause, about.remedy)
}

/// The finding about a look that does not come back, for example at a disk that hangs: it must not leave an old fact
/// standing as if it were so.
fn not_seen(what: &str, seconds: u64) -> Finding {
    let cause =
        format!("the {what} could not be looked at for {seconds} s: what was known of it may not be so any more");
    let remedy = format!("see journalctl -u sledd and dmesg for why the look at the {what} does not come back");
    Finding::new(Code::NotSeen, what, cause, remedy)
}

fn open_volumes(config: &Configuration, states: &BTreeMap<RegionName, State>) -> Vec<Finding> {
    let here = |name: &VolumeName| states.keys().any(|region| region.volume() == name);
    let open = config.map.volumes.iter().filter(|(name, volume)| volume.hosts.is_empty() && here(name));
    open.map(|(name, _)| {
        let remedy = format!("write hosts = [\"ADDRESS\"] under [volumes.{name}] of port-map.toml");
        Finding::about_volume(name, Code::VolumeOpen, Code::VolumeOpen.about().cause, remedy)
    })
    .collect()
}

/// Volumes with regions that have one UUID: the runbook gave all three the same.
fn shared_uuids(ledger: &Ledger) -> Vec<Finding> {
    let mut by_uuid: BTreeMap<(&VolumeName, Uuid), Vec<&RegionName>> = BTreeMap::new();
    for (name, record) in &ledger.regions {
        by_uuid.entry((name.volume(), record.uuid)).or_default().push(name);
    }
    let shared = by_uuid.into_iter().filter(|(_, names)| names.len() > 1);
    let finding = |((volume, uuid), names): ((&VolumeName, Uuid), Vec<&RegionName>)| {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let cause = format!(
            "{names} have the same UUID, {uuid}: they work, but a lost one cannot be cloned from another, and \
             directories that were swapped are not told apart"
        );
        Finding::about_volume(volume, Code::RegionUuidShared, cause, Code::RegionUuidShared.remedy())
    };
    shared.map(finding).collect()
}
