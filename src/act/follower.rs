//! Follower of a job that asks how a volume's other sleds are, when nobody else follows it: the supervisor has no way
//! to them. It is `sledctl`, in a unit of its own, which reaches the sleds of the port map and nobody else.

use crate::port_map::{Fence, PortMap};
use crate::systemd::proxy::ManagerProxy;
use crate::systemd::{fence, job, sandbox};
use std::path::PathBuf;
use std::time::Duration;
use zbus::{Connection, Variant};

/// The group that is admitted to the supervisor beside root.
const GROUP: &str = "sled";
/// The memory that it may have, in bytes.
const MEMORY_LIMIT_BYTES: u64 = 64 << 20;
/// The threads that it may have.
const TASK_LIMIT: u64 = 64;
/// The time that it may run. For a job that asks still after that, another one is begun with the next question.
const RUN_LIMIT: Duration = Duration::from_secs(600);

/// The unit of a job's follower.
pub fn unit(job: u64) -> String {
    format!("sled-follower-{job}.service")
}

/// Have a job followed until it ends, unless that is so already.
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

/// The program: `sledctl` lies beside the supervisor, whatever has become of that one's own file.
fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|why| format!("this program's file is not known: {why}"))?;
    Ok(own.with_file_name("sledctl"))
}

/// The sandbox of a follower. It reads what comes from the network, so it is nobody: a user that there is for as long
/// as it runs, and who may ask the supervisor as one of its group; with no device, no other process, nothing to write
/// to, and limits.
fn settings(program: &std::path::Path, fence: &Fence, job: u64) -> Vec<(&'static str, Variant<'static>)> {
    const FAMILIES: &[&str] = &["AF_UNIX", "AF_INET", "AF_INET6"];
    const MORE: &[&str] = &["@privileged", "@resources"];
    let program = program.display().to_string();
    let words = [program.as_str(), "jobs", "follow", &job.to_string()].map(str::to_owned);
    let longest = u64::try_from(RUN_LIMIT.as_micros()).unwrap_or(u64::MAX);
    let own: Vec<(&str, Variant)> = vec![
        ("Description", format!("Ask the other sleds for job {job}").into()),
        // The start is not waited for: it ends with the job.
        ("Type", "exec".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", vec![(program, words.to_vec(), false)].into()),
        ("DynamicUser", true.into()),
        ("Group", GROUP.into()),
        ("RestrictAddressFamilies", (true, FAMILIES).into()),
        ("MemoryMax", MEMORY_LIMIT_BYTES.into()),
        ("TasksMax", TASK_LIMIT.into()),
        ("RuntimeMaxUSec", longest.into()),
        ("ProtectHome", "yes".into()),
        ("ProtectProc", "invisible".into()),
        ("UMask", 0o077u32.into()),
    ];
    let closed = [
        "PrivateTmp",
        "PrivateDevices",
        "ProtectClock",
        "ProtectControlGroups",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
    ];
    let confined = sandbox::confined();
    let others: Vec<_> = confined.into_iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name)).collect();
    let closed = closed.map(|name| (name, true.into()));
    // System calls that are named a second time are taken from what was allowed first.
    let calls = [("SystemCallFilter", (false, MORE).into())];
    own.into_iter().chain(others).chain(closed).chain(calls).chain(fence::settings(fence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much as the one that opens sockets for the supervisor, which reads nothing: but for a capability and
    /// what that takes.
    #[test]
    fn it_may_no_more_than_the_other_unit_with_a_network() {
        let settings = settings("/usr/bin/sledctl".as_ref(), &Fence::default(), 7);
        let is = |name: &str, wanted: &Variant| settings.iter().any(|(key, value)| *key == name && value == wanted);
        let broker = include_str!("../../systemd/sled/sled-sockets.service");
        let named =
            |line: &&str| line.starts_with("Protect") || line.starts_with("Private") || line.starts_with("NoNew");
        let mut lines = 0;
        for (key, value) in broker.lines().filter(named).filter_map(|line| line.split_once('=')) {
            let truth = value == "yes" && key != "ProtectHome";
            let wanted = if truth { true.into() } else { value.to_owned().into() };
            assert!(is(key, &wanted), "{key}={value}: {settings:?}");
            lines += 1;
        }
        assert!(lines > 10, "{broker}");
        assert!(is("DynamicUser", &true.into()) && is("Group", &"sled".into()));
        assert!(is("CapabilityBoundingSet", &0u64.into()) && is("NoNewPrivileges", &true.into()));
        assert!(!settings.iter().any(|(key, _)| *key == "User" || *key == "AmbientCapabilities"));
        const TAKEN: &[&str] = &["@privileged", "@resources"];
        assert!(
            broker.contains("SystemCallFilter=~@privileged @resources")
                && is("SystemCallFilter", &(false, TAKEN).into())
        );
        for limit in ["MemoryMax", "TasksMax", "RuntimeMaxUSec"] {
            assert!(settings.iter().any(|(key, _)| *key == limit), "{limit}");
        }
        // The list from which these are taken comes before.
        let place =
            |first: &Variant| settings.iter().position(|(key, value)| *key == "SystemCallFilter" && value == first);
        const ALLOWED: &[&str] = &["@system-service"];
        assert!(place(&(true, ALLOWED).into()) < place(&(false, TAKEN).into()));
    }
}
