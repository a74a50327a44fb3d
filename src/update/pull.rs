//! Files of a release that are read and not written anywhere, fetched by `systemd-pull` as `systemd-sysupdate` does
//! it: nothing is believed that is not signed.

use super::manifest::{Manifest, file, listed};
use super::sysupdate::succeeded;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
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
    let Some(digest) = digest(url, &file(version)).await? else { return Ok(None) };
    let text = pull(&format!("{url}/{}", file(version)), &digest).await?;
    Manifest::parse(&text, version).map(Some).map_err(io::Error::other)
}

/// Fetch the digest of a file that is offered at `url`, of the signed list (SHA-256, in hexadecimal); `None` if that does
/// not name it.
///
/// # Errors
/// Nobody answers, or the signature is wrong.
pub async fn digest(url: &str, file: &str) -> io::Result<Option<String>> {
    let sums = pull(&format!("{url}/SHA256SUMS"), "signature").await?;
    Ok(listed(&String::from_utf8_lossy(&sums), file))
}

/// Fetch a file; `verify` is `signature` for the list of digests, and a digest for what stands in it.
async fn pull(url: &str, verify: &str) -> io::Result<Vec<u8>> {
    let mut command = Command::new(PROGRAM);
    command.args(["raw", "--direct", "--verify", verify, url, "-"]).stdin(Stdio::null()).kill_on_drop(true);
    let late = |_| io::Error::other(format!("{url} did not come within {} s", LIMIT.as_secs()));
    let output = timeout(LIMIT, bounded(command)).await.map_err(late)??;
    if output.stdout.len() > LIMIT_BYTES {
        return Err(io::Error::other(format!("{url} is longer than {LIMIT_BYTES} bytes")));
    }
    succeeded(output)
}

/// Run a program that may say any amount, of which no more is held than shows that it is too long.
async fn bounded(mut command: Command) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = tokio::try_join!(beginning(child.stdout.take()), beginning(child.stderr.take()))?;
    Ok(Output { status: child.wait().await?, stdout, stderr })
}

/// Read the beginning of what comes, and hear no more of it: whoever goes on writing ends by that.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LIMIT_BYTES as u64 + 1).read_to_end(&mut text).await?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_without_end_is_not_held_whole() {
        let endless = bounded(Command::new("yes")).await.unwrap();
        assert_eq!((endless.stdout.len(), endless.status.success()), (LIMIT_BYTES + 1, false));
        let mut short = Command::new("sh");
        short.args(["-c", "echo file; echo words >&2"]);
        let short = bounded(short).await.unwrap();
        assert!(short.status.success());
        assert_eq!((short.stdout.as_slice(), short.stderr.as_slice()), (&b"file\n"[..], &b"words\n"[..]));
    }
}
