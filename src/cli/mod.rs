//! `sledctl`: asks the supervisor over its unix socket and shows the answer.
//!
//! Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well (a blocking
//! condition is shown, or a change that interrupts hosts or needs a restart), 4 the supervisor
//! cannot be reached, or ended while it was at it.

mod adoption;
mod arguments;
mod client;
mod config;
mod console;
mod doors;
mod drain;
mod history;
mod others;
mod setup;
mod show;
mod stored;
mod update;
mod work;

pub use arguments::Arguments;

use crate::names::{RegionName, VolumeName};
use crate::terminal;
use crate::wire;
use arguments::{
    Command, ConfigCommand, Deleted, DownstairsCommand, JobsCommand, MaintenanceCommand, RegionCommand, StorageCommand,
    VolumeCommand, Which,
};
use client::{Client, Failure};
use http::Method;
use show::print;
use std::path::Path;
use std::process::ExitCode;
use work::{Order, carry_out, see_through};

/// Done, but not well.
const NOT_WELL: u8 = 3;
/// The supervisor cannot be reached.
const UNREACHABLE: u8 = 4;

/// Does what the command line says.
pub fn run(arguments: &Arguments) -> ExitCode {
    if let Command::Config(ConfigCommand::Check { dir }) = &arguments.command {
        let checked = config::check(dir, arguments.json);
        return match checked {
            Ok(well) => ExitCode::from(u8::from(!well)),
            Err(failure) => {
                report(&failure, arguments.json);
                ExitCode::FAILURE
            }
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(ask(arguments)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_WELL),
        // Whoever read it has read enough.
        Err(Failure::Io(why)) if why.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Jobs have told in JSON what became of each.
            if !(arguments.json && matches!(failure, Failure::Several { .. } | Failure::Gone)) {
                report(&failure, arguments.json);
            }
            ExitCode::from(if matches!(failure, Failure::Unreachable(..) | Failure::Gone) { UNREACHABLE } else { 1 })
        }
    }
}

/// Asks and shows; `Ok(false)` when what is shown is not well.
async fn ask(arguments: &Arguments) -> Result<bool, Failure> {
    let client = &Client::new(&arguments.socket);
    let json = arguments.json;
    match &arguments.command {
        Command::Status => {
            let sled = client.sled().await?;
            print(json, &sled, show::status)?;
            Ok(sled.well)
        }
        Command::Checks => {
            let sled = client.sled().await?;
            print(json, &sled.checks, |checks| show::checks(checks))?;
            Ok(sled.well)
        }
        Command::Volume(command) => volume(client, command, json).await,
        Command::Region(command) => region(client, command, json).await,
        Command::Storage { command } => storage(client, command.as_ref(), json).await,
        Command::Maintenance(command) => maintenance(client, command, json).await,
        Command::Downstairs { command } => downstairs(client, command.as_ref(), json).await,
        Command::Jobs { command } => jobs(client, command.as_ref(), json).await,
        Command::Config(command) => configuration(client, command, json).await,
        Command::Update(command) => update::run(client, command, json).await,
        Command::Setup(arguments) => setup::run(arguments),
        Command::Console { once } => console::run(client, *once).await,
        Command::Reload { yes, dry_run, unattended } => {
            let manner = config::Manner { yes: *yes, dry_run: *dry_run, unattended: *unattended };
            config::reload(client, manner, json).await
        }
    }
}

async fn volume(client: &Client, command: &VolumeCommand, json: bool) -> Result<bool, Failure> {
    match command {
        VolumeCommand::List => {
            let volumes: wire::Volumes = client.get("/v1/volumes").await?;
            print(json, &volumes, show::volumes)?;
            Ok(volumes.volumes.iter().all(|volume| volume.ready))
        }
        VolumeCommand::Show { volume } => {
            let volume: wire::Volume = client.get(&format!("/v1/volumes/{volume}")).await?;
            print(json, &volume, show::volume)?;
            Ok(volume.ready)
        }
        VolumeCommand::Allow { volume, host } => permit(client, volume, host, "allow", json).await,
        VolumeCommand::Deny { volume, host } => permit(client, volume, host, "deny", json).await,
        VolumeCommand::Drain(arguments) => drain::run(client, arguments, json).await,
    }
}

async fn storage(client: &Client, command: Option<&StorageCommand>, json: bool) -> Result<bool, Failure> {
    match command {
        None => {
            let () = client.order(Method::POST, "/v1/look").await?;
            let storage: wire::StorageDetail = client.get("/v1/storage").await?;
            print(json, &storage, stored::storage)?;
            Ok(storage.storage.mounted)
        }
        Some(StorageCommand::Init { replace }) => {
            let query = replace.map(|uuid| format!("?replace={uuid}")).unwrap_or_default();
            let marked: wire::Marked = client.order(Method::POST, &format!("/v1/storage/init{query}")).await?;
            let shown = |marked: &wire::Marked| {
                let since = crate::times::in_seconds(marked.marked);
                format!("the data disk is {}, of the sled {} since {since}\n", marked.disk, marked.sled)
            };
            print(json, &marked, shown)?;
            Ok(true)
        }
    }
}

async fn downstairs(client: &Client, command: Option<&DownstairsCommand>, json: bool) -> Result<bool, Failure> {
    match command {
        None => {
            let regions = here(client.sled().await?);
            print(json, &regions, |regions| show::programs(regions))?;
            Ok(true)
        }
        Some(DownstairsCommand::Upgrade { program, force, elsewhere }) => {
            upgrade(&client.knowing(elsewhere).await?, program.as_deref(), *force, json).await
        }
    }
}

async fn configuration(client: &Client, command: &ConfigCommand, json: bool) -> Result<bool, Failure> {
    match command {
        ConfigCommand::Diff => config::diff(client, json).await,
        // It needs no supervisor: it was done before.
        ConfigCommand::Check { .. } => Ok(true),
        ConfigCommand::History => history::history(client, json).await,
        ConfigCommand::Restore { number, yes } => history::restore(client, *number, *yes, json).await,
    }
}

/// Lets a host talk to a volume, or cuts it off.
async fn permit(client: &Client, volume: &VolumeName, host: &str, verb: &str, json: bool) -> Result<bool, Failure> {
    let path = format!("/v1/volumes/{volume}/{verb}?host={}", client::encoded(host));
    let () = client.order(Method::POST, &path).await?;
    let volume: wire::Volume = client.get(&format!("/v1/volumes/{volume}")).await?;
    print(json, &volume, show::volume)?;
    Ok(true)
}

async fn region(client: &Client, command: &RegionCommand, json: bool) -> Result<bool, Failure> {
    let order = |region: &RegionName, method: Method, rest: String| {
        Order::new(region.clone(), method, format!("/v1/regions/{region}{rest}"))
    };
    let when = |deleted: &Deleted| ("deleted", deleted.time.map(|time| time.to_string()));
    let orders = match command {
        RegionCommand::List => {
            let regions = here(client.sled().await?);
            print(json, &regions, |regions| show::regions(regions))?;
            return Ok(regions.iter().all(|region| region.state == Some(wire::State::Serving)));
        }
        RegionCommand::Show { region } => {
            let sled = client.sled().await?;
            let found = here(sled.clone()).into_iter().find(|other| other.name == *region);
            let found = found.ok_or_else(|| no_region(region))?;
            print(json, &found, |found| show::region(found, &sled.checks))?;
            return Ok(found.state == Some(wire::State::Serving));
        }
        RegionCommand::Adopt(wanted) => {
            let regions = match wanted.which.all {
                true => adoption::all(client).await?,
                false => wanted.which.regions.clone(),
            };
            return adoption::adopt(client, regions, wanted.from.as_deref(), wanted.dry_run, json).await;
        }
        RegionCommand::Create(wanted) => {
            if wanted.first_boot && !config::creates_on_first_boot()? {
                return Ok(true);
            }
            let regions = chosen(client, &wanted.which, |_| true).await?;
            if wanted.which.all || regions.len() > 1 {
                let () = client.order(Method::POST, "/v1/look").await?;
                let detail: wire::StorageDetail = client.get("/v1/storage").await?;
                stored::fit(&detail, &regions).map_err(Failure::Refused)?;
            }
            let never = |region: &RegionName| wanted.never_existed.as_ref().filter(|name| *name == region);
            let rest = |region| query(&[("never_existed", never(region).map(ToString::to_string))]);
            regions.iter().map(|region| order(region, Method::POST, rest(region))).collect()
        }
        RegionCommand::Restart { which, rolling, force, .. } => {
            let regions = chosen(client, which, |region| region.pid.is_some()).await?;
            let flags = query(&[flag("rolling", *rolling), flag("force", *force)]);
            regions.iter().map(|region| order(region, Method::POST, format!("/restart{flags}"))).collect()
        }
        RegionCommand::Hold { region, reason, force, .. } => {
            let query = query(&[("reason", reason.as_deref().map(client::encoded)), flag("force", *force)]);
            vec![order(region, Method::POST, format!("/hold{query}"))]
        }
        RegionCommand::Release(which) => {
            let regions = chosen(client, which, |region| region.state == Some(wire::State::Held)).await?;
            regions.iter().map(|region| order(region, Method::POST, "/release".into())).collect()
        }
        RegionCommand::Delete { region, yes_destroy } => {
            vec![order(region, Method::DELETE, query(&[("yes_destroy", yes_destroy.clone())]))]
        }
        RegionCommand::Restore { region } => {
            vec![order(&region.region, Method::POST, format!("/restore{}", query(&[when(region)])))]
        }
        RegionCommand::Purge { region, yes_destroy } => {
            let query = query(&[when(region), ("yes_destroy", yes_destroy.clone())]);
            vec![order(&region.region, Method::POST, format!("/purge{query}"))]
        }
    };
    let client = match command {
        RegionCommand::Restart { elsewhere, .. } | RegionCommand::Hold { elsewhere, .. } => {
            client.knowing(elsewhere).await?
        }
        _ => client.clone(),
    };
    carry_out(&client, orders, json).await
}

/// The regions that are named, or all of this sled for which there is something to do.
async fn chosen(
    client: &Client,
    which: &Which,
    something: impl Fn(&wire::Region) -> bool,
) -> Result<Vec<RegionName>, Failure> {
    if !which.all {
        return Ok(which.regions.clone());
    }
    Ok(here(client.sled().await?).into_iter().filter(something).map(|region| region.name).collect())
}

/// A parameter that is given only if it is true.
fn flag(key: &str, set: bool) -> (&str, Option<String>) {
    (key, set.then(|| "true".into()))
}

/// Brings a program, and follows the roll of it.
async fn upgrade(client: &Client, program: Option<&Path>, force: bool, json: bool) -> Result<bool, Failure> {
    let unreadable = |path: &Path, why: std::io::Error| {
        let message = format!("{}: {why}", path.display());
        Failure::Refused(wire::Error::new("NO_PROGRAM", message, "name the new crucible-downstairs"))
    };
    let brought = match program {
        None => Vec::new(),
        Some(path) => std::fs::read(path).map_err(|why| unreadable(path, why))?,
    };
    if let Some(path) = program.filter(|_| brought.is_empty()) {
        return Err(unreadable(path, std::io::Error::other("it is empty")));
    }
    let from = program.map(|path| client::encoded(&path.display().to_string()));
    let path = format!("/v1/downstairs/upgrade{}", query(&[("from", from), flag("force", force)]));
    let granted: wire::Granted = client.bring(&path, brought.into()).await?;
    work::see_through(client, granted, json).await
}

async fn maintenance(client: &Client, command: &MaintenanceCommand, json: bool) -> Result<bool, Failure> {
    let path = "/v1/maintenance";
    let now: Option<wire::Maintenance> = match command {
        MaintenanceCommand::Show => client.get(path).await?,
        MaintenanceCommand::Off => client.order(Method::PUT, &format!("{path}?on=false")).await?,
        MaintenanceCommand::On { time, reason } => {
            let time = time.map(|time| format!("{}s", time.seconds));
            let query = query(&[("for", time), ("reason", reason.as_deref().map(client::encoded))]);
            client.order(Method::PUT, &format!("{path}?on=true{}", query.replacen('?', "&", 1))).await?
        }
    };
    print(json, &now, |now| show::maintenance(now.as_ref()))?;
    Ok(now.is_none() || !matches!(command, MaintenanceCommand::Show))
}

/// The parameters that are given, as a query.
fn query(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { query } else { format!("?{query}") }
}

async fn jobs(client: &Client, command: Option<&JobsCommand>, json: bool) -> Result<bool, Failure> {
    match command {
        None => {
            let jobs: Vec<wire::Job> = client.get("/v1/jobs").await?;
            print(json, &jobs, |jobs| stored::jobs(jobs))?;
        }
        Some(JobsCommand::Show { id }) => {
            let job: wire::Job = client.get(&format!("/v1/jobs/{id}")).await?;
            print(json, &job, stored::job)?;
            return Ok(job.error.is_none());
        }
        Some(JobsCommand::Follow { id, elsewhere }) => {
            let job: wire::Job = client.get(&format!("/v1/jobs/{id}")).await?;
            return see_through(&client.knowing(elsewhere).await?, wire::Granted::Job(job), json).await;
        }
        Some(JobsCommand::Cancel { id }) => {
            let granted: wire::Granted = client.order(Method::DELETE, &format!("/v1/jobs/{id}")).await?;
            print(json, &granted, |_| format!("job {id} is being cancelled\n"))?;
        }
    }
    Ok(true)
}

/// The regions of a sled's volumes that are on that sled.
fn here(sled: wire::Sled) -> Vec<wire::Region> {
    let name = sled.sled;
    sled.volumes.into_iter().flat_map(|volume| volume.regions).filter(|region| region.sled == name).collect()
}

fn no_region(region: &RegionName) -> Failure {
    let message = format!("the port map puts no region {region} on this sled");
    Failure::Refused(wire::Error::new("REGION_UNKNOWN", message, "see sledctl region list for those it does"))
}

/// Tells a failure, where it can be told at all.
fn report(failure: &Failure, json: bool) {
    let error = failure.error();
    match json {
        true => _ = terminal::json(&wire::ErrorBody { error }),
        false => terminal::note(&format!("sledctl: {}\n    {}", error.message, error.remedy)),
    }
}
