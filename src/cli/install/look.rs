//! Look at the disks of a machine, for an installation: `lsblk` tells of them, `sfdisk` of their tables, and a data
//! partition is mounted for reading for as long as its ledger is read. Changes nothing.

use crate::appliance::data::Data;
use crate::appliance::fragments;
use crate::appliance::install::disk::{Block, Disk, Holds, Reading, foreign};
use crate::appliance::install::plan::{Brings, Source, hindrances, no_source};
use crate::appliance::install::table::{CONFIG, DATA, Table};
use crate::appliance::install::write::{mount, read_table, unmount};
use crate::appliance::{CONFIG as OWN_CONFIG, taken_in};
use crate::clean;
use crate::config_dir::{self, SLED};
use crate::kernel::block;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The columns that `lsblk` is asked for.
const COLUMNS: &str = "NAME,PATH,TYPE,SIZE,MODEL,SERIAL,TRAN,RM,RO,LOG-SEC,FSTYPE,LABEL,PARTLABEL,PTTYPE,MOUNTPOINTS";
/// The kernel's block devices.
const BLOCK: &str = "/sys/class/block";

/// A disk that is looked at, and why it is none to install on.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) disk: Disk,
    pub(super) hindrances: Vec<String>,
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The path of the disk that is installed from.
    pub(super) path: PathBuf,
    /// Its device, and what lies on it.
    pub(super) block: Block,
    pub(super) source: Source,
    /// The reason why it is none to install from.
    pub(super) no_source: Option<String>,
    /// The faults for which what was brought to it was not taken over; empty if it was.
    pub(super) refused: Vec<String>,
    pub(super) disks: Vec<Candidate>,
}

/// A disk, as a program reads it.
#[derive(Debug, Serialize)]
pub(super) struct Listed<'a> {
    path: &'a str,
    model: Option<&'a str>,
    serial: Option<&'a str>,
    size_bytes: u64,
    bus: Option<&'a str>,
    removable: bool,
    holds: &'a Holds,
    /// The reasons why nothing can be installed on it; empty: it can.
    hindrances: &'a [String],
    /// Whether it has to be said what becomes of the regions on it.
    regions_to_be_said: bool,
}

impl<'a> From<&'a Candidate> for Listed<'a> {
    fn from(candidate: &'a Candidate) -> Self {
        let Candidate { disk: Disk { block, holds, .. }, hindrances } = candidate;
        Self {
            path: &block.path,
            model: block.model.as_deref(),
            serial: block.serial.as_deref(),
            size_bytes: block.size,
            bus: block.tran.as_deref(),
            removable: block.rm,
            holds,
            hindrances,
            regions_to_be_said: holds.has_regions(),
        }
    }
}

impl Found {
    /// List the disks for a program.
    pub(super) fn listed(&self) -> Vec<Listed<'_>> {
        self.disks.iter().map(Listed::from).collect()
    }

    /// List the paths of the disks.
    pub(super) fn paths(&self) -> Vec<String> {
        self.disks.iter().map(|candidate| candidate.disk.block.path.clone()).collect()
    }

    /// Find a disk by a path that leads to it.
    pub(super) fn named(&self, path: &Path) -> Option<&Candidate> {
        let real = fs::canonicalize(path).ok()?;
        self.disks.iter().find(|candidate| Path::new(&candidate.disk.block.path) == real)
    }
}

/// Look at all disks, and at the one that is installed from.
///
/// # Errors
/// A program cannot be run, or what it says is not understood.
pub(super) fn all(from: &Path, own: &Path) -> io::Result<Found> {
    let path =
        fs::canonicalize(from).map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", from.display())))?;
    let blocks = blocks()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let block = blocks.iter().find(|block| block.name == name).cloned().unwrap_or_default();
    let none = || Table { label: String::new(), id: None, partitions: Vec::new() };
    let table = read_table(&path)?.unwrap_or_else(none);
    let source = Source { name, table, brings: brings(&block, own) };
    // Loop devices are no disks of a machine, unless it is installed from one.
    let made_up = block.kind == "loop";
    let wanted = |block: &Block| block.is_a_disk() || (made_up && block.kind == "loop" && block.size > 0);
    let disks = blocks.into_iter().filter(wanted).map(|block| look_at(block, &source)).collect::<io::Result<_>>()?;
    let refused = taken_in(own).map(|taken| taken.refused).unwrap_or_default();
    Ok(Found { no_source: no_source(&source), path, block, source, refused, disks })
}

fn blocks() -> io::Result<Vec<Block>> {
    let output = Command::new("lsblk").args(["--json", "--bytes", "--output", COLUMNS]).output();
    let output = output.map_err(|why| io::Error::other(format!("lsblk: {why}")))?;
    Block::parse(&output.stdout).map_err(|why| io::Error::other(format!("lsblk: {why}")))
}

/// The configuration that a stick brings: the one in force, or that of its CONFIG partition.
fn brings(stick: &Block, own: &Path) -> Option<Brings> {
    let in_force = own.join(OWN_CONFIG);
    if in_force.join(SLED).exists() {
        let unfit = fragments::in_force(&in_force).err();
        return Some(Brings { unfit, ..of_configuration(&in_force) });
    }
    let mounted = Mounted::at(&part(stick, CONFIG)?.path, "config", "ro").ok()?;
    mounted.0.join(SLED).is_file().then(|| of_configuration(&mounted.0))
}

fn of_configuration(dir: &Path) -> Brings {
    let config = config_dir::read(dir).ok();
    let fragments = config_dir::files(dir).into_iter().skip(2).map(|file| {
        let name = file.strip_prefix(dir).unwrap_or(&file).display().to_string();
        clean::line(&name).into_owned()
    });
    let (address, fragments) = (config.as_ref().map(|config| config.address), fragments.collect());
    Brings { sled: config.map(|config| config.sled.name), address, fragments, unfit: None }
}

/// The partition of a name.
pub(super) fn part<'a>(block: &'a Block, name: &str) -> Option<&'a Block> {
    block.children.iter().find(|part| part.partlabel.as_deref() == Some(name))
}

fn look_at(block: Block, source: &Source) -> io::Result<Candidate> {
    let path = Path::new(&block.path);
    let table = match read_table(path)? {
        Some(table) => Reading::Table(table),
        None if block.pttype.is_some() => Reading::Unreadable,
        None => Reading::None,
    };
    let own = block.name == source.name;
    let is_a_sleds = block.is_a_sleds() || table.is_a_sleds();
    let holds = match (own, is_a_sleds) {
        (true, _) => Holds::Other { found: vec!["the image that runs".into()] },
        (false, true) => of_a_sled(&block, &table),
        (false, false) => foreign(&block, &table),
    };
    // For reading alone: a disk that was open to be written to is looked at anew by udev.
    let taken = File::options().read(true).custom_flags(nix::libc::O_EXCL).open(path);
    let taken = taken.is_err_and(|why| why.kind() == io::ErrorKind::ResourceBusy);
    let identity = block::identity(&Path::new(BLOCK).join(&block.name));
    let disk = Disk { block, table, holds, taken, identity };
    Ok(Candidate { hindrances: hindrances(source, &disk), disk })
}

/// Whose a data partition is, and which regions lie there.
fn of_a_sled(block: &Block, table: &Reading) -> Holds {
    let shown: Vec<_> = block.children.iter().filter(|part| part.partlabel.as_deref() == Some(DATA)).collect();
    // The kernel may not show what the table has; and of several nobody says which is a sled's.
    let data = match (shown.as_slice(), table.count(DATA)) {
        ([], 0) => Data::none(),
        ([data], 0 | 1) => on_partition(&data.path),
        _ => Data::default(),
    };
    Holds::Sled(data)
}

/// Look at a data partition that is not mounted. The journal is left as it is: nothing of the disk is changed by a look.
pub(in crate::cli) fn on_partition(device: &str) -> Data {
    Mounted::at(device, "data", "ro,noload").map(|at| Data::at(&at.0)).unwrap_or_default()
}

/// A partition that is mounted for a moment.
#[derive(Debug)]
pub(super) struct Mounted(pub(super) PathBuf);

impl Mounted {
    /// Mount a partition.
    pub(super) fn at(device: &str, name: &str, options: &str) -> io::Result<Self> {
        mount(Path::new(device), name, options).map(Self)
    }

    /// Unmount it, when all that was written to it is there.
    pub(super) fn done(self) -> io::Result<()> {
        let done = unmount(&self.0);
        std::mem::forget(self);
        done
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        _ = unmount(&self.0);
    }
}
