//! The relay of a volume, as a service of the host: what it is a relay of, its sockets, its servers one after the
//! other, and what outlives it. Never touches a request: that is [`relay`]'s.
//!
//! What is kept of unflushed writes, and the socket, lie in systemd's descriptor store: a relay that is killed
//! or upgraded comes back to them. A stop lets go of the volume once everything lasts.

use super::account::Account;
use super::arguments::{ServeArguments, Target};
use super::control;
use super::deadline;
use super::doors::{accept, bind};
use super::failure::{Failure, TAKEN};
use super::release::Granted;
use super::server::Server;
use super::servers::{Servers, still_own};
use super::show::note;
use super::sleds::{Aim, Sleds};
use super::store::{Store, forget, store_away};
use super::win;
use crate::names::VolumeName;
use crate::relay::log::{Log, Records};
use crate::relay::{End, Relay, Status, Volume};
use rustix::mm::{MlockAllFlags, mlockall};
use sd_notify::NotifyState;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause before the sleds are told once more that the volume is let go of.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the sleds are told that the volume is let go of: they may still see the server's connections.
const RELEASE: Duration = Duration::from_secs(5);

/// Serves a volume until it is stopped, or another host has it.
///
/// # Errors
/// Why it does not, or does no longer.
pub(super) async fn serve(arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).without_time().with_target(false);
    _ = subscriber.with_ansi(false).try_init();
    let name = arguments.run.target.volume.clone();
    let (server, deadline) = (Server::prepare_beside(&arguments.run).await?, deadline(&arguments.run)?);
    let account = Account::of(&name);
    match bind(&control::beside(&socket(arguments))) {
        Ok(listener) => _ = tokio::spawn(control::answer(listener, account.clone())),
        Err(why) => note(&format!("warning: nobody can be told how it is: {why}")),
    }
    let store = Store::taken(&name)?;
    let last = store.kept.as_ref().map_or(Ok(0), |(log, _)| log.generation())?;
    if store.kept.as_ref().is_some_and(|(_, records)| !records.is_empty()) {
        note("an earlier relay has left writes that do not last yet: they are written again first");
    }
    keep_going();
    let target = &arguments.run.target;
    let won = win(target, arguments.run.takeover, deadline, &server, &|sleds| still_own(sleds, last)).await;
    let won = won.inspect_err(|why| {
        if why.error().code == TAKEN {
            // What was kept is another host's to write over; it must not stand in the way of the next start.
            forget();
        }
    })?;
    let volume = Volume {
        name: name.to_string(),
        size: won.ticket.size_bytes,
        block: u32::try_from(won.ticket.block_size).map_err(io::Error::other)?,
    };
    let held = store.names();
    let (log, records) = store.kept.map_or_else(|| Log::create(name.as_str()).map(|log| (log, Records::new())), Ok)?;
    let unix = store.socket.map_or_else(|| bind(&socket(arguments)), Ok)?;
    let tcp = match arguments.listen {
        Some(at) if !at.ip().is_loopback() => {
            return Err(Failure::usage(
                format!("{at} is not this host's own"),
                "--listen 127.0.0.1:10810, for example",
            ));
        }
        Some(at) => Some(TcpListener::bind(at).await?),
        None => None,
    };
    let servers = Servers {
        server,
        target: Target::of(name.clone(), target.sleds()?),
        state: arguments.state.clone(),
        child: None,
        won: Some(Box::new(won)),
        last,
        shared: log.share()?,
        account: account.clone(),
    };
    let (news, heard) = watch::channel(None);
    let (relay, door) = Relay::new(&volume, log, records, news);
    account.relay(relay.gauge(), heard.clone());
    store_away(&relay, &unix, &held);
    let (stop, stopped) = watch::channel(false);
    let serving = async {
        // Cancel-safe: these never end by themselves, and have nothing to lose.
        tokio::select! {
            () = accept(&unix, tcp.as_ref(), &door) => {}
            () = tell(heard) => {}
            () = leave(&stop) => {}
        }
    };
    let (servers, end) = tokio::select! {
        ended = relay.run(servers, stopped) => ended,
        () = serving => return Err(Failure::Io(io::Error::other("it serves no more"))),
    };
    // What was answered last is still on its way to the clients.
    sleep(Duration::from_millis(100)).await;
    finish(servers, end, &name, target).await
}

/// What is to be done when the relay has ended.
async fn finish(
    servers: Option<Servers>,
    end: End<Failure>,
    name: &VolumeName,
    target: &Target,
) -> Result<ExitCode, Failure> {
    if let Some(child) = servers.and_then(|mut servers| servers.child.take()) {
        child.end().await;
    }
    let left = match end {
        End::Refused(why) if why.error().code == TAKEN => {
            forget();
            return Err(why);
        }
        End::Refused(why) => {
            // Nothing was written to it, and what is kept of the first one stays where it is.
            _ = timeout(RELEASE, release(name, target)).await;
            return Err(why);
        }
        End::Stopped { left } => left,
    };
    if left.kept_writes > 0 || left.requests > 0 {
        note(&format!(
            "stopped; {} acknowledged writes ({} bytes) do not last, and {} requests were not answered: no server could \
             take them in time. They are kept as long as systemd keeps them (a restart does)",
            left.kept_writes, left.kept_bytes, left.requests
        ));
        return Ok(ExitCode::from(super::NOT_WELL));
    }
    forget();
    let told = timeout(RELEASE, release(name, target)).await;
    match told {
        Ok(Ok(())) => note(&format!("stopped; {name} is let go of")),
        Ok(Err(why)) => note(&format!("stopped; the sleds go on keeping {name} for this host: {why}")),
        Err(_) => note(&format!("stopped; not all sleds could be told that {name} is let go of")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets go of the volume everywhere.
async fn release(name: &VolumeName, target: &Target) -> Result<(), Failure> {
    loop {
        let sleds = Sleds::look(name, target.sleds()?, Aim::Win).await;
        sleds.found()?;
        let outcome = Granted::held(&sleds).release(name).await;
        if outcome.values().all(Result::is_ok) {
            return Ok(());
        }
        // They see the connections of a server that has just ended for a moment.
        sleep(PAUSE).await;
    }
}

/// Writes that the kernel wants to be rid of go through this process: it must not wait for memory that these would
/// free. Its children inherit the first.
fn keep_going() {
    if let Err(why) = rustix::process::configure_io_flusher_behavior(true) {
        note(&format!("warning: when memory is short, writes through the kernel's device may hang: {why}"));
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(why) = mlockall(flags) {
        note(&format!("warning: this process may be swapped out: {why}"));
    }
}

fn socket(arguments: &ServeArguments) -> PathBuf {
    let usual = || Path::new("/run/crucible-attach").join(format!("{}.sock", arguments.run.target.volume));
    arguments.socket.clone().unwrap_or_else(usual)
}

/// Tells systemd when it serves, and how it is.
async fn tell(mut heard: watch::Receiver<Option<Status>>) {
    let mut told = None;
    while heard.changed().await.is_ok() {
        let Some(status) = *heard.borrow_and_update() else { continue };
        let serves = status.held_since.is_none();
        if told != Some(serves) {
            let text = if serves { "serves" } else { "holds requests until there is a server" };
            let ready = serves.then_some(NotifyState::Ready);
            let states: Vec<_> = ready.into_iter().chain([NotifyState::Status(text)]).collect();
            _ = sd_notify::notify(&states);
            told = Some(serves);
        }
    }
}

/// Waits to be told to stop, and passes it on; never returns.
async fn leave(stop: &watch::Sender<bool>) {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = signals else { return std::future::pending().await };
    // Cancel-safe: a signal that is not taken stays.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    _ = sd_notify::notify(&[NotifyState::Stopping]);
    stop.send_replace(true);
    std::future::pending().await
}
