//! Watches all the time that no region has two owners: two processes that run on one directory,
//! or on one port.

use procfs::process::all_processes;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::machine::Machine;

/// How often it looks.
const OFTEN: Duration = Duration::from_millis(20);

/// The watch over one machine.
pub struct Owners {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Owners {
    /// Begins.
    pub fn watch(machine: &Machine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (end, leader) = (stop.clone(), machine.leader());
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !end.load(Ordering::Relaxed) && found.is_empty() {
                found = look(leader);
                std::thread::sleep(OFTEN);
            }
            found
        });
        Self { stop, thread }
    }

    /// Ends; returns what was found.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn look(leader: u32) -> Vec<String> {
    let space = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own: Option<PathBuf> = space(leader);
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for process in all_processes().unwrap().flatten() {
        let Ok(words) = process.cmdline() else { continue };
        let runs = words.first().is_some_and(|word| word.ends_with("crucible-downstairs"));
        if !runs || words.get(1).is_none_or(|word| word != "run") || space(process.pid.cast_unsigned()) != own {
            continue;
        }
        for pair in words.windows(2).filter(|pair| ["-d", "--data", "-p", "--port"].contains(&pair[0].as_str())) {
            // The last part of a directory tells the region, wherever it lies just now.
            let what = pair[1].rsplit('/').next().unwrap_or_default().trim_start_matches("vm-");
            held.entry(what.to_owned()).or_default().push(words.join(" "));
        }
    }
    held.into_iter()
        .filter(|(_, all)| all.len() > 1)
        .map(|(what, all)| format!("{what} has two owners: {all:?}"))
        .collect()
}
