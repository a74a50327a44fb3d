//! Settlement of what an earlier supervisor left undone: units that still run are stopped, directories become what
//! the ledger says, left-overs go. Adoptions that were cut short are not undone here but by the supervisor, one by
//! one, as that takes systemd and time.

use crate::act::storage::remember;
use crate::config::Configuration;
use crate::lived::Moment;
use crate::store::grants;
use crate::store::ledger;
use crate::store::places;
use crate::systemd::job::{self, spoken};
use crate::systemd::names;
use crate::systemd::proxy::ManagerProxy;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zbus::Connection;

/// Stop what an earlier supervisor had running: a `create` that nobody waits for any more.
///
/// # Errors
/// The answer of systemd.
pub async fn stop_left_over_units(bus: &Connection) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    let units = manager.list_units_by_patterns(&[], &[names::ANY_CREATE]).await.map_err(spoken)?;
    for (unit, ..) in units {
        tracing::info!("stopping {unit}, which an earlier supervisor left running");
        job::stop(bus, &unit).await?;
    }
    Ok(())
}

/// Make the directories what the ledger says at this moment, and remember the disk. Return the left-overs that are to
/// be removed ([`sweep`]).
///
/// # Errors
/// The file system refused.
pub fn directories(config: &Configuration, moment: Moment) -> io::Result<Vec<PathBuf>> {
    let regions = config.local_regions().into_iter().map(|local| local.name).collect();
    let (done, sweep) = places::settle(&config.sled.storage.root, &regions, moment)?;
    for what in done {
        tracing::info!("after a crash: {what}");
    }
    list_tickets(&config.sled.storage.root)?;
    remember(config)?;
    Ok(sweep)
}

/// See to it that the ledger knows of every record of tickets: one from before it kept that, or from before it was
/// lost.
fn list_tickets(root: &Path) -> io::Result<()> {
    let there: BTreeSet<_> = grants::load(root)?.into_keys().collect();
    if there.is_subset(&ledger::load(root)?.ledger.tickets) {
        Ok(())
    } else {
        ledger::change(root, |ledger| {
            ledger.tickets.extend(there);
            Ok(())
        })
    }
}

/// Remove the left-overs of attempts that were cut short. One that cannot be removed keeps nothing from going on.
pub fn sweep(left_over: Vec<PathBuf>) {
    for dir in left_over {
        tracing::info!("removing {}, left by an attempt that was cut short", dir.display());
        if let Err(why) = fs::remove_dir_all(&dir) {
            tracing::error!("{} cannot be removed: {why}", dir.display());
        }
    }
}
