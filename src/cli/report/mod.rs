//! `sledctl report`: one archive of how a sled is, for whoever is to find out what is wrong with it. What goes in is
//! shown first. Secrets and keys stay out; the supervisor need not answer.

mod parts;
mod secrets;

use super::archive::Archive;
use super::client::Client;
use super::consent::consents;
use super::failure::Failure;
use super::print::{Output, print};
use super::program;
use crate::config_dir;
use crate::files::open_below;
use crate::size::spoken;
use crate::store::in_force;
use crate::store::mark::memory;
use crate::table::{Table, plain};
use crate::terminal;
use crate::wire::Refusal;
use clap::Args;
use jiff::Timestamp;
use parts::{From, Part};
use serde::Serialize;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of all parts together: what comes after that is left out, and said to be.
const REPORT_LIMIT_BYTES: usize = 64 << 20;

/// Write one archive of how the sled is, for a report of a fault: states, checks, jobs, logs, the configuration, the
/// network and the disk. Secrets and keys stay out, and what goes in is shown first. The supervisor need not answer.
#[derive(Debug, Args)]
pub(super) struct ReportCommand {
    /// Where it is written, if not here as sled-report-TIME.tar.gz; nothing is written over.
    file: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// The directory of the configuration.
    #[arg(long, hide = true, value_name = "DIR", default_value = config_dir::DEFAULT)]
    dir: PathBuf,
}

/// Part of a report as it was written.
#[derive(Debug, Serialize)]
struct Written {
    name: String,
    what: String,
    bytes: usize,
    /// Why it is not all there.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Answer of `report`.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    parts: Vec<Written>,
}

impl ReportCommand {
    /// Show what goes in, and write it; `Ok(false)` if the supervisor did not answer.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let now = Timestamp::now();
        let file = self.file.clone().unwrap_or_else(|| format!("sled-report-{}.tar.gz", now.as_second()).into());
        let config = in_force::now(&self.dir).ok().map(|choice| choice.config);
        let parts = parts::all(&self.dir, &config_dir::texts(&self.dir), config.as_ref(), &memory());
        let shown = format!("{}left out: keys, tokens, webhooks, [notify]\n", list(&parts));
        if !consents(self.yes, output, &shown, &format!("write {}?", file.display()))? {
            return Ok(true);
        }
        let mut archive = Archive::begin(&file, now.as_second()).map_err(|why| not_written(&file, &why))?;
        let top = format!("sled-report-{}", now.as_second());
        let mut report = Report { file: file.clone(), parts: Vec::new() };
        let (mut answers, mut bytes) = (true, 0);
        for Part { name, what, from, most } in parts {
            let (mut text, trouble) = match from {
                // Whoever did not answer once is not waited for again.
                From::Supervisor(_) if !answers => (Vec::new(), Some("the supervisor does not answer".to_owned())),
                From::Supervisor(path) => answer(client, path, &mut answers).await,
                From::Program(words) => {
                    program::last_words(&words.iter().map(String::as_str).collect::<Vec<_>>(), most).await
                }
                From::File(path) => read(&path, most),
                From::Text(text) => text.map_or_else(|why| (Vec::new(), Some(why)), |text| (text.into_bytes(), None)),
            };
            let too_much = bytes + text.len() > REPORT_LIMIT_BYTES;
            let trouble = if too_much { Some("it is left out: the report is full".to_owned()) } else { trouble };
            if too_much {
                text.clear();
            }
            bytes += text.len();
            archive.add(&format!("{top}/{name}"), &text).map_err(|why| not_written(&file, &why))?;
            report.parts.push(Written { name, what, bytes: text.len(), trouble });
        }
        let index = serde_json::to_vec_pretty(&report.parts).map_err(io::Error::from)?;
        archive.add(&format!("{top}/parts.json"), &index).map_err(|why| not_written(&file, &why))?;
        archive.finish().map_err(|why| not_written(&file, &why))?;
        print(output, &report, |report| text(report, answers))?;
        Ok(answers)
    }
}

/// Ask the supervisor, and leave out what is secret in its answer.
async fn answer(client: &Client, path: &'static str, answers: &mut bool) -> (Vec<u8>, Option<String>) {
    match client.read(path).await {
        Ok(mut value) => {
            secrets::leave_out(&mut value);
            (format!("{value:#}\n").into_bytes(), None)
        }
        Err(failure) => {
            *answers = !matches!(failure, Failure::Unreachable(..));
            (Vec::new(), Some(failure.error().message))
        }
    }
}

/// Read the beginning of a file; neither a link nor a pipe in its place holds it up.
fn read(path: &Path, most: usize) -> (Vec<u8>, Option<String>) {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let mut text = Vec::new();
    // A file of /etc may be a link into /usr.
    let found = path.canonicalize().and_then(|path| {
        let parent = path.parent().unwrap_or(parent).to_owned();
        open_below(&parent, &path.file_name().unwrap_or(name).to_string_lossy())
    });
    match found.and_then(|file| file.take(most as u64).read_to_end(&mut text)) {
        Ok(_) => (text, None),
        Err(why) => (Vec::new(), Some(why.to_string())),
    }
}

/// List what goes in, before it is asked for.
fn list(parts: &[Part]) -> String {
    let mut table = Table::new(&["PART", "WHAT", "FROM"]);
    for part in parts {
        let from = match &part.from {
            From::Supervisor(path) => format!("the supervisor, GET {path}"),
            From::Program(words) => words.first().cloned().unwrap_or_default(),
            From::File(path) => path.display().to_string(),
            From::Text(_) => "the configuration".to_owned(),
        };
        table.row(vec![plain(&part.name), plain(&part.what), plain(from)]);
    }
    table.text()
}

fn text(report: &Report, answers: bool) -> String {
    let bytes = report.parts.iter().map(|part| part.bytes as u64).sum();
    let missing: Vec<_> = report.parts.iter().filter_map(|part| Some((&part.name, part.trouble.as_ref()?))).collect();
    let list: String = missing.iter().map(|(name, why)| format!("  {name}: {why}\n")).collect();
    let mut text = format!("{}: {} parts, {}\n", report.file.display(), report.parts.len(), spoken(bytes));
    if !missing.is_empty() {
        text += &format!("not there, or not whole:\n{list}");
    }
    if !answers {
        text += "the supervisor does not answer: what is there comes from systemd, the kernel and the disk\n";
    }
    text
}

fn not_written(file: &Path, why: &io::Error) -> Failure {
    let remedy = match why.kind() {
        io::ErrorKind::AlreadyExists => "name another file: nothing is written over",
        _ => "name a file on a disk with room for it: sledctl report FILE",
    };
    terminal::note("no report was written");
    Failure::refused(Refusal::NotWritten, format!("{}: {why}", file.display()), remedy)
}
