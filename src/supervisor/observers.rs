//! The observers' tasks, and what they are told: which processes to watch, and when to look.

use crate::config::Configuration;
use crate::names::RegionName;
use crate::observe::disk::Scanner;
use crate::observe::rhythm::{Beats, Rhythm};
use crate::observe::sockets::Pids;
use crate::observe::{
    NobodyListens, Publisher, deaths, disk, enforcement, intruders, network, pulse, sockets, tls, units,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// The running observers.
pub(super) struct Observers {
    pulses: BTreeMap<RegionName, watch::Sender<Option<u32>>>,
    pids: watch::Sender<Pids>,
    sockets: Arc<Notify>,
    disk: Arc<Notify>,
    intruders: Arc<Notify>,
    tls: Arc<Notify>,
    rhythm: Rhythm,
    /// Looks at the disk, for those who change it.
    pub(super) scanner: Arc<Scanner>,
    tasks: JoinSet<Result<(), NobodyListens>>,
}

impl Observers {
    /// Starts them all, in one rhythm of which a beat comes every `turn`. They end when nobody
    /// takes what they publish, and at no other time.
    pub(super) fn spawn(config: &Arc<Configuration>, sysfs: PathBuf, turn: Duration, to: &Publisher) -> Self {
        let regions = config.local_regions();
        let names: Vec<_> = regions.iter().map(|local| local.name.clone()).collect();
        let (pids, watched) = watch::channel(Pids::new());
        let [sockets, disk, intruders, tls] = [(); 4].map(|()| Arc::new(Notify::new()));
        let scanner = Arc::new(Scanner::new(config.clone(), names.clone()));
        let (rhythm, drum) = Rhythm::new(turn);
        let beat = || rhythm.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(drum);
        let root = config.sled.storage.root.clone();
        tasks.spawn(intruders::watch(root, names.clone(), beat(), intruders.clone(), to.clone()));
        tasks.spawn(units::watch(names, beat(), to.clone()));
        tasks.spawn(enforcement::watch(to.clone()));
        tasks.spawn(network::watch(config.sled.network.clone(), sysfs, beat(), to.clone()));
        tasks.spawn(disk::watch(scanner.clone(), beat(), disk.clone(), to.clone()));
        tasks.spawn(sockets::watch(regions.clone(), config.address, watched, beat(), sockets.clone(), to.clone()));
        if let Some(wanted) = config.sled.tls.clone() {
            tasks.spawn(tls::watch(wanted, config.clone(), beat(), tls.clone(), to.clone()));
        }
        let allowance = config.sled.downstairs.hung_after.into();
        let mut pulses = BTreeMap::new();
        for local in regions {
            let (pid, watched) = watch::channel(None);
            pulses.insert(local.name.clone(), pid);
            tasks.spawn(deaths::watch(local.name.clone(), watched.clone(), to.clone()));
            let (address, files) = (config.address, config.sled.tls.clone());
            tasks.spawn(pulse::watch(local, address, watched, beat(), allowance, files, to.clone()));
        }
        Self { pulses, pids, sockets, disk, intruders, tls, rhythm, scanner, tasks }
    }

    /// Every beat of the observers' rhythm.
    pub(super) fn turns(&self) -> Beats {
        self.rhythm.every(Duration::ZERO)
    }

    /// Returns when an observer has ended, which none does while it is listened to: without it
    /// an old fact would stand for ever. Cancel-safe.
    pub(super) async fn lost(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(why)) => tracing::error!("an observer has ended: {why}"),
            _ => tracing::error!("an observer has ended"),
        }
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

    /// Asks for a look at who writes to regions.
    pub(super) fn look_at_intruders(&self) {
        self.intruders.notify_one();
    }

    /// Asks for a look at the disk, and at everything else that a start depends on and that is no
    /// event: the files of `[tls]`.
    pub(super) fn look_at_disk(&self) {
        self.disk.notify_one();
        self.tls.notify_one();
    }
}
