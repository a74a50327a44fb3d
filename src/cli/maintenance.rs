//! `sledctl maintenance`: while somebody is at work on a sled, no host may attach a volume of it.

use super::client::Client;
use super::failure::Failure;
use super::print::{Output, print};
use super::view::{self, View, Watch};
use crate::api::{Choice, Operation, Sentence};
use crate::screen::Screen;
use crate::span::Span;
use crate::times::in_seconds;
use crate::wire::Maintenance;
use clap::{Args, Subcommand};
use serde::Serialize;

/// Ask hosts to wait while somebody is at work on the sled; what is attached goes on.
#[derive(Debug, Subcommand)]
pub(super) enum MaintenanceCommand {
    On(On),
    Off(Off),
    Show(Show),
}

impl MaintenanceCommand {
    /// Begin, end or show a maintenance; `Ok(false)` if one is shown.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match self {
            Self::On(on) => on.run(client, output).await,
            Self::Off(off) => off.run(client, output).await,
            Self::Show(show) => show.run(client, output).await,
        }
    }
}

/// From now on no host may attach a volume.
#[derive(Debug, Args)]
pub(super) struct On {
    /// For how long; then it ends by itself. Without it: until `maintenance off`.
    #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
    time: Option<Span>,
    /// Why; shown to whoever asks.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl On {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let reason = self.reason.clone().map(Sentence);
        let on = Operation::SetMaintenance { on: Choice(true), time: self.time, reason };
        let now: Option<Maintenance> = client.ask(&on).await?;
        print(output, &now, |now| text(now.as_ref()))?;
        Ok(true)
    }
}

/// Hosts may attach again.
#[derive(Debug, Args)]
pub(super) struct Off;

impl Off {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let off = Operation::SetMaintenance { on: Choice(false), time: None, reason: None };
        let now: Option<Maintenance> = client.ask(&off).await?;
        print(output, &now, |now| text(now.as_ref()))?;
        Ok(true)
    }
}

/// Show whether, since when and until when.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    watch: Watch,
}

impl Show {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        view::show(self, client, output, self.watch).await
    }
}

impl View for Show {
    type Answer = Option<Maintenance>;

    async fn ask(&self, client: &Client) -> Result<Option<Maintenance>, Failure> {
        client.ask(&Operation::ShowMaintenance {}).await
    }

    fn body<'a>(&self, now: &'a Option<Maintenance>) -> impl Serialize + 'a {
        now
    }

    fn names(&self, now: &Option<Maintenance>) -> Vec<String> {
        now.iter().map(|_| "maintenance".to_owned()).collect()
    }

    fn text(&self, now: &Option<Maintenance>, _: Screen) -> String {
        text(now.as_ref())
    }

    fn is_well(&self, now: &Option<Maintenance>) -> bool {
        now.is_none()
    }
}

/// Read a length of time that is not zero.
fn some_time(text: &str) -> Result<Span, String> {
    let time: Span = text.parse().map_err(|why| format!("{text:?} {why}: write for example 30m or 2h"))?;
    match time.seconds {
        0 => Err("that is no time at all; to end it: sledctl maintenance off".into()),
        _ => Ok(time),
    }
}

fn text(now: Option<&Maintenance>) -> String {
    let Some(now) = now else { return "no maintenance: hosts may attach\n".into() };
    let reason = now.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let until = now.until.map_or_else(|| "sledctl maintenance off".into(), |until| in_seconds(until).to_string());
    format!(
        "maintenance{reason}\n  since {}, until {until}; no host may attach a volume meanwhile\n",
        in_seconds(now.since)
    )
}
