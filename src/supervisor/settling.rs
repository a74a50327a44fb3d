//! What an earlier supervisor left undone, settled before anything else is done on the disk.

use super::Event;
use super::work::Workshop;
use crate::act::{adopt, ledger, mark, settle};
use uuid::Uuid;
use zbus::Connection;

/// Settles, looks at the disk, and tells the loop.
pub(super) async fn settle(shop: Workshop, bus: Connection) {
    let settled = steps(&shop, &bus).await;
    if let Err(why) = &settled {
        tracing::error!("what an earlier supervisor left undone cannot be finished: {why}");
    }
    shop.look_again().await;
    shop.tell(Event::Settled(settled)).await;
}

async fn steps(shop: &Workshop, bus: &Connection) -> Result<Uuid, String> {
    settle::stop_left_over_units(bus).await?;
    let config = shop.config.clone();
    let left_over = shop.held(move || settle::directories(&config)).await.map_err(|why| why.message)?;
    let left_over = left_over.map_err(|why| why.to_string())?;
    let root = shop.config.sled.storage.root.clone();
    let loaded = shop.held(move || (ledger::load(&root), mark::read(&root))).await.map_err(|why| why.message)?;
    let adoptions = loaded.0.map_err(|why| why.to_string())?.ledger.adoptions;
    for (name, adoption) in adoptions {
        tracing::warn!(REGION = %name, "undoing the adoption of {name}, which was cut short");
        adopt::undo(bus, &shop.config, &name, &adoption)
            .await
            .map_err(|why| format!("the adoption of {name}: {why}"))?;
    }
    let swept = tokio::task::spawn_blocking(move || settle::sweep(left_over)).await;
    swept.map_err(|why| why.to_string())?.map_err(|why| format!("left-overs: {why}"))?;
    let mark = loaded.1?.ok_or("the disk's mark has gone")?;
    Ok(mark.disk)
}
