//! `sledctl config check`: the faults of a configuration, before it is put in place. It needs no supervisor.

use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::config::Configuration;
use crate::config_dir;
use crate::source::Fault;
use clap::Args;
use std::path::PathBuf;

/// List every fault of sled.toml, its fragments and port-map.toml.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// The directory that holds them.
    #[arg(long, value_name = "DIR", default_value = config_dir::DEFAULT)]
    dir: PathBuf,
}

impl Check {
    /// Check a directory; `Ok(true)` if it has no fault.
    pub(in crate::cli) fn run(&self, output: Output) -> Result<bool, Failure> {
        let (read, ignored) = (config_dir::read(&self.dir), config_dir::ignored(&self.dir));
        let faults = read.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        let names = ignored.iter().map(|(file, why)| serde_json::json!({ "file": file, "why": why }));
        let body = serde_json::json!({ "faults": faults, "ignored": names.collect::<Vec<_>>() });
        print(output, &body, |_| {
            let ignored = ignored.iter().map(|(file, why)| format!("{}: ignored: {why}\n", file.display()));
            ignored.collect::<String>() + &text(&read)
        })?;
        Ok(faults.is_empty())
    }
}

fn text(read: &Result<Configuration, Vec<Fault>>) -> String {
    match read {
        Ok(config) => format!(
            "no faults: {} serves {} regions on {}, and the HTTP endpoint listens on {}\n",
            config.sled.name,
            config.local_regions().len(),
            config.address,
            config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
        ),
        Err(faults) => {
            let list: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
            format!("{list}{} fault(s)\n", faults.len())
        }
    }
}
