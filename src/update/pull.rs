//! Files of a release that are read and not written anywhere, fetched by `systemd-pull` as `systemd-sysupdate` does
//! it: nothing is believed that is not signed.

use super::manifest::{Manifest, file, listed};
use super::sysupdate::succeeded;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// The path of the program in Debian.
const PROGRAM: &str = "/usr/lib/systemd/systemd-pull";
/// The time that a file may take: each has some kilobytes.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest file, in bytes.
const LIMIT_BYTES: usize = 1 << 20;

/// Fetch the manifest of a version that is offered at `url`; `None` if the release has none.
///
/// # Errors
/// Nobody answers, a signature or a digest is wrong, or what it says is not understood.
pub async fn manifest(url: &str, version: &str) -> io::Result<Option<Manifest>> {
    let sums = pull(&format!("{url}/SHA256SUMS"), "signature").await?;
    let Some(digest) = listed(&String::from_utf8_lossy(&sums), &file(version)) else { return Ok(None) };
    let text = pull(&format!("{url}/{}", file(version)), &digest).await?;
    Manifest::parse(&text, version).map(Some).map_err(io::Error::other)
}

/// Fetch a file; `verify` is `signature` for the list of digests, and a digest for what stands in it.
async fn pull(url: &str, verify: &str) -> io::Result<Vec<u8>> {
    let mut command = Command::new(PROGRAM);
    command.args(["raw", "--direct", "--verify", verify, url, "-"]).stdin(Stdio::null()).kill_on_drop(true);
    let late = |_| io::Error::other(format!("{url} did not come within {} s", LIMIT.as_secs()));
    let text = succeeded(timeout(LIMIT, command.output()).await.map_err(late)??)?;
    if text.len() > LIMIT_BYTES {
        return Err(io::Error::other(format!("{url} is longer than {LIMIT_BYTES} bytes")));
    }
    Ok(text)
}
