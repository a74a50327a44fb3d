//! `sledctl console`: the screen of a sled, live, for whoever stands before it. The supervisor is asked and nothing
//! is changed; on a machine that has no configuration the questions of `sledctl setup` are asked.

use super::client::Client;
use super::failure::Failure;
use super::status;
use crate::appliance;
use crate::check::Code;
use crate::config_dir;
use crate::port_map::HTTP_PORT;
use crate::table::Tone;
use crate::terminal;
use crate::update::release::Release;
use clap::Args;
use jiff::Timestamp;
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Time between two drawings of the screen.
const DRAW_POLL: Duration = Duration::from_secs(5);

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
        let live = !self.once && io::stdout().is_terminal();
        let mut lines = if live { Some(lines()) } else { None };
        loop {
            let page = page(client).await;
            if !live {
                terminal::out(&page)?;
                return Ok(true);
            }
            terminal::draw(&page)?;
            let next = Instant::now() + DRAW_POLL;
            // Cancelling either loses nothing: the one is a clock, the other a channel.
            let pressed = tokio::select! {
                () = sleep_until(next) => false,
                Some(()) = async { lines.as_mut()?.recv().await } => true,
            };
            if pressed && !is_configured() {
                return set_up();
            }
        }
    }
}

/// Listen for Enter. Reading a terminal cannot be cancelled: a thread of its own does it.
fn lines() -> mpsc::Receiver<()> {
    let (pressed, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for _ in io::stdin().lock().lines().map_while(Result::ok) {
            if is_configured() {
                continue;
            }
            // The setup's questions follow: their answers are not for this reader.
            _ = pressed.blocking_send(());
            return;
        }
    });
    lines
}

fn is_configured() -> bool {
    Path::new(config_dir::DEFAULT).join(config_dir::SLED).exists()
}

/// Ask the questions of a setup, and boot into the answers.
fn set_up() -> Result<bool, Failure> {
    terminal::draw("")?;
    let this = std::env::current_exe()?;
    if Command::new(this).arg("setup").status()?.success() {
        Command::new("systemctl").arg("reboot").status()?;
        // Until the machine reboots.
        std::thread::sleep(DRAW_POLL);
    }
    Ok(true)
}

async fn page(client: &Client) -> String {
    let release = Release::read(Path::new("/")).ok();
    let mut out = format!("{}\n\n", heading(release.as_ref()));
    match client.sled().await {
        Ok(sled) => {
            out += &status::text(&sled, terminal::screen());
            _ = writeln!(
                out,
                "\n  hosts ask  http://{}/v1/volumes/VOLUME",
                (std::net::SocketAddr::new(sled.address, HTTP_PORT))
            );
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
    if let Some(taken) = appliance::taken().filter(|taken| !taken.refused.is_empty()) {
        out += &format!("\n{}\n", Tone::Bad.paint("What the CONFIG partition says was not taken over:"));
        for fault in &taken.refused {
            _ = writeln!(out, "  {fault}");
        }
    }
    let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
    out + &format!("\n{now}\n")
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
        "{}\n\nPress Enter to answer a few questions here; or write sled.toml and port-map.toml to the\n\
         partition CONFIG of this disk with any computer, or image/configure, and boot again.\n",
        Tone::Warning.paint("This sled is not set up yet.")
    )
}
