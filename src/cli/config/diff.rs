//! `sledctl config diff`: what another configuration would change, and what that means to hosts.

use super::short;
use crate::api::{ConfigNumber, Operation};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::table::Tone;
use crate::wire::{Change, Condition, Difference};
use clap::Args;

/// Show what the configuration in the files would change, what that means to hosts, and which
/// conditions would come and go.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff;

impl Diff {
    /// Show what would change; `Ok(false)` if that interrupts hosts, needs a restart or is refused.
    pub(in crate::cli) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let found = difference(client, None).await?;
        print(output, &found, text)?;
        Ok(found.refused.is_none() && !found.interrupts() && !found.needs_restart())
    }
}

/// Ask what the configuration in the files would change, or one that was in force, by its number.
pub(in crate::cli) async fn difference(client: &Client, kept: Option<u64>) -> Result<Difference, Failure> {
    let kept = kept.map(ConfigNumber);
    client.ask(&Operation::Reload { dry_run: true, yes: false, unattended: false, kept, by: None }).await
}

/// Write what another configuration changes.
pub(in crate::cli) fn text(found: &Difference) -> String {
    let mut out: String = found.changes.iter().map(change).collect();
    if found.changes.is_empty() {
        out += match (found.from_files == found.to_files, found.from == found.to) {
            (true, _) => "the configuration in the files is the one in force\n",
            (false, true) => "the files are others, and mean the same\n",
            (false, false) => "the port map in the files is another, and means the same for this sled\n",
        };
    }
    if found.from_files != found.to_files {
        out += &format!("files: {} -> {}\n", short(&found.from_files), short(&found.to_files));
    }
    out += &conditions("would come", &found.come);
    out += &conditions("would go", &found.go);
    for lost in &found.unattachable {
        out += &Tone::Bad.paint(&format!("volume {} could not be attached any more: {}", lost.volume, lost.why));
        out += "\n";
    }
    if let Some(why) = &found.refused {
        out += &format!("{}\n    {}\n", Tone::Bad.paint("sledctl reload refuses this"), why.remedy);
    }
    out
}

fn conditions(title: &str, all: &[Condition]) -> String {
    let one = |found: &Condition| {
        format!("{title}: {} {}  {}\n    {}\n", found.severity, found.code, found.subject, found.cause)
    };
    all.iter().map(one).collect()
}

fn change(change: &Change) -> String {
    let grave = change.interrupts || change.needs_restart || change.needs_yes;
    let effect = if grave { Tone::Bad.paint(&change.effect) } else { change.effect.clone() };
    format!("{}: {}\n    {} {effect}\n", Tone::Heading.paint(&change.subject), change.what, Tone::Faint.paint("->"))
}
