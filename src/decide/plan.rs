//! Plan of the supervisor: what to do next, from what is wanted and what was seen.
//!
//! Work that an earlier supervisor left undone is finished first, and a region is verified if the machine ended without a
//! shutdown. Then one that may run and does not is started;
//! one that would only fail again is held, or stopped until what it waits for is there; one that is well again is
//! forgiven its restarts; and what was deleted long ago is removed. Before all that, a unit that does not let in
//! exactly whom it is to is fenced, which cuts off those that it let in and is not to; and a network adapter that was
//! away is put back into its bridge. That is all there is to do unasked. Everything else is done only when somebody asks ([`permits`](super::permits)), and nothing that serves is
//! stopped or restarted from here.

use super::block;
use super::facts::{Active, Bus, Facts, Fencing, Holder, Region, Settled, Start};
use super::failure::{Kind, ended};
use super::identity::{Identity, identity};
use super::repair::may_go_now;
use super::storage::{belongs, full, usable};
use super::tls;
use super::turns::{is_fit, siblings_serve};
use super::verification;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::{Fence, LocalRegion};
use crate::region::{HeldBy, Tombstone};

/// An action of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Finish what an earlier supervisor left undone on the data disk.
    Settle,
    /// Undo adoptions that were cut short.
    Undo(Vec<RegionName>),
    /// Ask systemd to start the region's unit.
    Start(RegionName),
    /// Put the region on hold: for what reason, why, and what is to be done about it.
    Hold(RegionName, HeldBy, String, Option<String>),
    /// Ask systemd to stop the region's unit, which serves nobody.
    Stop(RegionName),
    /// Ask systemd to restart the region's unit, which has been hung for as long as was set.
    Restart(RegionName),
    /// Ask systemd to forget how often it restarted the region's unit, so that the next
    /// restart comes at once again.
    Forgive(RegionName),
    /// Remove a deleted region, for good.
    Remove(Tombstone),
    /// Hold to their checksums the extents that were being written when the machine ended without a shutdown.
    Verify(RegionName),
    /// Change whom the region's unit lets in.
    Fence(RegionName, Fence),
    /// Put the network adapter with this number back into its bridge.
    Rejoin(u32),
}

/// The number of regions that are started at once: as many as a volume has. systemd starts them one after the other
/// in any case, which takes it some 50 ms each, and has no ear for one that runs as long as more are to be started:
/// the first volume is to serve before the last one is begun.
const STARTS_AT_ONCE: usize = 3;

/// Plan what to do now.
pub fn plan(config: &Configuration, facts: &Facts) -> Vec<Action> {
    if must_settle(config, facts) {
        return vec![Action::Settle];
    }
    // Without systemd nothing can be done.
    if facts.bus != Some(Bus::Connected) {
        return Vec::new();
    }
    let mut actions: Vec<Action> = fences(config, facts).chain(rejoin(config, facts)).collect();
    // On a disk that is not this sled's nothing may be done.
    if usable(config, facts).is_err() || facts.leaving {
        return actions;
    }
    let mut starting = facts.regions.values().filter(|region| region.start == Start::Asked).count();
    for local in config.local_regions() {
        let mut next = next(config, &local, facts);
        if matches!(next, Some(Action::Start(_))) {
            starting += 1;
            next = next.filter(|_| starting <= STARTS_AT_ONCE);
        }
        // The first of a volume's regions that is restarted is the only one.
        let volume = |action: &Action| match action {
            Action::Restart(name) => Some(name.volume().clone()),
            _ => None,
        };
        let second = |next: &Action| actions.iter().any(|a| volume(a).is_some() && volume(a) == volume(next));
        let next = next.filter(|next| !second(next));
        actions.extend(next);
    }
    actions.extend(undo(config, facts));
    actions.extend(remove(config, facts));
    actions
}

/// Whether a region is to be started, and is kept back by nothing but those before it.
pub(super) fn is_queued(config: &Configuration, local: &LocalRegion, facts: &Facts) -> bool {
    let connected = facts.bus == Some(Bus::Connected);
    let able = connected && !facts.leaving && !must_settle(config, facts) && usable(config, facts).is_ok();
    let starting = facts.regions.values().filter(|region| region.start == Start::Asked).count();
    able && starting >= STARTS_AT_ONCE && matches!(next(config, local, facts), Some(Action::Start(_)))
}

/// The adapter that is back and in no bridge: it is put back once. One that is a port of any, and so may serve, is left
/// alone.
fn rejoin(config: &Configuration, facts: &Facts) -> Option<Action> {
    let wanted = &config.sled.network;
    // With a VLAN it would be a port through which nothing goes, and with a spare a second way beside the bond.
    let simple = wanted.vlan.is_none() && wanted.spare.is_none();
    let network = facts.network.as_ref().filter(|_| wanted.rejoin && simple && !facts.leaving)?;
    let nic = network.nic.as_ref().filter(|nic| nic.came_back && nic.master.is_none())?;
    let into = network.bridge.as_ref().filter(|bridge| bridge.up);
    (into.is_some() && facts.rejoin.tried != Some(nic.index)).then_some(Action::Rejoin(nic.index))
}

/// The units that let others in than they are to, and that nobody is at work at.
fn fences<'a>(config: &'a Configuration, facts: &'a Facts) -> impl Iterator<Item = Action> + 'a {
    config.local_regions().into_iter().filter_map(|local| {
        let volume = local.name.volume();
        let region = facts.regions.get(&local.name)?;
        let idle = region.fencing == Fencing::Idle && !facts.granting.contains(volume);
        let wanted = facts.fence(config, volume)?;
        let known = region.unit.as_ref()?;
        (idle && known.fence.as_ref() != Some(&wanted)).then_some(Action::Fence(local.name, wanted))
    })
}

/// Decide what to do about one region.
fn next(config: &Configuration, local: &LocalRegion, facts: &Facts) -> Option<Action> {
    let region = facts.regions.get(&local.name)?;
    if facts.at_work(&local.name).is_some() || region.changing || region.start == Start::Asked {
        return None;
    }
    let name = || local.name.clone();
    let restarts = region.unit.as_ref().map_or(0, |unit| unit.restarts);
    let due = region.unit.is_some() && region.alive().is_none() && verification::is_due(facts, &local.name);
    if due && !facts.scrubbing.contains_key(&local.name) {
        return Some(Action::Verify(name()));
    }
    if facts.held(&local.name).is_some() {
        region.runs().then(|| Action::Stop(name()))
    } else if must_wait(config, local, facts, region) {
        Some(Action::Stop(name()))
    } else if may_start(config, local, facts, region) {
        Some(Action::Start(name()))
    } else if may_restart(config, local, facts, region) {
        Some(Action::Restart(name()))
    } else if region.steady && restarts > 0 {
        Some(Action::Forgive(name()))
    } else {
        hold(config, local, facts, region)
    }
}

/// Put a region on hold whose downstairs would only end again.
fn hold(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> Option<Action> {
    let recorded = usable(config, facts).is_ok_and(|ledger| ledger.regions.contains_key(&local.name));
    let dead = region.alive().is_none();
    let failure = region.failure.as_ref();
    if !recorded || !dead {
        return None;
    }
    if let Some(failure) = failure.filter(|failure| failure.kind == Kind::Permanent) {
        let why = format!("its downstairs {}", failure.cause());
        let dir = config.region_dir(&local.name).display().to_string();
        let user = &config.sled.downstairs.user;
        let remedy = failure.row.map(|row| row.remedy.of(&local.name, &dir, user));
        return Some(Action::Hold(local.name.clone(), HeldBy::Failure, why, remedy));
    }
    let settings = &config.sled.downstairs;
    (region.crashes >= settings.crashes).then(|| {
        let exit = region.unit.as_ref().and_then(|unit| unit.exit);
        let last = failure.map(super::failure::Failure::cause).or_else(|| exit.map(ended));
        let last = last.unwrap_or_else(|| "ended".into());
        let why = format!(
            "its downstairs ended {} times within {}; the last time it {last}",
            region.crashes, settings.crashes_within
        );
        Action::Hold(local.name.clone(), HeldBy::CrashLoop, why, None)
    })
}

/// Whether systemd would start a unit again, to no avail or to harm: what it waits for is watched, what lies on disk
/// is not what it should run on, or another process writes to it.
fn must_wait(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> bool {
    let again = region.unit.as_ref().is_some_and(|unit| unit.active == Active::Activating && unit.exit.is_some());
    let waits = region.failure.as_ref().is_some_and(|failure| failure.kind.waits());
    let fresh = facts.disk.as_ref().is_some_and(|disk| disk.serial >= region.needs_look);
    let wrong = fresh && matches!(identity(config, local, facts), Identity::Wrong(..));
    // The downstairs would only panic with files that cannot be used.
    let unable = matches!(tls::usable(config, facts), Err(Some(_)));
    // The kernel's word is enough here: systemd is quick to start the next one.
    let beside = region.runs() && region.alive().is_none() && facts.intruded(&local.name);
    again && (waits || wrong || unable) || beside
}

/// Whether a hung downstairs is restarted unasked.
fn may_restart(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> bool {
    let after = config.sled.downstairs.restart_hung_after;
    let long = after.is_some_and(|after| region.hung_seconds >= after.seconds && region.hung_seconds > 0);
    let known = is_fit(config, facts, local);
    let room = facts.disk.as_ref().is_some_and(|disk| !full(disk));
    let company = || siblings_serve(config, facts, &local.name).is_ok() && may_go_now(config, facts, local).is_ok();
    // Where the disk refuses what it writes, the next one would do no better, or not even come up.
    let refused = block::retrying(local, facts, region).is_some();
    long && !refused && region.alive().is_some() && known && room && !facts.busy.contains_key(&local.name) && company()
}

/// Undo the adoptions that were cut short, and that no job is at: each holds its own region back, and no other.
fn undo(config: &Configuration, facts: &Facts) -> Option<Action> {
    let ledger = usable(config, facts).ok()?;
    let open = |name: &&RegionName| !facts.busy.contains_key(*name) && !facts.stuck_adoptions.contains_key(*name);
    let names: Vec<_> = ledger.adoptions.keys().filter(open).cloned().collect();
    (!names.is_empty() && facts.bus == Some(Bus::Connected)).then_some(Action::Undo(names))
}

/// Whether this disk is one on which something may be left undone. The same disk is settled
/// again when a copy of its ledger was damaged.
fn must_settle(config: &Configuration, facts: &Facts) -> bool {
    let Some(disk) = facts.disk.as_ref().filter(|disk| disk.mounted && !disk.read_only) else { return false };
    let own = belongs(config, disk).is_ok() && disk.ledger.is_ok();
    let mark = disk.mark.as_ref().ok().and_then(|mark| mark.as_ref());
    let due = match &facts.settled {
        Settled::No => true,
        Settled::Running | Settled::Failed(_) => false,
        Settled::Done(known) => mark.is_some_and(|mark| mark.disk != *known) || disk.damage.is_some(),
    };
    let idle = facts.busy.is_empty();
    own && due && idle && facts.bus == Some(Bus::Connected)
}

/// The region that is to be removed from the trash: one after the other, as it is not urgent.
fn remove(config: &Configuration, facts: &Facts) -> Option<Action> {
    let ledger = usable(config, facts).ok().filter(|_| !facts.removing)?;
    let due = |stone: &&Tombstone| {
        let dir = stone.dir();
        (stone.removing || facts.kept_for.get(&dir) == Some(&0)) && !facts.stuck_removals.contains(&dir)
    };
    ledger.tombstones.iter().find(due).cloned().map(Action::Remove)
}

/// Identity before life: the disk, the record, the address and both ports are right, nobody else is at it, and what
/// the last one failed for is over.
fn may_start(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> bool {
    let idle = region.unit.as_ref().is_some_and(|unit| matches!(unit.active, Active::Inactive | Active::Failed));
    let unasked = region.start == Start::Idle && !region.pausing && !facts.just_created.contains(&local.name);
    let disk = facts.disk.as_ref().filter(|disk| disk.serial >= region.needs_look);
    let hungry = region.failure.as_ref().is_some_and(|failure| failure.kind == Kind::Space);
    let room = disk.is_some_and(|disk| !hungry || !full(disk));
    let free = region.sockets.as_ref().is_some_and(|s| s.data == Holder::Nobody && s.repair == Holder::Nobody);
    let final_word = matches!(&region.failure, Some(failure) if failure.kind == Kind::Permanent);
    let ready = idle && unasked && room && free && !final_word && facts.is_fenced(config, &local.name);
    ready && !verification::is_due(facts, &local.name) && is_fit(config, facts, local)
}
