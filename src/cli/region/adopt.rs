//! `sledctl region adopt`: regions that something else served before.

use super::Which;
use crate::api::{Directory, Operation};
use crate::check::Code;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Doors;
use crate::cli::orders::{Order, carry_out};
use crate::cli::print::{Output, or_dash};
use crate::names::RegionName;
use crate::screen::Screen;
use crate::table::{Table, Tone, column, plain};
use crate::terminal;
use crate::wire::{Error, Proposal, Region, State};
use clap::Args;
use std::path::PathBuf;

/// Take regions over from what served them before: the unit is stopped and disabled, the
/// directory gets its place. Undone wholly if any step of it fails.
#[derive(Debug, Args)]
pub(in crate::cli) struct Adopt {
    #[command(flatten)]
    which: Which,
    /// Where the region lies, if not where the runbook puts it (ROOT/vm-REGION) or in its place.
    #[arg(long, value_name = "DIR", conflicts_with = "all")]
    from: Option<PathBuf>,
    /// Show what it would do, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Adopt {
    /// Adopt regions, or show what that would come to; `Ok(false)` if one shown could not be adopted.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let regions = if self.which.all { unadopted(client).await? } else { self.which.names.clone() };
        if self.dry_run {
            return self.propose(client, regions, output).await;
        }
        if regions.is_empty() && output.is_text() {
            terminal::out("nothing waits to be adopted\n")?;
        }
        let adopt = |region: &RegionName| Operation::AdoptRegion { region: region.clone(), from: self.directory() };
        let order = |region: RegionName| Order::new(&region, adopt(&region));
        carry_out(client, &Doors::default(), regions.into_iter().map(order).collect(), output).await
    }

    async fn propose(&self, client: &Client, regions: Vec<RegionName>, output: Output) -> Result<bool, Failure> {
        let mut proposals = Vec::new();
        for region in regions {
            let propose = Operation::ProposeAdoption { region: region.clone(), from: self.directory() };
            proposals.push(match client.ask::<Proposal>(&propose).await {
                Err(Failure::Refused(error)) => refused(region, &error),
                proposal => proposal?,
            });
        }
        let name = |proposal: &Proposal| proposal.region.to_string();
        output.list(&proposals, name, |proposals| table(proposals, output.screen))?;
        Ok(proposals.iter().all(|proposal| proposal.problem.is_none()))
    }

    fn directory(&self) -> Option<Directory> {
        let plain = |dir: &PathBuf| dir.display().to_string().trim_end_matches('/').into();
        self.from.as_ref().map(plain).map(Directory)
    }
}

/// Find the regions that `--all` means: every one of the map on this sled that is not on record.
async fn unadopted(client: &Client) -> Result<Vec<RegionName>, Failure> {
    // Regions as they lie there now, not as they were seen a while ago.
    client.look().await?;
    let sled = client.sled().await?;
    let lost = sled.checks.iter().any(|check| check.code == Code::LedgerUnreadable);
    let waits = |region: &Region| {
        let codes = [Code::RegionUnadopted, Code::RegionUnrecorded];
        let subject = format!("region {}", region.name);
        let found = sled.checks.iter().any(|check| check.subject == subject && codes.contains(&check.code));
        found || (lost && region.state != Some(State::Missing))
    };
    let regions = sled.volumes.iter().flat_map(|volume| &volume.regions).filter(|region| region.sled == sled.sled);
    Ok(regions.filter(|region| waits(region)).map(|region| region.name.clone()).collect())
}

fn refused(region: RegionName, error: &Error) -> Proposal {
    let problem = Some(error.message.clone());
    Proposal { region, from: None, uuid: None, unit: None, connected: Vec::new(), problem }
}

fn table(proposals: &[Proposal], screen: Screen) -> String {
    if proposals.is_empty() {
        return "nothing waits to be adopted\n".into();
    }
    let mut table = Table::new(&[
        column("REGION"),
        column("FROM").cut(12).rank(1),
        column("UNIT").cut(12).rank(2),
        column("CONNECTED").wrap(15).rank(3),
        column("UUID").id().rank(4),
        column("").wrap(16),
    ]);
    for proposal in proposals {
        let hosts: Vec<_> = proposal.connected.iter().map(ToString::to_string).collect();
        let verdict = match &proposal.problem {
            None => ("would be adopted".into(), Tone::Well),
            Some(problem) => (problem.clone(), Tone::Bad),
        };
        table.row(vec![
            plain(&proposal.region),
            plain(or_dash(proposal.from.as_ref())),
            plain(or_dash(proposal.unit.as_ref())),
            plain(if hosts.is_empty() { "-".into() } else { hosts.join(" ") }),
            plain(or_dash(proposal.uuid)),
            verdict,
        ]);
    }
    table.on(screen)
}
