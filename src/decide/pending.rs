//! Pending configuration: its files beside what is in force, and what the next start would do with them.

use super::facts::{Facts, Files, InForce};
use super::finding::Finding;
use crate::check::Code;
use crate::config::Configuration;
use crate::source::Fault;

/// The findings about the files. They concern whoever looks after the sled, and no volume.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let in_force = facts.in_force.clone().unwrap_or_default();
    let pending = facts.files.as_ref().and_then(|files| match &files.read {
        Err(faults) => Some(faulty(files, faults, &in_force)),
        Ok(read) if **read != *config => Some(pending(files, &in_force)),
        Ok(_) => None,
    });
    let not_kept = in_force.not_kept.as_ref().map(|why| {
        let cause = format!(
            "what is in force cannot be kept: {why}; with a fault in the files the next start has nothing to serve with"
        );
        finding(Code::ConfigNotKept, cause, Code::ConfigNotKept.remedy())
    });
    pending.into_iter().chain(not_kept).collect()
}

fn finding(code: Code, cause: String, remedy: impl Into<String>) -> Finding {
    Finding::new(code, "configuration", cause, remedy)
}

fn faulty(files: &Files, faults: &[Fault], in_force: &InForce) -> Finding {
    let first = faults.first().map(|fault| {
        let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!(": {}{line}: {}", fault.file, fault.problem)
    });
    let cause = format!(
        "the files in {}, {}, have {} fault(s){}; the sled is run by {}",
        files.dir,
        changed(files),
        faults.len(),
        first.unwrap_or_default(),
        spoken(in_force)
    );
    let back = back(in_force).map(|back| format!("; or put the last ones back: {back}")).unwrap_or_default();
    finding(
        Code::ConfigInvalid,
        cause,
        format!("mend them, then: sledctl reload (sledctl config check lists all){back}"),
    )
}

fn pending(files: &Files, in_force: &InForce) -> Finding {
    let cause = format!(
        "the files in {}, {} ({}), are not in force; that is {}; the next start of sledd takes the files",
        files.dir,
        changed(files),
        short(&files.digest),
        spoken(in_force)
    );
    let back = back(in_force).map(|back| format!("; or put back what is in force: {back}")).unwrap_or_default();
    let remedy = format!("see what they change: sledctl config diff; then: sledctl reload{back}");
    finding(Code::ConfigPending, cause, remedy)
}

fn changed(files: &Files) -> String {
    files.changed.map_or_else(|| "changed since".into(), |at| format!("changed {at}"))
}

fn spoken(in_force: &InForce) -> String {
    let since = in_force.since.map(|since| format!(" since {since}")).unwrap_or_default();
    format!("what is in force{since} ({})", short(&in_force.digest))
}

fn back(in_force: &InForce) -> Option<String> {
    in_force.number.map(|number| format!("sledctl config restore {number}"))
}

/// A digest as people compare it.
fn short(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
}
