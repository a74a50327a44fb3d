//! The observers' tasks, and what they are told: which processes to watch, and when to look.

use crate::appliance;
use crate::config::Configuration;
use crate::decide::facts::Run;
use crate::names::RegionName;
use crate::observe::rhythm::{Beats, Rhythm};
use crate::observe::scanner::Scanner;
use crate::observe::sockets::Pids;
use crate::observe::{
    NobodyListens, Source, Term, deaths, disk, enforcement, files, image, intruders, network, pulse, sockets, tls,
    units,
};
use crate::port_map::LocalRegion;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

/// The running observers.
pub(in crate::supervisor) struct Observers {
    regions: BTreeMap<RegionName, Watch>,
    /// Those that are started anew for another configuration.
    others: Vec<AbortHandle>,
    /// What these have told is believed as long as it is theirs to tell.
    their_term: Option<Term>,
    /// The same of those that watch for good.
    _term: Term,
    pids: watch::Sender<Pids>,
    sockets: Arc<Notify>,
    disk: Arc<Notify>,
    intruders: Arc<Notify>,
    tls: Arc<Notify>,
    settled: watch::Sender<bool>,
    rhythm: Rhythm,
    /// Looks at the disk, for those who change it.
    pub(in crate::supervisor) scanner: Arc<Scanner>,
    sysfs: PathBuf,
    source: Source,
    tasks: JoinSet<Result<(), NobodyListens>>,
}

/// The observers of one region.
struct Watch {
    run: watch::Sender<Option<Run>>,
    tasks: [AbortHandle; 2],
    _term: Term,
}

impl Observers {
    /// Starts them all, in one rhythm of which a beat comes every `turn`. They end when nobody
    /// takes what they publish, and at no other time.
    pub(in crate::supervisor) fn spawn(
        config: &Arc<Configuration>,
        config_dir: PathBuf,
        sysfs: PathBuf,
        turn: Duration,
        source: &Source,
    ) -> Self {
        let (term, to) = source.begin();
        let [sockets, disk, intruders, tls] = [(); 4].map(|()| Arc::new(Notify::new()));
        let scanner = Arc::new(Scanner::new(config.clone()));
        let (rhythm, drum) = Rhythm::new(turn);
        let mut tasks = JoinSet::new();
        tasks.spawn(drum);
        let settled = watch::Sender::new(false);
        tasks.spawn(enforcement::watch(settled.subscribe(), to.clone()));
        if appliance::is_image() {
            tasks.spawn(image::watch(rhythm.clone(), to.clone()));
        }
        tasks.spawn(files::watch(config_dir, rhythm.clone(), to.clone()));
        tasks.spawn(disk::watch(scanner.clone(), rhythm.clone(), disk.clone(), to));
        let mut observers = Self {
            regions: BTreeMap::new(),
            others: Vec::new(),
            their_term: None,
            _term: term,
            pids: watch::Sender::new(Pids::new()),
            sockets,
            disk,
            intruders,
            tls,
            settled,
            rhythm,
            scanner,
            sysfs,
            source: source.clone(),
            tasks,
        };
        observers.watch(config);
        for local in config.local_regions() {
            observers.watch_region(config, local, None);
        }
        observers
    }

    /// Goes on with another configuration, of this number. A region of which nothing has changed is watched on: what
    /// is known of it stays so.
    pub(in crate::supervisor) fn renew(&mut self, old: &Configuration, new: &Arc<Configuration>, number: u64) {
        self.scanner.configure(number, new.clone());
        self.others.drain(..).for_each(|task| task.abort());
        let before: BTreeMap<_, _> = old.local_regions().into_iter().map(|local| (local.name.clone(), local)).collect();
        let same =
            |config: &Configuration| (config.address, config.sled.tls.clone(), config.sled.downstairs.hung_after);
        let same = same(old) == same(new);
        let wanted = new.local_regions();
        let gone: Vec<_> = before.keys().filter(|name| wanted.iter().all(|local| local.name != **name)).collect();
        for name in gone {
            self.set_run(name, None);
            self.regions.remove(name);
        }
        for local in wanted {
            if !same || before.get(&local.name) != Some(&local) {
                let run = self.regions.remove(&local.name).and_then(|watch| watch.run.borrow().clone());
                self.watch_region(new, local, run);
            }
        }
        self.watch(new);
        self.look_at_disk();
    }

    /// Starts what watches all regions together.
    fn watch(&mut self, config: &Arc<Configuration>) {
        let (regions, (term, to)) = (config.local_regions(), self.source.begin());
        self.their_term = Some(term);
        let names: Vec<_> = regions.iter().map(|local| local.name.clone()).collect();
        let beat = || self.rhythm.clone();
        let tasks = &mut self.tasks;
        let root = config.sled.storage.root.clone();
        let (network, sysfs) = (config.sled.network.clone(), self.sysfs.clone());
        let (pids, look) = (self.pids.subscribe(), self.sockets.clone());
        self.others.extend([
            tasks.spawn(intruders::watch(root, names.clone(), beat(), self.intruders.clone(), to.clone())),
            tasks.spawn(units::watch(names, beat(), to.clone())),
            tasks.spawn(network::watch(network, sysfs, beat(), to.clone())),
            tasks.spawn(sockets::watch(regions, config.address, pids, beat(), look, to.clone())),
        ]);
        if let Some(wanted) = config.sled.tls.clone() {
            self.others.push(tasks.spawn(tls::watch(wanted, config.clone(), beat(), self.tls.clone(), to)));
        }
    }

    /// Starts what watches one region, whose unit is in this run.
    fn watch_region(&mut self, config: &Configuration, local: LocalRegion, run: Option<Run>) {
        let allowance = config.sled.downstairs.hung_after.into();
        let (address, files, (term, to)) = (config.address, config.sled.tls.clone(), self.source.begin());
        let (name, beat) = (local.name.clone(), self.rhythm.clone());
        let (run, watched) = watch::channel(run);
        let tasks = [
            self.tasks.spawn(deaths::watch(name.clone(), watched.clone(), to.clone())),
            self.tasks.spawn(pulse::watch(local, address, watched, beat, allowance, files, to)),
        ];
        self.regions.insert(name, Watch { run, tasks, _term: term });
    }

    /// Where sysfs is mounted.
    pub(in crate::supervisor) fn sysfs(&self) -> PathBuf {
        self.sysfs.clone()
    }

    /// Every beat of the observers' rhythm.
    pub(in crate::supervisor) fn turns(&self) -> Beats {
        self.rhythm.every(Duration::ZERO)
    }

    /// Tells those that have let others go first that all serves.
    pub(in crate::supervisor) fn settle(&self) {
        self.settled.send_if_modified(|settled| !std::mem::replace(settled, true));
    }

    /// Returns when an observer has ended, which none does while it is listened to: without it
    /// an old fact would stand for ever. Cancel-safe.
    pub(in crate::supervisor) async fn lost(&mut self) {
        loop {
            match self.tasks.join_next().await {
                // Another has taken its place.
                Some(Err(why)) if why.is_cancelled() => {}
                Some(Err(why)) => return tracing::error!("an observer has ended: {why}"),
                _ => return tracing::error!("an observer has ended"),
            }
        }
    }

    /// Tells which run a region's unit is in.
    pub(in crate::supervisor) fn set_run(&self, name: &RegionName, run: Option<Run>) {
        let pid = run.as_ref().map(|run| run.pid);
        if let Some(watch) = self.regions.get(name) {
            watch.run.send_if_modified(|known| {
                let changed = *known != run;
                *known = run;
                changed
            });
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
    pub(in crate::supervisor) fn look_at_sockets(&self) {
        self.sockets.notify_one();
    }

    /// Asks for a look at who writes to regions.
    pub(in crate::supervisor) fn look_at_intruders(&self) {
        self.intruders.notify_one();
    }

    /// Asks for a look at the disk, and at everything else that a start depends on and that is no
    /// event: the files of `[tls]`.
    pub(in crate::supervisor) fn look_at_disk(&self) {
        self.disk.notify_one();
        self.tls.notify_one();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
