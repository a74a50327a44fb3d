//! What an observer is. Each declares itself by one trait, and [`ALL`](crate::observe::ALL) is the list of them: how
//! they are begun, how old what they tell may be, and when it is forgotten comes from there. Nothing of what any of
//! them sees.

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
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// An observer at work: it ends when nobody listens any more.
pub type Watching = BoxFuture<'static, Result<(), NobodyListens>>;

/// An observer, as it declares itself.
pub trait Observer: 'static {
    /// Its module's name.
    const NAME: &'static str;
    /// How often it looks when nothing has told it to; `None`: it waits to be told.
    const SLOW_LOOK: Option<Duration>;
    /// The word for what it looks at, when three slow looks were missed and that is told; `None`: it is looked at so
    /// rarely that it is not missed, or its silence is told otherwise.
    const MISSED: Option<&'static str>;
    /// A start depends on it and no event tells of it: whoever asks for a look at the disk asks for one at this.
    const BEFORE_A_START: bool = false;
    /// For how long it watches, and how it begins.
    const BEGIN: Begin;
    /// What it tells.
    type Fact;

    /// Its fact as it is told: [`Observation::known`], if it is one of [`Facts`] as it is; another one, if more comes
    /// of it than that.
    fn tell(fact: Self::Fact) -> Observation;

    /// Whether the first picture of the sled need not wait for it any more.
    fn is_known(config: &Configuration, facts: &Facts) -> bool;

    /// Forgets what another configuration has made old, for what was seen when it was looked at for that one. What
    /// was told and nobody took yet is old with it ([`Told`](crate::observe::Told)).
    fn forget(taken_over: &TakenOver, facts: &mut Facts);
}

/// For how long an observer watches, and how it begins; `None`: there is nothing for it to watch.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// For good, whatever the configuration.
    Once(fn(&Ground, Publisher) -> Option<Watching>),
    /// For one configuration: it begins anew with the next.
    ByConfiguration(fn(&Ground, Publisher) -> Option<Watching>),
    /// For one region, until that is elsewhere or spoken to otherwise.
    ByRegion(fn(&Ground, OfRegion, Publisher) -> Watching),
}

/// What observers watch by.
#[derive(Debug)]
pub struct Ground {
    /// What is in force.
    pub config: Arc<Configuration>,
    /// Where its files are.
    pub config_dir: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// When they look.
    pub rhythm: Rhythm,
    /// Looks at the disk, for those who change it as well.
    pub scanner: Arc<Scanner>,
    /// The main processes of the regions' units.
    pub pids: watch::Sender<Pids>,
    /// All serves: whoever lets others go first goes on.
    pub settled: watch::Sender<bool>,
    /// Who is asked for a look.
    pub looks: Looks,
}

/// A region that is watched.
#[derive(Debug)]
pub struct OfRegion {
    /// Where it is.
    pub local: LocalRegion,
    /// The run that its unit is in.
    pub run: watch::Receiver<Option<Run>>,
}

/// That another configuration has been taken over.
#[derive(Debug, Clone, Copy)]
pub struct TakenOver<'a> {
    /// What was in force.
    pub old: &'a Configuration,
    /// What is.
    pub new: &'a Configuration,
    /// What was seen when it was looked at for that.
    pub fresh: &'a Fresh,
    /// The regions that are started anew by it: what is known of these is known of another place.
    pub anew: &'a BTreeSet<RegionName>,
}

/// By which each observer is asked for a look at once, by its name.
#[derive(Debug)]
pub struct Looks(BTreeMap<&'static str, Arc<Notify>>);

impl Looks {
    /// For each of these.
    pub fn of(all: &[Declared]) -> Self {
        Self(all.iter().map(|observer| (observer.name, Arc::default())).collect())
    }

    /// Asks for a look.
    pub fn ask(&self, name: &str) {
        if let Some(look) = self.0.get(name) {
            look.notify_one();
        }
    }

    /// Where an observer hears that it is asked.
    pub fn heard_by<O: Observer>(&self) -> Arc<Notify> {
        self.0.get(O::NAME).cloned().unwrap_or_default()
    }
}

/// What an observer has declared.
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
    /// What this one has.
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
