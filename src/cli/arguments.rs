//! The command line of `sledctl`.

use super::doors::Elsewhere;
use super::setup::SetupArguments;
use super::update::UpdateCommand;
use crate::config_dir;
use crate::names::{NameError, RegionName, VolumeName};
use crate::span::Span;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;
use uuid::Uuid;

/// Looks after the storage sled that it runs on.
#[derive(Debug, Parser)]
#[command(name = "sledctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Print JSON: the supervisor's own answer, where there is one.
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// The supervisor's socket.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/sled/admin.sock")]
    pub(super) socket: PathBuf,

    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well, \
                          4 the supervisor cannot be reached.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show everything at a glance: network, storage, volumes, and what is wrong.
    Status,
    /// List the volumes, or show one.
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// List, show, create, adopt, restart, hold, delete or restore regions.
    #[command(subcommand)]
    Region(RegionCommand),
    /// Show which downstairs program each region runs, or roll another one over all of them.
    Downstairs {
        #[command(subcommand)]
        command: Option<DownstairsCommand>,
    },
    /// Show what takes the data disk: by region, and what lies in the trash.
    Storage {
        #[command(subcommand)]
        command: Option<StorageCommand>,
    },
    /// List the jobs, show or cancel one.
    Jobs {
        #[command(subcommand)]
        command: Option<JobsCommand>,
    },
    /// Ask hosts to wait while somebody is at work on the sled; what is attached goes on.
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// List every condition that holds, with cause and remedy.
    Checks,
    /// Look for, take and judge another version of the image.
    #[command(subcommand)]
    Update(UpdateCommand),
    /// Make a machine with the image one sled: by arguments, or by questions.
    Setup(Box<SetupArguments>),
    /// Show on a screen how the sled is, live; what the image's own screen shows.
    Console {
        /// Show it once.
        #[arg(long)]
        once: bool,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Take a changed configuration over while everything runs; what it changes is shown first.
    Reload {
        /// Even if hosts that are connected are cut off or interrupted, a region is stopped, a volume could
        /// not be attached any more, or something that is kept is destroyed.
        #[arg(long)]
        yes: bool,
        /// Only show it, as `config diff` does.
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// As who cannot be asked (ExecReload= of sledd.service): hosts may be interrupted, and no more.
        #[arg(long, hide = true, conflicts_with_all = ["yes", "dry_run"])]
        unattended: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum VolumeCommand {
    /// List the volumes that have a region on this sled.
    List,
    /// Show a volume, its regions, and why it is not ready.
    Show {
        /// The volume.
        volume: VolumeName,
    },
    /// Let a host of the port map talk to a volume, beside the one that holds its last ticket, or
    /// again after it was cut off.
    Allow {
        /// The volume.
        volume: VolumeName,
        /// The host: its address, or its name in the port map.
        host: String,
    },
    /// Cut a host off from a volume at once, until it is allowed again or holds a ticket.
    Deny {
        /// The volume.
        volume: VolumeName,
        /// The host: its address, or its name in the port map.
        host: String,
    },
    /// Ask the host that has a volume to detach it, and wait for that. No host gets a ticket until it is ended.
    Drain(DrainArguments),
}

#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    /// The volume.
    pub(super) volume: VolumeName,
    /// End it: hosts may attach the volume again.
    #[arg(long, conflicts_with_all = ["no_wait", "timeout", "reason"])]
    pub(super) end: bool,
    /// Only ask, and do not wait until it is detached.
    #[arg(long, conflicts_with = "timeout")]
    pub(super) no_wait: bool,
    /// How long to wait; the drain goes on after it.
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub(super) timeout: Span,
    /// Why, for whoever sees that it is drained.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum RegionCommand {
    /// List the regions that the port map puts on this sled.
    List,
    /// Show a region.
    Show {
        /// The region, VOLUME-INDEX.
        region: RegionName,
    },
    /// Create regions that do not exist yet. One that does is left as it is.
    Create(CreateArguments),
    /// Take regions over from what served them before: the unit is stopped and disabled, the
    /// directory gets its place. Undone wholly if any step of it fails.
    Adopt(AdoptArguments),
    /// Delete a region: it is kept for a while, and can be had back.
    Delete {
        /// The region.
        region: RegionName,
        /// The region's name once more, for one that the port map has.
        #[arg(long, value_name = "REGION")]
        yes_destroy: Option<String>,
    },
    /// Restart regions, one of a volume at a time: each only while the volume's others serve, and
    /// the next one only when its hosts are back on it.
    Restart {
        #[command(flatten)]
        which: Which,
        /// One at a time on the whole sled.
        #[arg(long)]
        rolling: bool,
        /// Even if another region of the volume does not serve.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Stop a region and keep it from running, until it is released; also over a reboot.
    Hold {
        /// The region, VOLUME-INDEX.
        region: RegionName,
        /// Why; shown wherever the region is.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Even if another region of the volume does not serve.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Let regions run again that are held, by somebody or because they failed.
    Release(Which),
    /// Have a deleted region back.
    Restore {
        /// The region; if it was deleted more than once, its name in the trash.
        #[arg(value_name = "REGION[.TIME]")]
        region: Deleted,
    },
    /// Remove a deleted region for good, before its time.
    Purge {
        /// The region; if it was deleted more than once, its name in the trash.
        #[arg(value_name = "REGION[.TIME]")]
        region: Deleted,
        /// The same once more.
        #[arg(long, value_name = "REGION[.TIME]")]
        yes_destroy: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct AdoptArguments {
    #[command(flatten)]
    pub(super) which: Which,
    /// Where the region lies, if not where the runbook puts it (ROOT/vm-REGION) or in its place.
    #[arg(long, value_name = "DIR", conflicts_with = "all")]
    pub(super) from: Option<PathBuf>,
    /// Show what it would do, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// Mark the data disk as this sled's, and begin its ledger. What lies on it is left as it is.
    Init {
        /// The disk that it replaces or that is taken over, as the refusal names it.
        #[arg(long, value_name = "UUID")]
        replace: Option<Uuid>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MaintenanceCommand {
    /// From now on no host may attach a volume.
    On {
        /// For how long; then it ends by itself. Without it: until `maintenance off`.
        #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
        time: Option<Span>,
        /// Why; shown to whoever asks.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Hosts may attach again.
    Off,
    /// Show whether, since when and until when.
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum DownstairsCommand {
    /// Roll another program over all regions, one after the other, each watched before the next;
    /// back by itself if one does not serve with it.
    Upgrade {
        /// The program; without it, the one of sled.toml as it lies there now.
        #[arg(value_name = "PATH")]
        program: Option<PathBuf>,
        /// Even if a region does not serve, or hosts that are connected speak another version.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum JobsCommand {
    /// Show a job.
    Show {
        /// Its number.
        id: u64,
    },
    /// Follow a job until it has ended, and ask a volume's other sleds for it.
    Follow {
        /// Its number.
        id: u64,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Cancel a job, if it has not gone too far.
    Cancel {
        /// Its number.
        id: u64,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    #[command(flatten)]
    pub(super) which: Which,
    /// Only if `appliance.create_on_first_boot` is set (sled-first-regions.service).
    #[arg(long, hide = true)]
    pub(super) first_boot: bool,
    /// The region's name once more, if it was in the port map when the ledger was lost, which may have known
    /// it: it never existed, or is lost for good.
    #[arg(long, value_name = "REGION", conflicts_with = "all")]
    pub(super) never_existed: Option<RegionName>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The regions, VOLUME-INDEX.
    #[arg(value_name = "REGION")]
    pub(super) regions: Vec<RegionName>,
    /// Every region of this sled for which there is something to do.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show what the configuration in the files would change, what that means to hosts, and which
    /// conditions would come and go.
    Diff,
    /// List the last ten configurations that were in force.
    History,
    /// Write the files of one that was in force, and take them over as `reload` does. What they replace
    /// stays beside each, as NAME.replaced.
    Restore {
        /// Its number, as `config history` lists it.
        number: u64,
        /// As `reload --yes`.
        #[arg(long)]
        yes: bool,
    },
    /// List every fault of sled.toml, its fragments and port-map.toml.
    Check {
        /// The directory that holds them.
        #[arg(long, value_name = "DIR", default_value = config_dir::DEFAULT)]
        dir: PathBuf,
    },
}

/// A length of time that is not none.
fn some_time(text: &str) -> Result<Span, String> {
    let time: Span = text.parse().map_err(|why| format!("{text:?} {why}: write for example 30m or 2h"))?;
    match time.seconds {
        0 => Err("that is no time at all; to end it: sledctl maintenance off".into()),
        _ => Ok(time),
    }
}

/// A deleted region: its name and, if there are several of it, when it was deleted.
#[derive(Debug, Clone)]
pub(super) struct Deleted {
    pub(super) region: RegionName,
    pub(super) time: Option<i64>,
}

impl FromStr for Deleted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, time) = text.split_once('.').map_or((text, None), |(name, time)| (name, Some(time)));
        let region = name.parse().map_err(|why: NameError| why.to_string())?;
        let time = time.map(str::parse).transpose().map_err(|_| "behind the name is no time".to_owned())?;
        Ok(Self { region, time })
    }
}
