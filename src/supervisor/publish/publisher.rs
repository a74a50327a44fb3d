//! Last verdict as the faces show it: times are put to it, every body is serialised once at most, and
//! a volume's revision grows when its body changes.

use crate::check::Severity;
use crate::clean;
use crate::config::Configuration;
use crate::decide::attach::attached;
use crate::decide::facts::{Busy, Facts};
use crate::decide::finding::Finding;
use crate::decide::scrub;
use crate::decide::verdict::Verdict;
use crate::desk::Publish;
use crate::desk::body::{Body, body};
use crate::desk::bulletin::{Bulletin, pages};
use crate::desk::metrics::Metrics;
use crate::kernel::itself;
use crate::metrics::{Counts, Material, Process};
use crate::names::{RegionName, VolumeName};
use crate::store::since::Since as Told;
use crate::supervisor::publish::events::Events;
use crate::supervisor::publish::hardware_view::hardware;
use crate::supervisor::publish::network_view::{connected, network, network_detail, ports};
use crate::supervisor::publish::page_view::{self, Published};
use crate::supervisor::publish::since::Memory;
use crate::supervisor::publish::storage_view::{holder, storage, storage_detail, uuid};
use crate::supervisor::publish::targets::targets;
use crate::supervisor::tasks::run_unheard;
use crate::times;
use crate::wire::{self, State};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// State of a region, and since when it is in it.
#[derive(Debug, Clone, Copy)]
struct Stamped {
    state: State,
    /// Time by the clock, as it is shown.
    since: Timestamp,
    /// Moment at which this supervisor has seen it.
    seen: Instant,
}

/// Times since which conditions or states hold: the verdict does not know them.
type Since<K> = BTreeMap<K, Timestamp>;

/// Maker of bulletins from verdicts, which it publishes.
pub(in crate::supervisor) struct Publisher {
    config: Arc<Configuration>,
    out: Publish,
    began: Instant,
    started: Timestamp,
    settled_ms: Option<u64>,
    states: BTreeMap<RegionName, Stamped>,
    conditions: Since<(crate::check::Code, String)>,
    volumes: BTreeMap<VolumeName, wire::Volume>,
    status: Option<String>,
    memory: Memory,
    /// What has changed, told to those who read events.
    pub(in crate::supervisor) events: Events,
    /// Bulletin before the last one.
    past: Option<Arc<Bulletin>>,
    /// Channels to those who wait until what is known now has been published.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Publisher {
    /// Begin with nothing published; `memory` is what an earlier supervisor has told.
    pub(in crate::supervisor) fn new(config: Arc<Configuration>, out: Publish, memory: Memory, events: Events) -> Self {
        Self {
            config,
            out,
            began: Instant::now(),
            started: times::now(),
            settled_ms: None,
            states: BTreeMap::new(),
            conditions: BTreeMap::new(),
            volumes: BTreeMap::new(),
            status: None,
            memory,
            events,
            past: None,
            waiting: Vec::new(),
        }
    }

    /// Tell whether anything was published yet.
    pub(in crate::supervisor) fn has_published(&self) -> bool {
        self.status.is_some()
    }

    /// Give the last verdict in a line, for `systemctl status`.
    pub(in crate::supervisor) fn status(&self) -> Option<String> {
        self.status.clone()
    }

    /// Show another configuration from now on.
    pub(in crate::supervisor) fn configure(&mut self, config: Arc<Configuration>) {
        self.events.configure(&config);
        self.config = config;
        let here: Vec<_> = self.config.local_regions().into_iter().map(|local| local.name).collect();
        self.states.retain(|name, _| here.contains(name));
        self.volumes.retain(|volume, _| here.iter().any(|name| name.volume() == volume));
    }

    /// Tell whether a volume may be attached, as was last published; and if not, what was said of it.
    pub(in crate::supervisor) fn ready(&self, volume: &VolumeName) -> Result<(), &[wire::Check]> {
        match self.volumes.get(volume) {
            Some(volume) if volume.ready => Ok(()),
            Some(volume) => Err(&volume.checks),
            None => Err(&[]),
        }
    }

    /// Tell the identities of a volume's regions on this sled, as was last published.
    pub(in crate::supervisor) fn uuids(&self, volume: &VolumeName) -> BTreeMap<RegionName, uuid::Uuid> {
        let regions = self.volumes.get(volume).into_iter().flat_map(|volume| &volume.regions);
        regions.filter_map(|region| Some((region.name.clone(), region.uuid?))).collect()
    }

    /// Tell how long a region has been serving without a break, as far as this supervisor has seen.
    pub(in crate::supervisor) fn serving_for(&self, name: &RegionName) -> Option<Duration> {
        let stamped = self.states.get(name).filter(|stamped| stamped.state == State::Serving)?;
        Some(stamped.seen.elapsed())
    }

    pub(in crate::supervisor) fn publish(
        &mut self,
        facts: &Facts,
        verdict: Verdict,
        jobs: &Arc<BTreeMap<u64, wire::Job>>,
        counts: &Counts,
    ) {
        let now = times::now();
        self.stamp_states(facts, &verdict, jobs, now);
        let checks = self.stamp_findings(&verdict.findings, now);
        self.events.tell(facts, jobs);
        for (name, ready) in self.names_here(&verdict) {
            let next = self.volume(&name, ready, facts, &verdict, &checks, now);
            self.volumes.insert(name, next);
        }
        let sled = self.sled(facts, &checks, now);
        let ready = sled.volumes.iter().filter(|volume| volume.ready).count();
        self.status = Some(status_line(ready, &sled));
        let ports = ports(&self.config, facts, &verdict.states, now);
        let bulletin = self.bulletin(Arc::new(sled), ports, facts, jobs, counts);
        self.past = self.out.send_replace(Some(Arc::new(bulletin)));
        self.waiting.drain(..).for_each(|waiting| _ = waiting.send(()));
    }

    /// Make the bulletin of what is known now; its bodies are written when somebody asks for them.
    fn bulletin(
        &self,
        sled: Arc<wire::Sled>,
        ports: wire::Ports,
        facts: &Facts,
        jobs: &Arc<BTreeMap<u64, wire::Job>>,
        counts: &Counts,
    ) -> Bulletin {
        let (storage, maintenance) = (Arc::new(storage_detail(&self.config, facts)), facts.maintenance.clone());
        let network = network_detail(&self.config, facts, &sled.checks, sled.as_of);
        let machine = hardware(&self.config, facts, &sled.checks, sled.as_of);
        let elsewhere = page_view::elsewhere(&self.config, &sled);
        let (events, days) = (self.events.latest(), self.events.days());
        let published = Published {
            sled: sled.clone(),
            storage: storage.clone(),
            jobs: jobs.clone(),
            elsewhere: elsewhere.clone(),
            days: Arc::clone(&days),
            events: Arc::clone(&events),
        };
        let page = page_view::page(&self.config, facts, published);
        let (whole, counts, reserve_bytes) = (sled.clone(), counts.clone(), storage.reserve_bytes);
        let metrics = Metrics::of(Material { sled: sled.clone(), reserve_bytes, jobs: jobs.clone(), counts }, process);
        let config = self.config.clone();
        Bulletin {
            volumes: pages(&sled),
            elsewhere,
            whole: Some(sled.clone()),
            brief: Body::of(move || body(&whole.brief())),
            sled: Body::of(move || body(&*sled)),
            storage: Body::of(move || body(&*storage)),
            network: Body::of(move || body(&network)),
            hardware: Body::of(move || body(&machine)),
            ports: Body::of(move || body(&ports)),
            targets: Body::of(move || body(&targets(&config))),
            maintenance: Body::of(move || body(&maintenance)),
            page,
            metrics,
            jobs: jobs.clone(),
            events,
            days,
            known: self.known(),
            names: self.config.names.iter().cloned().collect(),
            broken: None,
        }
    }

    /// Tell when what is known now has been published.
    pub(in crate::supervisor) fn tell_when_shown(&mut self, whom: oneshot::Sender<()>) {
        self.waiting.push(whom);
    }

    /// Answer when what is known now has been published: who asks then sees what was answered.
    pub(in crate::supervisor) fn answer_when_shown<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        let (told, heard) = oneshot::channel();
        self.tell_when_shown(told);
        let answering = async move {
            _ = heard.await;
            _ = reply.send(answer);
        };
        run_unheard(answering);
    }

    fn names_here(&self, verdict: &Verdict) -> Vec<(VolumeName, bool)> {
        let mut names: Vec<_> = verdict.states.keys().map(|region| region.volume().clone()).collect();
        names.dedup();
        names.into_iter().map(|name| (name.clone(), verdict.ready(&name))).collect()
    }

    /// Tell whether every region has served since this supervisor began.
    pub(in crate::supervisor) fn has_settled(&self) -> bool {
        self.settled_ms.is_some()
    }

    fn stamp_states(&mut self, facts: &Facts, verdict: &Verdict, jobs: &BTreeMap<u64, wire::Job>, now: Timestamp) {
        let first = !self.has_published();
        for (name, state) in &verdict.states {
            let known = self.states.get(name).filter(|known| known.state == *state);
            if known.is_none() {
                tracing::info!(REGION = %name, STATE = %state, "{name} is {state}");
                let earlier = self.memory.earlier().states.get(name).map(|(state, _)| *state);
                let before = self.states.get(name).map(|known| known.state).or(earlier);
                self.events.tell_state(name, (before, *state), &verdict.findings, jobs);
                // What served before this supervisor came has served since systemd started it.
                let unit = facts.regions.get(name).and_then(|region| region.unit.as_ref()?.since);
                let since = unit.filter(|since| first && *state == State::Serving && *since < now);
                let earlier =
                    self.memory.earlier().states.remove(name).filter(|(was, since)| was == state && *since < now);
                let since = since.map(times::in_milliseconds).or(earlier.map(|(_, since)| since)).unwrap_or(now);
                self.states.insert(name.clone(), Stamped { state: *state, since, seen: Instant::now() });
            }
        }
        let serving = verdict.states.values().all(|state| *state == State::Serving);
        if serving && !verdict.states.is_empty() && self.settled_ms.is_none() {
            self.settled_ms = self.began.elapsed().as_millis().try_into().ok();
        }
    }

    /// Put times to the findings, and write those that are new or gone to the journal.
    fn stamp_findings(&mut self, findings: &[Finding], now: Timestamp) -> Vec<wire::Check> {
        for (code, subject, _) in self.memory.forgotten() {
            self.events.tell_over(code, &subject);
        }
        let mut held = BTreeMap::new();
        let checks = findings.iter().map(|finding| {
            let key = (finding.code, finding.subject.clone());
            let since = self.conditions.get(&key).copied().unwrap_or_else(|| {
                announce(finding);
                let seen = seen_before(self.memory.earlier(), &key);
                if seen.is_none() {
                    self.events.tell_raised(finding);
                }
                seen.filter(|since| *since < now).unwrap_or(now)
            });
            held.insert(key, since);
            wire::Check {
                code: finding.code,
                severity: finding.code.severity(),
                subject: clean::line(&finding.subject).into_owned(),
                cause: clean::lines(&finding.cause).into_owned(),
                remedy: clean::lines(&finding.remedy).into_owned(),
                since,
            }
        });
        let checks = checks.collect();
        let over = self.conditions.keys().filter(|key| !held.contains_key(key) && !key.0.passes());
        for (code, subject) in over {
            tracing::info!(MESSAGE_ID = %code.message_id(), CODE = %code, SUBJECT = %subject, "{code} is over: {subject}");
            self.events.tell_over(*code, subject);
        }
        self.conditions = held;
        checks
    }

    /// Tell the next supervisor of this boot since when what is so, and free what was published before the last: after those
    /// who wait for what was published, as a file is written for this.
    pub(in crate::supervisor) fn tell_the_next(&mut self, facts: &Facts) {
        self.past = None;
        if !self.has_published() {
            return;
        }
        let conditions = self.conditions.iter().map(|((code, subject), since)| (*code, subject.clone(), *since));
        let states = self.states.iter().map(|(name, stamped)| (name.clone(), (stamped.state, stamped.since)));
        let stopped = facts.regions.iter().filter_map(|(name, region)| {
            region.stopped.as_ref().map(|stopped| (name.clone(), (stopped.at, stopped.run.clone())))
        });
        let now = Told {
            conditions: conditions.collect(),
            states: states.collect(),
            stopped: stopped.collect(),
            ..Told::default()
        };
        self.memory.tell(now);
    }

    /// Make a volume's body; its revision grows if anything but the time of it has changed.
    fn volume(
        &self,
        name: &VolumeName,
        ready: bool,
        facts: &Facts,
        verdict: &Verdict,
        checks: &[wire::Check],
        now: Timestamp,
    ) -> wire::Volume {
        let wanted = &self.config.map.volumes[name];
        let known = self.volumes.get(name);
        let concerning = verdict.findings.iter().zip(checks).filter(|(finding, _)| finding.concerns(name));
        let indices = 0..wanted.regions.len();
        // A first revision that was not given before: the clock's milliseconds.
        let first = now.as_millisecond().unsigned_abs();
        let mut volume = wire::Volume {
            volume: name.clone(),
            ready,
            revision: known.map_or(first, |known| known.revision),
            as_of: known.map_or(now, |known| known.as_of),
            sled: self.config.sled.name.clone(),
            port_map: self.config.map.digest.clone(),
            fault_tolerance: wanted.fault_tolerance(),
            size_bytes: wanted.geometry.data_bytes(),
            hosts: wanted.hosts.clone(),
            regions: indices.filter_map(|index| self.region(name, index, facts)).collect(),
            checks: concerning.map(|(_, check)| check.clone()).collect(),
            generation: facts.granted(name).generation,
            holder: holder(&self.config, facts, name),
            denied: facts.granted(name).denied.iter().copied().collect(),
            attached: attached(&self.config, &facts.visitors(&self.config, name), |address| {
                facts.seen_since.get(&(name.clone(), address)).copied().map_or(now, times::in_milliseconds)
            }),
            tls: Some(self.config.sled.tls.is_some()),
            drain: facts.drains.get(name).cloned(),
        };
        if known.is_some_and(|known| *known != volume) {
            volume.revision += 1;
        }
        volume.as_of = now;
        volume
    }

    fn region(&self, volume: &VolumeName, index: usize, facts: &Facts) -> Option<wire::Region> {
        let name = RegionName::new(volume.clone(), index)?;
        let placement = self.config.map.volumes.get(volume)?.regions.get(index)?;
        let here = placement.sled == self.config.sled.name;
        let stamped = self.states.get(&name).filter(|_| here);
        let seen = facts.regions.get(&name).filter(|_| here);
        Some(wire::Region {
            index: name.index(),
            sled: placement.sled.clone(),
            address: self.config.map.sleds.get(&placement.sled)?.address,
            port: placement.port,
            repair_port: placement.port + crate::port_map::REPAIR_OFFSET,
            uuid: uuid(facts, &name).filter(|_| here),
            state: stamped.map(|stamped| stamped.state),
            since: stamped.map(|stamped| stamped.since),
            pid: seen.and_then(crate::decide::facts::Region::alive),
            stopped_outside: seen.and_then(|region| Some(region.stopped.as_ref()?.at)),
            version: seen.and_then(|region| Some(region.program.as_ref()?.version.clone())),
            message_version: seen.and_then(|region| Some(region.program.as_ref()?.messages)),
            turn: here && facts.busy.get(&name).is_some_and(|busy| *busy != Busy::Waiting),
            scrub: scrub::shown(facts, &name).filter(|_| here),
            connected: seen.map(|region| connected(&self.config, region)).unwrap_or_default(),
            name,
        })
    }

    fn known(&self) -> BTreeSet<IpAddr> {
        let map = &self.config.map;
        let hosts = map.volumes.values().flat_map(|volume| &volume.hosts).chain(map.hosts.values());
        let attached = self.volumes.values().flat_map(|volume| &volume.attached).map(|host| &host.address);
        hosts.chain(map.sleds.values().map(|sled| &sled.address)).chain(attached).copied().collect()
    }

    fn sled(&self, facts: &Facts, checks: &[wire::Check], now: Timestamp) -> wire::Sled {
        wire::Sled {
            sled: self.config.sled.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            as_of: now,
            started: self.started,
            settled_ms: self.settled_ms,
            address: self.config.address,
            port_map: self.config.map.digest.clone(),
            maintenance: facts.maintenance.clone(),
            well: checks.iter().all(|check| check.severity != Severity::Blocking),
            network: network(&self.config, facts),
            storage: storage(&self.config, facts.disk.as_ref()),
            volumes: self.volumes.values().cloned().collect(),
            checks: checks.to_vec(),
        }
    }
}

/// Tell since when a condition held that an earlier supervisor has seen; that is asked once.
fn seen_before(earlier: &mut Told, key: &(crate::check::Code, String)) -> Option<Timestamp> {
    let at = earlier.conditions.iter().position(|(code, subject, _)| (code, subject) == (&key.0, &key.1))?;
    Some(earlier.conditions.swap_remove(at).2)
}

fn announce(finding: &Finding) {
    let (code, subject, id) = (finding.code, &finding.subject, finding.code.message_id());
    let text = format!("{code}: {subject}: {}; {}", finding.cause, finding.remedy);
    match code.severity() {
        // The region's state says it already.
        _ if code.passes() => {}
        Severity::Blocking => tracing::error!(MESSAGE_ID = %id, CODE = %code, SUBJECT = %subject, "{text}"),
        Severity::Warning => tracing::warn!(MESSAGE_ID = %id, CODE = %code, SUBJECT = %subject, "{text}"),
        Severity::Information => tracing::info!(MESSAGE_ID = %id, CODE = %code, SUBJECT = %subject, "{text}"),
    }
}

/// Ask the kernel of this process.
fn process() -> Process {
    Process { resident_bytes: itself::memory(), started: itself::started() }
}

fn status_line(ready: usize, sled: &wire::Sled) -> String {
    let all = sled.volumes.len();
    match sled.checks.iter().find(|check| check.severity == Severity::Blocking) {
        None => format!("{ready} of {all} volumes ready"),
        Some(first) => format!("{ready} of {all} volumes ready; {}: {}", first.code, first.cause),
    }
}
