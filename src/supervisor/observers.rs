//! The observers' tasks, and what they are told: which processes to watch, and when to look.

use crate::config::Configuration;
use crate::names::RegionName;
use crate::observe::disk::Scanner;
use crate::observe::sockets::Pids;
use crate::observe::{Publisher, disk, network, pulse, sockets, units};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The running observers.
pub(super) struct Observers {
    pulses: BTreeMap<RegionName, watch::Sender<Option<u32>>>,
    pids: watch::Sender<Pids>,
    sockets: Arc<Notify>,
    disk: Arc<Notify>,
    /// Looks at the disk, for those who change it.
    pub(super) scanner: Arc<Scanner>,
}

impl Observers {
    /// Starts them all. They end by themselves when nobody takes what they publish.
    pub(super) fn spawn(config: &Configuration, sysfs: PathBuf, to: &Publisher) -> Self {
        let regions = config.local_regions();
        let names: Vec<_> = regions.iter().map(|local| local.name.clone()).collect();
        let (pids, watched) = watch::channel(Pids::new());
        let observers = Self {
            pulses: BTreeMap::new(),
            pids,
            sockets: Arc::new(Notify::new()),
            disk: Arc::new(Notify::new()),
            scanner: Arc::new(Scanner::new(config.sled.storage.clone(), names.clone())),
        };
        tokio::spawn(units::watch(names, to.clone()));
        tokio::spawn(network::watch(config.sled.network.clone(), sysfs, to.clone()));
        tokio::spawn(disk::watch(observers.scanner.clone(), observers.disk.clone(), to.clone()));
        let look = observers.sockets.clone();
        tokio::spawn(sockets::watch(regions.clone(), config.address, watched, look, to.clone()));
        let pulses = regions.into_iter().map(|local| {
            let (pid, watched) = watch::channel(None);
            let name = local.name.clone();
            tokio::spawn(pulse::watch(local, config.address, watched, to.clone()));
            (name, pid)
        });
        Self { pulses: pulses.collect(), ..observers }
    }

    /// Tells which main process a region's unit has.
    pub(super) fn set_pid(&self, name: &RegionName, pid: Option<u32>) {
        if let Some(pulse) = self.pulses.get(name) {
            pulse.send_if_modified(|known| std::mem::replace(known, pid) != pid);
        }
        self.pids.send_if_modified(|pids| {
            let known = match pid {
                Some(pid) => pids.insert(name.clone(), pid),
                None => pids.remove(name),
            };
            known != pid
        });
    }

    /// Asks for a look at the sockets.
    pub(super) fn look_at_sockets(&self) {
        self.sockets.notify_one();
    }

    /// Asks for a look at the disk.
    pub(super) fn look_at_disk(&self) {
        self.disk.notify_one();
    }
}
