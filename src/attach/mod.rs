//! `crucible-attach`, on a host: asks the sleds that carry a volume whether it may be attached,
//! wins it, and becomes the `crucible-nbd-server` that attaches it.
//!
//! But for [`serve`], which relays, and [`install`], it keeps nothing on the host but locks and holds no child. It never
//! talks to a downstairs. What the sleds answer is somebody else's text: it is limited in size, checked, and shown
//! without its control characters.
//!
//! | module | job |
//! |---|---|
//! | [`endpoint`], [`dial`], [`client`] | where a sled is, how it is reached, and what it answers |
//! | [`sleds`] | what is known of every sled that carries the volume |
//! | [`mod@wait`] | polls them all until the volume may be attached |
//! | [`ballot`] | whether the volume is won. Pure |
//! | [`ticket`] | asks them all for it, round by round |
//! | [`mod@release`] | lets go of it |
//! | [`lock`], [`program`], [`server`] | one server a volume, whether it can be run, and becoming it |
//! | [`network`], [`apart`], [`forward`] | where servers run: the first in the host's network, the others in one each |
//! | [`serve`] | the relay of a volume, from its beginning to its end |
//! | [`servers`], [`child`], [`backing`] | its servers as children, one after the other, and what it is a relay of |
//! | [`doors`], [`device`] | where its clients come in, and the kernel as one of them |
//! | [`store`] | what outlives it |
//! | [`account`], [`activity`], [`state`], [`control`] | how it is, and where it says so |
//! | [`disk`], [`mounts`], [`users`], [`units`], [`conf`], [`here`] | what is to be seen of a volume on this host: its device, where that is mounted or is to be, who uses it, systemd's units |
//! | [`findings`] | what is wrong with it, and what to do. Pure |
//! | [`status`], [`glance`] | all of that on one screen |
//! | [`check`], [`metrics`] | all of that for monitoring |
//! | [`detach`], [`wish`] | unmounts and lets go of a volume; on a sled's wish as well |
//! | [`install`] | all of that as a part of this host, at each boot, and back |
//!
//! Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well (the volume is not
//! ready), 4 no sled can be reached, 5 the volume is another host's now, or another one: what was served ended.

mod account;
mod activity;
mod apart;
mod arguments;
mod backing;
pub mod ballot;
mod check;
mod child;
mod client;
mod codes;
mod completion;
mod conf;
mod control;
mod detach;
mod device;
mod dial;
mod disk;
mod doors;
mod endpoint;
mod failure;
pub mod findings;
mod forward;
mod glance;
mod health;
mod here;
mod install;
mod lock;
mod metrics;
mod mounts;
mod network;
mod program;
mod release;
mod serve;
mod server;
mod servers;
mod show;
mod sleds;
mod state;
mod status;
mod store;
mod texts;
mod ticket;
mod units;
mod users;
mod wait;
mod wish;

pub use arguments::Arguments;
pub use completion::command as completed;

use crate::backoff::Backoff;
use crate::check::About;
use crate::explain;
use crate::names::VolumeName;
use crate::net_test::{self, Wanted};
use crate::terminal;
use crate::wire::Refusal;
use arguments::{Command, NetTestArguments, RunArguments, Target};
use failure::Failure;
use release::Granted;
use server::Server;
use sleds::{Aim, Sleds};
use std::process::ExitCode;
use std::time::Duration;
use ticket::{Lost, Won};
use tokio::time::{Instant, sleep, timeout_at};

/// The exit code of what is done, but not well.
const NOT_WELL: u8 = 3;
/// The round after which two hosts that have disturbed each other pause as long as this host then does.
const CHANCE_ROUND: u32 = 5;
/// The pauses before a volume that was ready and could not be won is looked at again.
const WIN_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Carry out the command line. Does not return if that is to become the server, and works.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(carry_out(arguments)));
    let done = done.and_then(|done| match done {
        // The runtime is gone by now, and its descriptors with it.
        Done::Won(server) => Err(server.becomes()),
        Done::Shown(code) => Ok(code),
    });
    match done {
        Ok(code) => code,
        // The reader of standard output has read enough.
        Err(Failure::Io(why)) if why.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            show::failure(&failure, arguments.json);
            failure.code()
        }
    }
}

/// The result of a command.
enum Done {
    Shown(ExitCode),
    Won(Box<Server>),
}

async fn carry_out(arguments: &Arguments) -> Result<Done, Failure> {
    let json = arguments.json;
    let shown = match &arguments.command {
        Command::Wait { target, timeout } => wait(target, (*timeout).into(), json).await?,
        Command::Status(arguments) => status::status(arguments, json).await?,
        Command::Check(arguments) => check::check(arguments, json).await?,
        Command::Detach(arguments) => detach::detach(arguments, json).await?,
        Command::Ticket { target, takeover } => {
            let sleds = Sleds::look(&target.volume, target.sleds()?, Aim::Win).await;
            sleds.found()?;
            let won = ticket::win(&sleds, *takeover, &mut Granted::default()).await.map_err(Failure::from)?;
            show::ticket(&won, json)?;
            ExitCode::SUCCESS
        }
        Command::Release { target } => release(target, json).await?,
        Command::Serve(arguments) => serve::serve(arguments).await?,
        Command::Install(arguments) => install::install(arguments, json).await?,
        Command::Uninstall(arguments) => install::uninstall(arguments, json).await?,
        Command::NetTest(arguments) => test_network(arguments, json).await?,
        Command::Explain { code } => explained(code.as_deref(), json)?,
        Command::Run(arguments) => return attach(arguments).await.map(|server| Done::Won(Box::new(server))),
    };
    Ok(Done::Shown(shown))
}

/// Test the way to a sled that waits for it.
async fn test_network(arguments: &NetTestArguments, json: bool) -> Result<ExitCode, Failure> {
    let wanted = Wanted { net_test: 1, seconds: arguments.seconds, rate_mbps: arguments.rate };
    let tested = net_test::talk::ask((arguments.sled, arguments.port).into(), wanted).await;
    let outcome = tested.map_err(|why| {
        if why.code == Refusal::Unreachable { Failure::Unreachable(why) } else { Failure::Refused(why) }
    })?;
    if json {
        terminal::json(&outcome)?
    } else {
        terminal::out(&terminal::screen().fold(&outcome.text()))?
    }
    Ok(if outcome.shortfalls.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) })
}

/// Explain a condition of a volume on a host, or list all.
fn explained(code: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let table: Vec<&'static About> = findings::Code::ALL.iter().map(|code| code.about()).collect();
    match code {
        Some(code) => {
            let about = explain::find(&table, code).map_err(Failure::Refused)?;
            if json { terminal::json(about)? } else { terminal::out(&terminal::screen().fold(&explain::one(about)))? }
        }
        None if json => terminal::json(&table)?,
        None => terminal::out(&explain::list(&table, terminal::screen()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn wait(target: &Target, timeout: Duration, json: bool) -> Result<ExitCode, Failure> {
    let sleds = if timeout.is_zero() {
        // No time to wait: one look.
        let sleds = Sleds::look(&target.volume, target.sleds()?, Aim::Attach).await;
        sleds.found()?;
        sleds.admitted()?;
        if !sleds.ready() {
            return Err(wait::late(&sleds));
        }
        sleds
    } else {
        wait::until_ready(&target.volume, target.sleds()?, Some(Instant::now() + timeout), Aim::Attach, &|_| Ok(()))
            .await?
    };
    show::waited(&sleds, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Let go of a volume on every sled that says that this host holds it.
async fn release(target: &Target, json: bool) -> Result<ExitCode, Failure> {
    let sleds = Sleds::look(&target.volume, target.sleds()?, Aim::Win).await;
    sleds.found()?;
    let outcome = Granted::held(&sleds).release(&target.volume).await;
    show::released(&sleds, &outcome, json)?;
    let refused = outcome.values().any(Result::is_err);
    let silent = sleds.carriers().len() > sleds.looks().count();
    Ok(match (refused, silent) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(NOT_WELL),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Win the volume, so that this process can become its server.
async fn attach(arguments: &RunArguments) -> Result<Server, Failure> {
    let deadline = deadline(arguments)?;
    let server = Server::prepare(arguments)?;
    let won = win(&arguments.target, arguments.takeover, deadline, &server, &|_| Ok(())).await?;
    server.with(&won)
}

/// The instant at which time is up.
///
/// # Errors
/// If there is none from the beginning.
fn deadline(arguments: &RunArguments) -> Result<Option<Instant>, Failure> {
    if arguments.timeout.is_some_and(|timeout| Duration::from(timeout).is_zero()) {
        return Err(Failure::usage("--timeout 0s leaves no time to win anything", "for example --timeout 30s"));
    }
    Ok(arguments.timeout.map(|timeout| Instant::now() + timeout.into()))
}

/// Win the volume: wait for it as often as that is of use, and as long as `still` says that it is, of what its sleds
/// say. After its time nothing is won any more.
async fn win(
    target: &Target,
    takeover: bool,
    deadline: Option<Instant>,
    server: &Server,
    still: &(dyn Fn(&Sleds) -> Result<(), Failure> + Sync),
) -> Result<Won, Failure> {
    let given = target.sleds()?;
    let mut backoff = Backoff::new(WIN_PAUSES[0], WIN_PAUSES[1]);
    loop {
        let sleds = wait::until_ready(&target.volume, given.clone(), deadline, Aim::Win, still).await?;
        sleds.tls().into_iter().try_for_each(|tls| server.suits(tls))?;
        // Won by a majority, it could still not become active without every sled's grant.
        let mut granted = Granted::default();
        let obstacle = match within(deadline, ticket::win(&sleds, takeover, &mut granted)).await {
            None => {
                granted.release(&target.volume).await;
                return Err(late(&target.volume, "its sleds were still being asked"));
            }
            Some(Ok(Won { obstacle: Some(obstacle), .. })) => obstacle,
            Some(Ok(won)) => return Ok(won),
            Some(Err(lost)) => lost,
        };
        let failure = match obstacle {
            Lost { failure, passing: true } => failure,
            Lost { failure, .. } => return Err(failure),
        };
        show::note(&format!("{failure}; tries again"));
        // Of two that are in each other's way one comes first sooner or later.
        let pause = async {
            sleep(ticket::pause(CHANCE_ROUND)).await;
            backoff.pause().await;
        };
        if within(deadline, pause).await.is_none() {
            return Err(late(&target.volume, &failure.to_string()));
        }
    }
}

/// Give what comes of a future before the deadline; what comes later is not taken.
async fn within<T>(deadline: Option<Instant>, what: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(what.await),
        Some(deadline) => timeout_at(deadline, what).await.ok().filter(|_| Instant::now() < deadline),
    }
}

fn late(volume: &VolumeName, why: &str) -> Failure {
    let message = format!("time is up, and {volume} is not won: {why}");
    Failure::refused(Refusal::TimedOut, message, format!("see crucible-attach status {volume}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_won_at_the_last_moment_is_won_too_late() {
        let over = Instant::now();
        assert_eq!(within(Some(over), async { 7 }).await, None);
        assert_eq!(within(Some(over + Duration::from_secs(60)), async { 7 }).await, Some(7));
        assert_eq!(within(None, async { 7 }).await, Some(7));
    }
}
