//! Turns of the regions: whether one may go away for a moment. Replicas of one volume never do so together, and one
//! goes only while the others serve.
//!
//! A request is answered by what is known when it comes; when its turn has come, what is known
//! then decides once more ([`claim`]). Whether hosts that are connected have caught up is looked
//! at by the work itself.

use super::facts::{Busy, Facts};
use super::finding::Finding;
use super::identity::{Identity, identity};
use super::network::has_address;
use super::outdated;
use super::permits::{idle, local, not_on_record, ports_free, unseen};
use super::region::serving;
use super::repair;
use super::storage::usable;
use super::tls;
use super::verification;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use crate::port_map::LocalRegion;
use crate::wire::{self, ErrorCode, Refusal, State};
use std::collections::BTreeSet;

/// The manner in which a region is taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Whether it goes even if a sibling does not serve.
    pub force: bool,
    /// Whether it goes even if a host that is connected could not repair its copy afterwards.
    pub unrepaired: bool,
    /// Whether the volume's other sleds are asked.
    pub asks: Asks,
    /// Whether it goes only while no other region of the sled is away.
    pub rolling: bool,
    /// Whether it is started again afterwards.
    pub starts: bool,
}

/// The other sleds that are asked before one of a volume's regions goes away for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// No other sleds are asked.
    Nobody,
    /// The others are asked; if one is not well, the region does not go.
    Others,
    /// The same, and each must have been found whole as well: the region is not to come back, and one that takes its place
    /// is filled from them. Unless it is done under hosts that are `attached`, none may be connected to any of them.
    Whole {
        /// Whether it is done under hosts that are attached as well.
        attached: bool,
    },
    /// The others are asked again and again, until all are well: nobody waits for the job.
    Patiently,
    /// The others are asked in the same way, but for those of the volume's regions, by their index, that the map has
    /// moved as well: no host has these where they are to be, and two that move would wait for each other in vain.
    Unmoved([bool; 3]),
}

impl Asks {
    /// Ask them, unless it is done by force.
    pub fn unless(force: bool) -> Self {
        if force { Self::Nobody } else { Self::Others }
    }

    /// Whether nobody waits for the job.
    pub fn patiently(self) -> bool {
        matches!(self, Self::Patiently | Self::Unmoved(_))
    }

    /// The regions of a volume that are not asked about.
    pub fn left_out(self, volume: &VolumeName) -> BTreeSet<RegionName> {
        let Self::Unmoved(moved) = self else { return BTreeSet::new() };
        let moved = moved.into_iter().enumerate().filter(|(_, moved)| *moved);
        moved.filter_map(|(index, _)| RegionName::new(volume.clone(), index)).collect()
    }

    /// Whether there is a region on another sled to ask about.
    pub fn anybody(self, config: &Configuration, name: &RegionName) -> bool {
        let (volume, left_out) = (config.map.volumes.get(name.volume()), self.left_out(name.volume()));
        let others = volume.into_iter().flat_map(|volume| volume.regions.iter().enumerate());
        let mut others = others.filter(|(_, region)| region.sled != config.sled.name);
        let asked = |index| RegionName::new(name.volume().clone(), index).is_some_and(|one| !left_out.contains(&one));
        self != Self::Nobody && others.any(|(index, _)| asked(index))
    }
}

/// A region that does not get its turn, or is not started, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// Not yet: another region of the volume is away, or something is not known yet.
    Later(wire::Error),
    /// The region will not.
    Refused(wire::Error),
}

impl Denied {
    /// The reason.
    pub fn error(self) -> wire::Error {
        match self {
            Self::Later(why) | Self::Refused(why) => why,
        }
    }
}

/// Find whether a region may be restarted, as far as can be told now.
///
/// # Errors
/// Why not: no such region here, no disk, a job is at it, it is held, a sibling does not serve.
pub fn may_restart(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    force: bool,
) -> Result<LocalRegion, wire::Error> {
    let local = on_record(config, facts, name)?;
    verification::not_due(facts, name)?;
    // Obstacles that pass by themselves are waited for when its turn comes.
    if let Err(Denied::Refused(why)) = fit(config, facts, &local) {
        return Err(why);
    }
    siblings_now(config, facts, name, force)?;
    repaired(config, facts, &local, force)?;
    Ok(local)
}

/// Find whether a region may be held, as far as can be told now.
///
/// # Errors
/// As [`may_restart`]; or the region is held already.
pub fn may_hold(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    force: bool,
) -> Result<LocalRegion, wire::Error> {
    let local = on_record(config, facts, name)?;
    if facts.held(name).is_some() {
        let remedy = format!("see why: sledctl region show {name}");
        return Err(wire::Error::new(Code::RegionHeld, format!("{name} is held already"), remedy));
    }
    if !force {
        keeps_data(config, facts, &local)?;
    }
    siblings_now(config, facts, name, force)?;
    repaired(config, facts, &local, force)?;
    Ok(local)
}

/// Find that what it misses can be made up for, unless that does not matter.
fn repaired(config: &Configuration, facts: &Facts, local: &LocalRegion, force: bool) -> Result<(), wire::Error> {
    if force { Ok(()) } else { repair::may_go_now(config, facts, local) }
}

/// Find that it is not a region whose directory is gone and whose process serves it still: that alone has the data.
fn keeps_data(config: &Configuration, facts: &Facts, local: &LocalRegion) -> Result<(), wire::Error> {
    let alive = facts.regions.get(&local.name).is_some_and(|region| region.alive().is_some());
    match identity(config, local, facts) {
        Identity::Wrong(State::Missing, finding) if alive => {
            let message = format!("{} is left running, as nothing else has its data: {}", local.name, finding.cause);
            Err(wire::Error::new(finding.code, message, finding.remedy))
        }
        _ => Ok(()),
    }
}

/// Find whether a region may be released.
///
/// # Errors
/// Why not: it is not held, there is no disk, a job is at it.
pub fn may_release(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    let local = on_record(config, facts, name)?;
    match facts.held(name) {
        Some(_) => verification::not_due(facts, name).map(|()| local),
        None => {
            let message = format!("{name} is not held: there is nothing to release");
            Err(wire::Error::new(Refusal::NotHeld, message, format!("see sledctl region show {name}")))
        }
    }
}

/// Find whether a region's extents may be replaced by those of its siblings, as far as can be told now. Whether it may go
/// away for that is decided when its turn comes.
///
/// # Errors
/// Why not: no such region here, a job is at it, there is no disk or it cannot be written to.
pub fn may_repair(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    let local = on_record(config, facts, name)?;
    unscrubbed(facts, name)?;
    verification::not_due(facts, name)?;
    if facts.disk.as_ref().is_some_and(|disk| disk.read_only) {
        let message = format!("{name} is not repaired: the data disk cannot be written to");
        return Err(wire::Error::new(Code::DataReadOnly, message, "sledctl status"));
    }
    Ok(local)
}

/// Find that a region is not being scrubbed: a scrub writes down what it knows of the extents, and that would be of those
/// before.
pub(super) fn unscrubbed(facts: &Facts, name: &RegionName) -> Result<(), wire::Error> {
    let Some(job) = facts.scrubbing.get(name) else { return Ok(()) };
    let message = format!("{name} is being scrubbed, or will be: job {job}");
    let remedy = format!("wait for it (sledctl jobs follow {job}), or end it: sledctl jobs cancel {job}");
    Err(wire::Error::new(Refusal::Busy, message, remedy))
}

fn on_record(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    let local = local(config, name)?;
    idle(facts, name)?;
    if usable(config, facts)?.regions.contains_key(name) { Ok(local) } else { Err(not_on_record(config, name)) }
}

/// Find that the siblings serve. One that a job is at will serve again: that is waited for when the turn comes.
fn siblings_now(config: &Configuration, facts: &Facts, name: &RegionName, force: bool) -> Result<(), wire::Error> {
    let away = |sibling: &RegionName| facts.busy.contains_key(sibling);
    if force || siblings(config, name).any(|sibling| away(&sibling)) {
        Ok(())
    } else {
        siblings_serve(config, facts, name).map_err(Denied::error)
    }
}

/// The reason why a region stays as it is, for whoever says that himself: of a refusal that begins with it.
pub fn reason<'a>(name: &RegionName, refusal: &'a str) -> &'a str {
    refusal.strip_prefix(&format!("{name} stays as it is: ")).unwrap_or(refusal)
}

/// A refusal without the words that end its remedy where it may be forced, for an operation that may not be.
pub fn unforced(mut refusal: wire::Error) -> wire::Error {
    if let Some((remedy, _)) =
        refusal.remedy.split_once("; with --force").or_else(|| refusal.remedy.split_once("; --force"))
    {
        refusal.remedy = remedy.to_owned();
    }
    refusal
}

/// Whether other sleds have regions of the same volume.
pub fn is_spread(config: &Configuration, name: &RegionName) -> bool {
    let volume = config.map.volumes.get(name.volume());
    volume.is_some_and(|volume| volume.regions.iter().any(|region| region.sled != config.sled.name))
}

fn siblings(config: &Configuration, name: &RegionName) -> impl Iterator<Item = RegionName> {
    let all = config.local_regions().into_iter().map(|local| local.name);
    let name = name.clone();
    all.filter(move |other| other.volume() == name.volume() && *other != name)
}

/// Find that every other region of the volume on this sled serves, with no job at it. A region that is down already
/// makes nothing worse when it is stopped or started.
pub(super) fn siblings_serve(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<(), Denied> {
    let later = |sibling: &RegionName, what: &str| {
        let message = format!("{name} stays as it is: {sibling} {what}, and a host needs two of three regions");
        let remedy = format!("see sledctl region show {sibling}; with --force it is done all the same");
        Denied::Later(wire::Error::new(Refusal::SiblingDown, message, remedy))
    };
    let serving = serving(config, facts);
    for sibling in siblings(config, name) {
        match facts.busy.get(&sibling) {
            None | Some(Busy::Waiting) => {}
            Some(_) => return Err(later(&sibling, "is at work")),
        }
        if facts.regions.get(&sibling).is_some_and(|region| region.changing) {
            return Err(later(&sibling, "is being stopped or restarted"));
        }
        let down = facts.regions.get(name).is_none_or(|region| region.alive().is_none());
        if !serving.contains(&sibling) && !down {
            return Err(later(&sibling, "does not serve"));
        }
    }
    Ok(())
}

/// Find that another program may be rolled over the regions: all that are on record serve, or are held. The first of
/// them, which names the job.
///
/// # Errors
/// Why not: there is no disk, no region, one does not serve.
pub fn may_upgrade(config: &Configuration, facts: &Facts, force: bool) -> Result<LocalRegion, wire::Error> {
    let known = &usable(config, facts)?.regions;
    let mut here: Vec<_> = config.local_regions().into_iter().filter(|local| known.contains_key(&local.name)).collect();
    let serving = serving(config, facts);
    let down = here.iter().find(|local| !serving.contains(&local.name) && facts.held(&local.name).is_none());
    if let Some(down) = down.filter(|_| !force) {
        let message = format!("{} does not serve: whether another program does well could not be told", down.name);
        let remedy = format!("see sledctl region show {}; with --force it is done all the same", down.name);
        return Err(wire::Error::new(Refusal::SiblingDown, message, remedy));
    }
    here.iter().try_for_each(|local| repaired(config, facts, local, force))?;
    if here.is_empty() {
        let message = "no region is on record: there is nothing to roll a program over";
        return Err(wire::Error::new(Refusal::RegionUnknown, message, "sledctl region create --all"));
    }
    Ok(here.swap_remove(0))
}

/// Find that the region's turn has come, as far as the others are concerned; and, if it is to be started afterwards,
/// that it is one that may be.
///
/// # Errors
/// Why not, and whether it is worth asking again.
pub fn claim(config: &Configuration, facts: &Facts, name: &RegionName, manner: Manner) -> Result<(), Denied> {
    usable(config, facts).map_err(Denied::Refused)?;
    if manner.starts {
        let local = local(config, name).map_err(Denied::Refused)?;
        fit(config, facts, &local)?;
        if !facts.is_fenced(config, name) {
            let message = format!("{name} stays as it is: whom it lets in is being changed");
            return Err(Denied::Later(wire::Error::new(Refusal::NotFenced, message, "ask again in a moment")));
        }
    }
    let held = |name: &RegionName| !matches!(facts.busy.get(name), None | Some(Busy::Waiting));
    let busy = |other: &RegionName| {
        let message = format!("{name} stays as it is: another job is at {other}");
        Denied::Later(wire::Error::new(Refusal::Busy, message, "see sledctl jobs"))
    };
    if held(name) {
        return Err(busy(name));
    }
    if let Some(other) = facts.busy.keys().find(|other| manner.rolling && held(other)) {
        return Err(busy(other));
    }
    // Regions of one volume never go together, not even by force.
    let away = |other: &RegionName| held(other) || facts.regions.get(other).is_some_and(|region| region.changing);
    if let Some(other) = siblings(config, name).find(away) {
        return Err(busy(&other));
    }
    if manner.force { Ok(()) } else { siblings_serve(config, facts, name) }
}

/// Find that a downstairs may be started on a region, whoever asks for it: identity before life, and never a second
/// process.
///
/// # Errors
/// Why not, and whether it is worth asking again: what was not looked at yet, or is being asked for, is.
pub fn fit(config: &Configuration, facts: &Facts, local: &LocalRegion) -> Result<(), Denied> {
    let name = &local.name;
    is_there(config, facts, local)?;
    verification::not_due(facts, name).map_err(Denied::Later)?;
    is_let(facts, name)?;
    has_ground(config, facts, name)?;
    is_alone(facts, name)?;
    match tls::usable(config, facts) {
        Ok(()) => {}
        Err(Some(finding)) => return Err(found(name, &finding)),
        Err(None) => return Err(later(name, Code::NotSeen.into(), "the files of [tls] were not looked at yet")),
    }
    let region = facts.regions.get(name).cloned().unwrap_or_default();
    ports_free(&region, local).map_err(Denied::Refused)
}

/// Find that the region is the one on record.
fn is_there(config: &Configuration, facts: &Facts, local: &LocalRegion) -> Result<(), Denied> {
    match identity(config, local, facts) {
        Identity::Known(_) => Ok(()),
        Identity::Wrong(_, finding) => Err(found(&local.name, &finding)),
        Identity::NeverCreated => Err(Denied::Refused(not_on_record(config, &local.name))),
        Identity::Unavailable => Err(Denied::Later(unseen(config, &local.name))),
    }
}

/// Find that its unit is the one that is configured, and that it is not held.
fn is_let(facts: &Facts, name: &RegionName) -> Result<(), Denied> {
    if facts.stale_units {
        let what = "systemd has not told yet that it knows its unit as it is configured now";
        return Err(later(name, Refusal::Starting.into(), what));
    }
    if let Some(why) = facts.outdated(name) {
        return Err(found(name, &outdated::finding(why)));
    }
    if facts.held(name).is_some() {
        let message = format!("{name} is held: it is not started");
        let remedy = format!("sledctl region release {name}");
        return Err(Denied::Refused(wire::Error::new(Code::RegionHeld, message, remedy)));
    }
    Ok(())
}

/// Find that the sled has what it runs on: a disk to write to, and its address.
fn has_ground(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<(), Denied> {
    if facts.disk.as_ref().is_none_or(|disk| disk.read_only) {
        let what = "the data disk cannot be written to";
        let frozen = facts.disk.as_ref().is_some_and(|disk| disk.frozen);
        let code = if frozen { Code::DiskReadOnly } else { Code::DataReadOnly };
        return Err(refused(name, code.into(), what, "sledctl status".into()));
    }
    if facts.network.is_none() {
        return Err(later(name, Code::NotSeen.into(), "the network was not looked at yet"));
    }
    if !has_address(config, facts) {
        let what = format!("{} does not have the sled's address", config.sled.network.bridge);
        let remedy = "see BRIDGE_ADDRESS in sledctl checks".into();
        return Err(refused(name, Code::BridgeAddress.into(), &what, remedy));
    }
    Ok(())
}

/// Find that nobody else writes to its files.
fn is_alone(facts: &Facts, name: &RegionName) -> Result<(), Denied> {
    if facts.intruders.is_none() {
        let what = "who has files of it open for writing was not looked at yet";
        return Err(later(name, Code::NotSeen.into(), what));
    }
    if facts.intruded(name) {
        let (what, remedy) =
            ("another process has files of it open for writing", format!("see sledctl region show {name}"));
        return Err(refused(name, Code::RegionForeignProcess.into(), what, remedy));
    }
    Ok(())
}

fn refused(name: &RegionName, code: ErrorCode, what: &str, remedy: String) -> Denied {
    Denied::Refused(wire::Error::new(code, format!("{name} is not started: {what}"), remedy))
}

fn found(name: &RegionName, finding: &Finding) -> Denied {
    refused(name, finding.code.into(), &finding.cause, finding.remedy.clone())
}

fn later(name: &RegionName, code: ErrorCode, what: &str) -> Denied {
    Denied::Later(wire::Error::new(code, format!("{name} is not started: {what}"), "ask again in a moment"))
}

/// As [`fit`], without the reason.
pub(super) fn is_fit(config: &Configuration, facts: &Facts, local: &LocalRegion) -> bool {
    fit(config, facts, local).is_ok()
}
