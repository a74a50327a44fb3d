//! Units of the regions, as systemd is asked about them: that it knows their present values, starts them, and forgets
//! their restarts.

use crate::act::programs;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::programs::Programs;
use crate::systemd::proxy::{ManagerProxy, invocation as invocation_of, properties};
use crate::systemd::{dropin, job, names};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use zbus::{Connection, OwnedVariant};

const SIGTERM: i32 = 15;
/// The directory in which systemd keeps what its generators made.
const GENERATED: &str = "/run/systemd/generator";

/// Start a region's unit.
///
/// # Errors
/// Why the unit does not run, in words for an operator.
pub async fn start(bus: &Connection, region: &RegionName) -> Result<(), String> {
    job::start(bus, &names::unit(region)).await
}

/// Put the network adapter with this number into its bridge, and wait for it: the supervisor may not change the
/// machine's network, and has a unit do it that may do nothing else.
///
/// # Errors
/// Why it is not in the bridge, as far as systemd tells.
pub async fn rejoin(bus: &Connection, index: u32) -> Result<(), String> {
    job::start(bus, &names::rejoin_unit(index)).await
}

/// Stop a region's unit, also one that waits to be started again.
///
/// # Errors
/// Why the unit may still run.
pub async fn stop(bus: &Connection, region: &RegionName) -> Result<(), String> {
    job::stop(bus, &names::unit(region)).await
}

/// Restart a region's unit, or start it.
///
/// # Errors
/// Why the unit does not run, in words for an operator.
pub async fn restart(bus: &Connection, region: &RegionName) -> Result<(), String> {
    job::restart(bus, &names::unit(region)).await
}

/// Tell a region's main process to end. It is not waited for.
///
/// # Errors
/// The answer of systemd.
pub async fn end(bus: &Connection, region: &RegionName) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    manager.kill_unit(&names::unit(region), "main", SIGTERM).await.map_err(job::spoken)
}

/// The number of times that systemd restarted a region's unit by itself.
///
/// # Errors
/// The answer of systemd.
pub async fn restarts(bus: &Connection, region: &RegionName) -> Result<u32, String> {
    number(bus, &names::unit(region), "NRestarts").await
}

/// The main process of a region's unit; `None` if it has none.
///
/// # Errors
/// The answer of systemd.
pub async fn main_pid(bus: &Connection, region: &RegionName) -> Result<Option<u32>, String> {
    Ok(Some(number(bus, &names::unit(region), "MainPID").await?).filter(|pid| *pid != 0))
}

/// The invocation that a region's unit is in, or was in last; `None` if it has not run.
///
/// # Errors
/// The answer of systemd.
pub async fn invocation(bus: &Connection, region: &RegionName) -> Result<Option<String>, String> {
    let unit = known(bus, &names::unit(region), "org.freedesktop.systemd1.Unit").await?;
    Ok(unit.get("InvocationID").and_then(invocation_of))
}

/// Read a number that systemd knows of a service.
async fn number(bus: &Connection, unit: &str, property: &str) -> Result<u32, String> {
    let service = known(bus, unit, "org.freedesktop.systemd1.Service").await?;
    let number = service.get(property).and_then(|value| value.downcast_ref::<u32>().ok());
    number.ok_or_else(|| format!("systemd does not tell {property} of {unit}"))
}

/// Read the properties that systemd knows of a unit.
async fn known(bus: &Connection, unit: &str, interface: &str) -> Result<HashMap<String, OwnedVariant>, String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let object = manager.load_unit(unit).await.map_err(job::spoken)?;
    properties(bus, &object, interface).await.map_err(job::spoken)
}

/// Make systemd forget how often it restarted a region's unit: the delay before the next restart is the first one
/// again.
///
/// # Errors
/// The answer of systemd.
pub async fn forgive(bus: &Connection, region: &RegionName) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    manager.reset_failed_unit(&names::unit(region)).await.map_err(job::spoken)
}

/// The regions that run, or would by themselves, and that the configuration does not have here.
///
/// # Errors
/// The answer of systemd.
pub async fn strays(bus: &Connection, config: &Configuration) -> Result<Vec<RegionName>, String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let pattern = format!("{}@*.service", names::DOWNSTAIRS);
    let states = ["active", "activating", "reloading"];
    let units = manager.list_units_by_patterns(&states, &[&pattern]).await.map_err(job::spoken)?;
    let here: Vec<_> = config.local_regions().into_iter().map(|local| local.name).collect();
    let region = |unit: &str| unit.split_once('@')?.1.strip_suffix(".service")?.parse::<RegionName>().ok();
    Ok(units.iter().filter_map(|unit| region(&unit.0)).filter(|name| !here.contains(name)).collect())
}

/// Units that systemd does not know as they are configured, why, and whose: of the other regions it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRefreshed {
    /// The record of programs cannot be read.
    #[error("the record of programs cannot be read: {why}")]
    Programs {
        /// Why not.
        why: String,
        /// The regions whose units are not as they are configured, whichever program they run.
        regions: BTreeSet<RegionName>,
    },
    /// systemd has read the units again, or refuses to, and they are not as they are configured.
    #[error("{why}")]
    Stale {
        /// Why not.
        why: String,
        /// The regions whose units these are.
        regions: BTreeSet<RegionName>,
    },
    /// systemd has not answered, and why.
    #[error("{0}")]
    Systemd(String),
}

impl NotRefreshed {
    /// An answer of systemd's own is a refusal, as when /run is full; one of D-Bus means that there is none.
    fn from(why: zbus::Error, regions: BTreeSet<RegionName>) -> Self {
        let own = |name: &str| name.starts_with("org.freedesktop.systemd1.");
        match &why {
            zbus::Error::MethodError(name, ..) if own(name.as_str()) => Self::Stale { why: job::spoken(why), regions },
            _ => Self::Systemd(job::spoken(why)),
        }
    }
}

/// Refresh the units: systemd runs its generators again if what they made differs from the configuration, which was
/// changed since the machine started or was last reloaded.
///
/// # Errors
/// Why systemd does not know the units as they are configured.
pub async fn refresh(bus: &Connection, config: &Arc<Configuration>) -> Result<(), NotRefreshed> {
    let mut before = look(config).await?;
    loop {
        if before.stale.is_empty() && !before.left_over {
            return Ok(());
        }
        tracing::info!("the units are older than the configuration: asking systemd to reload them");
        let refused = |why| NotRefreshed::from(why, before.regions(config));
        let manager = ManagerProxy::new(bus).await.map_err(&refused)?;
        manager.reload().await.map_err(&refused)?;
        let after = look(config).await?;
        begin_anew(bus, &before, &after).await.map_err(refused)?;
        if after.stale.is_empty() {
            return Ok(());
        }
        // Programs were put on record for them meanwhile: these are as they were to be before.
        if after.programs == before.programs {
            let why = format!("it has read them again, and {} of {} are others", after.stale.len(), after.all);
            return Err(NotRefreshed::Stale { why, regions: after.regions(config) });
        }
        before = after;
    }
}

/// Begin anew what is not a region's, and was not as it is configured.
async fn begin_anew(bus: &Connection, before: &Look, after: &Look) -> zbus::Result<()> {
    let renewed = |name: &str| before.stale.contains(name) && !after.stale.contains(name);
    // The sockets that it gives now may go to another address.
    if renewed(names::BROKER)
        && let Err(why) = job::restart(bus, names::BROKER).await
    {
        tracing::warn!("{} is not restarted: {why}", names::BROKER);
    }
    // systemd has closed the listeners that are not named any more, and opens others only when the
    // socket is started anew: this supervisor with it, which may open none itself.
    if renewed(names::SOCKET) {
        tracing::info!("hosts are to poll elsewhere: asking systemd to restart {}", names::SOCKET);
        ManagerProxy::new(bus).await?.restart_unit(names::SOCKET, "replace").await?;
    }
    Ok(())
}

/// The drop-ins that systemd's generators have made, beside what is configured.
#[derive(Debug)]
struct Look {
    /// The record of programs by which that was told.
    programs: Programs,
    /// The units that are not as they are configured, of so many.
    stale: BTreeSet<String>,
    all: usize,
    /// Values are there of a region that is not configured any more.
    left_over: bool,
}

impl Look {
    fn take(config: &Configuration, programs: io::Result<Programs>, generated: &Path) -> Result<Self, NotRefreshed> {
        let there = |unit: &str| fs::read_to_string(generated.join(format!("{unit}.d")).join(dropin::FILE)).ok();
        let programs = programs.map_err(|why| {
            // The program that each has counts here, whichever that is.
            let alike = |local: &LocalRegion| {
                let there = there(&names::unit(&local.name))?;
                Some(dropin::region(config, dropin::program(&there)?, local) == there)
            };
            let regions = config.local_regions().into_iter().filter(|local| alike(local) != Some(true));
            NotRefreshed::Programs { why: why.to_string(), regions: regions.map(|local| local.name).collect() }
        })?;
        let all = dropin::all(config, &programs);
        let stale = all.iter().filter(|(unit, text)| there(unit).as_ref() != Some(text));
        let stale = stale.map(|(unit, _)| unit.clone()).collect();
        Ok(Self { stale, left_over: left_over(&all, generated), all: all.len(), programs })
    }

    /// The regions whose units are not as they are configured.
    fn regions(&self, config: &Configuration) -> BTreeSet<RegionName> {
        let names = config.local_regions().into_iter().map(|local| local.name);
        names.filter(|name| self.stale.contains(&names::unit(name))).collect()
    }
}

/// Look, aside from the loop; and see first that the record of programs has a good copy, as systemd's generator reads
/// it as well.
async fn look(config: &Arc<Configuration>) -> Result<Look, NotRefreshed> {
    let config = config.clone();
    let looking = move || {
        if let Err(why) = programs::mend() {
            tracing::warn!("the record of programs and its copy are not made the same: {why}");
        }
        Look::take(&config, programs::load(), Path::new(GENERATED))
    };
    let looked = tokio::task::spawn_blocking(looking).await;
    looked.unwrap_or_else(|why| Err(NotRefreshed::Systemd(why.to_string())))
}

/// Whether systemd has values of a region that is not configured any more.
fn left_over(all: &[(String, String)], generated: &Path) -> bool {
    let generated = fs::read_dir(generated).into_iter().flatten().flatten();
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
    use crate::config;
    use zbus::Message;

    #[test]
    fn a_refusal_of_systemds_is_an_answer() {
        let failed = |name: &str| {
            let message = Message::signal("/", "a.b", "C").build(&()).unwrap();
            let why = zbus::Error::MethodError(name.try_into().unwrap(), Some("why".into()), message);
            NotRefreshed::from(why, BTreeSet::new())
        };
        let refused = NotRefreshed::Stale { why: "why".into(), regions: BTreeSet::new() };
        assert_eq!(failed("org.freedesktop.systemd1.DiskFull"), refused);
        assert_eq!(failed("org.freedesktop.DBus.Error.NoReply"), NotRefreshed::Systemd("why".into()));
    }

    /// Units that are not as they are configured are told one by one, also without the record of programs.
    #[test]
    fn of_units_those_that_are_others_are_named() {
        let config = config::shipped("");
        let generated = tempfile::tempdir().unwrap();
        let put = |unit: &str, text: &str| {
            let dir = generated.path().join(format!("{unit}.d"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(dropin::FILE), text).unwrap();
        };
        let all = dropin::all(&config, &Programs::default());
        all.iter().for_each(|(unit, text)| put(unit, text));
        let look = |programs| Look::take(&config, programs, generated.path());
        let unreadable = || Err(io::Error::other("damaged"));
        let seen = look(Ok(Programs::default())).unwrap();
        assert!(seen.stale.is_empty() && !seen.left_over && seen.regions(&config).is_empty());
        // The program that they run does not matter when it is not known which they are to run.
        let local = config.local_regions().remove(0);
        put(&names::unit(&local.name), &dropin::region(&config, Path::new("/staged/x"), &local));
        let names = |seen: Result<Look, NotRefreshed>| match seen {
            Ok(seen) => seen.regions(&config),
            Err(NotRefreshed::Programs { regions, .. }) => regions,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(names(look(Ok(Programs::default()))), BTreeSet::from([local.name.clone()]));
        assert_eq!(names(look(unreadable())), BTreeSet::new());
        let (other, gone) = (&config.local_regions()[1].name, &config.local_regions()[2].name);
        put(&names::unit(other), &all[2].1);
        fs::remove_dir_all(generated.path().join(format!("{}.d", names::unit(gone)))).unwrap();
        assert_eq!(names(look(unreadable())), BTreeSet::from([other.clone(), gone.clone()]));
        assert_eq!(look(Ok(Programs::default())).unwrap().stale.len(), 3);
    }
}
