//! Parts of a report: what is asked, and whom. What a part may have in it is bounded, and none has secrets.

use super::secrets;
use crate::config::{Configuration, Texts};
use crate::store::layout::DIR;
use crate::systemd::names::{SUPERVISOR, unit};
use std::fs;
use std::path::{Path, PathBuf};

/// Most bytes of a part; of one that is longer the end is kept.
pub(super) const PART_LIMIT_BYTES: usize = 1 << 20;
/// Most bytes of the log of one region.
const REGION_LIMIT_BYTES: usize = 128 << 10;
/// Most regions whose logs go in.
const REGIONS_LIMIT: usize = 200;

/// Properties of units that tell how they are, and nothing of their environment.
const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,Result,UnitFileState,FragmentPath,DropInPaths,\
                          StatusText,MainPID,ExecMainStatus,ExecMainCode,NRestarts,StateChangeTimestamp,\
                          ActiveEnterTimestamp,ActiveExitTimestamp,InvocationID,MemoryCurrent,CPUUsageNSec,TasksCurrent,\
                          IPAddressAllow,IPAddressDeny,Where,What";

/// Part of a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The name of its file.
    pub(super) name: String,
    /// What it is, in a few words.
    pub(super) what: String,
    /// Where it comes from.
    pub(super) from: From,
    /// The most bytes of it.
    pub(super) most: usize,
}

/// Where a part comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The supervisor, by the path that is asked.
    Supervisor(&'static str),
    /// A program.
    Program(Vec<String>),
    /// A file.
    File(PathBuf),
    /// A text that is known already, or why it is not.
    Text(Result<String, String>),
}

fn part(name: &str, what: &str, from: From) -> Part {
    Part { name: name.into(), what: what.into(), from, most: PART_LIMIT_BYTES }
}

fn program(name: &str, what: &str, words: &str) -> Part {
    part(name, what, From::Program(words.split(' ').map(str::to_owned).collect()))
}

fn file(path: &str, what: &str) -> Part {
    part(&format!("machine{path}.txt"), what, From::File(path.into()))
}

/// List what goes into a report of this machine, whose configuration these texts are.
pub(super) fn all(dir: &Path, texts: &Texts, config: Option<&Configuration>, memory: &Path) -> Vec<Part> {
    let mut parts = of_supervisor();
    parts.extend(of_configuration(dir, texts));
    parts.extend(config.into_iter().flat_map(|config| of_disk(&config.sled.storage.root)));
    for name in ["disk.json", "boot.json", "drains.json", "maintenance.json", "jobs.json", "lived.json"] {
        parts.push(part(&format!("memory/{name}"), "what the machine remembers", From::File(memory.join(name))));
    }
    parts.extend(of_events(memory));
    parts.extend(of_units(config));
    parts.extend(of_machine());
    parts
}

fn of_supervisor() -> Vec<Part> {
    let ask = |name: &str, what, path| part(&format!("supervisor/{name}.json"), what, From::Supervisor(path));
    vec![
        ask("sled", "the sled with its volumes, regions and checks", "/v1/sled"),
        ask("storage", "what takes the data disk", "/v1/storage"),
        ask("hardware", "what the machine is made of, and how that is", "/v1/hardware"),
        ask("jobs", "long work, and what became of it", "/v1/jobs"),
        ask("events", "what has changed of late", "/v1/events?limit=1000"),
    ]
}

/// The configuration without its secrets; faults of what is secret are left out with it.
fn of_configuration(dir: &Path, texts: &Texts) -> Vec<Part> {
    let files = texts.0.iter().map(|(name, text)| {
        let text = text.clone().and_then(|text| secrets::of_toml(&text)).map(|value| format!("{value:#}\n"));
        part(&format!("configuration/{name}.json"), "the configuration, without secrets and comments", From::Text(text))
    });
    let faults = crate::config_dir::read_texts(texts, dir).err().unwrap_or_default();
    let shown = faults.iter().filter(|fault| !fault.key.split('.').any(secrets::is_secret) && !fault.key.is_empty());
    let text: String = shown.map(|fault| format!("{fault}\n")).collect();
    let faults = part("configuration/faults.txt", "the faults of the configuration", From::Text(Ok(text)));
    files.chain([faults]).collect()
}

fn of_disk(root: &Path) -> Vec<Part> {
    let own = root.join(DIR);
    let file = |name: &str, what| part(&format!("disk/{name}"), what, From::File(own.join(name)));
    let list = vec!["ls".into(), "-laR".into(), "--".into(), own.display().to_string()];
    vec![
        file("disk.json", "whose the data disk is"),
        file("ledger.json", "the record of the regions"),
        part("disk/files.txt", "which of the supervisor's files lie there", From::Program(list)),
    ]
}

/// The files in which it is on record what has happened, for a supervisor that does not tell.
fn of_events(memory: &Path) -> Vec<Part> {
    let entries = fs::read_dir(memory.join("events")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".jsonl"));
    names.sort();
    let file = |name: String| {
        let path = memory.join("events").join(&name);
        part(&format!("memory/events/{name}"), "what has happened, on record", From::File(path))
    };
    names.into_iter().map(file).collect()
}

fn of_units(config: Option<&Configuration>) -> Vec<Part> {
    let journal = format!("journalctl --no-pager --quiet --output=short-iso-precise --lines=20000 --unit={SUPERVISOR}");
    let show = format!("systemctl show {PROPERTIES} sled* crucible-* *.mount");
    let mut parts = vec![
        program("log/sledd.txt", "the supervisor's log", &journal),
        program(
            "log/kernel.txt",
            "the kernel's log",
            "journalctl --no-pager --quiet --dmesg --lines=5000 --output=short-iso-precise",
        ),
        program(
            "units/list.txt",
            "the units' states",
            "systemctl list-units --all --no-pager --plain sled* crucible-* *.mount",
        ),
        program("units/show.txt", "the units' properties", &show),
    ];
    let regions = config.map(Configuration::local_regions).unwrap_or_default();
    for region in regions.iter().take(REGIONS_LIMIT) {
        let unit = unit(&region.name);
        let words = format!("journalctl --no-pager --quiet --output=short-iso-precise --lines=2000 --unit={unit}");
        let name = format!("log/{}.txt", region.name);
        parts.push(Part { most: REGION_LIMIT_BYTES, ..program(&name, "a region's log", &words) });
    }
    parts
}

fn of_machine() -> Vec<Part> {
    vec![
        program("machine/uname.txt", "the kernel's version", "uname -a"),
        program("machine/systemd.txt", "systemd's version", "systemctl --version"),
        file("/etc/os-release", "the system's version"),
        file("/usr/lib/sled/image.json", "the image's version"),
        file("/proc/uptime", "for how long the machine is on"),
        file("/proc/meminfo", "memory"),
        file("/proc/pressure/io", "who waits for the disk"),
        file("/proc/pressure/memory", "who waits for memory"),
        file("/proc/mounts", "what is mounted"),
        program("machine/df.txt", "room on the disks", "df --all --human-readable"),
        program("machine/inodes.txt", "inodes on the disks", "df --all --inodes"),
        program(
            "machine/lsblk.txt",
            "the disks",
            "lsblk --output NAME,SIZE,TYPE,FSTYPE,MOUNTPOINTS,MODEL,RO,ROTA,TRAN,STATE",
        ),
        program("machine/addresses.txt", "the network's addresses", "ip -details address"),
        program("machine/links.txt", "the network's counters", "ip -statistics -statistics link"),
        program("machine/routes.txt", "the network's routes", "ip route"),
        program(
            "machine/sockets.txt",
            "who listens and who is connected",
            "ss --numeric --all --tcp --processes --extended",
        ),
    ]
}
