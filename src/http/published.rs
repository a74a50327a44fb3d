//! Answers from what the supervisor published last: a poll costs a pointer read and a write, and may be held until
//! something else is published.

use super::answer::{Answer, bulletin, error, json, ready};
use super::end::{End, ended};
use super::events;
use super::manners::tagged;
use super::people;
use crate::api::{Held, JobId, Media, Operation, openapi};
use crate::desk::Handle;
use crate::desk::body::body;
use crate::desk::bulletin::{Bulletin, Page};
use crate::metrics::Form;
use crate::names::{RegionName, VolumeName};
use crate::wire::{Error, JobState, Refusal};
use bytes::Bytes;
use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::time::timeout;

/// Description of the operations, written when it is asked for first.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| body(&openapi::document()));

/// How long to hold an answer, and until when.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wait {
    time: Duration,
    /// Until the revision is not this one; without it, until a host may attach.
    revision: Option<u64>,
}

impl Wait {
    /// The wait that is asked for, if any is.
    fn new(time: Option<Held>, revision: Option<u64>) -> Result<Option<Self>, Error> {
        if time.is_none() && revision.is_some() {
            let what = "revision is of no use without wait";
            return Err(Error::new(Refusal::BadQuery, what, "for example ?wait=30&revision=7"));
        }
        Ok(time.map(|Held(time)| Self { time, revision }))
    }
}

/// Answer an operation that needs nobody but the last bulletin.
pub(super) async fn answer(handle: &Handle, operation: &Operation, headers: &HeaderMap, end: End) -> Answer {
    match operation {
        Operation::Health {} => latest(handle, |_| health(handle)),
        Operation::ShowPage {} => people::page(handle.bulletins.borrow().as_deref()),
        Operation::ExplainConditions {} => people::explanations(),
        Operation::ShowVolume { volume: name, wait, revision } => match Wait::new(*wait, *revision) {
            Ok(wait) => volume(handle, name, wait, end).await,
            Err(why) => error(why),
        },
        Operation::ShowRegion { region: name } => latest(handle, |bulletin| region(bulletin, name)),
        Operation::ShowJob { id, wait, revision, asks } => match Wait::new(*wait, *revision) {
            Ok(wait) => job(handle, *id, wait.map_or(Duration::ZERO, |wait| wait.time), *asks, end).await,
            Err(why) => error(why),
        },
        Operation::ListJobs {} => {
            latest(handle, |bulletin| json(StatusCode::OK, &bulletin.jobs.values().collect::<Vec<_>>()))
        }
        Operation::DescribeApi {} => tagged(ready(StatusCode::OK, Media::Json, DESCRIPTION.clone()), &*DESCRIPTION),
        Operation::ListVolumes {} => latest(handle, volumes),
        Operation::ListTargets {} => latest(handle, targets),
        Operation::ListEvents { .. } => events::answer(handle, operation).await,
        Operation::ShowMetrics {} => latest(handle, |bulletin| metrics(bulletin, headers)),
        shown => latest(handle, |bulletin| page(bulletin, shown)),
    }
}

/// A body that is ready already.
fn page(bulletin: &Bulletin, operation: &Operation) -> Answer {
    let body = match operation {
        Operation::ShowMaintenance {} => &bulletin.maintenance,
        Operation::ShowStorage {} => &bulletin.storage,
        Operation::ShowSled {} => &bulletin.sled,
        Operation::ShowNetwork {} => &bulletin.network,
        Operation::ShowHardware {} => &bulletin.hardware,
        Operation::ShowPorts {} => &bulletin.ports,
        other => {
            let message = format!("{} is not published", other.row().name);
            return error(Error::new(Refusal::Failed, message, "it is a fault of sledd: report it"));
        }
    };
    ready(StatusCode::OK, operation.row().media, body.bytes())
}

/// Answer with all volumes in short, as of their revisions.
fn volumes(bulletin: &Bulletin) -> Answer {
    let revisions: Vec<_> = bulletin.volumes.iter().map(|(name, page)| (name, page.revision)).collect();
    tagged(ready(StatusCode::OK, Media::Json, bulletin.brief.bytes()), &revisions)
}

/// Answer with the sleds of the map, which change with it alone.
fn targets(bulletin: &Bulletin) -> Answer {
    let body = bulletin.targets.bytes();
    tagged(ready(StatusCode::OK, Media::Json, body.clone()), &body)
}

/// Answer with metrics, in the form that the asker takes.
fn metrics(bulletin: &Bulletin, headers: &HeaderMap) -> Answer {
    let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let form = Form::accepted(&accepted.join(","));
    let media = match form {
        Form::OpenMetrics => Media::OpenMetrics,
        Form::Plain => Media::PrometheusText,
    };
    let mut answer = ready(StatusCode::OK, media, bulletin.metrics.in_form(form).bytes());
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    answer
}

/// Answer whether the supervisor's loop turns: everything else here is answered beside it, and might go on for
/// ever with a verdict of long ago.
fn health(handle: &Handle) -> Answer {
    match handle.pulse.stuck() {
        None => ready(StatusCode::OK, Media::Text, "ok\n".into()),
        Some(since) => {
            let message = format!("the supervisor's loop has not turned for {} s", since.as_secs());
            let remedy = "its watchdog restarts it; if it does not: systemctl restart sledd, and journalctl -u sledd";
            error(Error::new(Refusal::LoopStuck, message, remedy))
        }
    }
}

/// Answer from the last bulletin, or with why there is none.
fn latest(handle: &Handle, render: impl FnOnce(&Bulletin) -> Answer) -> Answer {
    match bulletin(handle) {
        Ok(bulletin) => render(&bulletin),
        Err(why) => *why,
    }
}

async fn volume(handle: &Handle, name: &VolumeName, wait: Option<Wait>, end: End) -> Answer {
    let first = match bulletin(handle) {
        Ok(bulletin) => bulletin,
        Err(why) => return *why,
    };
    if !first.volumes.contains_key(name) {
        return no_volume(&first, name);
    }
    let page = |bulletin: &Bulletin| bulletin.volumes.get(name).cloned();
    let last = match wait {
        None => page(&first),
        Some(wait) => {
            let done = |bulletin: &Option<Arc<Bulletin>>| {
                bulletin.as_ref().and_then(|bulletin| page(bulletin)).is_none_or(|page| over(wait, &page))
            };
            until(handle, wait.time, done, end).await;
            handle.bulletins.borrow().as_ref().and_then(|bulletin| page(bulletin))
        }
    };
    match last {
        Some(page) if page.ready => tagged(ready(StatusCode::OK, Media::Json, page.body.bytes()), &page.revision),
        Some(page) => ready(StatusCode::SERVICE_UNAVAILABLE, Media::Json, page.body.bytes()),
        None => no_volume(&first, name),
    }
}

/// Wait until a bulletin is as wanted, time is up, or the daemon ends: in any case the last
/// bulletin is then the answer. Cancel-safe: nothing is taken from either channel.
async fn until(handle: &Handle, time: Duration, wanted: impl FnMut(&Option<Arc<Bulletin>>) -> bool, mut end: End) {
    let mut bulletins = handle.bulletins.clone();
    tokio::select! {
        _ = timeout(time, bulletins.wait_for(wanted)) => {}
        () = ended(&mut end) => {}
    }
}

fn over(wait: Wait, page: &Page) -> bool {
    wait.revision.map_or(page.ready, |known| page.revision != known)
}

/// The sleds that carry a volume of which no region is here.
fn carriers(bulletin: &Bulletin, volume: &VolumeName) -> Option<String> {
    let sleds = bulletin.elsewhere.get(volume)?;
    Some(sleds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn no_volume(bulletin: &Bulletin, name: &VolumeName) -> Answer {
    let why = match carriers(bulletin, name) {
        Some(sleds) => {
            Error::new(Refusal::VolumeElsewhere, format!("no region of {name} is on this sled"), format!("ask {sleds}"))
        }
        None => {
            let known = bulletin.volumes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Error::new(
                Refusal::VolumeUnknown,
                format!("the port map has no volume {name}"),
                format!("here are: {known}"),
            )
        }
    };
    error(why)
}

/// Answer about a region of this sled's volumes, as its volume's body has it.
fn region(bulletin: &Bulletin, name: &RegionName) -> Answer {
    let mut volumes = bulletin.whole.iter().flat_map(|sled| &sled.volumes);
    let found = volumes.find_map(|volume| Some((volume, volume.regions.iter().find(|region| region.name == *name)?)));
    match found {
        // Whatever changes of it changes its volume.
        Some((volume, region)) => tagged(json(StatusCode::OK, region), &volume.revision),
        None => no_region(bulletin, name),
    }
}

fn no_region(bulletin: &Bulletin, name: &RegionName) -> Answer {
    let (message, remedy) = match carriers(bulletin, name.volume()) {
        Some(sleds) => (format!("no region of {} is on this sled", name.volume()), format!("ask {sleds}")),
        None => (format!("the port map has no region {name}"), "see sledctl region list for those it has".into()),
    };
    error(Error::new(Refusal::RegionUnknown, message, remedy))
}

/// Answer about a job; with `wait`, when it has ended, or time is up; with `asks` as well when it asks something.
async fn job(handle: &Handle, JobId(id): JobId, wait: Duration, answers: bool, end: End) -> Answer {
    let find = |bulletin: &Option<Arc<Bulletin>>| bulletin.as_ref()?.jobs.get(&id).cloned();
    let over = |bulletin: &Option<Arc<Bulletin>>| {
        find(bulletin).is_none_or(|job| job.state != JobState::Running || answers && job.asks.is_some())
    };
    until(handle, wait, over, end).await;
    let found = find(&handle.bulletins.borrow());
    match found {
        Some(job) => json(StatusCode::OK, &job),
        None => error(Error::new(
            Refusal::JobUnknown,
            format!("there is no job {id}"),
            "sledctl jobs lists those that are remembered",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, Look, Manner, TABLE, Values};
    use crate::wire::{self, Ask, Job, JobKind};
    use http_body_util::BodyExt;
    use serde_json::json;
    use tokio::sync::mpsc;
    use tokio::sync::watch;
    use tokio::time::Instant;

    /// Whoever does not know of questions is not told that there is one before his time is up.
    #[tokio::test(start_paused = true)]
    async fn a_job_that_asks_something_ends_the_wait_of_one_who_would_answer() {
        let job = Job {
            id: 7,
            kind: JobKind::Restart,
            region: "still-fawn-0".parse().unwrap(),
            state: JobState::Running,
            step: "waiting".into(),
            progress: None,
            cancellable: true,
            error: None,
            asked: jiff::Timestamp::UNIX_EPOCH,
            took_ms: None,
            asks: Some(Box::new(Ask {
                number: 1,
                region: "still-fawn-0".parse().unwrap(),
                moved: Default::default(),
                whole: false,
                alone: false,
                stopped: false,
                unreadable: false,
            })),
            unasked: false,
            by: None,
        };
        let jobs = Arc::new([(7, job)].into());
        let (_keep, bulletins) = watch::channel(Some(Arc::new(Bulletin { jobs, ..Bulletin::default() })));
        let pulse = crate::desk::pulse::LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse, events: Default::default() };
        let (_never, end) = watch::channel(false);
        let held = |seconds| Some(Held(Duration::from_secs(seconds)));
        for (wait, asks, seconds) in [(held(20), false, 20), (held(20), true, 0), (None, true, 0)] {
            let began = Instant::now();
            let asked = Operation::ShowJob { id: JobId(7), wait, revision: None, asks };
            let answer = super::answer(&handle, &asked, &HeaderMap::new(), end.clone()).await;
            assert_eq!((answer.status(), began.elapsed().as_secs()), (StatusCode::OK, seconds), "{wait:?}, {asks}");
        }
    }

    #[tokio::test]
    async fn every_operation_that_needs_nobody_is_answered() {
        let (_keep, bulletins) = watch::channel(Some(Arc::new(Bulletin::default())));
        let pulse = crate::desk::pulse::LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse, events: Default::default() };
        let (_never, end) = watch::channel(false);
        for row in TABLE.iter().filter(|row| row.look == Look::Published) {
            let path = row.parameters.iter().filter(|parameter| row.in_path(parameter.name));
            let value = |kind| if kind == Kind::Region { "7-0" } else { "7" };
            let path = path.map(|parameter| (parameter.name, value(parameter.kind).to_owned())).collect();
            let operation = row.read(&Values { path, ..Values::default() }).unwrap();
            let answer = super::answer(&handle, &operation, &HeaderMap::new(), end.clone()).await;
            let (status, tag) = (answer.status(), answer.headers().contains_key("etag"));
            assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{}: {status}", row.name);
            assert!(status != StatusCode::OK || tag == (row.manner == Manner::Tagged), "{}: a tag: {tag}", row.name);
        }
    }

    /// A sled with `still-fawn-0`, whose volume has a region on another sled.
    fn sled() -> wire::Sled {
        let (at, address) = ("2026-01-01T00:00:00Z", "192.168.4.189");
        let region = |index: u8, sled: &str, state: Option<&str>| {
            json!({
                "name": format!("still-fawn-{index}"), "index": index, "sled": sled, "address": address, "port": 3830,
                "repair_port": 7830, "uuid": null, "state": state, "since": null, "pid": null, "connected": [],
            })
        };
        let volume = json!({
            "volume": "still-fawn", "ready": false, "revision": 1, "as_of": at, "sled": "proper-raptor",
            "port_map": "", "fault_tolerance": 0, "size_bytes": 0, "hosts": [], "checks": [], "generation": 0,
            "regions": [region(0, "proper-raptor", Some("serving")), region(1, "quick-otter", None)],
        });
        let storage = json!({
            "root": "/srv", "mounted": false, "capacity_bytes": 0, "free_bytes": 0, "promised_bytes": 0, "used_bytes": 0,
        });
        let sled = json!({
            "sled": "proper-raptor", "version": "", "as_of": at, "started": at, "address": address, "port_map": "",
            "well": true, "network": { "nic": "eth0", "bridge": "br0" }, "storage": storage, "volumes": [volume],
            "checks": [],
        });
        serde_json::from_value(sled).unwrap()
    }

    #[tokio::test]
    async fn a_region_is_shown_as_in_its_volume_wherever_it_is_and_an_unknown_one_is_404() {
        let whole = Arc::new(sled());
        let elsewhere = [("local".parse().unwrap(), vec!["quick-otter".parse().unwrap()])].into();
        let bulletin = Bulletin { whole: Some(whole.clone()), elsewhere, ..Bulletin::default() };
        for expected in &whole.volumes[0].regions {
            let answer = super::region(&bulletin, &expected.name);
            assert_eq!(answer.status(), StatusCode::OK);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(serde_json::from_slice::<wire::Region>(&body).unwrap(), *expected);
        }
        for (name, remedy) in [("still-fawn-2", "region list"), ("pve-0", "region list"), ("local-0", "quick-otter")] {
            let answer = super::region(&bulletin, &name.parse().unwrap());
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{name}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let error = serde_json::from_slice::<wire::ErrorBody>(&body).unwrap().error;
            assert_eq!(error.code, Refusal::RegionUnknown, "{name}");
            assert!(error.remedy.contains(remedy), "{name}: {error:?}");
        }
    }

    #[test]
    fn a_revision_is_waited_for_and_not_merely_said() {
        let held = |seconds| Some(Held(Duration::from_secs_f64(seconds)));
        assert_eq!(Wait::new(None, None).unwrap(), None);
        let wait = Wait { time: Duration::from_secs_f64(1.5), revision: Some(7) };
        assert_eq!(Wait::new(held(1.5), Some(7)).unwrap(), Some(wait));
        assert_eq!(Wait::new(None, Some(1)).unwrap_err().code, Refusal::BadQuery);
    }
}
