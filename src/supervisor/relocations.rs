//! Relocations of regions whose place another configuration has changed: one that is to be at other
//! ports is restarted in its turn, and one that the map does not put here any more is stopped. Data
//! stays where it is.
//!
//! A region leaves the list of those that are to move when it is where it should be, and not before;
//! if one does not come up again, the others stay. One that its volume's other sleds keep back keeps back
//! none of another volume.

use crate::act::units;
use crate::config::Configuration;
use crate::decide::difference::{gone, moved_elsewhere};
use crate::decide::facts::{Awaited, Beat, Facts, Holder, Region};
use crate::decide::repair::may_go_now;
use crate::decide::storage::usable;
use crate::decide::turns::{Asks, Manner, fit, is_spread};
use crate::names::{RegionName, VolumeName};
use crate::port_map::LocalRegion;
use crate::supervisor::Supervisor;
use crate::supervisor::actions::Change;
use crate::supervisor::jobs::context::Context;
use crate::supervisor::jobs::list::CANCELLED;
use crate::supervisor::jobs::work::Work;
use crate::supervisor::systemd::Said;
use crate::supervisor::tasks::run_unheard;
use crate::systemd::names;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};

/// Regions whose place was changed.
#[derive(Default)]
pub(in crate::supervisor) struct Relocations {
    /// Regions that are to be restarted.
    waiting: BTreeSet<RegionName>,
    /// Regions that were stopped to make room for another, as long as others are to move.
    aside: BTreeSet<RegionName>,
    /// Jobs that restart one of them each: one of a volume, and one beside those that wait for other sleds.
    jobs: BTreeMap<u64, RegionName>,
    /// Regions that run and are not in the map, as long as it cannot be told whether that is right.
    strays: Vec<RegionName>,
    /// Regions of which was told that they wait until what they miss could be repaired.
    told: BTreeSet<RegionName>,
    /// Regions of each volume, by their index, that have moved on other sleds as well: whoever used them
    /// where they were uses them no more, and these sleds would wait for each other in vain.
    elsewhere: BTreeMap<VolumeName, [bool; 3]>,
    /// Regions that the map had here, until another one was taken over.
    removed: BTreeSet<RegionName>,
}

impl Relocations {
    /// Record what another configuration moves.
    fn note(&mut self, old: &Configuration, new: &Configuration, anew: &[LocalRegion]) {
        for volume in anew.iter().map(|local| local.name.volume()) {
            let known = self.elsewhere.entry(volume.clone()).or_default();
            known.iter_mut().zip(moved_elsewhere(old, new, volume)).for_each(|(known, moved)| *known |= moved);
        }
    }
}

/// Step that is to be done next.
enum Step {
    /// This region is restarted, which moves it.
    Restart(LocalRegion, Manner),
    /// This region steps aside: others want its ports, and it theirs.
    Aside(RegionName),
}

impl Relocations {
    /// Take over another configuration, by which these regions of ours are started anew.
    pub(in crate::supervisor) fn take_over(&mut self, old: &Configuration, new: &Configuration, anew: &[LocalRegion]) {
        self.note(old, new, anew);
        self.removed.extend(gone(old, new));
        new.local_regions().iter().for_each(|local| _ = self.removed.remove(&local.name));
        self.waiting.extend(anew.iter().map(|local| local.name.clone()));
    }

    /// Stop what runs and is not in the map. One to which a host is connected only if the map that
    /// is in force was taken over knowing that: it is not the slip of a pen that cuts him off.
    fn stop_strays(&self, strays: Vec<RegionName>, bus: &zbus::Connection, context: &Context) {
        let here: Vec<_> = context.config.local_regions().into_iter().map(|local| local.name).collect();
        for name in strays.into_iter().filter(|name| !here.contains(name)) {
            let (context, bus, meant) = (context.clone(), bus.clone(), self.removed.contains(&name));
            run_unheard(async move { stop_stray(&name, meant, &bus, &context).await });
        }
    }

    /// Find the next step, if it is time for one.
    fn next(&mut self, config: &Configuration, facts: &Facts) -> Option<Step> {
        if facts.stale_units {
            return None;
        }
        if self.waiting.is_empty() {
            self.aside.clear();
            self.told.clear();
            self.elsewhere.clear();
            return None;
        }
        self.waiting.retain(|name| is_elsewhere(facts, name));
        let wanted = self.to_move(config, facts);
        // One that a host could not repair afterwards waits where it is until there is room for that.
        let may_go = |local: &LocalRegion| may_go_now(config, facts, local).is_ok();
        let next = wanted.iter().find(|local| fit(config, facts, local).is_ok() && may_go(local));
        let kept = wanted.iter().filter_map(|local| Some((&local.name, may_go_now(config, facts, local).err()?)));
        for (name, why) in kept.filter(|(name, _)| self.told.insert((*name).clone())) {
            tracing::warn!(REGION = %name, CODE = %why.code, "it is not moved to where the port map has it now: {}", why.message);
        }
        if let Some(local) = next {
            return Some(Step::Restart(local.clone(), self.manner(&local.name)));
        }
        if !self.jobs.is_empty() {
            // It may be one of these that is in the way, and it goes away by itself.
            return None;
        }
        // They want each other's ports: one steps aside, and is started when its own are free.
        let local = wanted.iter().find(|local| self.waits_for_another(facts, local) && may_go(local))?;
        self.aside.insert(local.name.clone());
        Some(Step::Aside(local.name.clone()))
    }

    /// Choose how a region is restarted that is to move.
    fn manner(&self, name: &RegionName) -> Manner {
        // Siblings that are to move as well serve no host where the map has them.
        let sibling = |other: &&RegionName| *other != name && other.volume() == name.volume();
        let force = self.waiting.iter().chain(&self.aside).any(|other| sibling(&other));
        let elsewhere = self.elsewhere.get(name.volume());
        let asks = elsewhere.map_or(Asks::Patiently, |moved| Asks::Unmoved(*moved));
        Manner { force, unrepaired: false, asks, rolling: true, starts: true }
    }

    /// Find those whose turn may be now. What waits for other sleds, for as long as that takes, keeps none of
    /// another volume back.
    fn to_move(&self, config: &Configuration, facts: &Facts) -> Vec<LocalRegion> {
        let waits = |(job, name): (&u64, &RegionName)| {
            facts.awaiting.get(name).is_some_and(|awaited: &Awaited| awaited.job == *job)
        };
        if !self.jobs.iter().all(waits) {
            return Vec::new();
        }
        let under_way: BTreeSet<_> = self.jobs.values().map(RegionName::volume).collect();
        let may = |name: &RegionName| !facts.busy.contains_key(name) && !under_way.contains(name.volume());
        let all = config.local_regions().into_iter();
        let mut wanted: Vec<_> = all.filter(|local| self.waiting.contains(&local.name) && may(&local.name)).collect();
        // Those of volumes that have regions on other sleds may have to wait for these.
        wanted.sort_by_key(|local| is_spread(config, &local.name));
        wanted
    }

    /// Record that a job that restarts one of them has ended: well, or why not; and name the jobs that are to
    /// be cancelled for that.
    fn ended(&mut self, job: u64, why: Option<&wire::Error>) -> Vec<u64> {
        match (self.jobs.remove(&job), why) {
            (None, _) | (_, None) => {}
            (Some(name), Some(why)) if why.code == CANCELLED => {
                // It is this one that is not wanted.
                self.waiting.remove(&name);
                tracing::warn!(REGION = %name, "{name} stays where it is, as job {job} was cancelled: sledctl region restart {name} moves it to where the port map has it");
            }
            (Some(name), Some(why)) => {
                let left: Vec<_> = std::mem::take(&mut self.waiting).iter().map(ToString::to_string).collect();
                tracing::error!(
                    REGION = %name,
                    "{name} was not moved: {} (sledctl jobs show {job}); these stay where they are until sledctl region restart: {}",
                    why.message, left.join(" ")
                );
                return std::mem::take(&mut self.jobs).into_keys().collect();
            }
        }
        Vec::new()
    }

    /// Tell whether one of a region's ports is still held by another that is to move.
    fn waits_for_another(&self, facts: &Facts, local: &LocalRegion) -> bool {
        let sockets = facts.regions.get(&local.name).and_then(|region: &Region| region.sockets.as_ref());
        let held = |holder: &Holder| match holder {
            Holder::Other(stranger) => {
                self.waiting.iter().any(|other| stranger.unit.as_deref() == Some(&names::unit(other)))
            }
            _ => false,
        };
        sockets.is_some_and(|sockets| held(&sockets.data) || held(&sockets.repair))
    }
}

impl Supervisor {
    /// Look for what is out of its place, and move the next region: systemd knows the units as they
    /// are configured now.
    pub(in crate::supervisor) fn put_in_place(&mut self, bus: &zbus::Connection) {
        let (config, bus) = (self.config.clone(), bus.clone());
        self.systemd.ask(|_| Said::Strays(Vec::new()), async move {
            let strays = units::strays(&bus, &config).await;
            let strays = strays.inspect_err(|why| tracing::warn!("systemd does not tell which units run: {why}"));
            Said::Strays(strays.unwrap_or_default())
        });
        self.move_next();
    }

    /// Take which regions run and are not in the map.
    pub(in crate::supervisor) fn hear_strays(&mut self, strays: Vec<RegionName>) {
        match self.systemd.bus() {
            Some(bus) if usable(&self.config, &self.facts).is_ok() => {
                self.relocations.stop_strays(strays, bus, self.jobs.context());
            }
            // On a disk that is another sled's the map may be another's, too: it is waited for.
            _ => self.relocations.strays = strays,
        }
    }

    /// Do what could not be done so far.
    pub(in crate::supervisor) fn move_again(&mut self) {
        if !self.relocations.strays.is_empty() {
            let strays = std::mem::take(&mut self.relocations.strays);
            self.hear_strays(strays);
        }
        self.move_next();
    }

    /// Move the next region that is to move, if it is time for it.
    pub(in crate::supervisor) fn move_next(&mut self) {
        let (Some(bus), Some(disk)) = (self.systemd.bus().cloned(), self.disk()) else { return };
        match self.relocations.next(&self.config, &self.facts) {
            None => {}
            Some(Step::Aside(name)) => self.change(name, Change::Stop, bus),
            Some(Step::Restart(local, manner)) => {
                let name = local.name.clone();
                let job = self.begin(Work::restart(local, manner), bus, disk);
                self.relocations.jobs.insert(job.id, name);
            }
        }
    }

    /// Record that a job that nobody waits for waits for other sleds itself, or does not any more.
    pub(in crate::supervisor) fn hear_awaits(&mut self, name: RegionName, what: Option<Awaited>) {
        match what {
            Some(what) => _ = self.facts.awaiting.insert(name, what),
            None => _ = self.facts.awaiting.remove(&name),
        }
        self.move_next();
    }

    /// Record that a job has ended, which may have restarted one of them: well, or why not.
    pub(in crate::supervisor) fn moved(&mut self, job: u64, why: Option<&wire::Error>) {
        for other in self.relocations.ended(job, why) {
            // One that is past that point is done.
            _ = self.jobs.list.cancel(other);
        }
    }
}

async fn stop_stray(name: &RegionName, meant: bool, bus: &zbus::Connection, context: &Context) {
    let hosts = context.hosts(name).await.map(|hosts| !hosts.is_empty()).unwrap_or(true);
    if hosts && !meant {
        tracing::error!(REGION = %name, "{name} runs and is not in the port map; hosts use it, so it is left: put it back into the map, or sledctl region delete {name}");
        return;
    }
    tracing::warn!(REGION = %name, "{name} runs, and the port map has no such region here: it is stopped");
    if let Err(why) = units::stop(bus, name).await {
        tracing::error!(REGION = %name, "{name} is not stopped: {why}");
    }
}

/// Tell whether a region runs, and not where the configuration has it, as far as is known.
fn is_elsewhere(facts: &Facts, name: &RegionName) -> bool {
    let Some(region) = facts.regions.get(name).filter(|region| region.runs()) else { return false };
    let otherwise = region.pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Otherwise);
    let known = region.sockets.as_ref().filter(|sockets| sockets.pid.is_some() && sockets.pid == region.alive());
    otherwise || known.is_none_or(|sockets| !sockets.elsewhere.is_empty() || sockets.data != Holder::Own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::jobs::list::Ended;
    use crate::supervisor::tests::{spread, supervisor_of};
    use crate::wire::JobKind;
    use crate::wire::Refusal;
    use std::time::Duration;

    fn names(locals: Vec<LocalRegion>) -> Vec<String> {
        locals.into_iter().map(|local| local.name.to_string()).collect()
    }

    fn to_move(supervisor: &Supervisor) -> Vec<LocalRegion> {
        supervisor.relocations.to_move(&supervisor.config, &supervisor.facts)
    }

    fn awaited(job: u64) -> Awaited {
        Awaited { job, why: wire::Error::new(Refusal::SiblingDown, "x", "y") }
    }

    /// Make a supervisor of which every region is to move, and at whose spread volume a job is.
    fn moving() -> (Supervisor, crate::supervisor::Inbox, u64, RegionName) {
        let (mut supervisor, inbox) = supervisor_of(spread());
        let here = supervisor.config.local_regions();
        supervisor.relocations.waiting = here.iter().map(|local| local.name.clone()).collect();
        let name = here.into_iter().map(|local| local.name).find(|name| is_spread(&supervisor.config, name)).unwrap();
        let (job, _) = supervisor.jobs.list.register(JobKind::Restart, &name);
        supervisor.relocations.jobs.insert(job.id, name.clone());
        (supervisor, inbox, job.id, name)
    }

    #[tokio::test]
    async fn what_waits_for_other_sleds_keeps_no_other_volume_back() {
        let (mut supervisor, _inbox, job, name) = moving();
        assert_eq!(names(to_move(&supervisor)), Vec::<String>::new(), "one after the other");
        supervisor.hear_awaits(name.clone(), Some(awaited(job)));
        assert_eq!(names(to_move(&supervisor)), ["local-0", "local-1", "local-2"], "and none of its own volume");
        // One of these is under way.
        let other: RegionName = "local-0".parse().unwrap();
        let (second, _) = supervisor.jobs.list.register(JobKind::Restart, &other);
        supervisor.relocations.jobs.insert(second.id, other);
        assert!(to_move(&supervisor).is_empty());
        supervisor.moved(second.id, None);
        supervisor.hear_awaits(name, None);
        assert!(to_move(&supervisor).is_empty(), "it does not wait any more");
    }

    #[tokio::test]
    async fn one_that_is_cancelled_stays_and_the_others_move() {
        let (mut supervisor, _inbox, job, name) = moving();
        let others = supervisor.relocations.waiting.len() - 1;
        let cancelled = wire::Error::new(CANCELLED, "it was cancelled", "");
        supervisor.end(&name, Ended { id: job, result: Err(cancelled), took: Duration::ZERO }, None);
        assert!(!supervisor.relocations.waiting.contains(&name) && supervisor.relocations.waiting.len() == others);
        assert!(supervisor.relocations.jobs.is_empty() && names(to_move(&supervisor)).len() == others);
    }

    #[tokio::test]
    async fn after_one_that_does_not_come_up_none_is_moved() {
        let (mut supervisor, _inbox, job, name) = moving();
        let other: RegionName = "local-0".parse().unwrap();
        let (second, progress) = supervisor.jobs.list.register(JobKind::Restart, &other);
        supervisor.relocations.jobs.insert(second.id, other);
        let failed = wire::Error::new(Refusal::RestartFailed, "it does not serve", "");
        supervisor.end(&name, Ended { id: job, result: Err(failed), took: Duration::ZERO }, None);
        assert!(supervisor.relocations.waiting.is_empty() && supervisor.relocations.jobs.is_empty());
        assert!(progress.check().is_err(), "one that waits is not moved later either");
    }
}
