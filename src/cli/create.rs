//! `sledctl region create`: asks for each region, then follows the jobs with a bar.

use super::client::{Client, Failure};
use crate::names::RegionName;
use crate::wire::{Created, Error, Job, JobState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use tokio::task::JoinSet;
use uuid::Uuid;

/// What became of one region.
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

/// Creates regions; `Ok(true)` if each is there now.
pub(super) async fn create(client: &Client, regions: Vec<RegionName>, json: bool) -> Result<bool, Failure> {
    let bar = bar(regions.len(), json);
    let mut following = JoinSet::new();
    for region in regions {
        // One that is refused does not keep the others from being asked for.
        let asked = client.post::<Created>(&format!("/v1/regions/{region}")).await;
        let client = client.clone();
        following.spawn(async move { follow(&client, region, asked).await });
    }
    let mut outcomes = Vec::new();
    while let Some(ended) = following.join_next().await {
        let outcome = ended.map_err(std::io::Error::other)??;
        bar.inc(1);
        if !json {
            bar.suspend(|| say(&outcome));
        }
        outcomes.push(outcome);
    }
    bar.finish_and_clear();
    outcomes.sort_by(|a, b| a.region.cmp(&b.region));
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(&outcomes).map_err(std::io::Error::from)?);
    }
    match outcomes.iter().filter(|outcome| outcome.error.is_some()).count() {
        0 => Ok(true),
        failed => Err(Failure::Several { failed, all: outcomes.len() }),
    }
}

async fn follow(client: &Client, region: RegionName, asked: Result<Created, Failure>) -> Result<Outcome, Failure> {
    let mut outcome = Outcome { region, already_there: None, job: None, error: None };
    let mut job = match asked {
        Ok(Created::Job(job)) => job,
        Ok(Created::AlreadyThere(uuid)) => return Ok(Outcome { already_there: Some(uuid), ..outcome }),
        Err(Failure::Refused(error)) => return Ok(Outcome { error: Some(error), ..outcome }),
        Err(other) => return Err(other),
    };
    while job.state == JobState::Running {
        job = match client.get_held(&format!("/v1/jobs/{}?wait=60", job.id)).await {
            Ok(job) => job,
            // What becomes of this one is not known; that of the others still is.
            Err(failure) => return Ok(Outcome { error: Some(failure.error()), ..outcome }),
        };
    }
    outcome.error = job.error.clone();
    outcome.job = Some(job);
    Ok(outcome)
}

fn bar(length: usize, json: bool) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} regions, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn say(outcome: &Outcome) {
    let region = &outcome.region;
    match (&outcome.already_there, &outcome.job, &outcome.error) {
        (_, _, Some(error)) => anstream::eprintln!("{}\n    {}", error.message, error.remedy),
        (Some(uuid), ..) => anstream::println!("{region}: exists already, as {uuid}"),
        (_, Some(job), _) => anstream::println!("{region}: created in {} ms", job.took_ms.unwrap_or_default()),
        _ => {}
    }
}
