//! Last words of a downstairs, written before it ended, from the journal: by its invocation, and no
//! more than tells why. Reads only.
//!
//! journalctl(1) reads it: the journal's files have no simpler reader, and it works while the
//! journal itself is stopped. What was written last may still be on its way there; it is looked
//! for a few times.

use crate::backoff::Backoff;
use crate::clean;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// Number of entries that are read: a backtrace has about twenty lines.
const ENTRY_LIMIT: &str = "--lines=60";
/// The most bytes that are read.
const OUTPUT_LIMIT_BYTES: u64 = 64 * 1024;
/// Time that one look may take.
const JOURNALCTL_LIMIT: Duration = Duration::from_secs(10);
/// Time for which words are looked for that have not arrived.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(3);

/// The last lines that a run of a unit wrote to stderr: what is not of its log, which is JSON.
/// Empty if there are none, or if the journal does not tell.
pub async fn read(invocation: &str) -> Vec<String> {
    let deadline = Instant::now() + ARRIVAL_LIMIT;
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    let mut before = Vec::new();
    loop {
        match timeout(JOURNALCTL_LIMIT, look(invocation)).await {
            // They come piece by piece: what two looks agree upon is all.
            Ok(Ok(lines)) if !lines.is_empty() && lines == before => return lines,
            Ok(Ok(lines)) if Instant::now() < deadline => before = lines,
            Ok(Ok(lines)) => return lines,
            Ok(Err(why)) => {
                tracing::warn!("the journal cannot be read: {why}");
                return Vec::new();
            }
            Err(_) => {
                tracing::warn!("the journal could not be read within {} s", JOURNALCTL_LIMIT.as_secs());
                return Vec::new();
            }
        }
        backoff.pause().await;
    }
}

async fn look(invocation: &str) -> io::Result<Vec<String>> {
    let mut reader = Command::new("journalctl")
        .args(["--quiet", "--no-pager", "--output=cat", ENTRY_LIMIT])
        .arg(format!("_SYSTEMD_INVOCATION_ID={invocation}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut text = Vec::new();
    if let Some(out) = reader.stdout.take() {
        out.take(OUTPUT_LIMIT_BYTES).read_to_end(&mut text).await?;
    }
    let ended = reader.wait().await?;
    // It ends with 1 when there is no entry.
    match ended.code() {
        Some(0 | 1) => Ok(spoken(&String::from_utf8_lossy(&text))),
        _ => Err(io::Error::other(format!("journalctl ended with {ended}"))),
    }
}

/// The lines that are no entries of its log.
fn spoken(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('{'));
    lines.map(|line| clean::line(line).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_no_last_word() {
        let text = "{\"msg\":\"hello\"}\nError: no such luck\n\nCaused by:\n    {nothing}\n";
        assert_eq!(spoken(text), ["Error: no such luck", "Caused by:", "    {nothing}"]);
    }
}
