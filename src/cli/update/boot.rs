//! `sledctl update judge` and `remember`: whether a boot is a good one, by what served before it.

use crate::appliance::{KEYS, OWN};
use crate::check::Code;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::config_dir;
use crate::terminal;
use crate::update::kernel::{self, Swept, Torn};
use crate::update::reach;
use crate::update::record::{self, Adapter, Attempt, Before};
use crate::update::release::{self, Release};
use crate::update::verdict::{Seen, Silence, Verdict, judge};
use crate::wire::{Refusal, Sled};
use clap::Args;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::sleep;

/// Time between two looks at a boot that is being judged.
const JUDGE_POLL: Duration = Duration::from_secs(1);
/// Data partition of the disk that the machine was started from.
const DATA: &str = "/dev/sled/crucible";

/// Judge this boot (sled-boot-check.service).
#[derive(Debug, Args)]
pub(in crate::cli) struct Judge;

impl Judge {
    /// Look at this boot until it is known whether it is a good one.
    pub(super) async fn run(&self, client: &Client, running: &Release) -> Result<bool, Failure> {
        let (began, before) = (Instant::now(), Before::load().unwrap_or_default());
        let mut told = String::new();
        let judged = loop {
            let sled = client.sled().await;
            let sled = sled.as_ref().map_err(|failure| match failure {
                Failure::Refused(error) if error.code == Code::ConfigInvalid => Silence::Faults,
                _ => Silence::Unreachable,
            });
            let seen = Seen {
                sled,
                restarts: restarts().await,
                waited: began.elapsed(),
                same_config: before.config == files_digest(Path::new(config_dir::DEFAULT)),
                adapter_plugged: before.nic.as_ref().is_some_and(Adapter::is_plugged_in),
                data_partition: Path::new(DATA).exists(),
                ssh: if before.ssh { reach::ssh(&keys()).await } else { None },
                gateway: if before.gateway { reach::gateway(gateway()).await } else { None },
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
            sleep(JUDGE_POLL).await;
        };
        // Before it is asked what is there.
        let lost = sweep(&running.version);
        let on_trial = || release::installed().is_ok_and(|all| release::has_yet_to_show(&running.version, &all));
        let judged = match lost {
            Some(why) if judged.is_ok() && on_trial() => Err(why),
            _ => judged,
        };
        note(running, judged.clone())?;
        judged
            .map(|why| {
                terminal::note(&format!("this boot is a good one: {why}"));
                true
            })
            .map_err(|why| {
                let remedy = "on trial, the machine boots again, and after three tries the version before";
                Failure::refused(Refusal::BootFailed, format!("this boot is not a good one: {why}"), remedy)
            })
    }
}

/// Remove the kernels' files that are not whole, and tell which. Returns why the version that runs does not start again,
/// if it does not.
pub(super) fn sweep(running: &str) -> Option<String> {
    let swept = kernel::sweep(running).unwrap_or_else(|why| {
        terminal::note(&format!("whether the kernels' files are whole is not known: {why}"));
        Swept::default()
    });
    for Torn { file, version, why } in &swept.removed {
        let again =
            if version == running { String::new() } else { format!(": sledctl update apply takes {version} again") };
        terminal::note(&format!(
            "/boot/EFI/Linux/{file} was not whole, as after a power cut, and was removed ({why}){again}"
        ));
    }
    for (file, why) in &swept.unknown {
        terminal::note(&format!("whether /boot/EFI/Linux/{file} is whole is not known: {why}"));
    }
    let lost = swept.lost.map(|Torn { file, why, .. }| {
        format!("/boot/EFI/Linux/{file} is not whole, as after a power cut ({why}): this version does not start again")
    });
    lost.inspect(|lost| terminal::note(lost))
}

/// Write down what has become of the last update, if that is news.
fn note(running: &Release, judged: Result<String, String>) -> io::Result<()> {
    let (Some(attempt), boot) = (Attempt::load(), record::boot_id()?) else { return Ok(()) };
    let beside =
        attempt.is_open(&running.version, &boot) && release::installed().is_ok_and(|all| attempt.is_beside(&all));
    let news = attempt.judged(&running.version, &boot, beside, judged, Timestamp::now());
    news.map_or(Ok(()), |news| news.save())
}

/// The keys of those who may log in.
fn keys() -> PathBuf {
    Path::new(OWN).join(KEYS)
}

/// The configured gateway.
fn gateway() -> Option<IpAddr> {
    config_dir::read(Path::new(config_dir::DEFAULT)).ok()?.sled.appliance.gateway
}

/// Remember what serves (sled-boot-check.service, when the machine is switched off).
#[derive(Debug, Args)]
pub(in crate::cli) struct Remember;

impl Remember {
    pub(super) async fn run(&self, client: &Client) -> Result<bool, Failure> {
        remember(&client.sled().await?).await?;
        Ok(true)
    }
}

/// Remember what serves on a sled now, and who is reached.
pub(super) async fn remember(sled: &Sled) -> io::Result<()> {
    let (ssh, gateway) = (reach::ssh(&keys()).await == Some(true), reach::gateway(gateway()).await == Some(true));
    Before { ssh, gateway, ..Before::of(sled, config_digest()) }.save()
}

/// Count how often systemd has started the supervisor anew in this boot.
async fn restarts() -> u32 {
    let arguments = ["show", "--property=NRestarts", "--value", "sledd.service"];
    let output = Command::new("systemctl").args(arguments).stderr(Stdio::null()).output().await;
    output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok()).unwrap_or(0)
}

/// Digest the configuration's files, by which the next boot sees whether they are others; empty if they have faults
/// already.
fn config_digest() -> String {
    let dir = Path::new(config_dir::DEFAULT);
    config_dir::read(dir).map_or_else(|_| String::new(), |_| files_digest(dir))
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
