//! Reload: another configuration is taken over while everything runs. What it changes is shown first,
//! one with a fault changes nothing, and nobody is disturbed whom it does not concern. What is
//! promised of it is promised from what was looked at for it, and not from what was known before; and
//! before it is taken over it is put on record ([`kept`](crate::supervisor::configuration::in_force)).
//!
//! The fences, whom the regions let in, follow at once, as the plan finds that it is not as the map
//! says. What becomes of regions that moved or went is in
//! [`relocations`](crate::supervisor::relocations).

use crate::api::{ConfigNumber, Sentence};
use crate::appliance::network;
use crate::check::Code;
use crate::config::{Configuration, History, Texts};
use crate::config_dir;
use crate::decide::difference::{gone, started_anew};
use crate::decide::facts::{Facts, Fresh, Region};
use crate::decide::prospect::{prospect, seen_now};
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::observe::observer::TakenOver;
use crate::source::Fault;
use crate::store::in_force;
use crate::supervisor::Supervisor;
use crate::supervisor::configuration::Report;
use crate::supervisor::configuration::old_facts;
use crate::supervisor::configuration::preview::Look;
use crate::supervisor::tasks::run_unheard;
use crate::systemd::job;
use crate::systemd::names::NETWORK_TRIAL;
use crate::wire::{self, Difference, Refusal};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Manner of a reload: what is done with the configuration in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Show what it would change.
    Show,
    /// Take it over, unless a host that is connected would be cut off or interrupted, a volume could not
    /// be attached any more, a region would stop, or something that is kept would be destroyed.
    Gently,
    /// Take it over as who cannot be asked: hosts may be interrupted, as the map says, and nothing else.
    Unattended,
    /// Take it over.
    Apply,
}

/// A wish to look at a configuration, or to take it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloading {
    /// What is done with it.
    pub how: Reload,
    /// Configuration that was in force under this number, in place of the files; it is only shown.
    pub kept: Option<u64>,
    /// Name of who asks.
    pub by: String,
}

impl Reload {
    /// Read what is asked for by these parameters; who only looks changes nothing.
    pub fn asked(dry_run: bool, yes: bool, unattended: bool) -> Self {
        match (dry_run, yes, unattended) {
            (true, ..) => Self::Show,
            (false, true, _) => Self::Apply,
            (false, false, true) => Self::Unattended,
            (false, false, false) => Self::Gently,
        }
    }
}

impl Reloading {
    /// Put together what is asked for.
    ///
    /// # Errors
    /// What was in force before is only shown.
    pub fn new(how: Reload, kept: Option<ConfigNumber>, by: Option<Sentence>) -> Result<Self, wire::Error> {
        if kept.is_some() && how != Reload::Show {
            let remedy = "write its files first: sledctl config restore";
            return Err(wire::Error::new(Refusal::BadQuery, "a configuration that is kept is only shown", remedy));
        }
        let by = by.map(|by| by.0).filter(|by| !by.is_empty());
        let by = by.unwrap_or_else(|| "POST /v1/reload".into());
        Ok(Self { how, kept: kept.map(|number| number.0), by })
    }
}

/// A configuration, as it was read for a request, and what was looked at for it.
pub(in crate::supervisor) struct Reading {
    /// Configuration in force then, with which it was compared.
    of: Arc<Configuration>,
    texts: Texts,
    read: Result<(Arc<Configuration>, Fresh), wire::Error>,
    asked: Reloading,
    answer: Reply,
}

/// A configuration that is to be taken over, and what came of putting it on record.
pub(in crate::supervisor) struct Recorded {
    texts: Texts,
    new: Arc<Configuration>,
    fresh: Fresh,
    found: Difference,
    by: String,
    history: Result<History, String>,
    answer: Reply,
}

impl Supervisor {
    /// Take what was done.
    pub(in crate::supervisor) fn hear_configuration(&mut self, report: Report) {
        match report {
            Report::Read(reading) => self.hear_reading(*reading),
            Report::Recorded(recorded) => self.hear_recorded(*recorded),
            Report::Kept(written) => self.kept.hear(written, &mut self.facts),
        }
    }

    /// Read the files, and look at what they speak of, aside from the loop.
    pub(in crate::supervisor) fn read_again(&self, asked: Reloading, answer: Reply) {
        let texts = asked.kept.map(|number| self.kept.texts(number)).transpose();
        let texts = match texts {
            Ok(texts) => texts,
            Err(why) => return refuse(answer, why, false),
        };
        let (dir, old) = (self.kept.dir().to_owned(), self.config.clone());
        let (scanner, kernel) = (self.lookout.observers.scanner().clone(), self.lookout.observers.kernel());
        let alive = |(name, region): (&_, &Region)| Some((Clone::clone(name), region.alive()?));
        let pids = self.facts.regions.iter().filter_map(alive).collect();
        let of = old.clone();
        // If it is cut short, whoever asked is told by the answer that does not come.
        self.tasks().run(|_| None, async move {
            let read: Result<(Texts, Result<Configuration, Vec<Fault>>), _> = tokio::task::spawn_blocking(move || {
                let texts = texts.unwrap_or_else(|| config_dir::texts(&dir));
                let read = config_dir::read_texts(&texts, &dir);
                (texts, read)
            })
            .await;
            let (texts, read) = match read {
                Ok((texts, Ok(new))) => {
                    let new = Arc::new(new);
                    let look = Look { old, new: new.clone(), scanner, kernel, pids };
                    (texts, look.take().await.map(|fresh| (new, fresh)))
                }
                Ok((texts, Err(faults))) => (texts, Err(refused_for(&faults))),
                Err(why) => (Texts::default(), Err(wire::Error::new(Refusal::Failed, why.to_string(), "ask again"))),
            };
            Some(Report::Read(Box::new(Reading { of, texts, read, asked, answer })))
        });
    }

    /// Take what was read.
    fn hear_reading(&mut self, Reading { of, texts, read, asked, answer }: Reading) {
        if !Arc::ptr_eq(&of, &self.config) {
            // Another one is in force since, and what was looked at was looked at for the one before.
            return self.read_again(asked, answer);
        }
        let decided = read.and_then(|(new, fresh)| Ok((self.decide(&new, &texts, &fresh, asked.how)?, new, fresh)));
        match decided {
            Err(why) => refuse(answer, why, asked.how != Reload::Show),
            Ok((found, ..)) if asked.how == Reload::Show || found.from_files == found.to_files => {
                let applied = asked.how != Reload::Show;
                let number = self.kept.in_force().number.filter(|_| applied);
                // One that was taken back is tried again, as whoever asks has mended what was in its way. Who cannot be
                // asked has mended nothing.
                if applied && asked.how != Reload::Unattended {
                    self.try_network();
                }
                _ = answer.send(Ok(Answer::Difference(Box::new(Difference { applied, number, ..found }))));
            }
            Ok((found, new, fresh)) => self.record((texts, new, fresh), found, asked.by, answer),
        }
    }

    /// Decide what it would change, if it may be taken over as was asked.
    fn decide(
        &self,
        new: &Configuration,
        texts: &Texts,
        fresh: &Fresh,
        how: Reload,
    ) -> Result<Difference, wire::Error> {
        let mut found = prospect(&self.config, new, &self.facts, fresh);
        (found.from_files, found.to_files) = (self.kept.in_force().digest, texts.digest());
        if how == Reload::Show {
            found.refused = may_be_taken(&found, Reload::Gently).err();
            return Ok(found);
        }
        may_be_taken(&found, how)?;
        if self.systemd.bus().is_none() {
            let message = "nothing was changed: systemd does not answer, and could not be told";
            return Err(wire::Error::new(Code::SystemdUnreachable, message, "systemctl status dbus"));
        }
        self.nobody_is_at(new, &seen_now(&self.facts, fresh))?;
        if self.kept.is_busy() {
            let message = "nothing was changed: another reload is under way";
            return Err(wire::Error::new(Refusal::Busy, message, "ask again in a moment"));
        }
        Ok(found)
    }

    /// Put it on record: what the machine would be run by after a power cut is what it is run by.
    fn record(
        &mut self,
        (texts, new, fresh): (Texts, Arc<Configuration>, Fresh),
        found: Difference,
        by: String,
        answer: Reply,
    ) {
        self.kept.record(true);
        let dir = self.kept.dir().to_owned();
        // If it is cut short nothing is taken over, and what is in force is put on record again.
        let lost = |why| Some(Report::Kept(Err(why)));
        self.tasks().run(lost, async move {
            let (written, map, who) = (texts.clone(), new.map.digest.clone(), by.clone());
            let done = tokio::task::spawn_blocking(move || in_force::record(&dir, &written, &map, &who)).await;
            let history = done.map_err(|why| why.to_string()).and_then(|done| done.map_err(|why| why.to_string()));
            let recorded = Recorded { texts, new, fresh, found, by, history, answer };
            Some(Report::Recorded(Box::new(recorded)))
        });
    }

    /// Hear that it is on record, or cannot be put there: then nothing is changed.
    fn hear_recorded(&mut self, recorded: Recorded) {
        self.kept.record(false);
        let Recorded { texts, new, fresh, mut found, by, history, answer } = recorded;
        let history = match history {
            Ok(history) => history,
            Err(why) => {
                let message = format!("nothing was changed: what is in force could not be kept: {why}");
                let remedy = "make room for it and make it writable: /var/lib/sled";
                return refuse(answer, wire::Error::new(Refusal::NotKept, message, remedy), true);
            }
        };
        for change in &found.changes {
            tracing::warn!("the configuration is another: {}: {}; {}", change.subject, change.what, change.effect);
        }
        let (from, to) = (&found.from_files, &found.to_files);
        tracing::info!("the configuration in force is {to}, by {by}; it was {from}");
        self.kept.replace(texts, by, history);
        self.facts.in_force = Some(self.kept.in_force());
        // One that was taken back is in sled.toml still, and is not tried again by a change of something else.
        let other_network = network::asked(&new) != network::asked(&self.config);
        if *new != *self.config {
            self.take_over(new, &fresh);
        }
        if other_network {
            self.try_network();
        }
        (found.applied, found.number) = (true, self.kept.in_force().number);
        _ = answer.send(Ok(Answer::Difference(Box::new(found))));
    }

    /// Have the network of the configuration in force tried out, if it is another: that of an image alone is its own
    /// business. The unit goes on with it whatever becomes of the supervisor.
    fn try_network(&self) {
        let Some(bus) = self.systemd.bus().cloned().filter(|_| self.facts.image.is_some()) else { return };
        run_unheard(async move {
            if let Err(why) = job::restart(&bus, NETWORK_TRIAL).await {
                tracing::error!("another network is not tried out, and the one before is in force: {why}");
            }
        });
    }

    /// Make sure that no region is taken from what is under way: that goes on with what it began
    /// with.
    fn nobody_is_at(&self, new: &Configuration, now: &Facts) -> Result<(), wire::Error> {
        let busy = |what: String, remedy: String| {
            Err(wire::Error::new(Refusal::Busy, format!("nothing was changed: {what}"), remedy))
        };
        if let Some(job) = self.facts.upgrading {
            let waits = self.facts.awaiting.values().find(|awaited| awaited.job == job);
            let waits = waits.map(|awaited| format!(", and waits: {}", awaited.why.message)).unwrap_or_default();
            let remedy = format!(
                "wait until it is done (sledctl jobs show {job}); or cancel it, reload, and roll it again: sledctl \
                 jobs cancel {job}, sledctl reload, sledctl downstairs upgrade"
            );
            return busy(format!("job {job} rolls another downstairs program over the regions{waits}"), remedy);
        }
        let moved: Vec<_> = started_anew(&self.config, new, now).into_iter().map(|local| local.name).collect();
        let touched = gone(&self.config, new).into_iter().chain(moved);
        match touched.into_iter().find(|name| self.facts.busy.contains_key(name)) {
            None => Ok(()),
            Some(name) => {
                let job = self.jobs.at(&name).map_or_else(|| "JOB".to_owned(), |job| job.to_string());
                let remedy = format!("wait until it is done (sledctl jobs), or cancel it: sledctl jobs cancel {job}");
                busy(format!("a job is at {name}, and the new map moves or removes it"), remedy)
            }
        }
    }

    pub(in crate::supervisor) fn take_over(&mut self, new: Arc<Configuration>, fresh: &Fresh) {
        let anew = started_anew(&self.config, &new, &seen_now(&self.facts, fresh));
        let old = std::mem::replace(&mut self.config, new);
        let config = self.config.clone();
        self.relocations.take_over(&old, &config, &anew);
        for name in gone(&old, &config) {
            self.facts.regions.remove(&name);
        }
        for local in config.local_regions() {
            self.facts.regions.entry(local.name).or_default();
        }
        let anew: BTreeSet<_> = anew.into_iter().map(|local| local.name).collect();
        self.systemd.take_over();
        old_facts::forget(&TakenOver { old: &old, new: &config, fresh, anew: &anew }, &mut self.facts);
        self.publisher.configure(config.clone());
        self.notify.configure(&config);
        self.jobs.take_over(config.clone());
        self.lookout.take_over(&old, &config, self.systemd.configuration());
        self.lookout.tell_crashes(&config, &mut self.facts);
    }
}

/// Decide whether a configuration may be taken over as was asked.
///
/// # Errors
/// Everything that it would do and that was not said to be meant.
fn may_be_taken(found: &Difference, how: Reload) -> Result<(), wire::Error> {
    if let Some(change) = found.changes.iter().find(|change| change.needs_restart) {
        let message = format!("nothing was changed: {} cannot be changed while sledd runs", change.what);
        return Err(wire::Error::new(Refusal::NeedsRestart, message, change.effect.clone()));
    }
    let told = |hit: &wire::Change| format!("{}: {}", hit.subject, hit.effect);
    let interrupts =
        found.changes.iter().filter(|change| change.interrupts && !change.needs_yes && how == Reload::Gently);
    let interrupts: Vec<_> = interrupts.map(told).collect();
    let mut harms: Vec<_> = found.changes.iter().filter(|change| change.needs_yes).map(told).collect();
    harms.extend(
        found
            .unattachable
            .iter()
            .map(|lost| format!("volume {}: it may be attached now, and could not be then: {}", lost.volume, lost.why)),
    );
    if how == Reload::Apply || (interrupts.is_empty() && harms.is_empty()) {
        return Ok(());
    }
    let (code, what) = if harms.is_empty() {
        (Refusal::HostsConnected, "hosts that are connected would be interrupted")
    } else {
        (Refusal::NeedsYes, "this would do harm")
    };
    let list = interrupts.into_iter().chain(harms).collect::<Vec<_>>().join("; ");
    let message = format!("nothing was changed: {what}: {list}");
    Err(wire::Error::new(code, message, "if that is meant: sledctl reload --yes"))
}

fn refuse(answer: Reply, why: wire::Error, aloud: bool) {
    if aloud {
        tracing::error!("the configuration is as it was: {}", why.message);
    }
    _ = answer.send(Err(why));
}

fn refused_for(faults: &[Fault]) -> wire::Error {
    let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let message = format!("nothing was changed: the configuration has {} fault(s):\n{list}", faults.len());
    wire::Error::new(Code::ConfigInvalid, message, "mend them, then: sledctl reload")
}
