//! Job of systemd, from the call that makes it to the signal that it has ended.

use super::proxy::{ManagerProxy, Properties};
use futures_util::StreamExt;
use std::num::NonZero;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

/// The ends of other jobs that may come in before the own one's number is known; a machine
/// that boots ends a few hundred. A full queue would hold up the whole connection.
const QUEUE: NonZero<usize> = NonZero::new(4096).unwrap();
/// How long a start may take before it is given up: above systemd's own limit for a unit.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The pause between two looks whether a unit that runs is known still.
const UNIT_POLL: Duration = Duration::from_secs(15);
/// The answer of systemd about a unit that is not loaded.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// Name the file of this program, for a unit that runs it for something.
///
/// # Errors
/// The kernel does not tell.
pub fn this_program() -> Result<String, String> {
    let program = std::env::current_exe().map_err(|why| format!("this program's file is not known: {why}"))?;
    // One that was replaced is called so by the kernel; what is there now does as well.
    let program = program.display().to_string();
    Ok(program.strip_suffix(" (deleted)").map_or(program.clone(), str::to_owned))
}

/// Start a unit and wait until systemd has done so, or has not.
///
/// # Errors
/// Why the unit does not run, in words for an operator.
pub async fn start(bus: &Connection, unit: &str) -> Result<(), String> {
    match timeout(START_LIMIT, run_start(bus, unit)).await {
        Ok(ended) => ended,
        Err(_) => Err(format!("systemd has not told the end of its job for {} s", START_LIMIT.as_secs())),
    }
}

/// Start a unit and wait, for as long as that takes: one that waits for something may never have started. A caller
/// that ends to wait leaves the job as it is.
///
/// # Errors
/// Why the unit does not run, in words for an operator.
pub async fn run_start(bus: &Connection, unit: &str) -> Result<(), String> {
    run(bus, async |manager: ManagerProxy<'_>| manager.start_unit(unit, "fail").await).await
}

/// Restart a unit, or start it, as [`run_start`] does.
///
/// # Errors
/// Why the unit does not run, in words for an operator.
pub async fn run_restart(bus: &Connection, unit: &str) -> Result<(), String> {
    run(bus, async |manager: ManagerProxy<'_>| manager.restart_unit(unit, "replace").await).await
}

/// Restart a unit, or start it, and wait until systemd has done so, or has not.
///
/// # Errors
/// Why the unit does not run, in words for an operator.
pub async fn restart(bus: &Connection, unit: &str) -> Result<(), String> {
    match timeout(START_LIMIT, run_restart(bus, unit)).await {
        Ok(ended) => ended,
        Err(_) => Err(format!("systemd has not told the end of its job for {} s", START_LIMIT.as_secs())),
    }
}

/// Run a unit that no file describes, and wait until its start job has ended: for `Type=oneshot` that is the end of
/// its process, and how long it may take is the unit's own.
///
/// # Errors
/// Why the unit failed, in words for an operator.
pub async fn run_transient(bus: &Connection, unit: &str, properties: &Properties<'_>) -> Result<(), String> {
    let asked = async |manager: ManagerProxy<'_>| manager.start_transient_unit(unit, "fail", properties, &[]).await;
    tokio::select! {
        ended = run(bus, asked) => ended,
        () = forgotten(bus, unit) => Err(format!("systemd does not know {unit} any more, and has not told how it ended")),
    }
}

/// Return when systemd has not known a unit in two looks: the end of a job is not told while systemd executes itself
/// anew.
async fn forgotten(bus: &Connection, unit: &str) {
    let mut looks = 0;
    while looks < 2 {
        sleep(UNIT_POLL).await;
        let known = async { ManagerProxy::new(bus).await?.get_unit(unit).await };
        match known.await {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => looks += 1,
            _ => looks = 0,
        }
    }
}

/// Stop a unit and wait until it has stopped. One that is not loaded has.
///
/// # Errors
/// Why the unit may still run.
pub async fn stop(bus: &Connection, unit: &str) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    match manager.get_unit(unit).await {
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => return Ok(()),
        known => known.map_err(spoken)?,
    };
    let asked = async |manager: ManagerProxy<'_>| manager.stop_unit(unit, "replace").await;
    match timeout(START_LIMIT, run(bus, asked)).await {
        Ok(ended) => ended,
        Err(_) => Err(format!("systemd has not stopped {unit} for {} s", START_LIMIT.as_secs())),
    }
}

async fn run(
    bus: &Connection,
    asked: impl AsyncFnOnce(ManagerProxy<'_>) -> zbus::Result<OwnedObjectPath>,
) -> Result<(), String> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.systemd1")
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved")
        .build()
        .map_err(spoken)?;
    // Listening begins before the job does, so that its end cannot be missed.
    let mut ends = MessageStream::for_match_rule(rule, bus, Some(QUEUE)).await.map_err(spoken)?;
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    let job = asked(manager).await.map_err(spoken)?;
    while let Some(end) = ends.next().await {
        let end = end.map_err(spoken)?;
        let (_, ended, _, result): (u32, OwnedObjectPath, String, String) = end.body().deserialize().map_err(spoken)?;
        if ended == job {
            return match result.as_str() {
                "done" => Ok(()),
                "assert" => Err("an Assert… of its unit does not hold (systemctl status shows which)".into()),
                other => Err(format!("systemd's job ended with \"{other}\"")),
            };
        }
    }
    Err("the connection to systemd broke".into())
}

/// An error of D-Bus as a sentence part, without its name space.
pub fn spoken(error: zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text,
        other => other.to_string(),
    }
}
