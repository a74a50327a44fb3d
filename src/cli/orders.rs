//! Orders: requests that become jobs, one for each region, and the jobs followed to their end with a bar each.

use super::client::Client;
use super::failure::Failure;
use super::neighbours::{Doors, Neighbours};
use super::print::Output;
use crate::api::{Held, JobId, Operation};
use crate::clean;
use crate::names::RegionName;
use crate::progress::estimate;
use crate::span::Span;
use crate::terminal;
use crate::wire::{Error, ErrorCode, Granted, Job, JobKind, JobState, Refusal};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Time between two looks at a job, while somebody watches.
const JOB_POLL: Duration = Duration::from_millis(100);
/// Time that the answer about a job is held where nobody watches.
const JOB_HOLD: Duration = Duration::from_secs(60);

/// Request of one region that becomes a job.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) region: RegionName,
    pub(super) operation: Operation,
}

impl Order {
    pub(super) fn new(region: &RegionName, operation: Operation) -> Self {
        Self { region: region.clone(), operation }
    }
}

/// Outcome of one order.
#[derive(Debug, Serialize)]
struct Outcome {
    region: RegionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    already_there: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Job>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

impl Outcome {
    /// Decide whether the supervisor ended under way: it did not answer any more, or one that came after it
    /// says so. An order that could not be asked for has no job.
    fn is_gone(&self) -> bool {
        self.error.as_ref().is_some_and(|why| match &why.code {
            ErrorCode::Refusal(Refusal::CutShort) => true,
            ErrorCode::Refusal(Refusal::Unreachable) => self.job.is_some(),
            _ => false,
        })
    }
}

/// Jobs that are followed, by their numbers.
type Followed = Arc<Mutex<BTreeSet<u64>>>;

/// Do this until it is done or somebody interrupts it: then the jobs that are followed go on.
async fn unless_interrupted(
    followed: &Followed,
    done: impl Future<Output = Result<bool, Failure>>,
) -> Result<bool, Failure> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = done => done,
        _ = interrupted.recv() => Err(Failure::Left(locked(followed).iter().copied().collect())),
    }
}

/// Lock the numbers; whoever has panicked with them has left them whole.
fn locked(followed: &Followed) -> MutexGuard<'_, BTreeSet<u64>> {
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ask for everything and wait for the end; `Ok(true)` if all of it was done. An order that is refused does not keep
/// the others from being asked for.
pub(super) async fn carry_out(
    client: &Client,
    doors: &Doors,
    orders: Vec<Order>,
    output: Output,
) -> Result<bool, Failure> {
    let followed = Followed::default();
    unless_interrupted(&followed, ask_and_watch(client, doors, orders, output, &followed)).await
}

async fn ask_and_watch(
    client: &Client,
    doors: &Doors,
    orders: Vec<Order>,
    output: Output,
    followed: &Followed,
) -> Result<bool, Failure> {
    let bars = bars(output);
    let doors = Arc::new(doors.clone());
    let (mut watching, mut unreached, all) = (JoinSet::new(), Vec::new(), orders.len());
    for order in orders {
        let mut asked = client.ask::<Granted>(&order.operation).await;
        if let Err(failure @ Failure::Unreachable(..)) = asked {
            asked = Err(Failure::Refused(failure.error()));
            unreached.push(failure);
        }
        let (client, doors, followed) = (client.clone(), doors.clone(), followed.clone());
        let mut bar = Bar::new(&bars, &order.region.to_string());
        watching.spawn(async move {
            let outcome = watch(&client, &doors, order.region, asked, &mut bar, &followed).await;
            bar.shown.finish_and_clear();
            outcome
        });
    }
    // If no order could be asked for, that is all there is to say.
    if let Some(failure) = unreached.pop().filter(|_| unreached.len() + 1 == all) {
        return Err(failure);
    }
    let mut outcomes = Vec::new();
    while let Some(ended) = watching.join_next().await {
        let outcome = ended.map_err(io::Error::other)??;
        if output.is_text() {
            bars.suspend(|| say(&outcome))?;
        }
        outcomes.push(outcome);
    }
    outcomes.sort_by(|a, b| a.region.cmp(&b.region));
    let done = |outcome: &&Outcome| outcome.error.is_none();
    let names = || outcomes.iter().filter(done).map(|outcome| outcome.region.to_string()).collect();
    if !output.is_text() {
        output.show(&outcomes, names, |_| String::new())?;
    }
    all_done(&outcomes)
}

fn all_done(outcomes: &[Outcome]) -> Result<bool, Failure> {
    if outcomes.iter().any(Outcome::is_gone) {
        return Err(Failure::Gone);
    }
    match outcomes.iter().filter(|outcome| outcome.error.is_some()).count() {
        0 => Ok(true),
        failed => Err(Failure::Several { failed, all: outcomes.len() }),
    }
}

/// Follow one job that is not a single region's.
pub(super) async fn follow(client: &Client, doors: &Doors, granted: Granted, output: Output) -> Result<bool, Failure> {
    let followed = Followed::default();
    unless_interrupted(&followed, follow_one(client, doors, granted, output, &followed)).await
}

async fn follow_one(
    client: &Client,
    doors: &Doors,
    granted: Granted,
    output: Output,
    followed: &Followed,
) -> Result<bool, Failure> {
    let bars = bars(output);
    let Granted::Job(job) = &granted else { return Ok(true) };
    let (region, kind) = (job.region.clone(), job.kind);
    let mut bar = Bar::new(&bars, &format!("{} {region}", kind.as_str()));
    let outcome = watch(client, doors, region, Ok(granted), &mut bar, followed).await?;
    bar.shown.finish_and_clear();
    let text = |outcome: &Outcome| match (&outcome.error, &outcome.job) {
        (None, Some(job)) => format!("{}: {}\n", kind.as_str(), job.step),
        _ => String::new(),
    };
    let name = || outcome.job.iter().map(|job| job.id.to_string()).collect();
    output.show(&outcome, name, text)?;
    let gone = outcome.is_gone();
    match outcome.error {
        Some(_) if gone => Err(Failure::Gone),
        Some(why) if output.is_text() => Err(Failure::Refused(why)),
        Some(_) => Err(Failure::Several { failed: 1, all: 1 }),
        None => Ok(true),
    }
}

/// Watch a job until it has ended.
async fn watch(
    client: &Client,
    doors: &Doors,
    region: RegionName,
    asked: Result<Granted, Failure>,
    bar: &mut Bar,
    followed: &Followed,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome { region, already_there: None, job: None, error: None };
    let mut job = match asked {
        Ok(Granted::Job(job)) => job,
        Ok(Granted::AlreadyThere(uuid)) => return Ok(Outcome { already_there: Some(uuid), ..outcome }),
        // The supervisor may be there again for the next one.
        Err(failure) => return Ok(Outcome { error: Some(failure.error()), ..outcome }),
    };
    locked(followed).insert(job.id);
    let mut neighbours = Neighbours::new(doors);
    // The answer is held until the end where nobody watches.
    let hold = if bar.shown.is_hidden() { JOB_HOLD } else { JOB_POLL };
    let shown = Operation::ShowJob { id: JobId(job.id), wait: Some(Held(hold)), revision: None, asks: true };
    while job.state == JobState::Running {
        bar.show(&job);
        if let Some(ask) = &job.asks {
            neighbours.answer(client, job.id, ask).await;
        }
        job = match client.ask(&shown).await {
            Ok(job) => job,
            // The end of this job is not known; that of the others still is.
            Err(failure) => return Ok(Outcome { error: Some(failure.error()), job: Some(job), ..outcome }),
        };
    }
    locked(followed).remove(&job.id);
    let cancelled =
        || Error::new(Refusal::Cancelled, format!("{}: cancelled; everything is as it was", job.region), "ask again");
    outcome.error = job.error.clone().or_else(|| (job.state == JobState::Cancelled).then(cancelled));
    outcome.job = Some(job);
    Ok(outcome)
}

/// Make room for bars, where somebody sees them.
fn bars(output: Output) -> MultiProgress {
    let bars = MultiProgress::new();
    if !output.is_text() || !io::stderr().is_terminal() {
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
    bars
}

/// Bar of one job: the step that it is at, how much of that is done, and how long it may take yet.
struct Bar {
    shown: ProgressBar,
    /// Step that it was at, since when, and how much of it was done then.
    step: (String, Instant, u64),
}

impl Bar {
    fn new(bars: &MultiProgress, name: &str) -> Self {
        let shown = bars.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{prefix:20} {bar:20} {wide_msg}") {
            shown.set_style(style);
        }
        shown.set_prefix(name.to_owned());
        Self { shown, step: (String::new(), Instant::now(), 0) }
    }

    fn show(&mut self, job: &Job) {
        let (done, total) = job.progress.map_or((0, 1), |progress| (progress.done, progress.total));
        if self.step.0 != job.step {
            self.step = (job.step.clone(), Instant::now(), done);
        }
        let (_, began, before) = &self.step;
        let left = estimate(began.elapsed(), done.saturating_sub(*before), total.saturating_sub(done));
        self.shown.set_length(total);
        self.shown.set_position(done);
        self.shown.set_message(said(job, left));
    }
}

/// Say what a job does, how much of it is done, and how long it may take yet.
fn said(job: &Job, left: Option<Duration>) -> String {
    let mut said = clean::line(&job.step).into_owned();
    if let Some(progress) = job.progress.filter(|progress| progress.total > 0) {
        said += &format!(" {} %", u128::from(progress.done) * 100 / u128::from(progress.total));
    }
    if let Some(left) = left {
        said += &format!(", about {} left", Span::seconds(rough(left.as_secs())));
    }
    said
}

/// Round a guess at a number of seconds: nobody knows more of it.
fn rough(seconds: u64) -> u64 {
    match seconds {
        0..=1 => 1,
        2..90 => seconds,
        90..5400 => seconds.div_ceil(60) * 60,
        _ => seconds.div_ceil(3600) * 3600,
    }
}

fn say(outcome: &Outcome) -> io::Result<()> {
    let region = &outcome.region;
    match (&outcome.already_there, &outcome.job, &outcome.error) {
        (_, _, Some(error)) => terminal::note(&format!("{}\n    {}", error.message, error.remedy)),
        (Some(uuid), ..) => terminal::out(&format!("{region}: exists already, as {uuid}\n"))?,
        (_, Some(job), _) => terminal::out(&format!("{region}: {}\n", done(job)))?,
        _ => {}
    }
    Ok(())
}

fn done(job: &Job) -> String {
    let took = job.took_ms.unwrap_or_default();
    match job.kind {
        JobKind::Create => format!("created in {took} ms"),
        _ => format!("{} ({took} ms)", job.step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::Form;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    fn orders() -> Vec<Order> {
        let order = |name: &str| {
            let region: RegionName = name.parse().unwrap();
            Order::new(&region, Operation::CreateRegion { region: region.clone(), never_existed: None })
        };
        ["still-fawn-0", "still-fawn-1", "still-fawn-2"].map(order).into()
    }

    /// Answer the first request, and hang up on every other.
    async fn answer_one(listener: UnixListener) {
        let mut first = true;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            _ = stream.read(&mut [0; 4096]).await;
            if std::mem::take(&mut first) {
                let body = "{\"error\":{\"code\":\"IN_USE\",\"message\":\"a host uses it\",\"remedy\":\"detach it\"}}";
                let head = format!("HTTP/1.1 409 Conflict\r\ncontent-length: {}\r\n\r\n", body.len());
                _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        }
    }

    #[test]
    fn a_bar_says_how_much_is_done_and_how_long_it_may_take() {
        let job: Job = serde_json::from_value(serde_json::json!({"id": 7, "kind": "create", "region": "pve-0",
            "state": "running", "step": "reserving blocks", "progress": {"done": 25, "total": 100}, "cancellable": true,
            "error": null, "asked": "2026-01-01T00:00:00Z", "took_ms": null}))
        .unwrap();
        let said = |seconds: Option<u64>| said(&job, seconds.map(Duration::from_secs));
        assert_eq!(said(None), "reserving blocks 25 %");
        assert_eq!(said(Some(30)), "reserving blocks 25 %, about 30 s left");
        assert_eq!(said(Some(100)), "reserving blocks 25 %, about 2 min left");
        assert_eq!(said(Some(0)), "reserving blocks 25 %, about 1 s left");
    }

    #[tokio::test]
    async fn one_that_could_not_be_asked_for_takes_nothing_from_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let (client, doors) = (Client::new(&socket), Doors::default());
        // With nobody there at all, that is what there is to say.
        assert!(matches!(
            carry_out(&client, &doors, orders(), Output::new(Form::Json)).await,
            Err(Failure::Unreachable(..))
        ));
        // Bound before anybody asks.
        let server = answer_one(UnixListener::bind(&socket).unwrap());
        let done = tokio::select! {
            done = carry_out(&client, &doors, orders(), Output::new(Form::Json)) => done,
            () = server => unreachable!(),
        };
        assert!(matches!(done, Err(Failure::Several { failed: 3, all: 3 })), "{done:?}");
    }
}
