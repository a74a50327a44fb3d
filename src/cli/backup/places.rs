//! Places of the files of a backup on this machine: where each is read from, and put back.

use super::manifest::Files;
use super::plan::{CONFIGURATION, LEDGER, MARK, MEMORY, TICKETS, TLS};
use crate::config::Configuration;
use crate::config_dir;
use crate::files::{may_use, read_below};
use crate::names::VolumeName;
use crate::region::Ledger;
use crate::region::grant::SLOT_BYTES;
use crate::region::ledger::LedgerError;
use crate::store::layout;
use procfs::process::{Process, all_processes_with_root};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of one file: a ledger has at most so many.
const FILE_LIMIT_BYTES: u64 = 4 << 20;
/// What of the machine's memory is worth keeping: not the programs, nor for how long the sled has lived.
const REMEMBERED: [&str; 5] = ["disk.json", "configurations.json", "drains.json", "maintenance.json", "jobs.json"];
/// The ledger's file and its copy.
pub(super) const LEDGERS: [&str; 2] = ["ledger.json", "ledger.json.copy"];
/// Options with which `sledd` is no supervisor.
const OTHER_WORK: [&str; 7] =
    ["--generator", "--empty", "--reserve-ports", "--sockets", "--canary", "--rejoin", "--probe"];

/// Places of one sled's files.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) dir: PathBuf,
    pub(super) memory: PathBuf,
    root: PathBuf,
    /// Whether the data disk is mounted at the root.
    pub(super) mounted: bool,
    tls: Vec<(&'static str, PathBuf)>,
}

impl Places {
    /// Find the places by a configuration.
    pub(super) fn of(config: &Configuration, dir: &Path, memory: &Path) -> Self {
        let storage = &config.sled.storage;
        let tls = config.sled.tls.iter().flat_map(|tls| {
            [("cert", &tls.cert), ("key", &tls.key), ("root_cert", &tls.root_cert)]
                .map(|(name, path)| (name, path.clone()))
        });
        Self {
            dir: dir.to_owned(),
            memory: memory.to_owned(),
            root: storage.root.clone(),
            mounted: may_use(&storage.root, storage.require_mount),
            tls: tls.collect(),
        }
    }

    /// Find where a file of an archive lies here; `None` for one that no sled has. No name leads elsewhere.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let own = self.root.join(layout::DIR);
        if let Some(file) = name.strip_prefix(CONFIGURATION) {
            return config_dir::is_file_name(file).then(|| self.dir.join(file));
        }
        if let Some(file) = name.strip_prefix(TLS) {
            return self.tls.iter().find(|(known, _)| *known == file).map(|(_, path)| path.clone());
        }
        if let Some(file) = name.strip_prefix(MEMORY) {
            return REMEMBERED.contains(&file).then(|| self.memory.join(file));
        }
        if let Some(volume) = name.strip_prefix(TICKETS) {
            return volume.parse::<VolumeName>().ok().map(|volume| own.join(layout::TICKETS).join(volume.as_str()));
        }
        [(MARK, "disk.json"), (LEDGER, LEDGERS[0])]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, file)| own.join(file))
    }

    /// Read all files that are there.
    ///
    /// # Errors
    /// One is there and cannot be read.
    pub(super) fn read(&self) -> io::Result<Files> {
        let mut files = Files::new();
        for path in config_dir::files(&self.dir) {
            let name = path.strip_prefix(&self.dir).unwrap_or(&path).display().to_string();
            put(&mut files, format!("{CONFIGURATION}{name}"), fs::read(&path))?;
        }
        for (name, path) in &self.tls {
            put(&mut files, format!("{TLS}{name}"), fs::read(path))?;
        }
        for name in REMEMBERED {
            put(&mut files, format!("{MEMORY}{name}"), read_below(&self.memory, name, FILE_LIMIT_BYTES))?;
        }
        if self.mounted {
            self.read_disk(&mut files)?;
        }
        Ok(files)
    }

    fn read_disk(&self, files: &mut Files) -> io::Result<()> {
        let own = self.root.join(layout::DIR);
        put(files, MARK.into(), read_below(&own, "disk.json", FILE_LIMIT_BYTES))?;
        let copies = LEDGERS.map(|name| read_below(&own, name, FILE_LIMIT_BYTES));
        let found: Vec<_> = copies.into_iter().filter_map(Result::ok).collect();
        files.extend(newest(found).map(|text| (LEDGER.to_owned(), text)));
        let tickets = own.join(layout::TICKETS);
        let entries = match fs::read_dir(&tickets) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.parse::<VolumeName>().is_ok() {
                let text = read_below(&tickets, &name, 2 * SLOT_BYTES as u64);
                put(files, format!("{TICKETS}{name}"), text)?;
            }
        }
        Ok(())
    }
}

fn put(files: &mut Files, name: String, text: io::Result<Vec<u8>>) -> io::Result<()> {
    match text {
        Ok(text) => _ = files.insert(name, text),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(io::Error::new(why.kind(), format!("{name}: {why}"))),
    }
    Ok(())
}

/// Choose of a ledger's copies the one that counts: the newer one, or one that a newer supervisor wrote.
fn newest(copies: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    let rank = |text: &Vec<u8>| match Ledger::parse(text) {
        Err(LedgerError::Garbage(_)) => (0, 0),
        Ok(ledger) => (1, ledger.serial),
        Err(LedgerError::Version(_)) => (2, 0),
    };
    copies.into_iter().max_by_key(rank)
}

/// Decide whether a supervisor runs on this machine: systemd need not have started it.
pub(super) fn is_supervised(proc: &Path) -> io::Result<bool> {
    let space = |process: &Process| Some(process.namespaces().ok()?.0.get(OsStr::new("pid"))?.identifier);
    let mine = Process::myself().ok().as_ref().and_then(space);
    let own = |process: &Process| {
        let words = process.cmdline().unwrap_or_default();
        let named = words.first().is_some_and(|word| word.rsplit('/').next() == Some("sledd"));
        let other = words.iter().any(|word| OTHER_WORK.iter().any(|work| word.starts_with(work)));
        // Those of a container are another machine's.
        named && !other && space(process).is_none_or(|space| mine.is_none_or(|mine| mine == space))
    };
    let all = all_processes_with_root(proc).map_err(io::Error::other)?;
    Ok(all.flatten().any(|process| own(&process)))
}
