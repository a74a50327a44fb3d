//! Check before a region that serves is stopped to be started again: whether it could start. One that
//! runs has its files open and its program in memory, whatever became of either; once it is stopped,
//! it stays away.

use crate::act::programs;
use crate::check::Code;
use crate::config::Configuration;
use crate::decide::facts::{Disk, OnDisk};
use crate::decide::remedy;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::Ledger;
use crate::store::region_dir;
use crate::supervisor::jobs::context::Context;
use crate::wire::{self, Refusal};
use nix::unistd::User;
use std::sync::Arc;
use zbus::Connection;

/// Make sure that a region that is what it should be, by this look at the disk, could start again. Of
/// one that is not, or is held, others tell.
///
/// # Errors
/// What would keep it from that.
pub(in crate::supervisor) async fn of_request(
    context: &Context,
    disk: &Disk,
    name: &RegionName,
    bus: Option<&Connection>,
) -> Result<(), wire::Error> {
    let Some(local) = context.config.local_regions().into_iter().find(|local| local.name == *name) else {
        return Ok(());
    };
    let held = |ledger: &Ledger| ledger.holds.contains_key(name) || context.holds.of(name).is_some();
    let record = disk.ledger.as_ref().ok().filter(|ledger| !held(ledger));
    let record = record.and_then(|ledger| ledger.regions.get(name));
    match (record, disk.regions.get(name), bus) {
        (Some(record), Some(OnDisk::Present(found)), Some(bus)) if found.uuid == record.uuid => {
            could_start(context, &local, bus).await
        }
        _ => Ok(()),
    }
}

/// Make sure that a region could start again, by its files and by its program.
///
/// # Errors
/// What would keep it from that.
pub(in crate::supervisor) async fn could_start(
    context: &Context,
    local: &LocalRegion,
    bus: &Connection,
) -> Result<(), wire::Error> {
    files(&context.config, local).await?;
    program(context, &local.name, bus).await
}

/// Make sure that a downstairs could start on a region's files.
///
/// # Errors
/// The first of them that it could not use.
pub(in crate::supervisor) async fn files(config: &Arc<Configuration>, local: &LocalRegion) -> Result<(), wire::Error> {
    let (settings, region) = (config.clone(), local.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let owner = User::from_name(&settings.sled.downstairs.user).ok().flatten().map(|user| user.uid.as_raw());
        let dir = settings.region_dir(&region.name);
        region_dir::startable(&dir, region.geometry, owner).map_err(|fault| format!("{}: {fault}", dir.display()))
    });
    let fault = match looked.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(fault)) => fault,
        Err(why) => format!("the look at its files ended early: {why}"),
    };
    let remedy = remedy::of_files(config, &local.name, &fault);
    let message = format!("{} is left as it is, as it would not start again: {fault}", local.name);
    Err(wire::Error::new(Code::RegionDamaged, message, remedy))
}

/// Make sure that the program that a region is to run is one, as the service user.
async fn program(context: &Context, name: &RegionName, bus: &Connection) -> Result<(), wire::Error> {
    let settings = &context.config.sled.downstairs;
    // Without the record its unit runs what it ran before.
    let Ok(Ok(record)) = tokio::task::spawn_blocking(programs::load).await else { return Ok(()) };
    let program = record.of(name, &settings.program).to_owned();
    let ask = async { programs::ask(bus, &settings.user, &program).await.map(drop) };
    context.lately.runs(&settings.user, &program, ask).await.map_err(|why| {
        let message =
            format!("{name} is left as it is, as it would not start again: {} does not run: {why}", program.display());
        let remedy = format!("put a crucible-downstairs that {} may run at {}", settings.user, program.display());
        wire::Error::new(Refusal::ProgramUnusable, message, remedy)
    })
}
