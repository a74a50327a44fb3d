//! `sledctl explain`: what a condition means, by the table of checks. It asks nobody.

use super::failure::Failure;
use super::print::{Output, print};
use crate::check::{About, Code};
use crate::explain;
use clap::Args;

/// Explain a condition, whether or not it holds, or list all that there are. Needs no supervisor.
#[derive(Debug, Args)]
pub(super) struct ExplainCommand {
    /// Its code, for example DISK_FULL.
    code: Option<String>,
}

impl ExplainCommand {
    /// Explain the condition of this code, or list all.
    pub(super) fn run(&self, output: Output) -> Result<bool, Failure> {
        let table: Vec<&'static About> = Code::ALL.iter().map(|code| code.about()).collect();
        match &self.code {
            Some(code) => {
                let about = explain::find(&table, code).map_err(Failure::Refused)?;
                print(output, about, explain::one)?;
            }
            None => output.list(&table, |about| about.code.to_owned(), |table| explain::list(table, output.screen))?,
        }
        Ok(true)
    }
}
