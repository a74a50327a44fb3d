//! What an earlier supervisor left undone: the directories are settled before anything else is
//! done on the disk, and adoptions that were cut short are undone beside it.

use super::workshop::Workshop;
use super::{Event, adoption};
use crate::act::{ledger, settle};
use crate::names::RegionName;
use std::collections::BTreeMap;
use uuid::Uuid;
use zbus::Connection;

/// Settles what is on this disk, looks at it, and tells the loop.
pub(super) async fn settle(shop: Workshop, disk: Uuid, bus: Connection) {
    // In a task of its own, so that even a panic in it is an end that is heard of.
    let worker = shop.clone();
    let settled = tokio::spawn(async move { steps(&worker, &bus).await }).await;
    let settled = settled.unwrap_or_else(|why| Err(why.to_string()));
    if let Err(why) = &settled {
        tracing::error!("what an earlier supervisor left undone cannot be finished: {why}");
    }
    shop.look_again().await;
    shop.tell(Event::Settled(settled.map(|()| disk))).await;
}

async fn steps(shop: &Workshop, bus: &Connection) -> Result<(), String> {
    settle::stop_left_over_units(bus).await?;
    let config = shop.config.clone();
    let clock = shop.clock.clone();
    let left_over = shop.held(move || settle::directories(&config, clock.now())).await.map_err(|why| why.message)?;
    let left_over = left_over.map_err(|why| why.to_string())?;
    tokio::task::spawn_blocking(move || settle::sweep(left_over)).await.map_err(|why| why.to_string())
}

/// Undoes adoptions that were cut short, and tells the loop which could not be undone, and why.
pub(super) async fn undo(shop: Workshop, names: Vec<RegionName>, bus: Connection) {
    let (worker, wanted) = (shop.clone(), names.clone());
    let undone = tokio::spawn(async move { undo_each(&worker, &wanted, &bus).await }).await;
    let failed = |why: String| names.iter().map(|name| (name.clone(), why.clone())).collect();
    let stuck = undone.map_err(|why| why.to_string()).and_then(|undone| undone).unwrap_or_else(failed);
    shop.look_again().await;
    shop.tell(Event::Undone(names, stuck)).await;
}

async fn undo_each(
    shop: &Workshop,
    names: &[RegionName],
    bus: &Connection,
) -> Result<BTreeMap<RegionName, String>, String> {
    let root = shop.config.sled.storage.root.clone();
    let loaded = shop.held(move || ledger::load(&root)).await.map_err(|why| why.message)?;
    let noted = loaded.map_err(|why| why.to_string())?.ledger.adoptions;
    let mut stuck = BTreeMap::new();
    for (name, adoption) in noted.into_iter().filter(|(name, _)| names.contains(name)) {
        tracing::warn!(REGION = %name, "undoing the adoption of {name}, which was cut short");
        if let Err(why) = adoption::undo(shop, &name, adoption, bus).await {
            tracing::error!(REGION = %name, "the adoption of {name} could not be undone: {why}");
            stuck.insert(name, why);
        }
    }
    Ok(stuck)
}
