//! What is asked of systemd about the regions' units: that it knows their present values,
//! starts them, and forgets their restarts.

use super::programs;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::systemd::proxy::{ManagerProxy, invocation as invocation_of, properties};
use crate::systemd::{dropin, job, names};
use std::collections::HashMap;
use std::path::Path;
use zbus::{Connection, OwnedVariant};

const SIGTERM: i32 = 15;
/// Where systemd keeps what its generators made.
const GENERATED: &str = "/run/systemd/generator";

/// Starts a region's unit.
///
/// # Errors
/// Why it does not run, in words for an operator.
pub async fn start(bus: &Connection, region: &RegionName) -> Result<(), String> {
    job::start(bus, &names::unit(region)).await
}

/// Stops a region's unit, also one that waits to be started again.
///
/// # Errors
/// Why it may still run.
pub async fn stop(bus: &Connection, region: &RegionName) -> Result<(), String> {
    job::stop(bus, &names::unit(region)).await
}

/// Restarts a region's unit, or starts it.
///
/// # Errors
/// Why it does not run, in words for an operator.
pub async fn restart(bus: &Connection, region: &RegionName) -> Result<(), String> {
    job::restart(bus, &names::unit(region)).await
}

/// Tells a region's main process to end. It is not waited for.
///
/// # Errors
/// What systemd answered.
pub async fn end(bus: &Connection, region: &RegionName) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    manager.kill_unit(&names::unit(region), "main", SIGTERM).await.map_err(job::spoken)
}

/// Whether the machine is being switched off or rebooted.
pub async fn machine_stops(bus: &Connection) -> bool {
    let state = async { ManagerProxy::new(bus).await?.system_state().await };
    state.await.is_ok_and(|state| state == "stopping")
}

/// How often systemd restarted a region's unit by itself.
///
/// # Errors
/// What systemd answered.
pub async fn restarts(bus: &Connection, region: &RegionName) -> Result<u32, String> {
    number(bus, &names::unit(region), "NRestarts").await
}

/// The main process of a region's unit.
///
/// # Errors
/// What systemd answered, or that there is none.
pub async fn main_pid(bus: &Connection, region: &RegionName) -> Result<u32, String> {
    match number(bus, &names::unit(region), "MainPID").await? {
        0 => Err("its unit has no process".into()),
        pid => Ok(pid),
    }
}

/// The invocation that a region's unit is in, or was in last; `None` if it has not run.
///
/// # Errors
/// What systemd answered.
pub async fn invocation(bus: &Connection, region: &RegionName) -> Result<Option<String>, String> {
    let unit = known(bus, &names::unit(region), "org.freedesktop.systemd1.Unit").await?;
    Ok(unit.get("InvocationID").and_then(invocation_of))
}

/// A number that systemd knows of a service; 0 if it does not tell.
async fn number(bus: &Connection, unit: &str, property: &str) -> Result<u32, String> {
    let service = known(bus, unit, "org.freedesktop.systemd1.Service").await?;
    Ok(service.get(property).and_then(|value| value.downcast_ref::<u32>().ok()).unwrap_or_default())
}

/// What systemd knows of a unit.
async fn known(bus: &Connection, unit: &str, interface: &str) -> Result<HashMap<String, OwnedVariant>, String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let object = manager.load_unit(unit).await.map_err(job::spoken)?;
    properties(bus, &object, interface).await.map_err(job::spoken)
}

/// Makes systemd forget how often it restarted a region's unit: the delay before the next
/// restart is the first one again.
///
/// # Errors
/// What systemd answered.
pub async fn forgive(bus: &Connection, region: &RegionName) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    manager.reset_failed_unit(&names::unit(region)).await.map_err(job::spoken)
}

/// The regions that run, or would by themselves, and that the configuration does not have here.
///
/// # Errors
/// What systemd answered.
pub async fn strays(bus: &Connection, config: &Configuration) -> Result<Vec<RegionName>, String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let pattern = format!("{}@*.service", names::DOWNSTAIRS);
    let states = ["active", "activating", "reloading"];
    let units = manager.list_units_by_patterns(&states, &[&pattern]).await.map_err(job::spoken)?;
    let here: Vec<_> = config.local_regions().into_iter().map(|local| local.name).collect();
    let region = |unit: &str| unit.split_once('@')?.1.strip_suffix(".service")?.parse::<RegionName>().ok();
    Ok(units.iter().filter_map(|unit| region(&unit.0)).filter(|name| !here.contains(name)).collect())
}

/// Why systemd does not know the units as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRefreshed {
    /// The record of programs cannot be read.
    #[error("the record of programs cannot be read: {0}")]
    Programs(String),
    /// systemd has read the units again, or refuses to, and they are not as they are configured.
    #[error("{0}")]
    Stale(String),
    /// systemd has not answered, and why.
    #[error("{0}")]
    Systemd(String),
}

impl NotRefreshed {
    /// An answer of systemd's own is a refusal, as when /run is full; one of D-Bus means that there is none.
    fn from(why: zbus::Error) -> Self {
        let own = |name: &str| name.starts_with("org.freedesktop.systemd1.");
        match &why {
            zbus::Error::MethodError(name, ..) if own(name.as_str()) => Self::Stale(job::spoken(why)),
            _ => Self::Systemd(job::spoken(why)),
        }
    }
}

/// Makes systemd run its generators again if what they made differs from the configuration:
/// it was changed since the machine started or was last reloaded.
///
/// # Errors
/// Why it does not know the units as they are configured.
pub async fn refresh(bus: &Connection, config: &Configuration) -> Result<(), NotRefreshed> {
    let stale = |(unit, text): &(String, String)| {
        let file = Path::new(GENERATED).join(format!("{unit}.d")).join(dropin::FILE);
        std::fs::read_to_string(file).ok().as_deref() != Some(text)
    };
    // systemd's generator reads it as well.
    if let Err(why) = programs::mend() {
        tracing::warn!("the record of programs has no good copy: {why}");
    }
    let programs = programs::load().map_err(|why| NotRefreshed::Programs(why.to_string()))?;
    let all = dropin::all(config, &programs);
    let before: Vec<_> = all.iter().filter(|unit| stale(unit)).collect();
    if before.is_empty() && !left_over(&all) {
        return Ok(());
    }
    tracing::info!("the units are older than the configuration: asking systemd to reload them");
    let manager = ManagerProxy::new(bus).await.map_err(NotRefreshed::from)?;
    manager.reload().await.map_err(NotRefreshed::from)?;
    let renewed = |name: &str| before.iter().any(|unit| unit.0 == name && !stale(unit));
    // What it gives now may go to another address.
    if renewed(names::BROKER)
        && let Err(why) = job::restart(bus, names::BROKER).await
    {
        tracing::warn!("{} is not restarted: {why}", names::BROKER);
    }
    // systemd has closed the listeners that are not named any more, and opens others only when the
    // socket is started anew: this supervisor with it, which may open none itself.
    if renewed(names::SOCKET) {
        tracing::info!("hosts are to poll elsewhere: asking systemd to restart {}", names::SOCKET);
        manager.restart_unit(names::SOCKET, "replace").await.map_err(NotRefreshed::from)?;
    }
    // What they are to run may have been put on record meanwhile.
    let programs = programs::load().map_err(|why| NotRefreshed::Programs(why.to_string()))?;
    let all = dropin::all(config, &programs);
    match all.iter().filter(|unit| stale(unit)).count() {
        0 => Ok(()),
        some => Err(NotRefreshed::Stale(format!("it has read them again, and {some} of {} are others", all.len()))),
    }
}

/// Whether systemd has values of a region that is not configured any more.
fn left_over(all: &[(String, String)]) -> bool {
    let generated = std::fs::read_dir(GENERATED).into_iter().flatten().flatten();
    let mut names = generated.filter_map(|entry| entry.file_name().into_string().ok());
    let region = format!("{}@", names::DOWNSTAIRS);
    names.any(|name| {
        let unit = name.strip_suffix(".d").filter(|unit| unit.starts_with(&region));
        unit.is_some_and(|unit| all.iter().all(|(wanted, _)| wanted != unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Message;

    #[test]
    fn a_refusal_of_systemds_is_an_answer() {
        let failed = |name: &str| {
            let message = Message::signal("/", "a.b", "C").build(&()).unwrap();
            NotRefreshed::from(zbus::Error::MethodError(name.try_into().unwrap(), Some("why".into()), message))
        };
        assert_eq!(failed("org.freedesktop.systemd1.DiskFull"), NotRefreshed::Stale("why".into()));
        assert_eq!(failed("org.freedesktop.DBus.Error.NoReply"), NotRefreshed::Systemd("why".into()));
    }
}
