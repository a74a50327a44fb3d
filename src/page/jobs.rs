//! Jobs: those that run, with how far they are, and the last ones that have ended.

use super::parts::{at, length, percent};
use super::tone::Tone;
use crate::wire::{Job, JobProgress, JobState};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// How many of those that have ended are shown.
const ENDED_SHOWN: usize = 5;

/// Draw the jobs, the last one first.
pub(super) fn render(jobs: &BTreeMap<u64, Job>) -> Markup {
    let running = jobs.values().rev().filter(|job| job.state == JobState::Running);
    let ended = jobs.values().rev().filter(|job| job.state != JobState::Running).take(ENDED_SHOWN);
    let shown: Vec<_> = running.chain(ended).collect();
    html! { section aria-labelledby="jobs" {
        h2 #jobs { "Jobs" }
        @if shown.is_empty() {
            p.card { "None." }
        } @else {
            ul.card.list { @for job in shown { (one(job)) } }
        }
    } }
}

fn one(job: &Job) -> Markup {
    html! { li {
        p {
            (tone(job.state).says(job.state.as_str())) " "
            b { (job.kind.as_str()) " " (job.region) } " "
            span.faint { "job " (job.id) ", asked for at " (at(job.asked)) @if let Some(by) = &job.by { " by " (by) } }
        }
        p.sum {
            (job.step)
            @if let Some(took) = job.took_ms { ", in " (length((took / 1000).cast_signed())) }
        }
        @if let (JobState::Running, Some(progress)) = (job.state, job.progress) { (bar(progress)) }
        @if let Some(error) = &job.error { p.cause { (error.message) } p.remedy { b { "Remedy" } " " (error.remedy) } }
    } }
}

fn bar(progress: JobProgress) -> Markup {
    let share = percent(progress.done as f64, progress.total as f64);
    html! { svg.bar.progress role="img" aria-label={ (share) " of this step is done" } {
        rect.free width="100%" height="100%" {}
        rect.used width=(share) height="100%" {}
    } }
}

fn tone(state: JobState) -> Tone {
    match state {
        JobState::Running => Tone::Passing,
        JobState::Done => Tone::Well,
        JobState::Failed => Tone::Bad,
        JobState::Cancelled => Tone::Unknown,
    }
}
