//! Somebody who follows a job that asks how a volume's other sleds are, when nobody else does: the
//! supervisor has no way to them. It is `sledctl`, in a unit of its own, which reaches the sleds of the
//! port map and nobody else.

use crate::port_map::{Fence, PortMap};
use crate::systemd::proxy::ManagerProxy;
use crate::systemd::{fence, job, sandbox};
use std::path::PathBuf;
use zbus::{Connection, Variant};

/// The unit of a job's follower.
pub fn unit(job: u64) -> String {
    format!("sled-follower-{job}.service")
}

/// Has a job followed until it ends, unless that is so already.
///
/// # Errors
/// Why nobody follows it, in words for an operator.
pub async fn begin(bus: &Connection, map: &PortMap, job: u64) -> Result<(), String> {
    let manager = ManagerProxy::new(bus).await.map_err(job::spoken)?;
    let unit = unit(job);
    match manager.get_unit(&unit).await {
        Ok(_) => Ok(()),
        Err(_) => job::run_transient(bus, &unit, &settings(&program()?, &Fence::shut(map), job)).await,
    }
}

/// `sledctl` lies beside the supervisor, whatever has become of that one's own file.
fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|why| format!("this program's file is not known: {why}"))?;
    Ok(own.with_file_name("sledctl"))
}

/// It speaks with the supervisor, as root may, and with the other sleds; and has no right beside that.
fn settings(program: &std::path::Path, fence: &Fence, job: u64) -> Vec<(&'static str, Variant<'static>)> {
    const FAMILIES: &[&str] = &["AF_UNIX", "AF_INET", "AF_INET6"];
    let program = program.display().to_string();
    let words = [program.as_str(), "jobs", "follow", &job.to_string()].map(str::to_owned);
    let own: Vec<(&str, Variant)> = vec![
        ("Description", format!("Ask the other sleds for job {job}").into()),
        // Not waited for: it ends with the job.
        ("Type", "exec".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", vec![(program, words.to_vec(), false)].into()),
        ("RestrictAddressFamilies", (true, FAMILIES).into()),
    ];
    let confined = sandbox::confined();
    let others: Vec<_> = confined.into_iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name)).collect();
    own.into_iter().chain(others).chain(fence::settings(fence)).collect()
}
