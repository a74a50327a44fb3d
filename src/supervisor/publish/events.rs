//! Events as they come about: the difference between one verdict and the next, told to the
//! [feed](crate::events::Feed). So no room has to remember to tell what it does. Who asked for something comes with
//! the request for it. What is told of tickets and drains is in [`volumes`].

mod volumes;

use crate::config::Configuration;
use crate::decide::facts::{Facts, RefusedHost, Rejoined};
use crate::decide::finding::{Finding, Scope};
use crate::events::{Feed, News, Writer, since_boot};
use crate::names::{RegionName, VolumeName};
use crate::region::Grant;
use crate::store::events::Bounds;
use crate::store::lived::Clock;
use crate::store::since::Since;
use crate::supervisor::publish::days::Days;
use crate::supervisor::tasks::run_unheard;
use crate::times::{self, Rfc3339};
use crate::wire::{self, Asker, Drain, ErrorCode, Event, EventKind, Job, JobState, State};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Number of events that the page shows.
const SHOWN: usize = 20;
/// Length of a cause, in characters: what hosts and programs say of themselves may have any.
const CAUSE_LIMIT_CHARS: usize = 1000;
/// Time for which it is remembered who asked for a change that is still to come.
const ASKED_LIMIT: Duration = Duration::from_secs(60);
/// Step of the clock that is told.
const STEP_LIMIT: SignedDuration = SignedDuration::from_secs(1);

/// Change that somebody may ask for, and that is seen when it has come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) enum About {
    /// Maintenance begins or ends.
    Maintenance,
    /// Another configuration is put in force.
    Configuration,
    /// A volume is drained, or not any more.
    Drain(VolumeName),
    /// A host is let in to a volume, or cut off.
    Permit(VolumeName),
}

/// Teller of events.
pub(in crate::supervisor) struct Events {
    feed: Feed,
    news: Vec<News>,
    asked: Vec<(About, Asker, Instant)>,
    seen: Seen,
    days: Days,
    latest: Arc<[Event]>,
    bounds: Option<watch::Sender<Bounds>>,
}

/// What was seen when it was last told; `None`: nothing yet.
#[derive(Default)]
struct Seen {
    jobs: Option<Arc<BTreeMap<u64, Job>>>,
    grants: Option<BTreeMap<VolumeName, Grant>>,
    configuration: Option<u64>,
    maintenance: Option<Option<wire::Maintenance>>,
    drains: Option<BTreeMap<VolumeName, Drain>>,
    refused: BTreeMap<RefusedHost, Timestamp>,
    stopped: BTreeMap<RegionName, Timestamp>,
    image: Option<String>,
    rejoined: Option<Rejoined>,
    /// Time of the clock at which the machine was booted, as it says itself: another one when it is set.
    booted: Option<Timestamp>,
}

impl Events {
    /// Begin with what was told by the supervisor before, in which boot, and tell that this one has started.
    pub(in crate::supervisor) fn begin(feed: Feed, earlier: &Since, boot: &str) -> Self {
        let now = times::now();
        let mut days = Days::default();
        let last = match feed.open(boot) {
            Ok(last) => last,
            Err(why) => {
                tracing::warn!("the record of events cannot be read: {why}; it goes on from here");
                Vec::new()
            }
        };
        let day = now.as_millisecond().saturating_sub(86_400_000);
        if let Err(why) = feed.read_on_record(day.unsigned_abs(), |event| days.read(&event)) {
            tracing::warn!("the last day cannot be read from the record of events: {why}");
        }
        let stopped = earlier.stopped.iter().map(|(name, (at, _))| (name.clone(), *at)).collect();
        let mut events = Self {
            feed,
            news: Vec::new(),
            asked: Vec::new(),
            seen: Seen { stopped, ..Seen::default() },
            days,
            latest: Arc::default(),
            bounds: None,
        };
        events.tell_start(last.last(), earlier.version.as_deref(), boot);
        events.send();
        events
    }

    /// Have the events put on record from now on, within the bounds of this configuration.
    pub(in crate::supervisor) fn write(&mut self, config: &Configuration, clock: Arc<Clock>) {
        let (to, bounds) = watch::channel(bounds(config));
        // How old an event is, is told by the sled's life: which is on record then.
        let moment = move || if clock.is_due() { clock.stamp() } else { clock.now() };
        let writer = Writer::new(self.feed.clone(), bounds, moment);
        run_unheard(writer.run());
        self.bounds = Some(to);
    }

    /// Tell that the supervisor has started, and what has become of the one before.
    fn tell_start(&mut self, last: Option<&Event>, version: Option<&str>, boot: &str) {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let ended = last.is_none_or(|last| last.kind == EventKind::SleddEnded);
        let anew = last.is_some_and(|last| last.boot != boot);
        if anew {
            let mut news = News::of(EventKind::Booted, "machine");
            let cause = "the one before ended without a word: its power was cut, or it crashed";
            news.0.cause = (!ended).then(|| cause.to_owned());
            self.news.push(news);
        }
        if let Some(before) = version.filter(|before| *before != VERSION) {
            self.news.push(changed(EventKind::Update, "sledd", Some(before.to_owned()), Some(VERSION.to_owned())));
        }
        let mut news = News::of(EventKind::SleddStarted, "sledd");
        news.0.after = Some(VERSION.to_owned());
        let cause = "the one before ended without a word: it was killed, or it crashed";
        news.0.cause = (!ended && !anew).then(|| cause.to_owned());
        self.news.push(news);
    }

    /// Record who has asked for a change.
    pub(in crate::supervisor) fn asked(&mut self, about: About, by: Asker) {
        self.asked.retain(|(other, _, at)| *other != about && at.elapsed() < ASKED_LIMIT);
        self.asked.push((about, by, Instant::now()));
    }

    fn who_asked(&mut self, about: &About) -> Option<Asker> {
        let at = self.asked.iter().position(|(other, _, at)| other == about && at.elapsed() < ASKED_LIMIT)?;
        Some(self.asked.swap_remove(at).1)
    }

    /// Forget the regions that another configuration does not have.
    pub(in crate::supervisor) fn configure(&mut self, config: &Configuration) {
        let here: Vec<_> = config.local_regions().into_iter().map(|local| local.name).collect();
        self.days.keep(|name| here.contains(name));
        self.bounds.iter().for_each(|to| _ = to.send_replace(bounds(config)));
    }

    /// Tell that a region is in another state than before, if that is known, and why.
    pub(super) fn tell_state(
        &mut self,
        name: &RegionName,
        (before, after): (Option<State>, State),
        findings: &[Finding],
        jobs: &BTreeMap<u64, Job>,
    ) {
        self.days.note(name, times::now(), after);
        if before == Some(after) {
            return;
        }
        let before = before.map(|state| state.as_str().to_owned());
        let subject = format!("region {name}");
        let mut news = changed(EventKind::RegionState, &subject, before, Some(after.as_str().to_owned()));
        let job = jobs.values().rev().find(|job| job.state == JobState::Running && job.region == *name);
        let finding = findings.iter().find(|finding| after != State::Serving && finding.subject == subject);
        let at_work = || job.map(|job| format!("job {}: {}", job.id, job.kind.as_str()));
        news.0.cause = finding.map(|finding| finding.cause.clone()).or_else(at_work);
        news.0.by = job.and_then(|job| job.by.clone());
        self.news.push(about_region(news, name));
    }

    /// Tell that a condition holds from now on.
    pub(super) fn tell_raised(&mut self, finding: &Finding) {
        if !finding.code.passes() {
            let mut news = News::of(EventKind::CheckRaised, &finding.subject);
            news.0.cause = Some(finding.cause.clone());
            news.0.code = Some(finding.code.into());
            if let Scope::Volume(volume) = &finding.scope {
                news.0.volume = Some(volume.clone());
            }
            self.news.push(about_subject(news));
        }
    }

    /// Tell that a condition does not hold any more.
    pub(super) fn tell_over(&mut self, code: crate::check::Code, subject: &str) {
        if !code.passes() {
            let mut news = News::of(EventKind::CheckOver, subject);
            news.0.code = Some(code.into());
            self.news.push(about_subject(news));
        }
    }

    /// Tell what else has changed, and send everything.
    pub(super) fn tell(&mut self, facts: &Facts, jobs: &Arc<BTreeMap<u64, Job>>) {
        self.see_clock();
        self.see_jobs(jobs);
        self.see_stops(facts);
        self.see_grants(facts);
        self.see_refused(facts);
        self.see_configuration(facts);
        self.see_maintenance(facts);
        self.see_drains(facts);
        self.see_rejoin(facts);
        let image = facts.image.as_ref().map(|image| image.version.clone());
        let before = self.seen.image.take().or_else(|| image.clone());
        if image.is_some() && before != image {
            self.news.push(changed(EventKind::Update, "image", before, image.clone()));
        }
        self.seen.image = image;
        self.send();
    }

    /// Lend the feed.
    pub(in crate::supervisor) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Return the last events, as they are shown.
    pub(super) fn latest(&self) -> Arc<[Event]> {
        self.latest.clone()
    }

    /// Return the days of the regions, as they are shown.
    pub(super) fn days(&self) -> Arc<BTreeMap<RegionName, wire::Day>> {
        self.days.shown()
    }

    fn send(&mut self) {
        if self.news.is_empty() && self.feed.last() == self.latest.last().map_or(0, |event| event.id) {
            return;
        }
        for News(event) in &mut self.news {
            if let Some(cause) = &mut event.cause
                && cause.chars().count() > CAUSE_LIMIT_CHARS
            {
                *cause = cause.chars().take(CAUSE_LIMIT_CHARS).collect::<String>() + "…";
            }
        }
        self.feed.add(std::mem::take(&mut self.news));
        self.latest = self.feed.latest(SHOWN).into();
    }

    fn see_clock(&mut self) {
        let now = times::now();
        let Ok(booted) = now.checked_sub(since_boot()) else { return };
        let before = self.seen.booted.replace(booted).unwrap_or(booted);
        let step = booted.duration_since(before);
        if step.abs() > STEP_LIMIT {
            let was = now.checked_sub(step).unwrap_or(now);
            let was = times::in_milliseconds(was);
            self.news.push(changed(EventKind::ClockStep, "clock", Some(Rfc3339::text(was)), Some(Rfc3339::text(now))));
            self.days.step(step.as_secs());
        }
    }

    fn see_jobs(&mut self, jobs: &Arc<BTreeMap<u64, Job>>) {
        let before = self.seen.jobs.replace(jobs.clone());
        let cut_short = |job: &&Job| job.error.as_ref().is_some_and(|why| why.code == wire::Refusal::CutShort);
        match before {
            Some(before) if Arc::ptr_eq(&before, jobs) => {}
            Some(before) => {
                for job in jobs.values() {
                    let was = before.get(&job.id).map(|job| job.state);
                    let runs = job.state == JobState::Running;
                    if was.is_none() || runs && was != Some(JobState::Running) {
                        self.news.push(begun(job));
                    }
                    if !runs && was.is_none_or(|was| was == JobState::Running) {
                        self.news.push(ended(job));
                    }
                }
            }
            // Those that the supervisor before was at were ended by its end, and of that nobody has told.
            None => {
                let told: Vec<_> = self.feed.latest(usize::MAX);
                let is_told = |job: &&Job| {
                    let subject = subject_of(job);
                    told.iter().any(|event| event.kind == EventKind::JobEnded && event.subject == subject)
                };
                let cut = jobs.values().rev().take(SHOWN).filter(cut_short).filter(|job| !is_told(job));
                self.news.extend(cut.map(ended));
            }
        }
    }

    fn see_rejoin(&mut self, facts: &Facts) {
        let Some(ended) = facts.rejoin.ended.as_ref().filter(|ended| self.seen.rejoined.as_ref() != Some(ended)) else {
            return;
        };
        let after = ended.failure.is_none().then(|| ended.bridge.clone());
        let mut news = changed(EventKind::NicRejoined, &format!("nic {}", ended.nic), None, after);
        let back = || format!("it was away, and nobody has put it into {} when it was back", ended.bridge);
        news.0.cause = ended.failure.clone().or_else(|| Some(back()));
        news.0.by = Some(Asker::Sledd);
        self.news.push(news);
        self.seen.rejoined = Some(ended.clone());
    }

    fn see_stops(&mut self, facts: &Facts) {
        for (name, region) in &facts.regions {
            let Some(stopped) = &region.stopped else { continue };
            if self.seen.stopped.insert(name.clone(), stopped.at) != Some(stopped.at) {
                let mut news = News::of(EventKind::RegionStopped, format!("region {name}"));
                let cause = "it was stopped or restarted by systemctl or another program, not by the supervisor";
                (news.0.cause, news.0.by) = (Some(cause.to_owned()), Some(Asker::Systemd));
                self.news.push(about_region(news, name));
            }
        }
    }

    fn see_configuration(&mut self, facts: &Facts) {
        let Some(number) = facts.in_force.as_ref().and_then(|in_force| in_force.number) else { return };
        let before = self.seen.configuration.replace(number).unwrap_or(number);
        if before != number {
            let text = |number: u64| Some(number.to_string());
            let mut news = changed(EventKind::Configuration, "configuration", text(before), text(number));
            news.0.by = self.who_asked(&About::Configuration);
            self.news.push(news);
        }
    }

    fn see_maintenance(&mut self, facts: &Facts) {
        let now = &facts.maintenance;
        let Some(before) = self.seen.maintenance.replace(now.clone()) else { return };
        let reason = |of: &Option<wire::Maintenance>| of.as_ref().and_then(|it| it.reason.clone());
        if before.is_some() == now.is_some() && reason(&before) == reason(now) {
            return;
        }
        let text = |of: &Option<wire::Maintenance>| Some(if of.is_some() { "on" } else { "off" }.to_owned());
        let mut news = changed(EventKind::Maintenance, "sled", text(&before), text(now));
        news.0.cause = reason(now);
        news.0.by = Some(self.who_asked(&About::Maintenance).unwrap_or(Asker::Sledd));
        if now.is_none() && news.0.by == Some(Asker::Sledd) {
            news.0.cause = Some("its time is over".to_owned());
        }
        self.news.push(news);
    }
}

/// Make the event that the supervisor ends; and why, if the machine is being switched off.
pub(in crate::supervisor) fn end(leaving: bool) -> News {
    let mut news = News::of(EventKind::SleddEnded, "sledd");
    news.0.cause = leaving.then(|| "the machine is being switched off".to_owned());
    news.0.by = Some(Asker::Systemd);
    news
}

fn bounds(config: &Configuration) -> Bounds {
    Bounds { bytes: config.sled.events.size, age: config.sled.events.age.into() }
}

fn changed(kind: EventKind, subject: &str, before: Option<String>, after: Option<String>) -> News {
    let mut news = News::of(kind, subject);
    (news.0.before, news.0.after) = (before, after);
    news
}

fn about_region(mut news: News, name: &RegionName) -> News {
    (news.0.volume, news.0.region) = (Some(name.volume().clone()), Some(name.clone()));
    news
}

fn about_volume(mut news: News, volume: &VolumeName, by: Option<Asker>) -> News {
    (news.0.volume, news.0.by) = (Some(volume.clone()), by);
    news
}

/// Find the region or the volume that a subject names.
fn about_subject(mut news: News) -> News {
    let subject = news.0.subject.clone();
    match subject.split_once(' ') {
        Some(("region", name)) => match name.parse::<RegionName>() {
            Ok(name) => about_region(news, &name),
            Err(_) => news,
        },
        Some(("volume", name)) => {
            news.0.volume = name.parse().ok().or(news.0.volume);
            news
        }
        _ => news,
    }
}

fn subject_of(job: &Job) -> String {
    format!("job {}", job.id)
}

fn begun(job: &Job) -> News {
    let mut news = changed(EventKind::JobBegun, &subject_of(job), None, Some(job.kind.as_str().to_owned()));
    news.0.by.clone_from(&job.by);
    about_region(news, &job.region)
}

fn ended(job: &Job) -> News {
    let (before, after) = (job.kind.as_str().to_owned(), job.state.as_str().to_owned());
    let mut news = changed(EventKind::JobEnded, &subject_of(job), Some(before), Some(after));
    news.0.cause = Some(job.error.as_ref().map_or_else(|| job.step.clone(), |why| why.message.clone()));
    news.0.code = job.error.as_ref().map(|why| ErrorCode::clone(&why.code));
    news.0.by.clone_from(&job.by);
    about_region(news, &job.region)
}

#[cfg(test)]
mod tests;
