//! `sledctl logs`: what a region's downstairs has written, from the journal, as a person reads it. The supervisor is
//! not asked.
//!
//! | module | job |
//! |---|---|
//! | [`journal`] | journalctl(1), and the entries that it tells |
//! | [`line`](mod@line) | an entry as it is read and shown |

mod journal;
mod line;

use super::failure::Failure;
use super::print::{Form, Output};
use crate::names::RegionName;
use crate::span::Span;
use crate::terminal;
use clap::Args;
use journal::Journal;
use line::Line;

const EXAMPLES: &str = "Examples:
  sledctl logs still-fawn-0              the last hundred lines
  sledctl logs still-fawn-0 -f           and what follows, until Ctrl-C
  sledctl logs still-fawn-0 --since 2h -n all";

/// Show what a region's downstairs has written: its log from the journal, made readable. Needs no supervisor.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct LogsCommand {
    /// The region, VOLUME-INDEX.
    region: RegionName,
    /// Show what follows as well, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// How many lines, counted from the end: a number, or all.
    #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = number)]
    lines: String,
    /// Since when: a length of time such as 30m, or a time as journalctl has it.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
}

impl LogsCommand {
    /// Show the lines, as they come.
    pub(super) async fn run(&self, output: Output) -> Result<bool, Failure> {
        let mut journal = Journal::open(&self.words())?;
        let mut any = false;
        while let Some(entry) = journal.next().await? {
            any = true;
            write(&entry, output)?;
        }
        journal.end().await?;
        if !any && output.is_text() {
            terminal::note(&nothing(&self.region));
        }
        Ok(true)
    }

    /// Say what of the journal is wanted, in journalctl's words.
    fn words(&self) -> Vec<String> {
        let mut words = vec![format!("--unit=crucible-downstairs@{}.service", self.region)];
        words.push(format!("--lines={}", self.lines));
        words.extend(self.since.as_deref().map(since));
        words.extend(self.follow.then(|| "--follow".to_owned()));
        words
    }
}

/// Read a number of lines.
fn number(text: &str) -> Result<String, String> {
    let is_number = text.parse::<u32>().is_ok();
    if is_number || text == "all" { Ok(text.into()) } else { Err("write a number, or all".into()) }
}

fn since(time: &str) -> String {
    match time.parse::<Span>() {
        Ok(span) => format!("--since=-{}s", span.seconds),
        Err(_) => format!("--since={time}"),
    }
}

fn write(line: &Line, output: Output) -> Result<(), Failure> {
    match output.form {
        Form::Json => terminal::json_line(line)?,
        Form::Yaml => {
            terminal::out("---\n")?;
            terminal::yaml(line)?;
        }
        Form::Text | Form::Wide | Form::Name => output.say(&line.text(output.screen))?,
    }
    Ok(())
}

fn nothing(region: &RegionName) -> String {
    let others = "use sudo, or: adduser NAME systemd-journal";
    let why = if nix::unistd::geteuid().is_root() { "sledctl region list shows which there are" } else { others };
    format!("sledctl: the journal has nothing of {region}\n    {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        logs: LogsCommand,
    }

    fn words(line: &str) -> Vec<String> {
        Program::try_parse_from(line.split(' ')).unwrap().logs.words()
    }

    #[test]
    fn what_is_wanted_is_said_in_journalctls_words() {
        let unit = "--unit=crucible-downstairs@pve-0.service";
        assert_eq!(words("logs pve-0"), [unit, "--lines=100"]);
        assert_eq!(words("logs pve-0 -f -n 5 --since 30m"), [unit, "--lines=5", "--since=-1800s", "--follow"]);
        assert_eq!(words("logs pve-0 -n all --since -2h"), [unit, "--lines=all", "--since=-2h"]);
        for wrong in ["logs", "logs pve", "logs pve-0 -n x", "logs pve-0 -n -1"] {
            assert!(Program::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
