//! `sledctl volume allow` and `deny`: a host that may talk to a volume, and one that is cut off.

use super::show::Show;
use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::Output;
use crate::cli::view::Watch;
use crate::names::VolumeName;
use clap::Args;

/// Let a host of the port map talk to a volume, beside the one that holds its last ticket, or
/// again after it was cut off.
#[derive(Debug, Args)]
pub(in crate::cli) struct Allow {
    #[command(flatten)]
    permit: Permit,
}

impl Allow {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let Permit { volume, host } = &self.permit;
        let () = client.ask(&Operation::AllowHost { volume: volume.clone(), host: host.clone() }).await?;
        Show { volume: volume.clone(), watch: Watch::default() }.run(client, output).await?;
        Ok(true)
    }
}

/// Cut a host off from a volume at once, until it is allowed again or holds a ticket.
#[derive(Debug, Args)]
pub(in crate::cli) struct Deny {
    #[command(flatten)]
    permit: Permit,
}

impl Deny {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let Permit { volume, host } = &self.permit;
        let () = client.ask(&Operation::DenyHost { volume: volume.clone(), host: host.clone() }).await?;
        Show { volume: volume.clone(), watch: Watch::default() }.run(client, output).await?;
        Ok(true)
    }
}

#[derive(Debug, Args)]
struct Permit {
    /// The volume.
    volume: VolumeName,
    /// The host: its address, or its name in the port map.
    host: String,
}
