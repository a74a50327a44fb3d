//! Extents of a region, judged by what their files say and what is on record of the last scrub.

use crate::names::RegionName;
use crate::region::scrub::Scrubs;
use crate::region::standing::Standing;
use crate::region::{Geometry, Record};
use crate::wire::{ExtentDetail, ExtentState, Extents};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// The time for which an extent that was written is hot.
const HOT_FOR: SignedDuration = SignedDuration::from_secs(60);

/// Judge the extents of a region by how each stands, or why that cannot be told, and by what its last scrub has found; at
/// `now`.
pub fn judge(
    (name, record): (RegionName, &Record),
    stand: Vec<Result<Standing, String>>,
    scrubs: Option<&Scrubs>,
    now: Timestamp,
) -> Extents {
    let known: Vec<Standing> = stand.iter().filter_map(|one| one.as_ref().ok()).copied().collect();
    let highest = known.iter().map(|one| (one.trailer.generation, one.trailer.flush)).max().unwrap_or_default();
    let Geometry { block_size, extent_size, .. } = record.geometry;
    let extents = (0..).zip(stand).map(|(number, one)| extent(number, one, scrubs, now)).collect();
    Extents {
        region: name,
        uuid: record.uuid,
        as_of: now,
        extent_bytes: block_size * extent_size,
        allocated_bytes: known.iter().map(|one| one.allocated).sum(),
        generation: highest.0,
        flush: highest.1,
        bonus_syncs: known.iter().map(|one| u64::from(one.counters.bonus_syncs)).sum(),
        defragmentations: known.iter().map(|one| u64::from(one.counters.defragmentations)).sum(),
        extents,
    }
}

fn extent(number: u32, one: Result<Standing, String>, scrubs: Option<&Scrubs>, now: Timestamp) -> ExtentDetail {
    let found = |all: fn(&Scrubs) -> &BTreeMap<u32, u64>| {
        scrubs.and_then(|scrubs| all(scrubs).get(&number).copied()).unwrap_or_default()
    };
    let (rotten, lost) = (found(|scrubs| &scrubs.rotten), found(|scrubs| &scrubs.unreadable));
    let unreadable = match &one {
        Err(why) => Some(why.clone()),
        Ok(_) => (lost > 0).then(|| format!("{lost} place(s) could not be read when it was last scrubbed or verified")),
    };
    let one = one.ok();
    let state = match &one {
        _ if unreadable.is_some() => ExtentState::Unreadable,
        _ if rotten > 0 => ExtentState::Rotten,
        Some(one) if one.trailer.dirty => ExtentState::Dirty,
        Some(one) if one.is_untouched() => ExtentState::Untouched,
        _ => ExtentState::Clean,
    };
    ExtentDetail {
        state,
        // A file that was just made is none that a host has written to.
        hot: one.is_some_and(|one| !one.is_untouched() && now.duration_since(one.modified) < HOT_FOR),
        modified: one.map(|one| one.modified),
        generation: one.map_or(0, |one| one.trailer.generation),
        flush: one.map_or(0, |one| one.trailer.flush),
        allocated_bytes: one.map_or(0, |one| one.allocated),
        rotten,
        unreadable,
    }
}
