//! A job of systemd, from the call that makes it to the signal that it has ended.

use super::proxy::{JobRemovedStream, ManagerProxy, Properties};
use futures_util::StreamExt;
use zbus::Connection;
use zbus::OwnedObjectPath;

/// Starts a unit and waits until systemd has done so, or has not.
///
/// # Errors
/// Why it does not run, in words for an operator.
pub async fn start(bus: &Connection, unit: &str) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    // The stream is there before the job is, so that its end cannot be missed.
    let ends = manager.receive_job_removed().await.map_err(spoken)?;
    let job = manager.start_unit(unit, "fail").await.map_err(spoken)?;
    ended(ends, &job).await
}

/// Runs a unit that no file describes, and waits until its start job has ended: for
/// `Type=oneshot` that is the end of its process.
///
/// # Errors
/// Why it failed, in words for an operator.
pub async fn run_transient(bus: &Connection, unit: &str, properties: &Properties<'_>) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(spoken)?;
    let ends = manager.receive_job_removed().await.map_err(spoken)?;
    let job = manager.start_transient_unit(unit, "fail", properties, &[]).await.map_err(spoken)?;
    ended(ends, &job).await
}

async fn ended(mut ends: JobRemovedStream, job: &OwnedObjectPath) -> Result<(), String> {
    while let Some(end) = ends.next().await {
        let end = end.args().map_err(spoken)?;
        if end.job == *job {
            return match end.result.as_str() {
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
