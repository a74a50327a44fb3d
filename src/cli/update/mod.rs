//! `sledctl update`: another version of the image is looked for, taken and judged. All of it is done on the machine
//! itself, as root; of the supervisor it is only asked how the regions are.

mod apply;
mod back;
mod boot;
mod check;
mod others;
mod roll;
mod source;
mod status;
mod tend;

pub(super) use apply::begin_reboot;

use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use crate::update::release::Release;
use crate::wire::Refusal;
use apply::Apply;
use back::Back;
use boot::{Judge, Remember};
use check::Check;
use clap::Subcommand;
use status::Status;
use std::path::Path;
use tend::Tend;

/// Look for, take and judge another version of the image, or go back to the one before.
#[derive(Debug, Subcommand)]
pub(super) enum UpdateCommand {
    Check(Check),
    Apply(Apply),
    Back(Back),
    Status(Status),
    #[command(hide = true)]
    Judge(Judge),
    #[command(hide = true)]
    Remember(Remember),
    #[command(hide = true)]
    Tend(Tend),
}

impl UpdateCommand {
    /// Carry out a command about the image; `Ok(false)` if what is shown is not well.
    ///
    /// # Errors
    /// `NO_IMAGE`: the machine does not run the image. `NOT_ROOT`.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let running = Release::read(Path::new("/")).map_err(|_| {
            let remedy = "update it with its own package manager";
            Failure::refused(Refusal::NoImage, "this machine does not run the image of a sled", remedy)
        })?;
        if !nix::unistd::geteuid().is_root() {
            return Err(Failure::refused(Refusal::NotRoot, "only root may look after the image", "use sudo"));
        }
        match self {
            Self::Check(check) => check.run(running, output).await,
            Self::Apply(apply) => apply.run(client, &running, output).await,
            Self::Back(back) => back.run(client, &running, output).await,
            Self::Status(status) => status.run(running, output),
            Self::Judge(judge) => judge.run(client, &running).await,
            Self::Remember(remember) => remember.run(client).await,
            Self::Tend(tend) => tend.run(client, &running, output).await,
        }
    }
}
