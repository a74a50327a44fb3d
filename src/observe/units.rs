//! The units of the regions, as systemd's signals tell of them.
//!
//! A signal says only that something has changed; the unit is then read whole, so that what
//! is published is one consistent picture. When D-Bus goes away this says so, and connects
//! again for as long as it takes.

use super::backoff::Backoff;
use super::{NobodyListens, Observation, Publisher, publish};
use crate::decide::facts::{Active, Exit, Unit};
use crate::names::RegionName;
use crate::systemd::job::spoken;
use crate::systemd::names;
use crate::systemd::proxy::{ManagerProxy, properties};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::num::NonZero;
use std::time::Duration;
use zbus::{Connection, MatchRule, MessageStream};
use zbus::{OwnedObjectPath, OwnedVariant};

/// `CLD_EXITED`: how `ExecMainCode` says that a process ended by itself (waitid(2)).
const CLD_EXITED: i32 = 1;
/// The messages that may wait to be read; more than every unit changing at once sends.
const QUEUE: NonZero<usize> = NonZero::new(1024).unwrap();

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(regions: Vec<RegionName>, to: Publisher) -> Result<(), NobodyListens> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        let why = match session(&regions, &to, &mut backoff).await {
            Ok(gone) => return Err(gone),
            Err(error) => spoken(error),
        };
        publish(&to, Observation::Bus(Err(why))).await?;
        backoff.pause().await;
    }
}

/// One connection to systemd, as long as it lasts. `Ok` when nobody listens any more.
async fn session(regions: &[RegionName], to: &Publisher, backoff: &mut Backoff) -> zbus::Result<NobodyListens> {
    let bus = zbus::connection::Builder::system().build().await?;
    let manager = ManagerProxy::new(&bus).await?;
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.systemd1")
        .interface("org.freedesktop.DBus.Properties")
        .member("PropertiesChanged")
        .path_namespace("/org/freedesktop/systemd1/unit")
        .build()?;
    // Listening comes before looking, so that no change falls between the two.
    let mut changes = MessageStream::for_match_rule(rule, &bus, Some(QUEUE)).await?;
    manager.subscribe().await?;
    let mut paths = HashMap::new();
    for region in regions {
        let path = manager.load_unit(&names::unit(region)).await?;
        if let Err(gone) = look(&bus, &path, region, to).await? {
            return Ok(gone);
        }
        paths.insert(path, region);
    }
    backoff.reset();
    if let Err(gone) = publish(to, Observation::Bus(Ok(bus.clone()))).await {
        return Ok(gone);
    }
    while let Some(change) = changes.next().await {
        let change = change?;
        let header = change.header();
        let Some(path) = header.path().map(|path| OwnedObjectPath::from(path.to_owned())) else { continue };
        if let Some(region) = paths.get(&path)
            && let Err(gone) = look(&bus, &path, region, to).await?
        {
            return Ok(gone);
        }
    }
    Err(zbus::Error::Failure("the connection was closed".into()))
}

async fn look(
    bus: &Connection,
    path: &OwnedObjectPath,
    region: &RegionName,
    to: &Publisher,
) -> zbus::Result<Result<(), NobodyListens>> {
    let unit = properties(bus, path, "org.freedesktop.systemd1.Unit").await?;
    let service = properties(bus, path, "org.freedesktop.systemd1.Service").await?;
    Ok(publish(to, Observation::Unit(region.clone(), read(&unit, &service))).await)
}

fn read(unit: &HashMap<String, OwnedVariant>, service: &HashMap<String, OwnedVariant>) -> Unit {
    let text = |map: &HashMap<String, OwnedVariant>, key: &str| {
        let value = map.get(key).and_then(|value| value.downcast_ref::<&str>().ok());
        value.unwrap_or_default().to_owned()
    };
    let unsigned = |key: &str| service.get(key).and_then(|value| value.downcast_ref::<u32>().ok());
    let signed = |key: &str| service.get(key).and_then(|value| value.downcast_ref::<i32>().ok());
    Unit {
        active: active(&text(unit, "ActiveState")),
        sub: text(unit, "SubState"),
        pid: unsigned("MainPID").filter(|pid| *pid != 0),
        exit: exit(signed("ExecMainCode"), signed("ExecMainStatus")),
        result: text(service, "Result"),
        restarts: unsigned("NRestarts").unwrap_or_default(),
    }
}

fn active(text: &str) -> Active {
    match text {
        "active" | "reloading" | "refreshing" => Active::Active,
        "activating" => Active::Activating,
        "deactivating" => Active::Deactivating,
        "failed" => Active::Failed,
        _ => Active::Inactive,
    }
}

fn exit(code: Option<i32>, status: Option<i32>) -> Option<Exit> {
    match (code?, status?) {
        (0, _) => None,
        (CLD_EXITED, status) => Some(Exit::Status(status)),
        (_, signal) => Some(Exit::Signal(signal)),
    }
}
