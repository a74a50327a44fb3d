//! `sledctl install`: the image goes from the stick that the machine was started from onto a disk of it. What may be
//! done is decided in `appliance::install`; here the disks are looked at, somebody is asked, and it is carried out.

mod bring;
mod look;
mod text;

use super::consent::{Asked, types};
use super::failure::Failure;
use super::print::{Output, print};
use crate::appliance::install::firmware;
use crate::appliance::install::plan::{Configuration, Fate, Plan, Wish, plan, told};
use crate::appliance::install::write::{Hold, carry_out};
use crate::appliance::{OWN, is_image, stick};
use crate::size::spoken;
use crate::terminal;
use crate::wire::Refusal;
use bring::{Before, bring, let_go, put_back};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
pub(super) use look::on_partition;
use look::{Candidate, Found};
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

const EXAMPLES: &str = "Examples:
  sledctl install                              the disks of this machine, and what is on them
  sledctl install /dev/nvme0n1                 shows what becomes of it, and asks for its serial number
  sledctl install /dev/nvme0n1 --keep-regions  the system anew, below the regions that lie there
  sledctl install /dev/sda --serial S6PTNM0T   asks nobody";

/// Install the image on a disk of this machine, from the stick that it was started from; without a disk, list them. The
/// stick's configuration goes with it. The disk is started first from then on, where the firmware can be told.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct InstallCommand {
    /// The disk, by its path: /dev/nvme0n1.
    disk: Option<PathBuf>,
    /// The disk's serial number, or its path where it tells none: then nobody is asked for it.
    #[arg(long, value_name = "SERIAL", requires = "disk")]
    serial: Option<String>,
    /// Keep the regions that lie on the disk, and what its sled remembers where the parts lie as they do now.
    #[arg(long, requires = "disk", conflicts_with = "erase_regions")]
    keep_regions: bool,
    /// Give the regions up that lie on the disk: all of it is erased.
    #[arg(long, requires = "disk")]
    erase_regions: bool,
    /// Ask for the disk as well, and reboot in the end (the screen).
    #[arg(long, hide = true)]
    ask: bool,
    /// The disk that is installed from.
    #[arg(long, hide = true, value_name = "DEVICE", default_value = "/dev/sled/disk")]
    from: PathBuf,
    /// The machine's own part of /etc.
    #[arg(long, hide = true, value_name = "DIR", default_value = OWN)]
    own: PathBuf,
    /// The firmware's variables.
    #[arg(long, hide = true, value_name = "DIR", default_value = firmware::VARIABLES)]
    variables: PathBuf,
}

/// Answer of an installation.
#[derive(Debug, Serialize)]
struct Installed {
    disk: String,
    serial: Option<String>,
    regions_kept: bool,
    memory_kept: bool,
    configuration: Configuration,
    started_first: bool,
    /// The reason why the firmware was not told to start the disk first, if it was not.
    firmware: Option<String>,
}

impl InstallCommand {
    /// List the disks, or install on one.
    pub(super) fn run(&self, output: Output) -> Result<bool, Failure> {
        if self.from.starts_with("/dev/sled") && !is_image() {
            let remedy = "write an image to a stick (image/flash), and start the machine from that";
            return Err(Failure::refused(Refusal::NoImage, "this machine does not run the image of a sled", remedy));
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(Failure::refused(Refusal::NotRoot, "only root may install the image", "use sudo"));
        }
        let found = look::all(&self.from, &self.own)?;
        if self.ask {
            return text::on_screen(self, &found, output);
        }
        match &self.disk {
            None => {
                output.show(&found.listed(), || found.paths(), |_| text::list(&found, output.screen))?;
                Ok(true)
            }
            Some(disk) => self.install(&found, disk, self.wish(), output),
        }
    }

    fn wish(&self) -> Wish {
        match (self.keep_regions, self.erase_regions) {
            (true, _) => Wish::Keep,
            (_, true) => Wish::Erase,
            _ => Wish::Unsaid,
        }
    }

    /// Show what becomes of a disk, ask whether it is meant, and install on it.
    fn install(&self, found: &Found, path: &Path, wish: Wish, output: Output) -> Result<bool, Failure> {
        let (candidate, shown) = planned(found, path, wish).map(|(one, plan)| (one, shown(found, one, &plan)))?;
        let disk = &candidate.disk;
        let word = disk.word();
        let what = if word == disk.block.path { "path, as it tells no serial number" } else { "serial number" };
        let question = format!("Install on {}? Type its {what} ({word}) to go on:", disk.block.path);
        let other = format!("that is not the {what} of {}", disk.block.path);
        let asked = Asked { question: &question, other: &other, remedy: "say it: --serial SERIAL" };
        types(word, self.serial.as_deref(), output, &shown, asked)?;
        // The disk may have been put to use meanwhile, or another be there: what was not shown is not written to.
        let found = look::all(&self.from, &self.own)?;
        let (now, plan) = planned(&found, path, wish)?;
        let refused = |why: String| Failure::refused(Refusal::DiskRefused, why, "nothing was written: begin again");
        let other = now.disk.is_other_than(disk);
        let other =
            other.or_else(|| (self::shown(&found, now, &plan) != shown).then_some("it would become another sled"));
        if let Some(why) = other {
            return Err(refused(format!("{}: {why}, and was not when it was shown", path.display())));
        }
        let hold = Hold::of(&now.disk).map_err(|why| refused(format!("{}: {why}", path.display())))?;
        let lent = self.bring_along(&found, &plan)?;
        let done = self.carry_out(&found, now, &plan, (hold, lent), output).map_err(|why| {
            let remedy = "what is on the disk is not whole: look at it (dmesg), and begin again, with the same words";
            Failure::refused(Refusal::InstallFailed, format!("the image was not installed: {why}"), remedy)
        })?;
        print(output, &done, text::done)?;
        Ok(true)
    }

    /// Put the configuration that the stick brings where the disk gets it from. The disk is as it was.
    fn bring_along(&self, found: &Found, plan: &Plan) -> Result<Option<Before>, Failure> {
        let_go(found);
        if plan.configuration != Configuration::Stick {
            return Ok(None);
        }
        bring(found, &self.own).map_err(|why| {
            let why = format!(
                "nothing was written to the disk: the configuration that it is to have cannot be put on the stick's \
                 CONFIG: {why}"
            );
            let remedy = "look at the stick (dmesg); another one, or an image that is written to it anew (image/flash)";
            Failure::refused(Refusal::InstallFailed, why, remedy)
        })
    }

    fn carry_out(
        &self,
        found: &Found,
        on: &Candidate,
        plan: &Plan,
        (hold, lent): (Hold, Option<Before>),
        output: Output,
    ) -> io::Result<Installed> {
        let (bar, block) = (bar(output), &on.disk.block);
        let mut tell = |doing: &str, done: u64, total: u64| {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(format!("{doing}, {} of {}", spoken(done), spoken(total)));
        };
        let written = carry_out(plan, Path::new(&found.path), Path::new(&block.path), &hold, &mut tell);
        bar.finish_and_clear();
        let put_back = lent.map_or(Ok(()), |before| put_back(found, &before));
        written?;
        // What is on the disk is whole all the same.
        if let Err(why) = put_back {
            terminal::note(&format!(
                "CONFIG of the stick has what the disk was given, and not what it had before: {why}"
            ));
        }
        hold.done(Path::new(&block.path));
        let esp = plan.table.partitions.first();
        let first = esp.map_or(Ok(false), |esp| firmware::start_first(&self.variables, 1, esp));
        let firmware = match &first {
            Ok(true) => None,
            Ok(false) => Some("the firmware keeps no variables that could be written".into()),
            Err(why) => Some(why.to_string()),
        };
        if stick::started_from().is_some() {
            let disk = format!("{} (serial {})", block.path, block.serial.as_deref().unwrap_or("none"));
            if let Err(why) = stick::has_installed(&disk) {
                terminal::note(&format!("the screen does not say that the stick is to be pulled: {why}"));
            }
        }
        let (kept, configuration) = (plan.fate != Fate::Erased, plan.configuration);
        let (disk, serial) = (block.path.clone(), block.serial.clone());
        let (memory_kept, started_first) = (plan.fate == Fate::Kept, firmware.is_none());
        Ok(Installed { disk, serial, regions_kept: kept, memory_kept, configuration, started_first, firmware })
    }
}

/// Find a disk, and plan the installation on it.
fn planned<'a>(found: &'a Found, path: &Path, wish: Wish) -> Result<(&'a Candidate, Plan), Failure> {
    if let Some(why) = &found.no_source {
        let remedy = "write an image to a stick (image/flash), and start the machine from that";
        return Err(Failure::refused(Refusal::NoStick, why, remedy));
    }
    if !found.refused.is_empty() {
        let why = format!("what was brought to the stick was not taken over: {}", found.refused.join("; "));
        let remedy = "mend it on the stick's CONFIG, or take it away from there; then start the machine from it again";
        return Err(Failure::refused(Refusal::NoStick, why, remedy));
    }
    let remedy = "sledctl install lists the disks, and what is on them";
    let refused = |why: String| Failure::refused(Refusal::DiskRefused, why, remedy);
    let unknown = || refused(format!("{} is no disk of this machine", path.display()));
    let candidate = found.named(path).ok_or_else(unknown)?;
    let plan = plan(&found.source, &candidate.disk, wish, Uuid::new_v4);
    let plan = plan.map_err(|why| refused(format!("{}: {}", path.display(), why.join("; "))))?;
    Ok((candidate, plan))
}

/// Say which disk it is and what becomes of it: what somebody agrees to.
fn shown(found: &Found, candidate: &Candidate, plan: &Plan) -> String {
    format!("{}\n{}\n", text::about(candidate), told(plan, &found.source, &candidate.disk))
}

/// Make the bar that shows how far it is, where somebody looks.
fn bar(output: Output) -> ProgressBar {
    if !output.is_text() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Reboot, when the stick was pulled.
fn reboot() -> Result<(), Failure> {
    terminal::out("Pull the stick, then press Enter: the machine reboots. ")?;
    io::stdin().read_line(&mut String::new())?;
    Command::new("systemctl").arg("reboot").status()?;
    Ok(())
}
