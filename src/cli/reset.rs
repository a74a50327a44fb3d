//! `sledctl reset`: a sled that runs the image forgets, at its next boot. What goes and what stays is decided in
//! `appliance::reset`; here it is shown, and the sled's name asked for.

use super::client::Client;
use super::consent::{Asked, types};
use super::failure::Failure;
use super::install::on_partition;
use super::print::{Output, named, print};
use super::update::begin_reboot;
use crate::api::{Choice, Operation, Sentence};
use crate::appliance::data::Data;
use crate::appliance::install::table::CONFIG;
use crate::appliance::install::write::{mount, unmount};
use crate::appliance::reset::{
    Effect, Extent, Subject, effect, leave_copy, leave_word, refused, take_copy_back, take_word_back,
};
use crate::appliance::{brought, is_image, stick};
use crate::config_dir;
use crate::kernel::block::mount_at;
use crate::terminal;
use crate::wire::{Maintenance, Refusal, Sled};
use clap::{ArgGroup, Args};
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The word that is asked for where the sled has no name yet.
const UNNAMED: &str = "this machine";
/// The partition with what was brought, of the disk that the machine was started from.
const PARTITION: &str = "/dev/sled/CONFIG";
/// The data partition of that disk, and where it is mounted.
const DATA: &str = "/dev/sled/crucible";
const ROOT: &str = "/crucible";

/// Have this sled forget and reboot: what it remembers, or that, its regions and its configuration. What goes and what
/// stays is shown first.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("extent").args(["memory", "factory"]).required(true)))]
pub(super) struct ResetCommand {
    /// What the sled remembers (/var): its configuration and keys as they are in force, its journal. The regions stay;
    /// the configuration is that of the CONFIG partition again.
    #[arg(long)]
    memory: bool,
    /// That, THE REGIONS, and the files on the CONFIG partition: all of it is lost. Refused while a host is attached.
    #[arg(long)]
    factory: bool,
    /// The sled's name, or "this machine" if it has none yet: then nobody is asked for it.
    #[arg(long, value_name = "NAME")]
    yes: Option<String>,
    /// Only show what goes and what stays.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// Answer of a reset.
#[derive(Debug, Serialize)]
struct Reset {
    sled: Option<String>,
    reset: Extent,
    #[serde(flatten)]
    effect: Effect,
    /// The reason why it would be refused.
    refused: Option<String>,
    rebooting: bool,
}

impl ResetCommand {
    /// Show what goes, ask whether it is meant, leave word for the next boot and reboot.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        fits()?;
        let extent = if self.factory { Extent::Factory } else { Extent::Memory };
        let (sled, subject) = look(client).await?;
        let mut reset = Reset {
            sled,
            reset: extent,
            effect: effect(extent, &subject),
            refused: refused(extent, &subject),
            rebooting: false,
        };
        if self.dry_run {
            print(output, &reset, text)?;
            return Ok(reset.refused.is_none());
        }
        if let Some(why) = reset.refused {
            let remedy = "have each detached where it is attached (sledctl volume list shows them); where the supervisor does not answer, see why first";
            return Err(Failure::refused(Refusal::StillAttached, why, remedy));
        }
        let name = reset.sled.clone().unwrap_or_else(|| UNNAMED.into());
        let question = format!("Reset {name}? Type its name ({name}) to go on:");
        let asked = Asked { question: &question, other: "that is not its name", remedy: "say it: --yes NAME" };
        types(&name, self.yes.as_deref(), output, &text(&reset), asked)?;
        self.begin(client, extent, &subject).await?;
        reset.rebooting = true;
        if !output.is_text() {
            print(output, &reset, text)?;
            return Ok(true);
        }
        output.say("Rebooting; it forgets on the way.\n")?;
        Ok(true)
    }

    /// Leave word, and reboot; nothing of it is left where the machine does not reboot.
    async fn begin(&self, client: &Client, extent: Extent, shown: &Subject) -> Result<(), Failure> {
        let maintained = extent == Extent::Factory && keep_out(client, true).await;
        if let Err(why) = still_so(client, extent, shown).await {
            if maintained {
                keep_out(client, false).await;
            }
            return Err(why);
        }
        // CONFIG may be missing, or not to be written to: the word itself is what counts.
        on_partition_config(|config| leave_copy(extent, config));
        if let Err(why) = leave_word(extent) {
            on_partition_config(take_copy_back);
            return Err(why.into());
        }
        if let Err(why) = begin_reboot("systemctl").await {
            take_word_back()?;
            on_partition_config(take_copy_back);
            if maintained {
                keep_out(client, false).await;
            }
            return Err(why);
        }
        Ok(())
    }
}

/// Refuse what is not as it was shown: a host may have come meanwhile, or a region been made, also where the supervisor
/// has not been asked to keep hosts out.
async fn still_so(client: &Client, extent: Extent, shown: &Subject) -> Result<(), Failure> {
    let (_, now) = look(client).await?;
    if let Some(why) = refused(extent, &now) {
        return Err(Failure::refused(Refusal::StillAttached, why, "detach it, and begin again"));
    }
    if extent == Extent::Factory && now.data != shown.data {
        let why = format!("what lies on the data partition is not what was shown: {}", now.data.said());
        return Err(Failure::refused(Refusal::NotConfirmed, why, "begin again"));
    }
    Ok(())
}

/// Refuse on a machine that is none to be reset.
fn fits() -> Result<(), Failure> {
    let remedy = "this is for the appliance; elsewhere remove what is to go by hand";
    if !is_image() {
        return Err(Failure::refused(Refusal::NoImage, "this machine does not run the image of a sled", remedy));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::refused(Refusal::NotRoot, "only root may reset a sled", "use sudo"));
    }
    if stick::started_from().is_some() {
        let remedy = "flash the stick anew (image/flash)";
        return Err(Failure::refused(Refusal::NoImage, "this machine was started from a stick", remedy));
    }
    Ok(())
}

/// Ask hosts to stay away, or not any more; whether the supervisor has taken it.
async fn keep_out(client: &Client, on: bool) -> bool {
    let reason = on.then(|| Sentence("it is being reset, and its regions go".into()));
    let asked: Result<Option<Maintenance>, _> =
        client.ask(&Operation::SetMaintenance { on: Choice(on), time: None, reason }).await;
    asked.is_ok()
}

/// Find the sled's name, and what a reset concerns.
async fn look(client: &Client) -> Result<(Option<String>, Subject), Failure> {
    let (brought, data) = (on_config(), on_data());
    let configured = Path::new(config_dir::DEFAULT).join(config_dir::SLED).exists();
    match client.sled().await {
        Ok(sled) => Ok((Some(sled.sled.to_string()), Subject { data, attached: Some(attached(&sled)), brought })),
        // Nothing was ever served.
        Err(_) if !configured => Ok((None, Subject { data, attached: Some(Vec::new()), brought })),
        Err(_) => {
            let name = config_dir::read(Path::new(config_dir::DEFAULT)).ok();
            let name = name.map(|config| config.sled.name.to_string());
            Ok((name, Subject { data, attached: None, brought }))
        }
    }
}

/// The hosts that are connected, each with its volume.
fn attached(sled: &Sled) -> Vec<String> {
    let of = |volume: &crate::wire::Volume| {
        let peers = volume.regions.iter().flat_map(|region| &region.connected);
        let mut hosts: Vec<_> =
            peers.map(|peer| format!("{} ({})", named(&peer.address, peer.host.as_ref()), volume.volume)).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    };
    sled.volumes.iter().flat_map(of).collect()
}

/// The files on the CONFIG partition that make a configuration; `None` if it cannot be read.
fn on_config() -> Option<Vec<String>> {
    let at = mount(Path::new(PARTITION), CONFIG, "ro").ok()?;
    let found = brought::lie_in(&at);
    _ = unmount(&at);
    Some(found)
}

/// Write to the CONFIG partition, if that can be.
fn on_partition_config(write: impl FnOnce(&Path) -> io::Result<()>) {
    let Ok(at) = mount(Path::new(PARTITION), CONFIG, "rw") else { return };
    if let Err(why) = write(&at) {
        terminal::note(&format!("CONFIG cannot be written to: {why}"));
    }
    _ = unmount(&at);
}

/// What lies on the data partition, whatever the configuration says; without one it may be mounted all the same.
fn on_data() -> Data {
    let number = fs::metadata(DATA).map(|found| found.rdev()).ok();
    let number = number.map(|of| format!("{}:{}", nix::sys::stat::major(of), nix::sys::stat::minor(of)));
    let mounted = mount_at(Path::new(ROOT)).is_some_and(|mount| Some(mount.number) == number);
    if mounted { Data::at(Path::new(ROOT)) } else { on_partition(DATA) }
}

fn text(reset: &Reset) -> String {
    let list = |what: &str, all: &[String]| all.iter().map(|one| format!("  {what:<6}{one}\n")).collect::<String>();
    let Effect { gone, kept, lost, afterwards, .. } = &reset.effect;
    let lost = lost.as_ref().map(|lost| format!("{lost}. What lies on other sleds stays there.\n")).unwrap_or_default();
    let refused = reset.refused.as_ref().map(|why| format!("It would be refused: {why}\n")).unwrap_or_default();
    format!("{}{}{lost}Afterwards it is {afterwards}.\n{refused}", list("gone", gone), list("kept", kept))
}
