//! `sledctl update`: another version of the image is looked for, taken and judged. It works on the
//! machine itself, as root; of the supervisor it only asks how the regions are.

use super::client::{Client, Failure};
use super::doors::Elsewhere;
use super::show::print;
use crate::check::Code;
use crate::config_dir;
use crate::table::{Table, Tone, plain};
use crate::terminal;
use crate::update::offer::Offer;
use crate::update::record::{self, Adapter, Attempt, Before, Outcome};
use crate::update::release::{self, Installed, Release};
use crate::update::verdict::{Seen, Silence, Verdict, judge};
use crate::update::{NAME, sysupdate};
use crate::wire;
use clap::Subcommand;
use jiff::Timestamp;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::sleep;

/// How often a boot that is being judged is looked at.
const TURN: Duration = Duration::from_secs(1);
/// The data partition, as udev finds it.
const DATA: &str = "/dev/disk/by-partlabel/crucible";
/// Where the slot of another version is mounted while it is looked at.
const SLOT: &str = "/run/sled-update/slot";

#[derive(Debug, Subcommand)]
pub(super) enum UpdateCommand {
    /// Look for a newer version.
    Check {
        /// A URL, a directory or an update's file; without it, `appliance.update` of sled.toml.
        source: Option<String>,
    },
    /// Put the newest version beside the one that runs. It is started at the next boot, and stays if
    /// what served before serves again; otherwise the version before comes back by itself. Where only
    /// the downstairs program is another, it is rolled over the regions, if there are any, and no boot is
    /// needed.
    Apply {
        /// A URL, a directory or an update's file; without it, `appliance.update` of sled.toml.
        source: Option<String>,
        /// Reboot into it at once, if a reboot is needed.
        #[arg(long)]
        reboot: bool,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Show which version runs, which others can be started, and what became of the last update.
    Status,
    /// Judge this boot (sled-boot-check.service).
    #[command(hide = true)]
    Judge,
    /// Remember what serves (sled-boot-check.service, when the machine is switched off).
    #[command(hide = true)]
    Remember,
}

/// What `update check` answers.
#[derive(Debug, Serialize)]
struct Checked {
    running: String,
    available: Option<String>,
    source: String,
}

/// What `update apply` answers.
#[derive(Debug, Serialize)]
struct Applied {
    running: String,
    version: String,
    needs_reboot: bool,
    rebooting: bool,
}

/// What `update status` answers.
#[derive(Debug, Serialize)]
struct Status {
    running: Release,
    on_trial: bool,
    installed: Vec<Installed>,
    last: Option<Attempt>,
}

/// Does it; `Ok(false)` when what is shown is not well.
pub(super) async fn run(client: &Client, command: &UpdateCommand, json: bool) -> Result<bool, Failure> {
    let running = Release::read(Path::new("/")).map_err(|_| {
        refused("NO_IMAGE", "this machine does not run the image of a sled", "update it with its own package manager")
    })?;
    if !nix::unistd::geteuid().is_root() {
        return Err(refused("NOT_ROOT", "only root may look after the image", "use sudo"));
    }
    match command {
        UpdateCommand::Check { source } => {
            let (source, server) = offered(source.as_deref(), &running).await?;
            let available = beside(server, sysupdate::available()).await?;
            let checked = Checked { running: running.version, available, source };
            print(json, &checked, |checked| match &checked.available {
                Some(version) => format!("{version} can be had ({} runs): sledctl update apply\n", checked.running),
                None => format!("{} runs, and {} has nothing newer\n", checked.running, checked.source),
            })?;
            Ok(true)
        }
        UpdateCommand::Apply { source, reboot, elsewhere } => {
            apply(&client.knowing(elsewhere).await?, source.as_deref(), *reboot, &running, json).await
        }
        UpdateCommand::Status => status(running, json),
        UpdateCommand::Judge => watch(client, &running).await,
        UpdateCommand::Remember => {
            Before::of(&client.sled().await?, config_digest()).save()?;
            Ok(true)
        }
    }
}

fn refused(code: &str, message: impl Into<String>, remedy: &str) -> Failure {
    Failure::Refused(wire::Error::new(code, message, remedy))
}

/// Where updates come from, told to systemd-sysupdate; and what has to serve it meanwhile.
async fn offered(source: Option<&str>, running: &Release) -> Result<(String, Option<Offer>), Failure> {
    let configured = || config_dir::read(Path::new(config_dir::DEFAULT)).ok()?.sled.appliance.update;
    let source = source.map(str::to_owned).or_else(|| Some(configured()?.url().to_owned())).ok_or_else(|| {
        let remedy = "name a URL, a directory or a file, or set appliance.update in sled.toml";
        refused("NO_SOURCE", "nobody says where updates come from", remedy)
    })?;
    let remote = source.starts_with("https://") || source.starts_with("http://");
    let offer = match remote {
        true => None,
        false => {
            let path = PathBuf::from(source.strip_prefix("file://").unwrap_or(&source));
            let opened = Offer::open(&path).await;
            Some(opened.map_err(|why| {
                let remedy = "name what image/build has made: the directory, or the file that ends in .update";
                refused("NO_UPDATE", format!("{}: {why}", path.display()), remedy)
            })?)
        }
    };
    let url = offer.as_ref().map_or(Ok(source.clone()), Offer::url)?;
    sysupdate::prepare(&url, &running.version)?;
    Ok((source, offer))
}

/// Awaits something while an offer is served.
async fn beside<T>(offer: Option<Offer>, wanted: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    let serve = async {
        match offer {
            Some(offer) => offer.serve().await,
            None => std::future::pending().await,
        }
    };
    // Either is dropped whole when the other has ended: the one is done, or can get nothing any more.
    let done = tokio::select! {
        done = wanted => done,
        served = serve => Err(served.err().unwrap_or_else(|| io::Error::other("the offer has ended"))),
    };
    done.map_err(|why| {
        let remedy = "what is offered must be complete, and signed by the key that this image was built with";
        refused("UPDATE_FAILED", format!("systemd-sysupdate: {why}"), remedy)
    })
}

async fn apply(
    client: &Client,
    source: Option<&str>,
    reboot: bool,
    running: &Release,
    json: bool,
) -> Result<bool, Failure> {
    let installed = release::installed()?;
    if installed.iter().any(|one| one.version == running.version && one.tries_left.is_some()) {
        let remedy = "wait until it has shown that it is well: sledctl update status";
        return Err(refused("ON_TRIAL", format!("{} is on trial", running.version), remedy));
    }
    let (source, offer) = offered(source, running).await?;
    let taken = beside(offer, async {
        let Some(version) = sysupdate::available().await? else { return Ok(None) };
        sysupdate::take(&version).await.map(|()| Some(version))
    });
    // What was taken before, and neither started nor rolled since.
    let waiting = || {
        let version = Attempt::load()?.waiting(&running.version, &installed)?;
        terminal::note(&format!("{source} has nothing newer than {version}, which is in its slot already"));
        Some(version)
    };
    let Some(version) = taken.await?.or_else(waiting) else {
        let checked = Checked { running: running.version.clone(), available: None, source };
        print(json, &checked, |checked| {
            format!("{} runs, and {} has nothing newer\n", checked.running, checked.source)
        })?;
        return Ok(true);
    };
    let attempt = begin(client, running, &version).await?;
    let rolled = try_to_roll(client, running, &version, json).await?;
    if rolled == Some(true) {
        Attempt { rolled: true, ..attempt }.save()?;
    }
    let needs_reboot = rolled.is_none();
    let begun = match needs_reboot && reboot {
        true => begin_reboot("systemctl").await.map(|()| true),
        false => Ok(false),
    };
    let rebooting = *begun.as_ref().unwrap_or(&false);
    let applied = Applied { running: running.version.clone(), version, needs_reboot, rebooting };
    print(json, &applied, told)?;
    begun.map(|_| rolled.unwrap_or(true))
}

/// Has the machine rebooted. It answers when that is begun, some time before anything is ended.
async fn begin_reboot(systemctl: &str) -> Result<(), Failure> {
    let failed = |why: String| {
        let remedy = "see systemd-inhibit --list and systemctl list-jobs; then: systemctl reboot";
        Err(refused("NOT_REBOOTED", format!("the machine does not reboot: {why}"), remedy))
    };
    let output = Command::new(systemctl).arg("reboot").stdin(Stdio::null()).output().await;
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            failed(if said.is_empty() { format!("{systemctl} ended with {}", output.status) } else { said })
        }
        Err(why) => failed(format!("{systemctl}: {why}")),
    }
}

/// Remembers what serves now, and that this version is tried next.
async fn begin(client: &Client, running: &Release, version: &str) -> Result<Attempt, Failure> {
    if let Ok(sled) = client.sled().await {
        Before::of(&sled, config_digest()).save()?;
    }
    let (from, to) = (running.version.clone(), version.to_owned());
    let attempt = Attempt { from, to, at: Timestamp::now(), boot: record::boot_id()?, rolled: false, outcome: None };
    attempt.save()?;
    Ok(attempt)
}

/// What has been done, and what comes next.
fn told(applied: &Applied) -> String {
    let Applied { running, version, .. } = applied;
    match (applied.needs_reboot, applied.rebooting) {
        (_, true) => format!("{version} is beside {running}: rebooting into it\n"),
        (true, false) => format!(
            "{version} is beside {running}, and is started by the next reboot. If what serves now does not serve with it,\n\
             {running} comes back by itself.\n"
        ),
        (false, _) => format!(
            "{version} is beside {running}, and starts at the next boot. It differs in nothing that needs one: the regions run\n\
             its downstairs program already.\n"
        ),
    }
}

/// As [`roll`]; what cannot be looked at is not known to be alike.
async fn try_to_roll(client: &Client, running: &Release, version: &str, json: bool) -> Result<Option<bool>, Failure> {
    match roll(client, running, version, json).await {
        Err(Failure::Io(why)) => {
            terminal::note(&format!("{version} cannot be compared with {}: {why}", running.version));
            Ok(None)
        }
        rolled => rolled.inspect_err(|_| {
            terminal::note(&format!(
                "{version} is in its slot and starts at the next boot, but its downstairs was not rolled over all of \
                 the regions (the same command tries it again):"
            ));
        }),
    }
}

/// Rolls the downstairs program of another version over the regions if that is all it has of its own.
/// `None`: there is more to it, or no region, and the next boot brings it.
async fn roll(client: &Client, running: &Release, version: &str, json: bool) -> Result<Option<bool>, Failure> {
    let slot = Slot::mount(version).await?;
    let there = Release::read(slot.0)?;
    if there.base != running.base {
        return Ok(None);
    }
    if there.downstairs == running.downstairs {
        return Ok(Some(true));
    }
    let program = slot.0.join("usr/lib/crucible/crucible-downstairs");
    unless_there_is_none(super::upgrade(client, Some(&program), false, json).await)
}

/// What became of a roll. On a sled without regions there was nothing to roll over, and that is no
/// failure: the next boot brings the program.
fn unless_there_is_none(rolled: Result<bool, Failure>) -> Result<Option<bool>, Failure> {
    match rolled {
        Err(Failure::Refused(why)) if why.code == "REGION_UNKNOWN" => Ok(None),
        rolled => rolled.map(Some),
    }
}

/// The slot of another version, mounted until it is dropped.
struct Slot(&'static Path);

impl Slot {
    async fn mount(version: &str) -> io::Result<Self> {
        let (device, at) = (format!("/dev/disk/by-partlabel/{NAME}_{version}"), Path::new(SLOT));
        // The slot has just been given its name: udev may not have heard of it.
        let settle = [format!("--exit-if-exists={device}"), "--timeout=30".into()];
        Command::new("udevadm").arg("trigger").args(["--subsystem-match=block", "--settle"]).status().await?;
        Command::new("udevadm").arg("settle").args(settle).status().await?;
        fs::create_dir_all(at)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(device.as_str()), at, Some("erofs"), flags, None::<&str>)?;
        Ok(Self(at))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Gone at the latest with the boot.
        _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

fn status(running: Release, json: bool) -> Result<bool, Failure> {
    let last = Attempt::load();
    let well =
        !matches!(&last, Some(Attempt { outcome: Some(Outcome::Failed { .. } | Outcome::RolledBack { .. }), .. }));
    let status = Status { running, on_trial: release::on_trial(), installed: release::installed()?, last };
    print(json, &status, show)?;
    Ok(well)
}

fn show(status: &Status) -> String {
    let running = &status.running;
    let mut out = format!("{} runs, of commit {}\n", Tone::Heading.paint(&running.version), running.commit);
    _ = writeln!(out, "its downstairs is {}", running.downstairs);
    if running.demonstration {
        out += &Tone::Warning.paint("it is a demonstration: a stand-in serves the regions, and keeps no data\n");
    }
    let mut table = Table::new(&["VERSION", "STATE"]);
    for installed in &status.installed {
        let state = match (installed.version == running.version, installed.tries_left) {
            (true, _) if status.on_trial => "runs".to_owned(),
            (true, _) => "runs, and stays".into(),
            (false, None) => "can be started".into(),
            (false, Some(0)) => "given up".into(),
            (false, Some(left)) => format!("starts at the next boot: {left} tries"),
        };
        table.row(vec![plain(&installed.version), plain(state)]);
    }
    out += &format!("\n{}", table.text());
    if let Some(last) = &status.last {
        out += &format!("\nlast update: {} -> {}, at {}: {}\n", last.from, last.to, last.at, outcome(last, running));
    }
    out
}

fn outcome(last: &Attempt, running: &Release) -> String {
    match &last.outcome {
        Some(Outcome::Good { why, .. }) => Tone::Well.paint(&format!("it stays: {why}")),
        Some(Outcome::Failed { why, .. }) => Tone::Bad.paint(&format!("a try failed: {why}")),
        Some(Outcome::RolledBack { why, .. }) => {
            Tone::Bad.paint(&format!("{} came back, because of {}: {why}", last.from, last.to))
        }
        None if running.version == last.to => "it is being judged".into(),
        None => "it is started at the next boot".into(),
    }
}

/// Looks at this boot until it is known what it is worth.
async fn watch(client: &Client, running: &Release) -> Result<bool, Failure> {
    let (began, before) = (Instant::now(), Before::load().unwrap_or_default());
    let mut told = String::new();
    let judged = loop {
        let sled = client.sled().await;
        let sled = sled.as_ref().map_err(|failure| match failure {
            Failure::Refused(error) if error.code == Code::ConfigInvalid.as_str() => Silence::Faults,
            _ => Silence::Unreachable,
        });
        let seen = Seen {
            sled,
            restarts: restarts().await,
            waited: began.elapsed(),
            same_config: before.config == files_digest(Path::new(config_dir::DEFAULT)),
            adapter_plugged: before.nic.as_ref().is_some_and(Adapter::is_plugged_in),
            data_partition: Path::new(DATA).exists(),
        };
        match judge(&before, &seen) {
            Verdict::Good(why) => break Ok(why),
            Verdict::Bad(why) => break Err(why),
            Verdict::Wait(why) if why != told => {
                terminal::note(&format!("waiting for {why}"));
                told = why;
            }
            Verdict::Wait(_) => {}
        }
        sleep(TURN).await;
    };
    if let Some(attempt) = Attempt::load()
        && let Some(news) = attempt.judged(&running.version, &record::boot_id()?, judged.clone(), Timestamp::now())
    {
        news.save()?;
    }
    judged
        .map(|why| {
            terminal::note(&format!("this boot is a good one: {why}"));
            true
        })
        .map_err(|why| {
            let remedy = "on trial, the machine boots again, and after three tries the version before";
            refused("BOOT_FAILED", format!("this boot is not a good one: {why}"), remedy)
        })
}

/// How often systemd has started the supervisor anew in this boot.
async fn restarts() -> u32 {
    let arguments = ["show", "--property=NRestarts", "--value", "sledd.service"];
    let output = Command::new("systemctl").args(arguments).stderr(Stdio::null()).output().await;
    output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok()).unwrap_or(0)
}

/// Of the configuration's files, to see whether they are those of before; empty if they have faults
/// already.
fn config_digest() -> String {
    let dir = Path::new(config_dir::DEFAULT);
    match config_dir::read(dir) {
        Ok(_) => files_digest(dir),
        Err(_) => String::new(),
    }
}

fn files_digest(dir: &Path) -> String {
    let mut hash = Sha256::new();
    for file in config_dir::files(dir) {
        hash.update(file.display().to_string());
        hash.update([0]);
        hash.update(fs::read(file).unwrap_or_default());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reboot_that_does_not_begin_is_a_failure() {
        assert!(begin_reboot("true").await.is_ok());
        for cannot in ["false", "/no/such/program"] {
            let failed = begin_reboot(cannot).await;
            assert!(matches!(failed, Err(Failure::Refused(why)) if why.code == "NOT_REBOOTED"), "{cannot}");
        }
    }

    #[test]
    fn a_roll_over_no_region_is_no_failure_and_waits_for_a_reboot() {
        let became = |code: &str| unless_there_is_none(Err(refused(code, "no", "ask again")));
        assert_eq!(became("REGION_UNKNOWN").unwrap(), None);
        assert!(matches!(became("SIBLING_DOWN"), Err(Failure::Refused(why)) if why.code == "SIBLING_DOWN"));
        assert_eq!(unless_there_is_none(Ok(false)).unwrap(), Some(false));
    }
}
