//! Programs that a host has, run to their end: what they print is limited, and they are asked nothing.

use super::super::failure::Failure;
use crate::wire::Refusal;
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a program may take that only looks.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// The most that is told of what one has printed, in characters.
const LAST_WORDS_CHARS: usize = 500;

/// The end of a program.
#[derive(Debug)]
pub(super) struct Ran {
    /// The exit code; -1 if it was killed.
    pub(super) code: i32,
    /// The text on standard output.
    pub(super) printed: String,
    /// The text on standard error.
    pub(super) said: String,
}

impl Ran {
    /// The last words of the program, in short.
    pub(super) fn last_words(&self) -> String {
        let text = if self.said.trim().is_empty() { &self.printed } else { &self.said };
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text = lines[lines.len().saturating_sub(4)..].join("; ");
        if text.is_empty() {
            format!("it ended with {}", self.code)
        } else {
            text.chars().take(LAST_WORDS_CHARS).collect()
        }
    }
}

/// Run a program; `None` if there is none of that name.
///
/// # Errors
/// If it takes longer than its limit (`None`: it may take as long as it likes), or cannot be run.
pub(super) async fn found(program: &str, words: &[&str], limit: Option<Duration>) -> Result<Option<Ran>, Failure> {
    let mut command = Command::new(program);
    command.args(words).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output();
    let ended = match limit {
        None => output.await,
        Some(limit) => match timeout(limit, output).await {
            Ok(ended) => ended,
            Err(_) => {
                let message = format!("{program} {} has not ended in {} s", words.join(" "), limit.as_secs());
                return Err(Failure::refused(Refusal::ProgramHangs, message, "see what it waits for, and try again"));
            }
        },
    };
    match ended {
        Ok(output) => Ok(Some(Ran {
            code: output.status.code().unwrap_or(-1),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => {
            Err(Failure::refused(Refusal::NoProgram, format!("{program} cannot be run: {why}"), "see ls -l of it"))
        }
    }
}

/// Run a program that a host has, from this package of Debian.
///
/// # Errors
/// As [`found`], or that it has not.
pub(super) async fn run(program: &str, package: &str, words: &[&str], limit: Option<Duration>) -> Result<Ran, Failure> {
    found(program, words, limit).await?.ok_or_else(|| {
        Failure::refused(Refusal::NoProgram, format!("this host has no {program}"), format!("apt install {package}"))
    })
}

/// Run a program that has to succeed.
///
/// # Errors
/// As [`run`], or the program's own words.
pub(super) async fn done(
    program: &str,
    package: &str,
    words: &[&str],
    limit: Option<Duration>,
) -> Result<Ran, Failure> {
    let ran = run(program, package, words, limit).await?;
    match ran.code {
        0 => Ok(ran),
        _ => Err(failed(program, words, &ran)),
    }
}

/// A program has failed.
pub(super) fn failed(program: &str, words: &[&str], ran: &Ran) -> Failure {
    let message = format!("{program} {}: {}", words.join(" "), ran.last_words());
    Failure::refused(
        Refusal::ProgramFailed,
        message,
        "see what it says; what was done before stays, and is not done again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_limited_in_time_and_its_words_in_length() {
        let code = |failure: Failure| failure.error().code;
        let ran = run("sh", "dash", &["-c", "echo a; echo b >&2; exit 3"], Some(LOOK_LIMIT)).await.unwrap();
        assert_eq!((ran.code, ran.printed.as_str(), ran.last_words().as_str()), (3, "a\n", "b"));
        let late = run("sleep", "coreutils", &["1000"], Some(Duration::from_millis(50))).await.unwrap_err();
        assert_eq!(code(late), Refusal::ProgramHangs);
        assert!(found("no-such-program", &[], None).await.unwrap().is_none());
        assert_eq!(code(run("no-such-program", "x", &[], None).await.unwrap_err()), Refusal::NoProgram);
        let why = done("sh", "dash", &["-c", "yes | head -c 9000; exit 1"], None).await.unwrap_err().error();
        assert!(why.code == Refusal::ProgramFailed && why.message.len() < 700, "{why:?}");
    }
}
