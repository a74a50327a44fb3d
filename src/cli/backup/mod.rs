//! `sledctl backup` and `sledctl restore`: what makes a machine this sled, in one archive: its configuration and keys,
//! the records of its data disk, and what it remembers. The regions' data is none of it.

mod manifest;
mod places;
mod plan;
mod restore;

pub(super) use restore::RestoreCommand;

use super::archive::Archive;
use super::failure::Failure;
use super::print::{Output, print};
use crate::config_dir;
use crate::names::SledName;
use crate::region::{Ledger, Mark};
use crate::store::in_force;
use crate::store::mark::memory;
use crate::wire::{Error, Refusal};
use clap::Args;
use jiff::Timestamp;
use manifest::{Files, MANIFEST, Manifest};
use places::Places;
use plan::{LEDGER, MARK};
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use uuid::Uuid;

/// Looks at the files before it is given up: they change only when somebody asks for something.
const LOOKS: usize = 10;

/// Write one archive of what makes this machine this sled: configuration, keys, the records of its regions and tickets.
/// The regions' data is none of it. It holds the data ports' key: keep it to yourself.
#[derive(Debug, Args)]
pub(super) struct BackupCommand {
    /// Where it is written; nothing is written over.
    file: PathBuf,
    /// The directory of the configuration.
    #[arg(long, hide = true, value_name = "DIR", default_value = config_dir::DEFAULT)]
    dir: PathBuf,
}

/// Answer of `backup`.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    sled: SledName,
    disk: Option<Uuid>,
    files: Vec<String>,
}

impl BackupCommand {
    /// Write the backup; `Ok(false)` if the records of the data disk are not among it.
    pub(super) fn run(&self, output: Output) -> Result<bool, Failure> {
        let choice = in_force::now(&self.dir).map_err(|faults| Failure::Refused(Error::config_invalid(&faults)))?;
        let places = Places::of(&choice.config, &self.dir, &memory());
        let files = settled(&places)?;
        let disk = files.get(MARK).and_then(|text| Mark::parse(text).ok()).map(|mark| mark.disk);
        let now = Timestamp::now();
        let manifest = Manifest::of(choice.config.sled.name.clone(), disk, &files, now);
        self.write(&manifest, &files, now).map_err(|why| {
            let remedy = match why.kind() {
                io::ErrorKind::AlreadyExists => "name another file: nothing is written over",
                _ => "name a file in a directory that is there, with room for it",
            };
            Failure::refused(Refusal::NotWritten, format!("{}: {why}", self.file.display()), remedy)
        })?;
        let (file, names) = (self.file.clone(), files.into_keys().collect());
        let written = Written { file, sled: manifest.sled.clone(), disk, files: names };
        print(output, &written, text)?;
        Ok(disk.is_some())
    }

    fn write(&self, manifest: &Manifest, files: &Files, now: Timestamp) -> io::Result<()> {
        let mut archive = Archive::begin(&self.file, now.as_second())?;
        archive.add(MANIFEST, &serde_json::to_vec_pretty(manifest)?)?;
        for (name, text) in files {
            archive.add(name, text)?;
        }
        archive.finish()
    }
}

/// Read the files until two looks agree: then they were so at one moment.
fn settled(places: &Places) -> Result<Files, Failure> {
    let unsettled = |why: &str, remedy: &str| Failure::refused(Refusal::BackupUnsettled, why, remedy);
    let mut before = places.read()?;
    for _ in 0..LOOKS {
        let now = places.read()?;
        if now == before {
            let ledger = now.get(LEDGER).and_then(|text| Ledger::parse(text).ok());
            if ledger.is_some_and(|ledger| !ledger.adoptions.is_empty()) {
                return Err(unsettled("a region is being adopted", "wait until that has ended: sledctl jobs"));
            }
            return Ok(now);
        }
        before = now;
    }
    Err(unsettled("the records change all the time", "see what is being done, and say it again: sledctl jobs"))
}

fn text(written: &Written) -> String {
    let Written { file, sled, disk, files } = written;
    let disk = match disk {
        Some(disk) => format!("with the records of the disk {disk}"),
        None => "WITHOUT the records of the data disk: it is not mounted, or has no mark".to_owned(),
    };
    format!("{}: {sled}, {} files, {disk}\n", file.display(), files.len())
}
