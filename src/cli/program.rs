//! Programs that are asked how the machine is: for a short time, and for the end of what they say.

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Time that a program may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Run a program and keep the last bytes of what it prints, and why it failed, if it did.
pub(super) async fn last_words(words: &[&str], most: usize) -> (Vec<u8>, Option<String>) {
    let Some((program, arguments)) = words.split_first() else { return (Vec::new(), None) };
    let mut command = Command::new(program);
    // Nothing is to ask, to page or to paint.
    command.args(arguments).env("LC_ALL", "C").env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(why) => return (Vec::new(), Some(format!("{program}: {why}"))),
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut kept, mut errors) = (VecDeque::new(), VecDeque::new());
    let ended = timeout(LIMIT, async {
        tokio::try_join!(tail(out, &mut kept, most), tail(err, &mut errors, 400))?;
        child.wait().await
    })
    .await;
    let errors = String::from_utf8_lossy(errors.make_contiguous()).trim().to_owned();
    let trouble = match ended {
        Err(_) => Some(format!("{program} has not ended within {} s", LIMIT.as_secs())),
        Ok(Err(why)) => Some(format!("{program}: {why}")),
        Ok(Ok(status)) if !status.success() => Some(format!("{program} ended with {status}: {errors}")),
        Ok(Ok(_)) => None,
    };
    (kept.into(), trouble)
}

/// Read all of it, and keep the end.
async fn tail(from: Option<impl AsyncRead + Unpin>, kept: &mut VecDeque<u8>, most: usize) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut piece = [0; 8192];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        kept.extend(&piece[..read]);
        kept.drain(..kept.len().saturating_sub(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_a_failure_is_told() {
        assert_eq!(last_words(&["printf", "abcdef"], 3).await, (b"def".to_vec(), None));
        let (said, why) = last_words(&["sh", "-c", "echo x; echo y >&2; exit 3"], 9).await;
        assert!(said == b"x\n" && why.as_ref().is_some_and(|why| why.contains('3') && why.ends_with('y')), "{why:?}");
        assert!(last_words(&["/no/such/program"], 9).await.1.is_some());
    }
}
