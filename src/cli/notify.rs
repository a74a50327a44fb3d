//! `sledctl notify`: whether those who are to be told of checks can be told.

use super::client::Client;
use super::failure::Failure;
use super::print::{Output, print};
use crate::api::Operation;
use crate::notify::Order;
use crate::notify::send::send;
use crate::terminal;
use crate::wire::{Delivery, Notified};
use clap::{Args, Subcommand};
use std::io;

/// Tell of checks whoever is named in sled.toml.
#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    Test(Test),
    /// Post what stands on the standard input: the supervisor has systemd run this.
    #[command(hide = true)]
    Deliver,
}

impl NotifyCommand {
    /// Try it, or deliver one; `Ok(false)` if somebody could not be told.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match self {
            Self::Test(test) => test.run(client, output).await,
            Self::Deliver => deliver().await,
        }
    }
}

/// Tell everybody that this is a test, and show what came back.
#[derive(Debug, Args)]
pub(super) struct Test;

impl Test {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let notified: Notified = client.ask(&Operation::TestNotify {}).await?;
        print(output, &notified, |notified| notified.deliveries.iter().map(line).collect())?;
        Ok(notified.deliveries.iter().all(|delivery| delivery.error.is_none()))
    }
}

fn line(delivery: &Delivery) -> String {
    let (way, to) = (delivery.way.as_str(), &delivery.to);
    match &delivery.error {
        None => format!("{way} to {to}: {}\n", delivery.answer.as_deref().unwrap_or("done")),
        Some(why) => format!("{way} to {to}: NOT DELIVERED: {why}\n"),
    }
}

/// Post what is ordered on the standard input, and print what came back as the supervisor reads it.
async fn deliver() -> Result<bool, Failure> {
    let order: Order = serde_json::from_reader(io::stdin()).map_err(io::Error::from)?;
    let said = serde_json::to_string(&send(&order).await).map_err(io::Error::from)?;
    terminal::out(&format!("{said}\n"))?;
    Ok(true)
}
