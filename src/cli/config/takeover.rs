//! Takeover of a configuration: the files come into force, and it is on record who asked for that.

use super::short;
use crate::api::{Operation, Sentence};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::table::Tone;
use crate::wire::Difference;
use nix::unistd::{Uid, User};

/// Takeover of the configuration in the files.
#[derive(Debug)]
pub(in crate::cli) struct Takeover {
    /// Whether everything that it does is meant.
    pub(in crate::cli) yes: bool,
    /// Whether nobody is there who could be asked.
    pub(in crate::cli) unattended: bool,
    /// Command and person, for the record.
    pub(in crate::cli) by: String,
}

impl Takeover {
    /// Have the configuration in the files taken over, and say what came of it.
    pub(in crate::cli) async fn run(self, client: &Client, output: Output) -> Result<bool, Failure> {
        let (yes, unattended, by) = (self.yes, self.unattended, Some(Sentence(self.by)));
        let done: Difference =
            client.ask(&Operation::Reload { dry_run: false, yes, unattended, kept: None, by }).await?;
        print(output, &done, text)?;
        Ok(true)
    }
}

fn text(done: &Difference) -> String {
    let number = done.number.map(|number| format!(" as number {number}")).unwrap_or_default();
    let what = if done.from_files == done.to_files {
        "nothing was changed".to_owned()
    } else {
        format!("the configuration in the files is in force{number}: {}", short(&done.to_files))
    };
    format!("{}\n", Tone::Well.paint(&what))
}

/// Name whoever runs this, for the record.
pub(in crate::cli) fn operator() -> String {
    let own = || User::from_uid(Uid::current()).ok().flatten().map(|user| user.name);
    let name = std::env::var("SUDO_USER").ok().or_else(own).unwrap_or_else(|| Uid::current().to_string());
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}
