//! Plan of a restoration: what is put where, or why nothing is. Pure.
//!
//! Records of the data disk never go back: a lower generation would lock a host out, and whom an old grant lets in may
//! not be who has the volume now. A record that is newer here than in the backup is a refusal; one that is lost here is
//! put back as the highest generation that is known, and lets in nobody before he has a ticket, or is allowed.

use super::manifest::{Files, Manifest};
use crate::names::{SledName, VolumeName};
use crate::region::grant::SLOT_BYTES;
use crate::region::ledger::LedgerError;
use crate::region::{Grant, Ledger, Mark};
use crate::wire::Refusal;
use std::collections::BTreeSet;

/// Folders of an archive.
pub(super) const CONFIGURATION: &str = "configuration/";
pub(super) const TLS: &str = "tls/";
pub(super) const MEMORY: &str = "memory/";
pub(super) const TICKETS: &str = "disk/tickets/";
pub(super) const LEDGER: &str = "disk/ledger.json";
pub(super) const MARK: &str = "disk/disk.json";
/// The machine's memory of its disk.
pub(super) const REMEMBERED: &str = "memory/disk.json";

/// What there is here.
#[derive(Debug, Clone, Default)]
pub(super) struct Here {
    /// The sled that this machine is, as far as it is known.
    pub(super) sled: Option<SledName>,
    /// The files as they are now, by the names that they would have in an archive.
    pub(super) files: Files,
    /// Whether the data disk is mounted.
    pub(super) mounted: bool,
    /// Whether a supervisor runs.
    pub(super) supervised: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    /// The backup may be another sled's.
    pub(super) other_sled: bool,
    /// Only the configuration and its keys are put back.
    pub(super) configuration_only: bool,
}

/// What becomes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is as it is to be.
    Same,
    /// This is put there, where nothing is.
    New(Vec<u8>),
    /// This is put there, and what was there stays beside it.
    Replace(Vec<u8>),
    /// What is here stays, and why.
    Keep(&'static str),
}

/// The steps by the files' names, in the order in which they are taken.
pub(super) type Steps = Vec<(String, Step)>;

/// Reason why nothing is restored: code, sentence, remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) code: Refusal,
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

/// Plan a restoration.
///
/// # Errors
/// Every reason against it.
pub(super) fn plan(manifest: &Manifest, files: &Files, here: &Here, wish: Wish) -> Result<Steps, Vec<Objection>> {
    let mut objections = general(manifest, here, wish);
    let mut steps = Vec::new();
    if !wish.configuration_only {
        objections.extend(disk(manifest, files, here));
        let (tickets, older) = tickets(files, here);
        steps.extend(tickets);
        objections.extend(older);
        match ledger(files, here) {
            Ok(step) => steps.extend(step.map(|step| (LEDGER.to_owned(), step))),
            Err(why) => objections.push(why),
        }
        // A mark that can be read is this disk's, or there is an objection.
        steps.extend(files.get(MARK).map(|text| (MARK.to_owned(), step(here.files.get(MARK), text.clone()))));
        // Of what the machine remembers nothing is taken from it.
        steps.extend(within(files, MEMORY).map(|(name, text)| match here.files.get(name) {
            Some(now) if now == text => (name.clone(), Step::Same),
            Some(_) => (name.clone(), Step::Keep("what is remembered here is newer")),
            None => (name.clone(), Step::New(text.clone())),
        }));
    }
    for (name, text) in within(files, TLS).chain(within(files, CONFIGURATION)) {
        steps.push((name.clone(), step(here.files.get(name), text.clone())));
    }
    if objections.is_empty() { Ok(steps) } else { Err(objections) }
}

fn within<'a>(files: &'a Files, folder: &'static str) -> impl Iterator<Item = (&'a String, &'a Vec<u8>)> {
    files.iter().filter(move |(name, _)| name.starts_with(folder))
}

fn step(now: Option<&Vec<u8>>, text: Vec<u8>) -> Step {
    match now {
        None => Step::New(text),
        Some(now) if *now == text => Step::Same,
        Some(_) => Step::Replace(text),
    }
}

fn general(manifest: &Manifest, here: &Here, wish: Wish) -> Vec<Objection> {
    let mut objections = Vec::new();
    if here.supervised {
        objections.push(Objection {
            code: Refusal::SupervisorRuns,
            message: "the supervisor runs: it would go on with what it knows, and write over what is restored".into(),
            remedy: "systemctl stop sledd.socket sledd.service; the regions serve on. Afterwards: systemctl start sledd.socket \
                     sledd.service",
        });
    }
    if let Some(sled) = here.sled.as_ref().filter(|sled| **sled != manifest.sled && !wish.other_sled) {
        objections.push(Objection {
            code: Refusal::BackupForeign,
            message: format!("the backup is {}'s, and this machine is {sled}", manifest.sled),
            remedy: "name this sled's own backup; if this machine is to become that sled: --yes-other-sled",
        });
    }
    objections
}

/// Find that the records are of the disk that is here: they say which regions lie on it.
fn disk(manifest: &Manifest, files: &Files, here: &Here) -> Option<Objection> {
    let foreign = |message: String| {
        let remedy = "mount the disk that the backup is of; or put back the configuration alone: --configuration-only";
        Some(Objection { code: Refusal::BackupForeign, message, remedy })
    };
    let records = files.keys().any(|name| name.starts_with("disk/"));
    let mark = |name: &str| here.files.get(name).and_then(|text| Mark::parse(text).ok());
    match (manifest.disk.filter(|_| records), mark(MARK), mark(REMEMBERED)) {
        (None, ..) => None,
        _ if !here.mounted => foreign("the data disk is not mounted".into()),
        (Some(disk), Some(mark), _) if mark.disk == disk => None,
        (Some(disk), Some(mark), _) => {
            foreign(format!("the data disk here is {}, and the backup is of {disk}", mark.disk))
        }
        // Its mark is lost, and the machine remembers it.
        (Some(disk), None, Some(mark)) if mark.disk == disk => None,
        (Some(disk), None, _) => foreign(format!("the data disk here has no mark, and it is not known to be {disk}")),
    }
}

/// Read a record of tickets: the later of its two slots.
fn grant(text: &[u8]) -> Option<Grant> {
    text.chunks(SLOT_BYTES).filter_map(Grant::parse).max_by_key(|grant| grant.serial)
}

/// A record that was lost, as it is put back: as high as is known, and letting in nobody before he has a ticket.
fn closed(old: &Grant) -> Grant {
    let holder = old.holder.map(|(holder, _)| holder);
    let denied = old.denied.iter().chain(&old.allowed).copied().chain(holder).collect();
    let others = old.others.max(old.generation);
    Grant { serial: old.serial + 1, allowed: BTreeSet::new(), denied, others, ..old.clone() }
}

fn tickets(files: &Files, here: &Here) -> (Steps, Vec<Objection>) {
    let (mut steps, mut objections) = (Vec::new(), Vec::new());
    for (name, text) in within(files, TICKETS) {
        let volume = name.trim_start_matches(TICKETS);
        let Some(kept) = grant(text) else {
            steps.push((name.clone(), Step::Keep("the backup's own cannot be read")));
            continue;
        };
        let now = here.files.get(name);
        match now.map(|text| grant(text)) {
            Some(Some(now)) if now == kept || now == closed(&kept) => steps.push((name.clone(), Step::Same)),
            Some(Some(now)) if (now.generation, now.serial) < (kept.generation, kept.serial) => {
                steps.extend(put_back(name, &kept, true));
            }
            Some(Some(now)) => objections.push(older(format!(
                "tickets of {volume} were granted since: generation {} is the highest here, and {} in the backup",
                now.generation, kept.generation
            ))),
            lost => steps.extend(put_back(name, &kept, lost.is_some())),
        }
    }
    (steps, objections)
}

fn put_back(name: &str, kept: &Grant, replaced: bool) -> Option<(String, Step)> {
    if kept.holder.is_none() {
        // It would let in every host of the map.
        return Some((name.to_owned(), Step::Keep("it has no holder: an operator says who may attach (volume allow)")));
    }
    let mut text = closed(kept).to_text().ok()?;
    text.resize(2 * SLOT_BYTES, 0);
    Some((name.to_owned(), if replaced { Step::Replace(text) } else { Step::New(text) }))
}

fn older(message: String) -> Objection {
    let remedy = "what is here stays: it is newer. The configuration alone can be put back: --configuration-only";
    Objection { code: Refusal::BackupOlder, message, remedy }
}

/// The ledger, if it is to be put back: it is lost here, or older.
fn ledger(files: &Files, here: &Here) -> Result<Option<Step>, Objection> {
    let Some(kept) = files.get(LEDGER) else { return Ok(None) };
    let unusable = |message: String| Objection {
        code: Refusal::BackupUnusable,
        message,
        remedy: "name another backup; a ledger that is lost is rebuilt from the regions: sledctl region adopt --all",
    };
    let kept = Ledger::parse(kept).map_err(|why| unusable(format!("the backup's ledger cannot be read: {why}")))?;
    let target = lost_since(&kept, files);
    let text = target.to_text().map_err(|why| unusable(why.to_string()))?;
    match here.files.get(LEDGER).map(|text| Ledger::parse(text)) {
        None => Ok(Some(Step::New(text))),
        Some(Ok(now)) if now == kept || now == target => Ok(Some(Step::Same)),
        Some(Ok(now)) if now.serial >= kept.serial => Err(older(format!(
            "the record of the regions was changed since: it is number {} here, and {} in the backup",
            now.serial, kept.serial
        ))),
        // One that a newer supervisor wrote is not lost.
        Some(Err(why @ LedgerError::Version(_))) => Err(unusable(format!("the ledger here is not lost: {why}"))),
        Some(_) => Ok(Some(Step::Replace(text))),
    }
}

/// A ledger of which it is not known what came after it: tickets may have been granted of any volume of its regions.
fn lost_since(kept: &Ledger, files: &Files) -> Ledger {
    let recorded = within(files, TICKETS).filter_map(|(name, _)| name.trim_start_matches(TICKETS).parse().ok());
    let tickets: BTreeSet<VolumeName> =
        kept.regions.keys().map(|region| region.volume().clone()).chain(recorded).chain(kept.tickets.clone()).collect();
    Ledger { serial: kept.serial + 1, tickets, ..kept.clone() }
}

#[cfg(test)]
mod tests;
