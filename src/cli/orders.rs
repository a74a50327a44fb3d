//! Orders: requests that become jobs, one for each region, and the jobs followed to their end with a bar each.

use super::client::Client;
use super::failure::Failure;
use super::neighbours::{Doors, Neighbours};
use super::print::Output;
use crate::api::{Held, JobId, Operation};
use crate::clean;
use crate::names::RegionName;
use crate::terminal;
use crate::wire::{Error, ErrorCode, Granted, Job, JobKind, JobState, Refusal};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;
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

/// Ask for everything and wait for the end; `Ok(true)` if all of it was done. An order that is refused does not keep
/// the others from being asked for.
pub(super) async fn carry_out(
    client: &Client,
    doors: &Doors,
    orders: Vec<Order>,
    output: Output,
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
        let (client, doors, bar) = (client.clone(), doors.clone(), bar(&bars, &order.region.to_string()));
        watching.spawn(async move {
            let outcome = watch(&client, &doors, order.region, asked, &bar).await;
            bar.finish_and_clear();
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
    let bars = bars(output);
    let Granted::Job(job) = &granted else { return Ok(true) };
    let (region, kind) = (job.region.clone(), job.kind);
    let bar = bar(&bars, kind.as_str());
    let outcome = watch(client, doors, region, Ok(granted), &bar).await?;
    bar.finish_and_clear();
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
    bar: &ProgressBar,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome { region, already_there: None, job: None, error: None };
    let mut job = match asked {
        Ok(Granted::Job(job)) => job,
        Ok(Granted::AlreadyThere(uuid)) => return Ok(Outcome { already_there: Some(uuid), ..outcome }),
        // The supervisor may be there again for the next one.
        Err(failure) => return Ok(Outcome { error: Some(failure.error()), ..outcome }),
    };
    let mut neighbours = Neighbours::new(doors);
    // The answer is held until the end where nobody watches.
    let hold = if bar.is_hidden() { JOB_HOLD } else { JOB_POLL };
    let shown = Operation::ShowJob { id: JobId(job.id), wait: Some(Held(hold)), revision: None, asks: true };
    while job.state == JobState::Running {
        show(bar, &job);
        if let Some(ask) = &job.asks {
            neighbours.answer(client, job.id, ask).await;
        }
        job = match client.ask(&shown).await {
            Ok(job) => job,
            // The end of this job is not known; that of the others still is.
            Err(failure) => return Ok(Outcome { error: Some(failure.error()), job: Some(job), ..outcome }),
        };
    }
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

fn bar(bars: &MultiProgress, name: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(0));
    if let Ok(style) = ProgressStyle::with_template("{prefix:20} {bar:30} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

fn show(bar: &ProgressBar, job: &Job) {
    let (done, total) = job.progress.map_or((0, 1), |progress| (progress.done, progress.total));
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(clean::line(&job.step).into_owned());
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
