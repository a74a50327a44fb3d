//! Tests of what is told: each change once, with who asked for it, and nothing that was told before.

use super::*;
use crate::check::Code;
use crate::decide::facts::{InForce, Region, Stopped};
use crate::wire::{JobKind, Maintenance};
use std::net::IpAddr;

fn begin(feed: &Feed, earlier: &Since, boot: &str) -> Events {
    Events::begin(feed.clone(), earlier, boot)
}

/// Return what was told since this number: kind, subject, before and after.
fn told(feed: &Feed, since: u64) -> Vec<String> {
    let crate::events::Behind::Lines(lines) = feed.behind(since) else { panic!("too many") };
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let one = |event: &Event| {
        let by = event.by.as_ref().map_or_else(|| "-".into(), ToString::to_string);
        format!("{} {}: {} {} {by}", event.kind, event.subject, dash(&event.before), dash(&event.after))
    };
    lines.iter().map(|line| one(&line.event)).collect()
}

fn finding() -> Finding {
    Finding {
        code: Code::DiskLow,
        subject: "disk".into(),
        scope: Scope::Sled,
        cause: "x".repeat(5000),
        remedy: String::new(),
    }
}

#[test]
fn a_start_tells_what_has_become_of_the_one_before() {
    let version = env!("CARGO_PKG_VERSION");
    let start = |last: Option<(&str, EventKind)>, before: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        if let Some((boot, kind)) = last {
            let event = Event { id: 7, boot: boot.into(), ..News::of(kind, "x").0 };
            let bounds = Bounds { bytes: 1 << 20, age: Duration::from_hours(1) };
            let moment = crate::lived::Moment { clock: uuid::Uuid::nil(), ms: 0 };
            let line = Arc::new(crate::store::events::Line::of(event).unwrap());
            crate::store::events::Ring::open(dir.path(), bounds).0.append(&[line], moment).unwrap();
        }
        let feed = Feed::at(dir.path().to_owned());
        begin(&feed, &Since { version: before.map(str::to_owned), ..Since::default() }, "a");
        let news = feed.latest(10).into_iter().filter(|event| event.subject != "x");
        news.map(|event| (event.kind, event.before, event.cause.is_some())).collect::<Vec<_>>()
    };
    let (started, booted) = (EventKind::SleddStarted, EventKind::Booted);
    assert_eq!(start(None, None), [(started.clone(), None, false)]);
    assert_eq!(start(Some(("a", EventKind::SleddEnded)), Some(version)), [(started.clone(), None, false)]);
    assert_eq!(start(Some(("a", EventKind::CheckOver)), None), [(started.clone(), None, true)]);
    let update = (EventKind::Update, Some("0.0.1".to_owned()), false);
    let anew = |cause| [(booted.clone(), None, cause), update.clone(), (started.clone(), None, false)];
    assert_eq!(start(Some(("b", EventKind::SleddEnded)), Some("0.0.1")), anew(false));
    assert_eq!(start(Some(("b", EventKind::CheckOver)), Some("0.0.1")), anew(true));
}

/// A sled whose changes are told.
struct World {
    feed: Feed,
    events: Events,
    facts: Facts,
    jobs: Arc<BTreeMap<u64, Job>>,
    at: u64,
}

impl World {
    /// Begin with one as it is found: that is nothing that has changed.
    fn new() -> Self {
        let feed = Feed::default();
        let events = begin(&feed, &Since::default(), "a");
        let mut facts = Facts { grants: Some(BTreeMap::new()), ..Facts::default() };
        facts.regions.insert(region(), Region::default());
        facts.in_force = Some(InForce { number: Some(3), ..InForce::default() });
        let at = feed.last();
        let mut world = Self { feed, events, facts, jobs: Arc::new(BTreeMap::new()), at };
        assert_eq!(world.news(), [""; 0]);
        world
    }

    /// What is told of the facts and jobs as they are now.
    fn news(&mut self) -> Vec<String> {
        self.events.tell(&self.facts, &self.jobs);
        let news = told(&self.feed, self.at);
        self.at = self.feed.last();
        news
    }
}

fn region() -> RegionName {
    "still-fawn-0".parse().unwrap()
}

#[tokio::test]
async fn checks_and_states_are_told_once() {
    let mut told = World::new();
    let name = region();
    told.events.tell_raised(&finding());
    told.events.tell_state(&name, (Some(State::Serving), State::Held), &[], &told.jobs);
    told.events.tell_state(&name, (Some(State::Held), State::Held), &[], &told.jobs);
    let expected = ["check_raised disk: - - -", "region_state region still-fawn-0: serving held -"];
    assert_eq!(told.news(), expected);
    assert!(told.feed.latest(2)[0].cause.as_ref().unwrap().len() < 1100);
    assert_eq!(told.news(), [""; 0]);
}

#[tokio::test]
async fn a_host_that_was_refused_is_told_once_with_the_reason() {
    let mut told = World::new();
    let (volume, host) = ("still-fawn".parse().unwrap(), "10.0.0.9".parse().unwrap());
    let refused = RefusedHost { volume, host, code: wire::Refusal::HostNotAllowed.into() };
    told.facts.refused.insert(refused.clone(), (Timestamp::UNIX_EPOCH, "it is not let in".into()));
    assert_eq!(told.news(), ["ticket_refused volume still-fawn: - 10.0.0.9 10.0.0.9"]);
    let event = told.feed.latest(1)[0].clone();
    assert_eq!((event.code.unwrap().as_str(), event.cause.as_deref()), ("HOST_NOT_ALLOWED", Some("it is not let in")));
    assert_eq!(told.news(), [""; 0]);
    told.facts.refused.clear();
    assert_eq!(told.news(), [""; 0]);
    // Of another hour.
    told.facts.refused.insert(refused, (Timestamp::UNIX_EPOCH + SignedDuration::from_hours(2), "it is not".into()));
    assert_eq!(told.news().len(), 1);
}

#[tokio::test]
async fn whoever_has_a_volume_is_told_once_and_who_asked() {
    let mut told = World::new();
    let one: IpAddr = "10.0.0.1".parse().unwrap();
    let two: IpAddr = "10.0.0.2".parse().unwrap();
    let grant = Grant { generation: 5, holder: Some((one, Timestamp::UNIX_EPOCH)), ..Grant::default() };
    let taken =
        Grant { generation: 6, holder: Some((two, Timestamp::UNIX_EPOCH)), denied: [one].into(), ..grant.clone() };
    let free = Grant { released: true, ..taken.clone() };
    let again = Grant { denied: Default::default(), ..free.clone() };
    let volume: VolumeName = "still-fawn".parse().unwrap();
    let grants = |told: &mut World, grant: &Grant| {
        told.facts.grants = Some([(volume.clone(), grant.clone())].into());
        told.news()
    };
    let first = grants(&mut told, &grant);
    assert_eq!(first, ["ticket_granted volume still-fawn: - 10.0.0.1, generation 5 10.0.0.1"]);
    let second = grants(&mut told, &taken);
    let change = "10.0.0.1, generation 5 10.0.0.2, generation 6";
    assert_eq!(second, [format!("takeover volume still-fawn: {change} 10.0.0.2")]);
    let third = grants(&mut told, &free);
    assert_eq!(third, ["ticket_released volume still-fawn: 10.0.0.2, generation 6 - 10.0.0.2"]);
    told.events.asked(About::Permit(volume.clone()), Asker::User("alice".into()));
    let fourth = grants(&mut told, &again);
    assert_eq!(fourth, ["host_allowed volume still-fawn: - 10.0.0.1 alice"]);
    assert_eq!(told.news(), [""; 0]);
}

/// A job that alice asked for.
fn job() -> Job {
    Job {
        id: 7,
        kind: JobKind::Hold,
        region: region(),
        state: JobState::Running,
        step: "waiting".into(),
        progress: None,
        cancellable: true,
        error: None,
        asked: Timestamp::UNIX_EPOCH,
        took_ms: None,
        asks: None,
        unasked: false,
        by: Some(Asker::User("alice".into())),
    }
}

#[tokio::test]
async fn jobs_and_what_an_operator_changes_are_told_once_and_who_asked() {
    let mut told = World::new();
    let (name, volume): (RegionName, VolumeName) = (region(), "still-fawn".parse().unwrap());
    let job = job();
    Arc::make_mut(&mut told.jobs).insert(7, job.clone());
    assert_eq!(told.news(), ["job_begun job 7: - hold alice"]);
    Arc::make_mut(&mut told.jobs).insert(7, Job { state: JobState::Done, ..job });
    told.facts.in_force = Some(InForce { number: Some(4), ..InForce::default() });
    let since = Timestamp::UNIX_EPOCH;
    told.facts.maintenance = Some(Maintenance { reason: None, since, until: None });
    told.facts.regions.insert(name, Region { stopped: Some(Stopped { at: since, run: None }), ..Region::default() });
    told.events.asked(About::Maintenance, Asker::User("bob".into()));
    let expected = [
        "job_ended job 7: hold done alice",
        "region_stopped region still-fawn-0: - - systemd",
        "configuration configuration: 3 4 -",
        "maintenance sled: off on bob",
    ];
    assert_eq!(told.news(), expected);
    told.facts.maintenance = None;
    assert_eq!(told.news(), ["maintenance sled: on off sledd"]);
    told.facts.drains.insert(volume.clone(), Drain { id: 1, since, reason: None, said: None });
    assert_eq!(told.news(), ["drain volume still-fawn: - begun -"]);
    told.facts.drains.clear();
    assert_eq!(told.news(), ["drain volume still-fawn: - ended -"]);
    assert_eq!(told.news(), [""; 0]);
}

#[tokio::test]
async fn a_clock_that_is_set_is_told() {
    let feed = Feed::default();
    let mut events = begin(&feed, &Since::default(), "a");
    events.see_clock();
    events.seen.booted = events.seen.booted.map(|booted| booted - SignedDuration::from_hours(1));
    events.see_clock();
    events.see_clock();
    events.send();
    let last = feed.latest(2);
    assert_eq!((&last[0].kind, &last[1].kind), (&EventKind::SleddStarted, &EventKind::ClockStep));
    let time = |text: &Option<String>| text.as_ref().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time(&last[1].after).duration_since(time(&last[1].before)).as_secs(), 3600);
}

#[tokio::test]
async fn an_adapter_that_was_put_back_is_told_once() {
    let mut told = World::new();
    let ended = |index, failure: Option<&str>| {
        let failure = failure.map(Into::into);
        Some(Rejoined { index, nic: "enx0".into(), bridge: "br0".into(), failure })
    };
    told.facts.rejoin.ended = ended(9, None);
    assert_eq!(told.news(), ["nic_rejoined nic enx0: - br0 sledd"]);
    assert_eq!(told.news(), [""; 0]);
    told.facts.rejoin.ended = ended(11, Some("the adapter is gone again"));
    assert_eq!(told.news(), ["nic_rejoined nic enx0: - - sledd"]);
    assert_eq!(told.feed.latest(1)[0].cause.as_deref(), Some("the adapter is gone again"));
}
