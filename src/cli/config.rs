//! `sledctl config check`: needs no supervisor, so that a configuration can be checked before
//! it is put in place.

use super::client::Failure;
use super::print;
use crate::config::Configuration;
use crate::config_dir;
use crate::source::Fault;
use std::path::Path;

/// Checks a directory; `Ok(true)` if it has no fault.
pub(super) fn check(dir: &Path, json: bool) -> Result<bool, Failure> {
    let read = config_dir::read(dir);
    let faults = read.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    print(json, &serde_json::json!({ "faults": faults }), |_| spoken(&read))?;
    Ok(faults.is_empty())
}

fn spoken(read: &Result<Configuration, Vec<Fault>>) -> String {
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
