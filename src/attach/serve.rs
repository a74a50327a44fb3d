//! The relay of a volume, as a service of the host: what it is a relay of, its sockets, its servers one after the
//! other, and what outlives it. Never touches a request: that is [`crate::relay`]'s.
//!
//! The log of unflushed writes, and the socket, lie in systemd's descriptor store: a relay that is killed or upgraded
//! comes back to them, and to the kernel's device. A stop lets go of the volume once everything lasts, unless
//! somebody uses that device.

use super::account::Account;
use super::arguments::{ServeArguments, Target};
use super::backing::Backing;
use super::control;
use super::deadline;
use super::device::{Device, Left, is_hopeless};
use super::doors::{accept, bind};
use super::failure::{CHANGED, Failure, NOT_RECORDED, TAKEN};
use super::release::Granted;
use super::server::Server;
use super::servers::Servers;
use super::show::note;
use super::sleds::{Aim, Sleds};
use super::store::{Store, forget, store_away};
use super::wish;
use crate::device::DEAD_TIMEOUT;
use crate::names::VolumeName;
use crate::relay::engine::State;
use crate::relay::log::{Log, Records, Shared};
use crate::relay::{Door, End, Relay, Status, Volume};
use rustix::mm::{MlockAllFlags, mlockall};
use sd_notify::NotifyState;
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause before the sleds are told once more that the volume is let go of.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);
/// How long the sleds are told that the volume is let go of: they may still see the server's connections.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Serve a volume until it is stopped, or another host has it.
///
/// # Errors
/// Why the volume is not served, or no longer.
pub(super) async fn serve(arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    log_to_stderr();
    let name = &arguments.run.target.volume;
    let (server, deadline) = (Server::prepare_beside(&arguments.run).await?, deadline(&arguments.run)?);
    let account = Account::of(name);
    answer_for(arguments, &account);
    let store = Store::taken(name)?;
    keep_going();
    let before = Before::of(arguments, &store)?;
    let held = store.names();
    let (log, records) = store.kept.map_or_else(|| Log::create(name.as_str()).map(|log| (log, Records::new())), Ok)?;
    let own = log.share()?;
    let mut servers = Servers {
        server,
        target: Target::of(name.clone(), arguments.run.target.sleds()?),
        state: arguments.state.clone(),
        child: None,
        won: None,
        last: before.last,
        shared: log.share()?,
        account: account.clone(),
        backing: None,
    };
    let backing = match before.backing {
        Some(backing) => backing,
        None => match servers.first(arguments.run.takeover, deadline).await {
            Ok(backing) => backing,
            Err(why) => return Err(given_up(why, name, &servers.target).await),
        },
    };
    let (unix, tcp) = (store.socket.map_or_else(|| bind(&socket(arguments)), Ok)?, tcp(arguments.listen).await?);
    let volume = seen(name, &backing)?;
    let (news, heard) = watch::channel(None);
    let (relay, door) = Relay::new(&volume, log, records, news);
    account.relay(relay.gauge(), heard.clone());
    store_away(&relay, &unix, &held);
    let device = arguments.device.then(|| Device::of(&backing)).transpose()?;
    let target = servers.target.clone();
    let ways = Ways { unix, tcp, door, device: device.as_ref(), target: &target, own };
    let (left, (servers, end)) = ways.lead(relay, servers, heard).await?;
    finish(servers, end, &target, device.as_ref(), left).await
}

fn log_to_stderr() {
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).without_time().with_target(false);
    _ = subscriber.with_ansi(false).try_init();
}

/// Answer whoever asks how it is, beside its socket.
fn answer_for(arguments: &ServeArguments, account: &Account) {
    match bind(&control::beside(&socket(arguments))) {
        Ok(listener) => _ = tokio::spawn(control::answer(listener, account.clone())),
        Err(why) => note(&format!("warning: nobody can be told how it is: {why}")),
    }
}

/// The volume as its clients see it.
fn seen(name: &VolumeName, backing: &Backing) -> io::Result<Volume> {
    let block = u32::try_from(backing.block_size()).map_err(io::Error::other)?;
    Ok(Volume { name: name.to_string(), size: backing.size_bytes(), block })
}

/// The traces of an earlier relay.
struct Before {
    /// The record of the volume, if an earlier relay has left something to come back to.
    backing: Option<Backing>,
    /// The last generation that a server of it began with; 0 if there is nothing to come back to.
    last: u64,
}

impl Before {
    fn of(arguments: &ServeArguments, store: &Store) -> Result<Self, Failure> {
        let recorded = Backing::recorded(&arguments.state, &arguments.run.target.volume)?;
        let device = match &recorded {
            Some(known) if arguments.device => Device::of(known)?.connected(),
            _ => None,
        };
        if store.kept.as_ref().is_some_and(|(_, records)| !records.is_empty()) {
            note("an earlier relay has left writes that do not last yet: they are written again first");
        }
        let kept = store.kept.as_ref().map_or(Ok(0), |(log, _)| log.generation())?;
        let known = recorded.as_ref().filter(|_| device.is_some()).map_or(0, Backing::generation);
        Ok(Self { last: kept.max(known), backing: recorded.filter(|_| device.is_some() || store.kept.is_some()) })
    }
}

/// Explain why there was nothing to serve, once what is in the way of the next start is put aside.
async fn given_up(why: Failure, name: &VolumeName, target: &Target) -> Failure {
    let code = why.error().code;
    if code == TAKEN {
        // Writes that were kept are another host's to write over; they must not stand in the way of the next start.
        forget();
    }
    if [TAKEN, CHANGED, NOT_RECORDED].iter().any(|own| code == *own) {
        // Grants to this host since then are of no use to it.
        _ = timeout(RELEASE_LIMIT, release(name, target)).await;
    }
    why
}

/// The ways in which the volume is used, and told of.
struct Ways<'a> {
    unix: UnixListener,
    tcp: Option<TcpListener>,
    door: Door,
    device: Option<&'a Device>,
    target: &'a Target,
    /// The generation that the last server began with.
    own: Shared,
}

type Ended = (Option<Servers>, End<Failure>);

impl Ways<'_> {
    /// Let everybody in for as long as the relay runs: what was left of the device, and how the relay has ended.
    async fn lead(
        self,
        relay: Relay,
        servers: Servers,
        heard: watch::Receiver<Option<Status>>,
    ) -> Result<(Left, Ended), Failure> {
        let ((stop, stopped), (leaving, leaves)) = (watch::channel(false), watch::channel(false));
        let (shown, shows) = watch::channel(None);
        let left = Cell::new(Left::Gone);
        let keep = async {
            match self.device {
                Some(device) => device.keep(&self.door, heard.clone(), leaves, &shown).await,
                None => pending().await,
            }
        };
        let leave = async {
            // Cancel-safe: both only look and wait.
            let hopeless = tokio::select! {
                () = asked_to_leave() => false,
                () = is_hopeless(heard.clone()), if self.device.is_some() => true,
            };
            _ = sd_notify::notify(&[NotifyState::Stopping]);
            leaving.send_replace(true);
            if let Some(device) = self.device {
                left.set(device.leave(hopeless).await);
            }
            stop.send_replace(true);
            pending().await
        };
        let (tells, back) = watch::channel(());
        let over = wish::heed(&self.target.volume, self.target.sleds()?, &self.own, &tells);
        // Cancel-safe: these never end by themselves, and have nothing to lose.
        let serving = async {
            tokio::select! {
                () = accept(&self.unix, self.tcp.as_ref(), &self.door) => {}
                () = tell(heard.clone(), self.device.map(|_| shows)) => {}
                () = keep => {}
                () = leave => {}
            }
        };
        let ended = tokio::select! {
            ended = relay.run(servers, stopped, over, back) => ended,
            () = serving => return Err(Failure::Io(io::Error::other("it serves no more"))),
        };
        // Answers that were given last are still on their way to the clients.
        sleep(RELEASE_PAUSE).await;
        Ok((left.get(), ended))
    }
}

/// Finish when the relay has ended.
async fn finish(
    servers: Option<Servers>,
    end: End<Failure>,
    target: &Target,
    device: Option<&Device>,
    left: Left,
) -> Result<ExitCode, Failure> {
    let name = &target.volume;
    if let Some(child) = servers.and_then(|mut servers| servers.child.take()) {
        child.end().await;
    }
    let ended = matches!(end, End::Refused(_)) || matches!(left, Left::Doomed(_));
    if let Some(device) = device.filter(|_| ended) {
        // No relay will serve it any more: what it waits for fails at once.
        device.disconnect().await;
    }
    let owed = match end {
        End::Refused(why) => return Err(given_up(why, name, target).await),
        End::Stopped { left } => left,
    };
    if owed.kept_writes > 0 || owed.requests > 0 {
        note(&not_lasting(&owed, left));
        return Ok(ExitCode::from(super::NOT_WELL));
    }
    forget();
    if let Left::InUse(index) = left {
        note(&format!(
            "stopped; /dev/nbd{index} is in use, and {name} stays this host's: what is asked of the device waits for \
             the next start, {} s at most",
            DEAD_TIMEOUT.as_secs()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    match timeout(RELEASE_LIMIT, release(name, target)).await {
        Ok(Ok(())) => note(&format!("stopped; {name} is let go of")),
        Ok(Err(why)) => note(&format!("stopped; the sleds go on keeping {name} for this host: {why}")),
        Err(_) => note(&format!("stopped; not all sleds could be told that {name} is let go of")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Explain a stop that no server could take part in.
fn not_lasting(owed: &State, left: Left) -> String {
    let kept = match left {
        Left::Doomed(_) => "They go with this machine",
        Left::Gone | Left::InUse(_) => "They are kept as long as systemd keeps them (a restart does)",
    };
    format!(
        "stopped; {} acknowledged writes ({} bytes) do not last, and {} requests were not answered: no server could take \
         them in time. {kept}",
        owed.kept_writes, owed.kept_bytes, owed.requests
    )
}

/// Release the volume everywhere.
async fn release(name: &VolumeName, target: &Target) -> Result<(), Failure> {
    loop {
        let sleds = Sleds::look(name, target.sleds()?, Aim::Win).await;
        sleds.found()?;
        let outcome = Granted::held(&sleds).release(name).await;
        if outcome.values().all(Result::is_ok) {
            return Ok(());
        }
        // The sleds see the connections of a server that has just ended for a moment.
        sleep(RELEASE_PAUSE).await;
    }
}

/// Keep writes that the kernel wants to be rid of going through this process: it must not wait for memory that these
/// would free. Its children inherit the first.
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

/// Listen for TCP clients, if they may come in.
async fn tcp(listen: Option<SocketAddr>) -> Result<Option<TcpListener>, Failure> {
    match listen {
        Some(at) if !at.ip().is_loopback() => {
            Err(Failure::usage(format!("{at} is not this host's own"), "--listen 127.0.0.1:10810, for example"))
        }
        Some(at) => Ok(Some(TcpListener::bind(at).await?)),
        None => Ok(None),
    }
}

/// Tell systemd when the volume is served, and how it is: with a device, once that is there.
async fn tell(mut heard: watch::Receiver<Option<Status>>, mut device: Option<watch::Receiver<Option<u32>>>) {
    let mut told = None;
    loop {
        let there = device.as_ref().is_none_or(|device| device.borrow().is_some());
        let serves = heard.borrow_and_update().map(|status| status.held_since.is_none());
        let ready = serves.map(|serves| (serves, there));
        if let Some(ready) = ready.filter(|ready| told != Some(*ready)) {
            let text = match ready {
                (false, _) => "holds requests until there is a server",
                (true, false) => "serves; its device is not there yet",
                (true, true) => "serves",
            };
            let ready = (ready == (true, true)).then_some(NotifyState::Ready);
            let states: Vec<_> = ready.into_iter().chain([NotifyState::Status(text)]).collect();
            _ = sd_notify::notify(&states);
        }
        told = ready;
        let shown = async {
            match &mut device {
                Some(device) => _ = device.changed().await,
                None => pending().await,
            }
        };
        // Cancel-safe: what has changed is seen the next time.
        tokio::select! {
            changed = heard.changed() => if changed.is_err() { return pending().await },
            () = shown => {}
        }
    }
}

/// Wait to be told to stop.
async fn asked_to_leave() {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = signals else { return pending().await };
    // Cancel-safe: a signal that is not taken stays.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
