//! `sledctl downstairs`: the program that each region runs, and another one rolled over all of them.

use super::client::Client;
use super::failure::Failure;
use super::neighbours::{Doors, Elsewhere};
use super::orders;
use super::print::{Output, or_dash};
use super::region;
use super::view::{View, Watch, show};
use crate::api::{Operation, Program};
use crate::screen::Screen;
use crate::table::{Table, column, plain};
use crate::wire::{Granted, Refusal, Region};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Show which downstairs program each region runs, or roll another one over all of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DownstairsCommand {
    #[command(flatten)]
    watch: Watch,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Upgrade(Upgrade),
}

impl DownstairsCommand {
    /// Show the programs, or roll another one.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        if let Some(Command::Upgrade(upgrade)) = &self.command {
            return upgrade.run(client, output).await;
        }
        show(self, client, output, self.watch).await
    }
}

impl View for DownstairsCommand {
    type Answer = Vec<Region>;

    async fn ask(&self, client: &Client) -> Result<Vec<Region>, Failure> {
        Ok(region::of_this_sled(client.sled().await?))
    }

    fn body<'a>(&self, regions: &'a Vec<Region>) -> impl Serialize + 'a {
        regions
    }

    fn names(&self, regions: &Vec<Region>) -> Vec<String> {
        regions.iter().map(|region| region.name.to_string()).collect()
    }

    fn text(&self, regions: &Vec<Region>, screen: Screen) -> String {
        table(regions, screen)
    }
}

/// Roll another program over all regions, one after the other, each watched before the next;
/// back by itself if one does not serve with it.
#[derive(Debug, Args)]
struct Upgrade {
    /// The program; without it, the one of sled.toml as it lies there now.
    #[arg(value_name = "PATH")]
    program: Option<PathBuf>,
    /// Even if a region does not serve, or hosts that are connected speak another version.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

impl Upgrade {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let doors = self.elsewhere.doors(client).await?;
        upgrade(client, &doors, self.program.as_deref(), self.force, output).await
    }
}

/// Bring a program, and follow the roll of it.
pub(super) async fn upgrade(
    client: &Client,
    doors: &Doors,
    program: Option<&Path>,
    force: bool,
    output: Output,
) -> Result<bool, Failure> {
    let brought = program.map(read).transpose()?.unwrap_or_default();
    let from = program.map(|path| path.display().to_string());
    let program = Program(brought.into());
    let granted: Granted = client.ask(&Operation::UpgradeDownstairs { force, from, program }).await?;
    orders::follow(client, doors, granted, output).await
}

fn read(program: &Path) -> Result<Vec<u8>, Failure> {
    let read = fs::read(program)
        .and_then(|bytes| if bytes.is_empty() { Err(io::Error::other("it is empty")) } else { Ok(bytes) });
    read.map_err(|why| {
        Failure::refused(
            Refusal::NoProgram,
            format!("{}: {why}", program.display()),
            "name the new crucible-downstairs",
        )
    })
}

fn table(regions: &[Region], screen: Screen) -> String {
    let mut table = Table::new(&[
        column("REGION"),
        column("STATE"),
        column("PID").rank(3),
        column("VERSION").cut(12).rank(1),
        column("MESSAGES").rank(2),
    ]);
    for region in regions {
        table.row(vec![
            plain(&region.name),
            region::state(region),
            plain(or_dash(region.pid)),
            plain(or_dash(region.version.as_ref())),
            plain(or_dash(region.message_version)),
        ]);
    }
    table.on(screen)
}
