//! Journal of a unit, as journalctl(1) tells it: its files have no simpler reader. Reads only.

use super::line::Line;
use crate::clean;
use crate::cli::failure::Failure;
use crate::wire::Refusal;
use std::io;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// The most of what journalctl complains of that is told, in bytes.
const COMPLAINT_LIMIT_BYTES: u64 = 4096;

/// Journal that is being read.
pub(super) struct Journal {
    reader: Child,
    entries: BufReader<ChildStdout>,
}

impl Journal {
    /// Begin to read what these words of journalctl's choose.
    pub(super) fn open(words: &[String]) -> Result<Self, Failure> {
        let spawned = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--output=json"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut reader = spawned.map_err(|why| unreadable(&why.to_string()))?;
        let entries = reader.stdout.take().ok_or_else(|| io::Error::other("journalctl has no output"))?;
        Ok(Self { reader, entries: BufReader::new(entries) })
    }

    /// Read the next entry; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Failure> {
        let mut entry = Vec::new();
        if self.entries.read_until(b'\n', &mut entry).await? == 0 {
            return Ok(None);
        }
        Ok(Some(Line::of_entry(&entry)))
    }

    /// Hear how it has ended, once there is no more to read.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        let mut complaint = Vec::new();
        if let Some(stderr) = self.reader.stderr.take() {
            stderr.take(COMPLAINT_LIMIT_BYTES).read_to_end(&mut complaint).await?;
        }
        let ended = self.reader.wait().await?;
        let complaint = String::from_utf8_lossy(&complaint);
        // Without an entry it ends with 1 as well, and complains of nothing.
        match ended.code() {
            Some(0) => Ok(()),
            Some(1) if complaint.trim().is_empty() => Ok(()),
            _ if complaint.trim().is_empty() => Err(unreadable(&format!("journalctl ended with {ended}"))),
            _ => Err(unreadable(&clean::lines(complaint.trim()))),
        }
    }
}

fn unreadable(why: &str) -> Failure {
    let remedy = "see systemctl status systemd-journald, and journalctl --verify";
    Failure::refused(Refusal::Failed, format!("the journal cannot be read: {why}"), remedy)
}
