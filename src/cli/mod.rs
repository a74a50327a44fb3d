//! `sledctl`: the operator's command on a sled. Every noun that is typed has a file or a folder here, with its
//! arguments, its request and the text of the answer.
//!
//! Decisions are the supervisor's, which is asked over its unix socket. Only a configuration's check and restoration,
//! the setup, the installation, the reset and the update work on the machine itself.
//!
//! | module | job |
//! |---|---|
//! | [`status`], [`checks`], [`explain`], [`volume`], [`region`], [`storage`], [`network`], [`hardware`], [`ports`], [`logs`], [`top`], [`maintenance`], [`downstairs`], [`jobs`], [`events`], [`config`], [`reload`], [`update`], [`setup`], [`install`], [`reset`], [`console`], [`report`](mod@report), [`backup`] | the nouns |
//! | [`client`], [`followed`] | the supervisor's socket, and what is followed there |
//! | [`orders`] | requests that become jobs, and the jobs followed to their end |
//! | [`neighbours`] | the other sleds of a volume, asked on behalf of a job |
//! | [`mod@print`], [`view`] | output, as a person or a program reads it; what is listed or shown |
//! | [`down`] | what there is to see while the supervisor does not answer |
//! | [`completion`] | what a shell may complete |
//! | [`archive`], [`program`], [`consent`] | archives, written and read; programs that are asked; what is asked for before it is done |
//! | [`failure`] | why a command was not carried out |
//!
//! Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well (a blocking
//! condition is shown, or a change that interrupts hosts or needs a restart), 4 the supervisor
//! cannot be reached, or ended while it was at it; 130 interrupted while a job was followed, which goes on.

mod archive;
mod backup;
mod checks;
mod client;
mod completion;
mod config;
mod consent;
mod console;
mod down;
mod downstairs;
mod events;
mod explain;
mod failure;
mod followed;
mod hardware;
mod install;
mod jobs;
mod logs;
mod maintenance;
mod neighbours;
mod network;
mod notify;
mod orders;
mod ports;
mod print;
mod program;
mod region;
mod reload;
mod report;
mod reset;
mod setup;
mod status;
mod storage;
mod top;
mod update;
mod view;
mod volume;

pub use completion::command as completed;

use crate::terminal;
use crate::wire::{ErrorBody, Refusal};
use backup::{BackupCommand, RestoreCommand};
use checks::ChecksCommand;
use clap::{Parser, Subcommand};
use client::Client;
use config::ConfigCommand;
use console::ConsoleCommand;
use downstairs::DownstairsCommand;
use events::EventsCommand;
use explain::ExplainCommand;
use failure::Failure;
use hardware::HardwareCommand;
use install::InstallCommand;
use jobs::JobsCommand;
use logs::LogsCommand;
use maintenance::MaintenanceCommand;
use network::NetworkCommand;
use notify::NotifyCommand;
use ports::PortsCommand;
use print::{Form, Output};
use region::RegionCommand;
use reload::ReloadCommand;
use report::ReportCommand;
use reset::ResetCommand;
use setup::SetupCommand;
use status::StatusCommand;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use storage::StorageCommand;
use top::TopCommand;
use update::UpdateCommand;
use volume::VolumeCommand;

/// The supervisor's socket, unless something else is said.
const SOCKET: &str = "/run/sled/admin.sock";
/// Exit code of a command whose arguments do not go together; clap's, of what it finds out itself.
const MISUSED: u8 = 2;
/// Exit code of a command that was done, but what it shows is not well.
const NOT_WELL: u8 = 3;
/// Exit code of a command whose supervisor cannot be reached.
const UNREACHABLE: u8 = 4;
/// Exit code of a command that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

const EXIT_CODES: &str = "Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well, \
                          4 the supervisor cannot be reached.";

const EXAMPLES: &str = "Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well, \
                        4 the supervisor cannot be reached.

Examples:
  sledctl status                   what is wrong, and everything at a glance
  sledctl region list -o wide      every column, and nothing shortened
  sledctl region list -o name      the names alone, for scripts
  sledctl volume list --json       the supervisor's own answer
  sledctl explain DISK_FULL        what a condition means, and what to do";

/// The heading of the options that every command has, lest they stand among its own.
const EVERYWHERE: &str = "Options of every command";

/// Looks after the storage sled that it runs on.
#[derive(Debug, Parser)]
#[command(name = "sledctl", version, after_help = EXIT_CODES, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Print JSON: the supervisor's own answer, where there is one. The same as `--output json`.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,

    /// How the answer is written: text with every column and nothing shortened, the supervisor's own answer, or the
    /// names alone.
    #[arg(short, long, global = true, value_name = "FORM", conflicts_with = "json", help_heading = EVERYWHERE)]
    output: Option<Form>,

    #[command(flatten, next_help_heading = EVERYWHERE)]
    color: colorchoice_clap::Color,

    /// The supervisor's socket.
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET, help_heading = EVERYWHERE)]
    socket: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(StatusCommand),
    #[command(subcommand)]
    Volume(VolumeCommand),
    #[command(subcommand)]
    Region(RegionCommand),
    Downstairs(DownstairsCommand),
    Storage(StorageCommand),
    Network(NetworkCommand),
    Hardware(HardwareCommand),
    Ports(PortsCommand),
    Logs(LogsCommand),
    Top(TopCommand),
    Jobs(JobsCommand),
    Events(EventsCommand),
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    #[command(subcommand)]
    Notify(NotifyCommand),
    Checks(ChecksCommand),
    Explain(ExplainCommand),
    #[command(subcommand)]
    Update(UpdateCommand),
    Setup(Box<SetupCommand>),
    Install(InstallCommand),
    Reset(ResetCommand),
    Console(ConsoleCommand),
    #[command(subcommand)]
    Config(ConfigCommand),
    Reload(ReloadCommand),
    Report(ReportCommand),
    Backup(BackupCommand),
    Restore(RestoreCommand),
}

impl Command {
    /// Carry out a command; `Ok(false)` if what it shows is not well.
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match self {
            Self::Status(status) => status.run(client, output).await,
            Self::Volume(volume) => volume.run(client, output).await,
            Self::Region(region) => region.run(client, output).await,
            Self::Downstairs(downstairs) => downstairs.run(client, output).await,
            Self::Storage(storage) => storage.run(client, output).await,
            Self::Network(network) => network.run(client, output).await,
            Self::Hardware(hardware) => hardware.run(client, output).await,
            Self::Ports(ports) => ports.run(client, output).await,
            Self::Logs(logs) => logs.run(output).await,
            Self::Top(top) => top.run(client, output).await,
            Self::Jobs(jobs) => jobs.run(client, output).await,
            Self::Events(events) => events.run(client, output).await,
            Self::Maintenance(maintenance) => maintenance.run(client, output).await,
            Self::Notify(notify) => notify.run(client, output).await,
            Self::Checks(checks) => checks.run(client, output).await,
            Self::Explain(explain) => explain.run(output),
            Self::Update(update) => update.run(client, output).await,
            Self::Setup(setup) => setup.run(),
            Self::Install(install) => install.run(output),
            Self::Reset(reset) => reset.run(client, output).await,
            Self::Console(console) => console.run(client).await,
            Self::Config(config) => config.run(client, output).await,
            Self::Reload(reload) => reload.run(client, output).await,
            Self::Report(report) => report.run(client, output).await,
            Self::Backup(backup) => backup.run(output),
            Self::Restore(restore) => restore.run(output),
        }
    }
}

impl Command {
    /// Whether it shows how the sled is, which can be seen without a supervisor in part.
    fn shows_the_sled(&self) -> bool {
        let list = matches!(self, Self::Volume(VolumeCommand::List(_)) | Self::Region(RegionCommand::List(_)));
        list || matches!(self, Self::Status(_) | Self::Checks(_))
    }
}

/// Carry out a command; of a sled whose supervisor does not answer show what there is to see.
async fn carry_out(arguments: &Arguments, client: &Client, output: Output) -> Result<bool, Failure> {
    let command = &arguments.command;
    match command.run(client, output).await {
        Err(failure @ Failure::Unreachable(..)) if command.shows_the_sled() => Err(down::show(&failure, output).await),
        done => done,
    }
}

/// Carry out what the command line says.
pub fn run(arguments: &Arguments) -> ExitCode {
    arguments.color.write_global();
    let output = Output::new(if arguments.json { Form::Json } else { arguments.output.unwrap_or(Form::Text) });
    let client = Client::new(&arguments.socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from);
    match done.and_then(|runtime| runtime.block_on(carry_out(arguments, &client, output))) {
        Ok(true) => ExitCode::SUCCESS,
        // A configuration is checked without a supervisor, and one with faults has failed.
        Ok(false) if matches!(arguments.command, Command::Config(ConfigCommand::Check(_))) => ExitCode::FAILURE,
        Ok(false) => ExitCode::from(NOT_WELL),
        // Whoever read the output has read enough.
        Err(Failure::Io(why)) if why.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, output);
            ExitCode::from(match failure {
                Failure::Unreachable(..) | Failure::Gone | Failure::Down => UNREACHABLE,
                Failure::Left(_) => INTERRUPTED,
                Failure::Refused(error) if error.code == Refusal::Misused => MISUSED,
                _ => 1,
            })
        }
    }
}

/// Tell a failure, where it can be told at all, and was not told before.
fn report(failure: &Failure, output: Output) {
    if matches!(failure, Failure::Down) {
        return;
    }
    let program = !output.is_text() && output.form != Form::Name;
    // Jobs have told a program what became of each.
    if program && matches!(failure, Failure::Several { .. } | Failure::Gone) {
        return;
    }
    let error = failure.error();
    if program {
        _ = output.write(&ErrorBody { error });
    } else {
        terminal::note(&format!("sledctl: {}\n    {}", error.message, error.remedy));
    }
}
