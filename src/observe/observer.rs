//! Declaration of an observer. Each declares itself by one trait, and [`ALL`](crate::observe::ALL) is the
//! list of them: how they are begun, how old what they tell may be, and when it is forgotten comes from
//! there. Nothing of what any of them sees.

use crate::config::Configuration;
use crate::decide::facts::{Facts, Fresh, Run};
use crate::names::RegionName;
use crate::observe::owners::Pids;
use crate::observe::rhythm::Rhythm;
use crate::observe::scanner::Scanner;
use crate::observe::{NobodyListens, Observation, Publisher};
use crate::port_map::LocalRegion;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// An observer at work: it ends when nobody listens any more.
pub type Watching = BoxFuture<'static, Result<(), NobodyListens>>;

/// An observer, as it declares itself.
pub trait Observer: 'static {
    /// Name of the observer's module.
    const NAME: &'static str;
    /// Time between its looks when nothing has told it to look; `None`: it waits to be told.
    const SLOW_LOOK: Option<Duration>;
    /// The word for what it looks at, when three slow looks were missed and that is told; `None`: it is looked at so
    /// rarely that it is not missed, or its silence is told otherwise.
    const MISSED: Option<&'static str>;
    /// A start depends on it and no event tells of it: whoever asks for a look at the disk asks for one at this.
    const BEFORE_A_START: bool = false;
    /// Beginning of the observer, and for how long it watches.
    const BEGIN: Begin;
    /// Fact that the observer tells.
    type Fact;

    /// Make the observation of a fact, as it is told: [`Observation::known`], if it is one of [`Facts`] as it
    /// is; another one, if more comes of it than that.
    fn tell(fact: Self::Fact) -> Observation;

    /// Tell whether the first picture of the sled need not wait for it any more.
    fn is_known(config: &Configuration, facts: &Facts) -> bool;

    /// Forgets what another configuration has made old, for what was seen when it was looked at for that one. What
    /// was told and nobody took yet is old with it ([`Told`](crate::observe::Told)).
    fn forget(taken_over: &TakenOver, facts: &mut Facts);
}

/// Beginning of an observer, and for how long it watches; `None`: there is nothing for it to watch.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// Watching for good, whatever the configuration.
    Once(fn(&Ground, Publisher) -> Option<Watching>),
    /// Watching for one configuration: it begins anew with the next.
    ByConfiguration(fn(&Ground, Publisher) -> Option<Watching>),
    /// Watching for one region, until that is elsewhere or spoken to otherwise.
    ByRegion(fn(&Ground, OfRegion, Publisher) -> Watching),
}

/// Ground that observers watch by.
#[derive(Debug)]
pub struct Ground {
    /// Configuration in force.
    pub config: Arc<Configuration>,
    /// Directory of the configuration's files.
    pub config_dir: PathBuf,
    /// Places at which the kernel tells of the machine.
    pub kernel: Kernel,
    /// Rhythm of the looks.
    pub rhythm: Rhythm,
    /// Looks at the disk, for those who change it as well.
    pub scanner: Arc<Scanner>,
    /// The main processes of the regions' units.
    pub pids: watch::Sender<Pids>,
    /// All serves: whoever lets others go first goes on.
    pub settled: watch::Sender<bool>,
    /// Observers that can be asked for a look.
    pub looks: Looks,
}

/// Places at which the kernel tells of the machine. A test lays out its own, so that the machine that it runs on tells
/// nothing of itself.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Mount point of sysfs.
    pub sysfs: PathBuf,
    /// Mount point of proc(5), for what is the machine's and not a process's.
    pub proc: PathBuf,
    /// Log of the kernel, opened for reading; `None`: nobody has given it.
    pub log: Option<Arc<File>>,
}

/// A region that is watched.
#[derive(Debug)]
pub struct OfRegion {
    /// Place of the region.
    pub local: LocalRegion,
    /// The run that its unit is in.
    pub run: watch::Receiver<Option<Run>>,
}

/// Notice that another configuration has been taken over.
#[derive(Debug, Clone, Copy)]
pub struct TakenOver<'a> {
    /// Configuration that was in force.
    pub old: &'a Configuration,
    /// Configuration that is in force now.
    pub new: &'a Configuration,
    /// Facts that were seen when it was looked at for that.
    pub fresh: &'a Fresh,
    /// The regions that are started anew by it: what is known of these is known of another place.
    pub anew: &'a BTreeSet<RegionName>,
}

/// Bells by which each observer is asked for a look at once, by its name.
#[derive(Debug)]
pub struct Looks(BTreeMap<&'static str, Arc<Notify>>);

impl Looks {
    /// Make a bell for each of these.
    pub fn of(all: &[Declared]) -> Self {
        Self(all.iter().map(|observer| (observer.name, Arc::default())).collect())
    }

    /// Asks for a look.
    pub fn ask(&self, name: &str) {
        if let Some(look) = self.0.get(name) {
            look.notify_one();
        }
    }

    /// Find the bell by which an observer hears that it is asked.
    pub fn heard_by<O: Observer>(&self) -> Arc<Notify> {
        self.0.get(O::NAME).cloned().unwrap_or_default()
    }
}

/// Declaration that an observer has made.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// [`Observer::NAME`].
    pub name: &'static str,
    /// [`Observer::SLOW_LOOK`].
    pub slow_look: Option<Duration>,
    /// [`Observer::MISSED`].
    pub missed: Option<&'static str>,
    /// [`Observer::BEFORE_A_START`].
    pub before_a_start: bool,
    /// [`Observer::BEGIN`].
    pub begin: Begin,
    /// [`Observer::is_known`].
    pub is_known: fn(&Configuration, &Facts) -> bool,
    /// [`Observer::forget`].
    pub forget: fn(&TakenOver, &mut Facts),
}

impl Declared {
    /// Read the declaration of this observer.
    pub const fn by<O: Observer>() -> Self {
        Self {
            name: O::NAME,
            slow_look: O::SLOW_LOOK,
            missed: O::MISSED,
            before_a_start: O::BEFORE_A_START,
            begin: O::BEGIN,
            is_known: O::is_known,
            forget: O::forget,
        }
    }
}
