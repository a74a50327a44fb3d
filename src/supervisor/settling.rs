//! What an earlier supervisor left undone, settled before anything else is done on the disk.

use super::work::Workshop;
use super::{Event, adoption};
use crate::act::{ledger, settle};
use crate::names::RegionName;
use std::collections::BTreeMap;
use uuid::Uuid;
use zbus::Connection;

/// Settles what is on this disk, looks at it, and tells the loop.
pub(super) async fn settle(shop: Workshop, disk: Uuid, bus: Connection) {
    let settled = steps(&shop, &bus).await.map(|stuck| (disk, stuck));
    if let Err(why) = &settled {
        tracing::error!("what an earlier supervisor left undone cannot be finished: {why}");
    }
    shop.look_again().await;
    shop.tell(Event::Settled(settled)).await;
}

/// Returns the adoptions that could not be undone, and why: each holds its own region back, and
/// no other.
async fn steps(shop: &Workshop, bus: &Connection) -> Result<BTreeMap<RegionName, String>, String> {
    settle::stop_left_over_units(bus).await?;
    let config = shop.config.clone();
    let left_over = shop.held(move || settle::directories(&config)).await.map_err(|why| why.message)?;
    let left_over = left_over.map_err(|why| why.to_string())?;
    let root = shop.config.sled.storage.root.clone();
    let loaded = shop.held(move || ledger::load(&root)).await.map_err(|why| why.message)?;
    let mut stuck = BTreeMap::new();
    for (name, adoption) in loaded.map_err(|why| why.to_string())?.ledger.adoptions {
        tracing::warn!(REGION = %name, "undoing the adoption of {name}, which was cut short");
        if let Err(why) = adoption::undo(shop, &name, adoption, bus).await {
            tracing::error!(REGION = %name, "the adoption of {name} could not be undone: {why}");
            stuck.insert(name, why);
        }
    }
    let swept = tokio::task::spawn_blocking(move || settle::sweep(left_over)).await;
    swept.map_err(|why| why.to_string())?.map_err(|why| format!("left-overs: {why}"))?;
    Ok(stuck)
}
