//! `sledctl console`: the screen of a sled, live, for whoever stands before it. The supervisor is asked and nothing
//! is changed; on a machine that has no configuration the questions of `sledctl setup` are asked.

use super::client::Client;
use super::failure::Failure;
use super::status;
use crate::appliance::{self, boot::Taken, stick};
use crate::check::Code;
use crate::config_dir;
use crate::port_map::HTTP_PORT;
use crate::screen::Screen;
use crate::table::Tone;
use crate::terminal::{self, Happening, Live};
use crate::update::release::Release;
use clap::Args;
use jiff::Timestamp;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::timeout;

/// Time between two drawings of the screen.
const DRAW_POLL: Duration = Duration::from_secs(5);
/// The drawings after which a page that has no room on the screen is turned: nobody may be there to press a key.
const TURNED_AFTER: u32 = 3;

/// Show on a screen how the sled is, live; what the image's own screen shows.
#[derive(Debug, Args)]
pub(super) struct ConsoleCommand {
    /// Show it once.
    #[arg(long)]
    once: bool,
}

impl ConsoleCommand {
    /// Show the screen until it is ended, or once where there is none.
    pub(super) async fn run(&self, client: &Client) -> Result<bool, Failure> {
        if self.once || !terminal::is_watched() {
            let page = page(client, terminal::screen()).await;
            terminal::out(&terminal::screen().fold(&page))?;
            return Ok(true);
        }
        let (mut live, mut drawn) = (Live::begin()?, 0);
        loop {
            live.draw(&page(client, terminal::screen()).await, &below(Timestamp::now()))?;
            match until_drawn_again(&mut live).await {
                Happening::End => return Ok(true),
                Happening::Key(b'\n' | b'\r') if !is_configured() => {
                    // The setup's questions follow: their answers are not for this reader.
                    drop(live);
                    return set_up();
                }
                Happening::Key(b'i') if stick::started_from().is_some() => {
                    drop(live);
                    return ask_of(&["install", "--ask"]).map(|_| true);
                }
                Happening::Key(b' ') => drawn = TURNED_AFTER,
                Happening::Key(_) | Happening::Resized => drawn += 1,
            }
            if drawn >= TURNED_AFTER {
                live.turn();
                drawn = 0;
            }
        }
    }
}

/// Wait until it is time to draw the screen again, or something happens before.
async fn until_drawn_again(live: &mut Live) -> Happening {
    timeout(DRAW_POLL, live.happening()).await.unwrap_or(Happening::Resized)
}

fn is_configured() -> bool {
    Path::new(config_dir::DEFAULT).join(config_dir::SLED).exists()
}

/// Have another command ask its questions here; whether it was carried out.
fn ask_of(words: &[&str]) -> Result<bool, Failure> {
    Ok(Command::new(std::env::current_exe()?).args(words).status()?.success())
}

/// Ask the questions of a setup, and boot into the answers.
fn set_up() -> Result<bool, Failure> {
    if ask_of(&["setup"])? {
        Command::new("systemctl").arg("reboot").status()?;
        // Until the machine reboots.
        std::thread::sleep(DRAW_POLL);
    }
    Ok(true)
}

async fn page(client: &Client, screen: Screen) -> String {
    let release = Release::read(Path::new("/")).ok();
    let mut out = format!("{}\n", heading(release.as_ref()));
    if let Some(stick) = stick::started_from() {
        out += &on_a_stick(&stick, stick::installed().as_deref(), &stick::others());
    }
    out += &not_taken_over(appliance::taken().as_ref());
    match client.sled().await {
        Ok(sled) => {
            let at = SocketAddr::new(sled.address, HTTP_PORT);
            let hosts = format!("  hosts ask http://{at}/v1/volumes/VOLUME\n");
            out += &status::headline_first(&sled, &hosts, screen);
        }
        Err(_) if !is_configured() => out += &unconfigured(),
        Err(Failure::Refused(error)) if error.code == Code::ConfigInvalid => {
            out += &format!("{}\n{}\n", Tone::Bad.paint("The configuration has faults."), error.message);
        }
        Err(failure) => {
            let error = failure.error();
            _ = writeln!(out, "{}\n    {}", Tone::Bad.paint(&error.message), error.remedy);
        }
    }
    out
}

/// Say what a machine is there for that was started from a stick, and what comes next.
fn on_a_stick(stick: &str, installed: Option<&str>, others: &[stick::Other]) -> String {
    let heading = format!("Started from the stick /dev/{stick}, which installs the image on a disk of this machine.");
    let heading = Tone::Warning.paint(&heading);
    let disks: Vec<_> = others.iter().filter(|other| !other.stick).map(stick::Other::said).collect();
    let next = match (installed, disks.as_slice()) {
        (Some(disk), _) => Tone::Well.paint(&format!("Installed on {disk}. Pull the stick, then: systemctl reboot")),
        (None, []) => "Press i to install, or by ssh: sledctl install".into(),
        (None, disks) => format!(
            "The image is on {} already: pull the stick and boot again. To install it anew press i, or by ssh: sledctl \
             install",
            disks.join(", ")
        ),
    };
    format!("{heading}\n{next}\n\n")
}

/// Say what is wrong with what the CONFIG partition brought, if it was not taken over, and what it has that nobody reads.
fn not_taken_over(taken: Option<&Taken>) -> String {
    let (Some(taken), mut out) = (taken, String::new()) else { return String::new() };
    if let Some(from) = &taken.from {
        _ = writeln!(out, "Set up by the partition CONFIG of another disk ({from}).");
    }
    if !taken.refused.is_empty() {
        _ = writeln!(out, "{}", Tone::Bad.paint("What the CONFIG partition says was not taken over:"));
    }
    for fault in taken.refused.iter().chain(&taken.unread) {
        _ = writeln!(out, "  {fault}");
    }
    out
}

fn below(now: Timestamp) -> String {
    Tone::Faint.paint(&now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn heading(release: Option<&Release>) -> String {
    let Some(release) = release else { return "Storage sled".into() };
    let name = Tone::Heading.paint(&format!("Storage sled, image {}", release.version));
    if !release.demonstration {
        return name;
    }
    format!("{name}\n{}", Tone::Bad.paint("A DEMONSTRATION: a stand-in serves the regions and keeps no data"))
}

fn unconfigured() -> String {
    format!(
        "{}\n\nPress Enter to answer a few questions here; or write sled.toml and port-map.toml to the \
         partition CONFIG of this disk with any computer, or image/configure, and boot again.\n",
        Tone::Warning.paint("This sled is not set up yet.")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stick_says_what_it_is_there_for_and_what_comes_next() {
        let disk = stick::Other { disk: "nvme0n1".into(), serial: Some("S6P1".into()), stick: false };
        assert!(on_a_stick("sda", None, &[]).contains("Press i to install"));
        assert!(
            on_a_stick("sda", None, std::slice::from_ref(&disk))
                .contains("on /dev/nvme0n1 (serial S6P1) already: pull the stick")
        );
        assert!(on_a_stick("sda", Some("/dev/nvme0n1"), &[disk]).contains("Installed on /dev/nvme0n1. Pull the stick"));
    }
}
