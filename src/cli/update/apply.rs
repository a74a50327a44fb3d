//! `sledctl update apply`: the newest version of the image is put beside the one that runs.

use super::boot;
use super::check::{self, Checked};
use super::roll::try_to_roll;
use super::source::{beside, offered};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Elsewhere;
use crate::cli::print::{Output, print};
use crate::terminal;
use crate::update::checked;
use crate::update::kernel::{self, Torn};
use crate::update::offer::Offer;
use crate::update::pull;
use crate::update::record::{self, Attempt};
use crate::update::release::{self, Release};
use crate::update::sysupdate;
use crate::wire::Refusal;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use std::io;
use std::process::Stdio;
use tokio::process::Command;

/// Put the newest version beside the one that runs. It is started at the next boot, and stays if
/// what served before serves again; otherwise the version before comes back by itself. Where only
/// the downstairs program is another, it is rolled over the regions, if there are any, and no boot is
/// needed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    /// A URL, a directory or an update's file; without it, `appliance.update` of sled.toml.
    source: Option<String>,
    /// Reboot into it at once, if a reboot is needed.
    #[arg(long)]
    reboot: bool,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// The version that was decided for, if one was.
    #[arg(skip)]
    only: Option<String>,
}

/// Answer of `update apply`.
#[derive(Debug, Serialize)]
struct Applied {
    running: String,
    version: String,
    needs_reboot: bool,
    rebooting: bool,
}

impl Apply {
    /// Apply this version of the configured source without being asked, and reboot into it if that is needed.
    pub(super) fn by_itself(version: String) -> Self {
        Self { source: None, reboot: true, elsewhere: Elsewhere::default(), only: Some(version) }
    }

    /// Put the newest version into its slot; `Ok(false)` if its downstairs did not serve.
    pub(super) async fn run(&self, client: &Client, running: &Release, output: Output) -> Result<bool, Failure> {
        let doors = self.elsewhere.doors(client).await?;
        _ = boot::sweep(&running.version);
        let installed = release::installed()?;
        if release::has_yet_to_show(&running.version, &installed) {
            let remedy = "wait until it has shown that it is well: sledctl update status";
            return Err(Failure::refused(Refusal::OnTrial, format!("{} is on trial", running.version), remedy));
        }
        let (source, offer) = offered(self.source.as_deref(), running).await?;
        let url = offer.as_ref().map_or(Ok(source.clone()), Offer::url)?;
        let taken = beside(offer, self.take_newest(client, running, &url));
        // A version that was taken before, and neither started nor rolled since.
        let waiting = || {
            let last = Attempt::load()?;
            let kernel = last.kernel.clone();
            let version = last.waiting(&running.version, &installed)?;
            self.wants(&version).then(|| {
                terminal::note(&format!("{version} is in its slot already, and is not taken again"));
                (version, kernel)
            })
        };
        let begun = match taken.await?? {
            None => match waiting() {
                Some((version, kernel)) => Some(begin(client, running, &version, kernel).await?),
                None => None,
            },
            begun => begun,
        };
        let Some(attempt) = begun else {
            // What was decided for was not found; and another one that can be had was told of.
            if self.only.is_some() {
                return Ok(true);
            }
            let checked = Checked::of(running.version.clone(), None, source);
            print(output, &checked, check::text)?;
            return Ok(true);
        };
        let version = attempt.to.clone();
        let rolled = try_to_roll(client, &doors, running, &version, output).await?;
        if rolled == Some(true) {
            Attempt { rolled: true, ..attempt }.save()?;
        }
        let needs_reboot = rolled.is_none();
        let reboots = needs_reboot && self.reboot;
        let begun = if reboots { begin_reboot("systemctl").await.map(|()| true) } else { Ok(false) };
        let rebooting = *begun.as_ref().unwrap_or(&false);
        let applied = Applied { running: running.version.clone(), version, needs_reboot, rebooting };
        print(output, &applied, text)?;
        begun.map(|_| rolled.unwrap_or(true))
    }
}

impl Apply {
    /// Tell whether this version may be applied: any, or the one that was decided for.
    fn wants(&self, version: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == version)
    }

    /// Take the newest version that is offered at `url`, if there is one, and this machine has what it needs.
    async fn take_newest(
        &self,
        client: &Client,
        running: &Release,
        url: &str,
    ) -> io::Result<Result<Option<Attempt>, Failure>> {
        let Some(version) = sysupdate::available().await? else { return Ok(Ok(None)) };
        if !self.wants(&version) {
            terminal::note(&format!("{version} can be had by now, and is not what was decided for: it is not taken"));
            return Ok(Ok(None));
        }
        let newer = check::describe(url, version, running).await?;
        if !newer.lacks.is_empty() {
            let message = format!("this machine cannot take {}: {}", newer.version, newer.lacks.join("; "));
            let remedy = "nothing was taken; where a partition has too little room, flash the disk with that version \
                          (image/flash --reset-memory: a sled's regions stay); where a text is too old, a version between \
                          the two comes first, which writes it anew";
            return Ok(Err(Failure::refused(Refusal::LayoutOld, message, remedy)));
        }
        take(client, running, url, &newer.version).await.map(|taken| taken.map(Some))
    }
}

/// Have the machine rebooted; `Ok` when that is begun, some time before anything is ended.
pub(in crate::cli) async fn begin_reboot(systemctl: &str) -> Result<(), Failure> {
    let failed = |why: String| {
        let remedy = "see systemd-inhibit --list and systemctl list-jobs; then: systemctl reboot";
        Err(Failure::refused(Refusal::NotRebooted, format!("the machine does not reboot: {why}"), remedy))
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

/// Put a version into its slot. What is so before is remembered first: a power cut behind it leaves a version that is
/// started at the next boot, and judged by that.
async fn take(client: &Client, running: &Release, url: &str, version: &str) -> io::Result<Result<Attempt, Failure>> {
    let before = Attempt::load();
    let kernel = pull::digest(url, &kernel::source(version)).await?;
    let attempt = begin(client, running, version, kernel).await?;
    if let Err(why) = sysupdate::take(version).await {
        Attempt::take_back(before.as_ref())?;
        return Err(why);
    }
    // From here on it is started by the next boot, and stays on record, unless its kernel's file is gone.
    match settle(running, version) {
        Ok(None) => {}
        Ok(Some(Torn { file, why, .. })) => {
            Attempt::take_back(before.as_ref())?;
            return Err(io::Error::other(format!("/boot/EFI/Linux/{file} is not whole, and was removed: {why}")));
        }
        Err(why) => {
            let message = format!("{version} is in its slot, and whether it is there for good is not known: {why}");
            let remedy = "see dmesg and df -h /boot; then: sledctl update apply, which looks at it again";
            return Ok(Err(Failure::refused(Refusal::Failed, message, remedy)));
        }
    }
    // What is here cannot be had any more.
    if let Some(checked) = checked::Checked::load().and_then(|checked| checked.without(version)) {
        checked.save()?;
    }
    Ok(Ok(attempt))
}

/// Make a version durable that was put into its slot, which `systemd-sysupdate` does not on FAT: it syncs a kernel's file
/// before it gives it its name. Returns the file if it is not whole, and was removed.
fn settle(running: &Release, version: &str) -> io::Result<Option<Torn>> {
    kernel::settle()?;
    let swept = kernel::sweep(&running.version)?;
    match swept.unknown.into_iter().next() {
        Some((file, why)) => Err(io::Error::other(format!("{file}: {why}"))),
        None => Ok(swept.removed.into_iter().find(|torn| torn.version == version)),
    }
}

/// Remember what serves now, and that this version is tried next.
async fn begin(client: &Client, running: &Release, version: &str, kernel: Option<String>) -> io::Result<Attempt> {
    if let Ok(sled) = client.sled().await {
        boot::remember(&sled).await?;
    }
    let (from, to) = (running.version.clone(), version.to_owned());
    let boot = record::boot_id()?;
    let attempt = Attempt { from, to, at: Timestamp::now(), boot, rolled: false, kernel, outcome: None };
    attempt.save()?;
    Ok(attempt)
}

/// Write what has been done, and what comes next.
fn text(applied: &Applied) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_decided_for_is_applied_without_being_asked() {
        let apply = Apply::by_itself("1.1".into());
        assert!(apply.wants("1.1") && !apply.wants("1.2"), "a newer one came while 1.1 waited in its slot");
        assert!(Apply { only: None, ..apply }.wants("1.2"), "an operator takes the newest");
    }

    #[tokio::test]
    async fn a_reboot_that_does_not_begin_is_a_failure() {
        assert!(begin_reboot("true").await.is_ok());
        for cannot in ["false", "/no/such/program"] {
            let failed = begin_reboot(cannot).await;
            assert!(matches!(failed, Err(Failure::Refused(why)) if why.code == Refusal::NotRebooted), "{cannot}");
        }
    }
}
