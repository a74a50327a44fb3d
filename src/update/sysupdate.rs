//! `systemd-sysupdate`, asked for versions and told to take one.

use super::release::mount_loader;
use super::transfers::definitions;
use crate::clean;
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// The path of the program in Debian.
const PROGRAM: &str = "/usr/lib/systemd/systemd-sysupdate";
/// The directory of its definitions; gone with the boot.
const DEFINITIONS: &str = "/run/sled-update";

/// The versions there are, here and where updates come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Versions {
    /// The newest that is complete here.
    pub current: Option<String>,
    /// All, the newest first.
    #[serde(default)]
    pub all: Vec<String>,
}

/// Tell `systemd-sysupdate` where updates come from, and which version must not be touched.
///
/// # Errors
/// The definitions cannot be written.
pub fn prepare(url: &str, running: &str) -> io::Result<()> {
    mount_loader()?;
    fs::create_dir_all(DEFINITIONS)?;
    for (file, text) in definitions(url, running) {
        fs::write(Path::new(DEFINITIONS).join(file), text)?;
    }
    Ok(())
}

/// List the versions there are.
///
/// # Errors
/// The program cannot be run, or what it says: nobody answers, a signature is wrong.
pub async fn versions() -> io::Result<Versions> {
    let output = command(&["--json=short", "list"]).stdin(Stdio::null()).output().await?;
    Ok(serde_json::from_slice(&succeeded(output)?)?)
}

/// Find the newest version that is offered and not here; `None` if there is none.
///
/// # Errors
/// As [`versions`].
pub async fn available() -> io::Result<Option<String>> {
    offered(command(&["--json=short", "check-new"]).stdin(Stdio::null()).output().await?)
}

/// Read the answer: a version, or that there is none. Anything else is no answer, and does not mean that there is
/// none.
fn offered(output: Output) -> io::Result<Option<String>> {
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    match answer.as_ref().and_then(|answer| answer.get("available")) {
        // The exit code does not matter: some versions of it have one of their own for this.
        Some(Value::Null) => Ok(None),
        Some(Value::String(version)) if !version.is_empty() => Ok(Some(version.clone())),
        _ => {
            let said = String::from_utf8_lossy(&succeeded(output)?).into_owned();
            let said = said.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
            Err(io::Error::other(format!("what it answers is not understood: {:?}", clean::line(&said))))
        }
    }
}

/// Take a version. Its words meanwhile go to stderr.
///
/// # Errors
/// The program cannot be run, or failed: then nothing of the new version can be started.
pub async fn take(version: &str) -> io::Result<()> {
    let status = command(&["update", version]).stdin(Stdio::null()).stdout(Stdio::null()).status().await?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("systemd-sysupdate ended with {status}; what it said is above")))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg(format!("--definitions={DEFINITIONS}")).args(arguments).kill_on_drop(true);
    command
}

pub(super) fn succeeded(output: Output) -> io::Result<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().rev().take(3).map(|line| clean::line(line.trim())).collect();
    Err(io::Error::other(said.into_iter().rev().collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn answered(code: i32, stdout: &str, stderr: &str) -> Result<Option<String>, String> {
        let status = ExitStatus::from_raw(code << 8);
        offered(Output { status, stdout: stdout.into(), stderr: stderr.into() }).map_err(|why| why.to_string())
    }

    #[test]
    fn what_is_not_understood_does_not_mean_that_there_is_nothing_newer() {
        assert_eq!(answered(0, "{\"available\":\"2.0\"}\n", ""), Ok(Some("2.0".into())));
        assert_eq!(answered(0, "{\"available\":null}", ""), Ok(None));
        assert_eq!(answered(1, "{\"available\":null}", "No candidate found."), Ok(None));
        for odd in ["", "2.0\n", "{}", "[]", "{\"available\":7}", "{\"available\":\"\"}", "{\"available\":\"2.0\""] {
            assert!(answered(0, odd, "").unwrap_err().contains("not understood"), "{odd}");
        }
        assert_eq!(answered(1, "", "x\nno signature\n"), Err("x; no signature".into()));
    }
}
