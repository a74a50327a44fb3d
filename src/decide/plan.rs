//! What to do next, from what is wanted and what was seen.
//!
//! What an earlier supervisor left undone is finished first. Then a region that may run and
//! does not is started, one that is well again is forgiven its restarts, and what was deleted
//! long ago is removed; that is all there is to do unasked. Everything else is done only when
//! somebody asks ([`permits`](super::permits)), and nothing is restarted or stopped from here.

use super::facts::{Active, Bus, Facts, Holder, Region, Settled, Start};
use super::region::{Identity, identity};
use super::storage::{belongs, usable};
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::Tombstone;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Finish what an earlier supervisor left undone on the data disk.
    Settle,
    /// Undo adoptions that were cut short.
    Undo(Vec<RegionName>),
    /// Ask systemd to start the region's unit.
    Start(RegionName),
    /// Ask systemd to forget how often it restarted the region's unit, so that the next
    /// restart comes at once again.
    Forgive(RegionName),
    /// Remove what was deleted, for good.
    Remove(Tombstone),
}

/// What to do now.
pub fn plan(config: &Configuration, facts: &Facts) -> Vec<Action> {
    if must_settle(config, facts) {
        return vec![Action::Settle];
    }
    let next = |local: &LocalRegion| {
        let region = facts.regions.get(&local.name)?;
        let restarts = region.unit.as_ref().map_or(0, |unit| unit.restarts);
        match () {
            () if may_start(config, local, facts, region) => Some(Action::Start(local.name.clone())),
            () if region.steady && restarts > 0 => Some(Action::Forgive(local.name.clone())),
            () => None,
        }
    };
    let mut actions: Vec<_> = config.local_regions().iter().filter_map(next).collect();
    actions.extend(undo(config, facts));
    actions.extend(remove(config, facts));
    actions
}

/// The adoptions that were cut short, and that no job is at: each holds its own region back, and
/// no other.
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

/// What is to be removed from the trash: one after the other, as it is not urgent.
fn remove(config: &Configuration, facts: &Facts) -> Option<Action> {
    let ledger = usable(config, facts).ok().filter(|_| !facts.removing)?;
    let due = |stone: &&Tombstone| {
        let dir = stone.dir();
        (stone.removing || facts.expired.contains(&dir)) && !facts.stuck_removals.contains(&dir)
    };
    ledger.tombstones.iter().find(due).cloned().map(Action::Remove)
}

/// Identity before life: the disk, the record, the address and both ports are right, and
/// systemd has not given up on the unit.
fn may_start(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> bool {
    let idle = region.unit.as_ref().is_some_and(|unit| unit.active == Active::Inactive);
    let unasked = region.start == Start::Idle && !facts.busy.contains_key(&local.name);
    let unasked = unasked && !facts.just_created.contains(&local.name);
    let known = matches!(identity(config, local, facts), Identity::Known(_));
    let fresh = facts.disk.as_ref().is_some_and(|disk| disk.serial >= region.needs_look && !disk.read_only);
    let free = region.sockets.as_ref().is_some_and(|s| s.data == Holder::Nobody && s.repair == Holder::Nobody);
    let settled = usable(config, facts).is_ok();
    idle && unasked
        && settled
        && known
        && fresh
        && free
        && facts.bus == Some(Bus::Connected)
        && has_address(config, facts)
}

fn has_address(config: &Configuration, facts: &Facts) -> bool {
    let bridge = facts.network.as_ref().and_then(|network| network.bridge.as_ref());
    bridge.is_some_and(|bridge| bridge.up && bridge.addresses.contains(&config.address))
}
