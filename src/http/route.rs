//! Routes of the HTTP endpoint: which request gets which answer.

use super::answer::{Answer, bulletin, error, error_as, json, not_allowed, ready, text};
use super::door::Door;
use super::target::{self, Query};
use super::{admin, attach, hosts, origin};
use crate::names::VolumeName;
use crate::supervisor::{Bulletin, Handle, Page};
use crate::wire::{Error, JobState, Refusal};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::Body;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longest time that an answer is held, in seconds.
const WAIT_LIMIT_SECONDS: f64 = 60.0;

/// Wait for an answer that is held.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wait {
    time: Duration,
    /// Revision at which the answer is still held; without it, it is held until a host may attach.
    revision: Option<u64>,
}

/// News of the daemon's end: whoever waits is answered at once.
pub(super) type End = watch::Receiver<bool>;

/// Answer a request; `at` is the sled's end of a TCP connection.
pub(super) async fn answer<B>(
    request: Request<B>,
    door: Door,
    at: Option<SocketAddr>,
    handle: &Handle,
    end: End,
) -> Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if door == (Door::Admin { admitted: false }) {
        let message = "only root and members of the group sled may use this socket";
        return error(Error::new(Refusal::Forbidden, message, "sudo, or: adduser NAME sled"));
    }
    let (request, body) = request.into_parts();
    if let Some(refused) = at.and_then(|at| foreign(handle, &request, at)) {
        return refused;
    }
    let uri = request.uri;
    let (path, query) = match (target::path(&uri), target::query(&uri)) {
        (Ok(path), Ok(query)) => (path, query),
        (Err(why), _) | (_, Err(why)) => return error(why),
    };
    // No path has an empty segment.
    let segments: Vec<_> = path.as_ref().map_or(vec![""], |path| path.iter().map(String::as_str).collect());
    let query = &query;
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    match (segments.as_slice(), reads) {
        (["healthz"], true) => latest(handle, query, |_| health(handle)),
        (["v1", "sled"], true) => latest(handle, query, |bulletin| ready(StatusCode::OK, bulletin.sled.bytes())),
        (["v1", "volumes"], true) => latest(handle, query, |bulletin| ready(StatusCode::OK, bulletin.brief.bytes())),
        (["v1", "volumes", name], true) => volume(handle, name, query, end).await,
        (["v1", "volumes", name, "hosts"], true) => hosts::answer(handle, name, query).await,
        (["v1", "jobs"], true) => {
            latest(handle, query, |bulletin| json(StatusCode::OK, &bulletin.jobs.values().collect::<Vec<_>>()))
        }
        (["v1", "jobs", id], true) => job(handle, id, query, end).await,
        (["v1", "maintenance"], true) => {
            latest(handle, query, |bulletin| ready(StatusCode::OK, bulletin.maintenance.bytes()))
        }
        (["v1", "storage"], true) => latest(handle, query, |bulletin| ready(StatusCode::OK, bulletin.storage.bytes())),
        (["v1", "volumes", name, verb @ ("attach" | "release" | "drained")], _) => {
            let (query, there) = (uri.query().unwrap_or_default(), request.extensions.get().cloned());
            let asked = attach::Asked { name, verb, query, door, there };
            attach::answer(handle, &request.method, asked, body).await
        }
        (path, _) if !matches!(door, Door::Tcp(_)) && admin::knows(path) => match admin::brought(path, body).await {
            Ok(brought) => admin::answer(handle, &request.method, path, query, brought).await,
            Err(why) => error_as(StatusCode::PAYLOAD_TOO_LARGE, why),
        },
        (
            ["healthz"]
            | ["v1", "sled" | "volumes" | "jobs" | "storage" | "maintenance"]
            | ["v1", "volumes" | "jobs", _]
            | ["v1", "volumes", _, "hosts"],
            false,
        ) => not_allowed("GET, HEAD"),
        _ => error(Error::new(
            Refusal::NotFound,
            format!("there is nothing at {}", uri.path()),
            "see the README for the paths",
        )),
    }
}

/// Answer whether the supervisor's loop turns: everything else here is answered beside it, and might go on for
/// ever with a verdict of long ago.
fn health(handle: &Handle) -> Answer {
    match handle.pulse.stuck() {
        None => text(StatusCode::OK, "ok\n"),
        Some(since) => {
            let message = format!("the supervisor's loop has not turned for {} s", since.as_secs());
            let remedy = "its watchdog restarts it; if it does not: systemctl restart sledd, and journalctl -u sledd";
            error(Error::new(Refusal::LoopStuck, message, remedy))
        }
    }
}

/// Refuse a request that came in over TCP and is none that a host makes.
fn foreign(handle: &Handle, request: &http::request::Parts, at: SocketAddr) -> Option<Answer> {
    let last = handle.bulletins.borrow().clone();
    origin::refused(request, at, last.as_ref().map_or(&Default::default(), |last| &last.names))
}

/// Answer from the last bulletin, or with why there is none. No parameters belong to it.
fn latest(handle: &Handle, query: &Query, render: impl FnOnce(&Bulletin) -> Answer) -> Answer {
    if let Err(why) = query.only([]) {
        return error(why);
    }
    match bulletin(handle) {
        Ok(bulletin) => render(&bulletin),
        Err(why) => *why,
    }
}

async fn volume(handle: &Handle, name: &str, query: &Query, end: End) -> Answer {
    let wait = match wait(query) {
        Ok(wait) => wait,
        Err(why) => return error(why),
    };
    let first = match bulletin(handle) {
        Ok(bulletin) => bulletin,
        Err(why) => return *why,
    };
    let Some(name) = name.parse::<VolumeName>().ok().filter(|name| first.volumes.contains_key(name)) else {
        return no_volume(&first, name);
    };
    let page = |bulletin: &Bulletin| bulletin.volumes.get(&name).cloned();
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
        Some(page) if page.ready => ready(StatusCode::OK, page.body.bytes()),
        Some(page) => ready(StatusCode::SERVICE_UNAVAILABLE, page.body.bytes()),
        None => no_volume(&first, name.as_str()),
    }
}

/// Wait for the end of the daemon.
pub(super) async fn ended(end: &mut End) {
    // Without its sender the end has come as well.
    _ = end.wait_for(|end| *end).await;
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

fn no_volume(bulletin: &Bulletin, name: &str) -> Answer {
    let elsewhere = name.parse::<VolumeName>().ok().and_then(|name| bulletin.elsewhere.get(&name));
    let why = match elsewhere {
        Some(sleds) => {
            let sleds = sleds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
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

/// Read `wait` and `revision`. Anything else is refused: a host whose `wait` was mistyped
/// would poll without pause.
fn wait(query: &Query) -> Result<Option<Wait>, Error> {
    let [time, revision] = query.only(["wait", "revision"])?;
    wait_of(time, revision)
}

fn wait_of(time: Option<String>, revision: Option<String>) -> Result<Option<Wait>, Error> {
    let wrong = |what: &str, remedy: &str| Error::new(Refusal::BadQuery, what, remedy);
    let time = time.map(|text| text.parse().ok().filter(|seconds| (0.0..=WAIT_LIMIT_SECONDS).contains(seconds)));
    let time = time.map(|time| time.ok_or_else(|| wrong("wait is no number from 0 to 60", "for example ?wait=30")));
    let revision = revision.map(|text| {
        text.parse().map_err(|_| wrong("revision is no number", "send the revision of the body that you have"))
    });
    match (time.transpose()?, revision.transpose()?) {
        (None, Some(_)) => Err(wrong("revision is of no use without wait", "for example ?wait=30&revision=7")),
        (time, revision) => Ok(time.map(|time| Wait { time: Duration::from_secs_f64(time), revision })),
    }
}

/// Read for how long the answer about a job is held, and whether it is given as soon as the job asks something: only
/// to a client that says that it would answer. Another one would ask again at once, and again.
fn job_wait(query: &Query) -> Result<(Duration, bool), Error> {
    let [time, revision, asks] = query.only(["wait", "revision", "asks"])?;
    let time = wait_of(time, revision)?.map_or(Duration::ZERO, |wait| wait.time);
    Ok((time, admin::truth("asks", asks)?))
}

/// Answer about a job; with `wait`, when it has ended, or time is up; with `asks` as well when it asks something.
async fn job(handle: &Handle, id: &str, query: &Query, end: End) -> Answer {
    let (wait, answers) = match job_wait(query) {
        Ok(wait) => wait,
        Err(why) => return error(why),
    };
    let find = |bulletin: &Option<Arc<Bulletin>>| bulletin.as_ref()?.jobs.get(&id.parse().ok()?).cloned();
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
    use super::super::target::read_query;
    use super::*;
    use crate::wire::{Ask, Job, JobKind};
    use tokio::sync::mpsc;
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
            asks: Some(Box::new(Ask { number: 1, region: "still-fawn-0".parse().unwrap(), moved: Default::default() })),
            unasked: false,
        };
        let jobs = Arc::new([(7, job)].into());
        let (_keep, bulletins) = watch::channel(Some(Arc::new(Bulletin { jobs, ..Bulletin::default() })));
        let pulse = crate::supervisor::LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse };
        let (_never, end) = watch::channel(false);
        for (query, held) in [("wait=20", 20), ("wait=20&asks=false", 20), ("wait=20&asks=true", 0), ("asks=true", 0)] {
            let began = Instant::now();
            let answer = super::job(&handle, "7", &read_query(query), end.clone()).await;
            assert_eq!((answer.status(), began.elapsed().as_secs()), (StatusCode::OK, held), "{query}");
        }
    }

    #[test]
    fn wait_and_revision_are_read() {
        let seconds = |time| Duration::from_secs_f64(time);
        let wait = |text: &str| wait(&read_query(text));
        assert_eq!(wait("").unwrap(), None);
        assert_eq!(wait("wait=1.5").unwrap(), Some(Wait { time: seconds(1.5), revision: None }));
        assert_eq!(wait("revision=7&wait=60").unwrap(), Some(Wait { time: seconds(60.0), revision: Some(7) }));
        assert_eq!(job_wait(&read_query("wait=2")).unwrap(), (seconds(2.0), false));
        assert_eq!(job_wait(&read_query("wait=2&asks=true")).unwrap(), (seconds(2.0), true));
        assert!(job_wait(&read_query("wait=2&asks=1")).is_err() && wait("wait=2&asks=true").is_err());
        for wrong in
            ["wait=61", "wait=-1", "wait=NaN", "wait=", "wait=inf", "revision=1", "wait=1&revision=x", "wat=1", "wait"]
        {
            assert!(wait(wrong).is_err(), "{wrong}");
        }
    }
}
