//! Observers' tasks, and what they are told: which processes to watch, and when to look.

use crate::config::Configuration;
use crate::decide::facts::Run;
use crate::names::RegionName;
use crate::observe::observer::{Begin, Ground, Kernel, Looks, Observer, OfRegion};
use crate::observe::owners::Pids;
use crate::observe::rhythm::{Beats, Rhythm};
use crate::observe::scanner::Scanner;
use crate::observe::{ALL, NobodyListens, Source, Term, intruders, sockets};
use crate::port_map::LocalRegion;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub(in crate::supervisor) struct Observers {
    ground: Ground,
    regions: BTreeMap<RegionName, Watch>,
    /// Observers that are started anew for another configuration.
    others: Vec<AbortHandle>,
    /// Term of these: what they have told is believed as long as it is theirs to tell.
    their_term: Option<Term>,
    /// Term of those that watch for good.
    _term: Term,
    source: Source,
    tasks: JoinSet<Result<(), NobodyListens>>,
}

/// Observers of one region.
struct Watch {
    run: watch::Sender<Option<Run>>,
    tasks: Vec<AbortHandle>,
    _term: Term,
}

impl Observers {
    /// Start them all, in one rhythm of which a beat comes every `turn`. They end when nobody takes
    /// what they publish, and at no other time.
    pub(in crate::supervisor) fn spawn(
        config: &Arc<Configuration>,
        config_dir: PathBuf,
        kernel: Kernel,
        turn: Duration,
        source: &Source,
    ) -> Self {
        let (rhythm, drum) = Rhythm::new(turn);
        let ground = Ground {
            config: config.clone(),
            config_dir,
            kernel,
            rhythm,
            scanner: Arc::new(Scanner::new(config.clone())),
            pids: watch::Sender::new(Pids::new()),
            settled: watch::Sender::new(false),
            looks: Looks::of(ALL),
        };
        let (term, to) = source.begin();
        let mut tasks = JoinSet::new();
        tasks.spawn(drum);
        for observer in ALL {
            if let Begin::Once(begin) = observer.begin {
                begin(&ground, to.clone()).into_iter().for_each(|watching| _ = tasks.spawn(watching));
            }
        }
        let (regions, others, their_term, source) = (BTreeMap::new(), Vec::new(), None, source.clone());
        let mut observers = Self { ground, regions, others, their_term, _term: term, source, tasks };
        observers.watch();
        for local in config.local_regions() {
            observers.watch_region(local, None);
        }
        observers
    }

    /// Go on with another configuration, of this number. A region of which nothing has changed is watched on: what
    /// is known of it stays so.
    pub(in crate::supervisor) fn renew(&mut self, old: &Configuration, new: &Arc<Configuration>, number: u64) {
        self.ground.config = new.clone();
        self.ground.scanner.configure(number, new.clone());
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
                self.watch_region(local, run);
            }
        }
        self.watch();
        self.look_at_disk();
    }

    /// Start what watches by the configuration.
    fn watch(&mut self) {
        let (term, to) = self.source.begin();
        self.their_term = Some(term);
        for observer in ALL {
            if let Begin::ByConfiguration(begin) = observer.begin {
                let watching = begin(&self.ground, to.clone());
                self.others.extend(watching.map(|watching| self.tasks.spawn(watching)));
            }
        }
    }

    /// Start what watches one region, whose unit is in this run.
    fn watch_region(&mut self, local: LocalRegion, run: Option<Run>) {
        let ((term, to), (run, watched)) = (self.source.begin(), watch::channel(run));
        let mut tasks = Vec::new();
        for observer in ALL {
            if let Begin::ByRegion(begin) = observer.begin {
                let region = OfRegion { local: local.clone(), run: watched.clone() };
                tasks.push(self.tasks.spawn(begin(&self.ground, region, to.clone())));
            }
        }
        self.regions.insert(local.name, Watch { run, tasks, _term: term });
    }

    /// Share what looks at the disk, for those who change it.
    pub(in crate::supervisor) fn scanner(&self) -> &Arc<Scanner> {
        &self.ground.scanner
    }

    /// Name the places at which the kernel tells of the machine.
    pub(in crate::supervisor) fn kernel(&self) -> Kernel {
        self.ground.kernel.clone()
    }

    /// Give every beat of the observers' rhythm.
    pub(in crate::supervisor) fn turns(&self) -> Beats {
        self.ground.rhythm.every(Duration::ZERO)
    }

    /// Tell those that have let others go first that all serves.
    pub(in crate::supervisor) fn settle(&self) {
        self.ground.settled.send_if_modified(|settled| !std::mem::replace(settled, true));
    }

    /// Return when an observer has ended, which none does while it is listened to: without it an
    /// old fact would stand for ever. Cancel-safe.
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

    /// Tell which run a region's unit is in.
    pub(in crate::supervisor) fn set_run(&self, name: &RegionName, run: Option<Run>) {
        let pid = run.as_ref().map(|run| run.pid);
        if let Some(watch) = self.regions.get(name) {
            watch.run.send_if_modified(|known| {
                let changed = *known != run;
                *known = run;
                changed
            });
        }
        self.ground.pids.send_if_modified(|pids| {
            let known = match pid {
                Some(pid) => pids.insert(name.clone(), pid),
                None => pids.remove(name),
            };
            known != pid
        });
    }

    /// Ask for a look at the sockets.
    pub(in crate::supervisor) fn look_at_sockets(&self) {
        self.ground.looks.ask(sockets::Watch::NAME);
    }

    /// Ask for a look at who writes to regions.
    pub(in crate::supervisor) fn look_at_intruders(&self) {
        self.ground.looks.ask(intruders::Watch::NAME);
    }

    /// Ask for a look at the disk, and at everything else that a start depends on and that is no event.
    pub(in crate::supervisor) fn look_at_disk(&self) {
        ALL.iter().filter(|observer| observer.before_a_start).for_each(|observer| self.ground.looks.ask(observer.name));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
