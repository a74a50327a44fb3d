//! `sledctl update back`: the version before the one that runs is started again.

use super::apply::begin_reboot;
use super::boot;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::terminal;
use crate::update::back::{Back as Way, Nothing, plan};
use crate::update::kernel;
use crate::update::record::{self, Attempt};
use crate::update::release::{self, Release};
use crate::wire::Refusal;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

/// Start the version before the one that runs, where it is still there. It is started at the next boot, and tried as a
/// new one is: if what serves now does not serve with it, the version that runs comes back by itself.
#[derive(Debug, Args)]
pub(in crate::cli) struct Back {
    /// Reboot into it at once.
    #[arg(long)]
    reboot: bool,
}

/// Answer of `update back`.
#[derive(Debug, Serialize)]
struct Went {
    running: String,
    version: String,
    rebooting: bool,
}

impl Back {
    /// Have the version before started at the next boot.
    pub(super) async fn run(&self, client: &Client, running: &Release, output: Output) -> Result<bool, Failure> {
        let from = &running.version;
        if release::has_yet_to_show(from, &release::installed()?) {
            return Err(refused(&Nothing::OnTrial, from));
        }
        _ = boot::sweep(from);
        let way = plan(&release::files()?, from).map_err(|why| refused(&why, from))?;
        if output.is_text() {
            terminal::note(&format!("{from} runs, and {} was before it: what serves is remembered", way.version));
        }
        if let Ok(sled) = client.sled().await {
            boot::remember(&sled).await?;
        }
        begin(&way, from)?;
        let begun = if self.reboot { begin_reboot("systemctl").await.map(|()| true) } else { Ok(false) };
        let rebooting = *begun.as_ref().unwrap_or(&false);
        print(output, &Went { running: from.clone(), version: way.version, rebooting }, text)?;
        begun.map(|_| true)
    }
}

/// Remember that the version before is tried next, and have the boot loader do so.
fn begin(way: &Way, running: &str) -> Result<(), Failure> {
    let before = Attempt::load();
    let (from, to) = (running.to_owned(), way.version.clone());
    Attempt { from, to, at: Timestamp::now(), boot: record::boot_id()?, rolled: false, kernel: None, outcome: None }
        .save()?;
    if let Err(why) = kernel::rename(&way.renames) {
        Attempt::take_back(before.as_ref())?;
        return Err(why.into());
    }
    Ok(())
}

fn refused(why: &Nothing, running: &str) -> Failure {
    match why {
        Nothing::OnTrial => {
            let remedy = "wait until it has shown that it is well; if it does not, the version before comes by itself";
            Failure::refused(Refusal::OnTrial, format!("{running} is on trial"), remedy)
        }
        Nothing::NoneBefore => {
            let remedy =
                "sledctl update status lists what can be started; another version: sledctl update apply SOURCE";
            let message = format!("no version before {running} is here that can be started");
            Failure::refused(Refusal::NoneBefore, message, remedy)
        }
    }
}

/// Write what has been done, and what comes next.
fn text(went: &Went) -> String {
    let Went { running, version, rebooting } = went;
    let when = if *rebooting { "rebooting into it" } else { "it is started by the next reboot" };
    format!(
        "{version} comes before {running}: {when}. If what serves now does not serve with it, {running} comes back by\n\
         itself. If it does, {running} is not started again; a newer version takes its place: sledctl update apply\n"
    )
}
