//! `sledctl jobs`: long work, how far it is, and what became of it.

use super::client::Client;
use super::failure::Failure;
use super::neighbours::Elsewhere;
use super::orders;
use super::print::{Output, ago, or_dash, print};
use super::view::{self, View, Watch};
use crate::api::{JobId, Operation};
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::{Table, Tone, column, plain};
use crate::times::in_seconds;
use crate::wire::{Granted, Job, JobProgress, JobState, JobUnit};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write as _;

const EXAMPLES: &str = "Examples:
  sledctl jobs                 those that are remembered
  sledctl jobs follow 7        how far it is, and how long it may take yet
  sledctl jobs cancel 7        if it has not gone too far";

/// List the jobs, show or cancel one.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct JobsCommand {
    #[command(flatten)]
    watch: Watch,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Follow(Follow),
    Cancel(Cancel),
}

impl JobsCommand {
    /// List the jobs, or see to one of them.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        match &self.command {
            None => view::show(self, client, output, self.watch).await,
            Some(Command::Show(show)) => show.run(client, output).await,
            Some(Command::Follow(follow)) => follow.run(client, output).await,
            Some(Command::Cancel(cancel)) => cancel.run(client, output).await,
        }
    }
}

impl View for JobsCommand {
    type Answer = Vec<Job>;

    async fn ask(&self, client: &Client) -> Result<Vec<Job>, Failure> {
        client.ask(&Operation::ListJobs {}).await
    }

    fn body<'a>(&self, jobs: &'a Vec<Job>) -> impl Serialize + 'a {
        jobs
    }

    fn names(&self, jobs: &Vec<Job>) -> Vec<String> {
        jobs.iter().map(|job| job.id.to_string()).collect()
    }

    fn text(&self, jobs: &Vec<Job>, screen: Screen) -> String {
        table(jobs, screen)
    }
}

/// Show a job.
#[derive(Debug, Args)]
struct Show {
    /// Its number.
    id: u64,
    #[command(flatten)]
    watch: Watch,
}

impl Show {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        view::show(self, client, output, self.watch).await
    }
}

impl View for Show {
    type Answer = Job;

    async fn ask(&self, client: &Client) -> Result<Job, Failure> {
        find(client, self.id).await
    }

    fn body<'a>(&self, job: &'a Job) -> impl Serialize + 'a {
        job
    }

    fn names(&self, job: &Job) -> Vec<String> {
        vec![job.id.to_string()]
    }

    fn text(&self, job: &Job, _: Screen) -> String {
        text(job)
    }

    fn is_well(&self, job: &Job) -> bool {
        job.error.is_none()
    }
}

/// Follow a job until it has ended, and ask a volume's other sleds for it. Ctrl-C leaves the job as it is.
#[derive(Debug, Args)]
struct Follow {
    /// Its number.
    id: u64,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

impl Follow {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let job = find(client, self.id).await?;
        let doors = self.elsewhere.doors(client).await?;
        orders::follow(client, &doors, Granted::Job(job), output).await
    }
}

/// Cancel a job, if it has not gone too far.
#[derive(Debug, Args)]
struct Cancel {
    /// Its number.
    id: u64,
}

impl Cancel {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let id = self.id;
        let granted: Granted = client.ask(&Operation::CancelJob { id: JobId(id) }).await?;
        print(output, &granted, |_| format!("job {id} is being cancelled\n"))?;
        Ok(true)
    }
}

async fn find(client: &Client, id: u64) -> Result<Job, Failure> {
    client.ask(&Operation::ShowJob { id: JobId(id), wait: None, revision: None, asks: false }).await
}

fn table(jobs: &[Job], screen: Screen) -> String {
    if jobs.is_empty() {
        return "no jobs yet\n".into();
    }
    let mut table = Table::new(&[
        column("JOB"),
        column("WHAT").rank(1),
        column("REGION"),
        column("STATE"),
        column("AGO").rank(3),
        column("STEP").wrap(20).rank(2),
    ]);
    for job in jobs {
        let tone = match job.state {
            JobState::Running => Tone::Warning,
            JobState::Done => Tone::Well,
            JobState::Failed => Tone::Bad,
            JobState::Cancelled => Tone::Faint,
        };
        table.row(vec![
            plain(job.id),
            plain(job.kind.as_str()),
            plain(&job.region),
            (job.state.as_str().into(), tone),
            plain(ago(job.asked)),
            plain(step(job)),
        ]);
    }
    table.on(screen)
}

fn text(job: &Job) -> String {
    let head = format!("job {}: {} {}", job.id, job.kind.as_str(), job.region);
    let mut out = format!("{}, {}\n\n", Tone::Heading.paint(&head), job.state.as_str());
    _ = writeln!(out, "  asked        {}", in_seconds(job.asked));
    _ = writeln!(out, "  by           {}", or_dash(job.by.as_ref()));
    _ = writeln!(out, "  took         {}", or_dash(job.took_ms.map(|ms| format!("{ms} ms"))));
    _ = writeln!(out, "  step         {}", step(job));
    _ = writeln!(out, "  cancellable  {}", if job.cancellable { "yes" } else { "no" });
    if let Some(error) = &job.error {
        _ = writeln!(out, "\n  {}\n    -> {}", error.code, error.remedy);
    }
    out
}

fn step(job: &Job) -> String {
    match (&job.error, job.progress) {
        (Some(error), _) => error.message.clone(),
        (None, Some(JobProgress { done, total, unit: JobUnit::Bytes })) => {
            format!("{} {} of {}", job.step, spoken(done), spoken(total))
        }
        (None, Some(progress)) => format!("{} {} of {}", job.step, progress.done, progress.total),
        (None, None) => job.step.clone(),
    }
}
