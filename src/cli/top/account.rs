//! Account that the kernel keeps of a process's control group, or of the process: what it has taken so far. Reads only.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// Where the processes are.
const PROCESSES: &str = "/proc";

/// Account of a control group. What the kernel does not count there is absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Time of the processor, in microseconds.
    pub(super) cpu_us: u64,
    /// Bytes of memory that it has now.
    pub(super) memory_bytes: Option<u64>,
    /// Bytes read from disks and written to them, and how often.
    pub(super) io: Option<Io>,
}

/// Bytes read from disks and written to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Io {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    /// Number of operations, where they are counted.
    pub(super) operations: Option<u64>,
}

impl Account {
    /// Read the account of the control group that a process is in; `None` if that is gone.
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::read_below(Path::new(PROCESSES), Path::new(GROUPS), pid)
    }

    fn read_below(processes: &Path, groups: &Path, pid: u32) -> Option<Self> {
        let process = processes.join(pid.to_string());
        let group = group(groups, &fs::read_to_string(process.join("cgroup")).ok()?);
        let text = |name: &str| fs::read_to_string(group.as_ref()?.join(name)).ok();
        // Where the group has no account, the process's own has as much: a region's unit has one process.
        let own = || Own::read(&process);
        Some(Self {
            cpu_us: text("cpu.stat")
                .and_then(|text| value(&text, "usage_usec", ' '))
                .or_else(|| own().map(|own| own.cpu_us))?,
            memory_bytes: text("memory.current")
                .and_then(|text| text.trim().parse().ok())
                .or_else(|| own().map(|own| own.memory_bytes)),
            io: text("io.stat")
                .map(|text| of_group(&text))
                .or_else(|| of_process(&fs::read_to_string(process.join("io")).ok()?)),
        })
    }
}

/// Account of a process alone.
struct Own {
    cpu_us: u64,
    memory_bytes: u64,
}

impl Own {
    fn read(process: &Path) -> Option<Self> {
        let stat = procfs::process::Process::new_with_root(process.to_owned()).ok()?.stat().ok()?;
        let cpu_us = (stat.utime + stat.stime) * 1_000_000 / procfs::ticks_per_second();
        Some(Self { cpu_us, memory_bytes: stat.rss * procfs::page_size() })
    }
}

/// Find the directory of a control group, as `/proc/PID/cgroup` names it.
fn group(groups: &Path, text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(groups.join(path.trim_start_matches('/')))
}

/// Find the value of a name that begins a line.
fn value(text: &str, name: &str, between: char) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(between))?;
    line.trim().parse().ok()
}

/// Sum what `io.stat` has of each disk.
fn of_group(text: &str) -> Io {
    let sum = |name: &str| -> u64 {
        let values = text.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    Io { read_bytes: sum("rbytes"), written_bytes: sum("wbytes"), operations: Some(sum("rios") + sum("wios")) }
}

/// Read what `/proc/PID/io` has.
fn of_process(text: &str) -> Option<Io> {
    let (read_bytes, written_bytes) = (value(text, "read_bytes", ':')?, value(text, "write_bytes", ':')?);
    Some(Io { read_bytes, written_bytes, operations: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_as_the_kernel_writes_it() {
        let (processes, groups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = groups.path().join("system.slice/crucible-downstairs@pve-0.service");
        fs::create_dir_all(&at).unwrap();
        fs::create_dir(processes.path().join("7")).unwrap();
        let process = |name: &str, text: &str| fs::write(processes.path().join("7").join(name), text).unwrap();
        let read = || Account::read_below(processes.path(), groups.path(), 7);
        assert_eq!(read(), None);
        process("cgroup", "0::/system.slice/crucible-downstairs@pve-0.service\n");
        fs::write(at.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n").unwrap();
        assert_eq!(read(), Some(Account { cpu_us: 1500, ..Account::default() }));
        fs::write(at.join("memory.current"), "4096\n").unwrap();
        process("io", "rchar: 1\nread_bytes: 10\nwrite_bytes: 20\ncancelled_write_bytes: 0\n");
        let own = Io { read_bytes: 10, written_bytes: 20, operations: None };
        assert_eq!(read(), Some(Account { cpu_us: 1500, memory_bytes: Some(4096), io: Some(own) }));
        let stat = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n8:16 rbytes=10 wbytes=20 rios=30 wios=40 dbytes=0 dios=0\n";
        fs::write(at.join("io.stat"), stat).unwrap();
        let all = Io { read_bytes: 11, written_bytes: 22, operations: Some(77) };
        assert_eq!(read().unwrap().io, Some(all));
    }

    #[test]
    fn this_very_process_has_one() {
        // A machine may have control groups of the first version, and then the process is asked.
        let own = Account::read(std::process::id()).unwrap();
        assert!(own.memory_bytes > Some(0) && own.io.is_some(), "{own:?}");
    }
}
