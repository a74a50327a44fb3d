//! The relay of a volume, as a service of the host: what it is a relay of, its sockets, its servers one after the
//! other, and what outlives it. Never touches a request: that is [`relay`]'s.
//!
//! What is kept of unflushed writes, and the socket, lie in systemd's descriptor store: a relay that is killed
//! or upgraded comes back to them. A stop lets go of the volume once everything lasts.

use super::arguments::{ServeArguments, Target};
use super::backing::Backing;
use super::child::Serving;
use super::failure::{Failure, TAKEN};
use super::release::Granted;
use super::server::Server;
use super::show::note;
use super::sleds::{Aim, Sleds};
use super::ticket::Won;
use super::{deadline, win};
use crate::names::VolumeName;
use crate::observe::backoff::Backoff;
use crate::relay::log::{Log, Records, Shared};
use crate::relay::{Door, End, Relay, Status, Supply, Volume};
use rustix::mm::{MlockAllFlags, mlockall};
use sd_notify::NotifyState;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// The names in the descriptor store.
const KEPT: &str = "kept";
const SOCKET: &str = "socket";
/// How many clients there may be at once: a device or a virtual machine has one or two.
const CLIENTS: usize = 16;
/// The pauses before a server that did not come up is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// How long the sleds may take to say whether a server has reason to be silent.
const PATIENCE: Duration = Duration::from_secs(5);
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
    let (server, deadline) = (Server::prepare(&arguments.run)?, deadline(&arguments.run)?);
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
    };
    let (news, heard) = watch::channel(None);
    let (relay, door) = Relay::new(&volume, log, records, news);
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
        sleep(PAUSES[0]).await;
    }
}

/// That no other host was granted the volume since this generation: what this one has kept must not be written over
/// what that one wrote.
fn still_own(sleds: &Sleds, last: u64) -> Result<(), Failure> {
    let other = sleds.looks().find_map(|look| {
        let holder = look.volume.holder.as_ref()?;
        let other = holder.generation > last && holder.address.to_canonical() != look.from;
        (last > 0 && other).then(|| (look.volume.sled.clone(), holder.clone()))
    });
    let Some((sled, holder)) = other else { return Ok(()) };
    let host = holder.host.map_or_else(|| holder.address.to_string(), |name| format!("{name} ({})", holder.address));
    let message = format!(
        "{} is another host's: {sled} has granted it to {host} with generation {} since {}; what was not flushed here is given up",
        sleds.volume, holder.generation, holder.since
    );
    Err(Failure::refused(TAKEN, message, format!("see crucible-attach status {}", sleds.volume)))
}

/// Upstream's servers of a volume, one after the other.
struct Servers {
    server: Server,
    target: Target,
    state: PathBuf,
    child: Option<Serving>,
    /// What was won before there was a relay.
    won: Option<Box<Won>>,
    /// The last generation that a server began with.
    last: u64,
    shared: Shared,
}

impl Servers {
    /// The volume, won; and it is the one that it was.
    async fn win(&mut self) -> Result<Won, Failure> {
        let won = match self.won.take() {
            Some(won) => *won,
            None => {
                let last = self.last;
                win(&self.target, false, None, &self.server, &|sleds| still_own(sleds, last)).await?
            }
        };
        Backing::of(&won.ticket).is_known(&self.state)?;
        Ok(won)
    }

    /// A server that listens; `None` if it did not come so far.
    async fn begin(&mut self, won: &Won) -> Option<SocketAddr> {
        let at = self.server.listens();
        // Before it begins: whoever comes after this process knows of it.
        if let Err(why) = self.shared.set_generation(won.generation) {
            note(&format!("the generation cannot be kept: {why}"));
            return None;
        }
        self.last = won.generation;
        let mut child = match Serving::begin(&self.server, won) {
            Ok(child) => child,
            Err(why) => {
                note(&format!("{why}; tries again"));
                return None;
            }
        };
        match child.listens(at).await {
            Ok(()) => {
                self.child = Some(child);
                Some(at)
            }
            Err(why) => {
                note(&format!("the server did not come up: {why}; tries again"));
                None
            }
        }
    }
}

impl Supply for Servers {
    type End = Failure;

    async fn next(&mut self) -> Result<SocketAddr, Failure> {
        if let Some(child) = self.child.take() {
            child.end().await;
        }
        let mut backoff = Backoff::new(PAUSES[0], PAUSES[1]);
        loop {
            match self.win().await {
                Ok(won) => {
                    if let Some(at) = self.begin(&won).await {
                        return Ok(at);
                    }
                }
                Err(why) if why.is_final() => return Err(why),
                // It may be cured, and whoever asked for something waits for that rather than see an error: sleds that
                // disagree while a port map is being rolled out, for example.
                Err(why) => note(&format!("{why}; {}; tries again", why.error().remedy)),
            }
            backoff.pause().await;
        }
    }

    async fn should_answer(&mut self) -> bool {
        let Some(child) = &self.child else { return false };
        // One that does not even say how it is has stopped altogether.
        let active = child.info().await.map_or(true, |info| info.is_active());
        let given = self.target.sleds().unwrap_or_default();
        let look = Sleds::look(&self.target.volume, given, Aim::Win);
        active && timeout(PATIENCE, look).await.is_ok_and(|sleds| sleds.ready())
    }
}

/// What an earlier relay has left with systemd.
#[derive(Default)]
struct Store {
    kept: Option<(Log, Records)>,
    socket: Option<UnixListener>,
}

impl Store {
    /// The names of what was left, and is used.
    fn names(&self) -> Vec<&'static str> {
        let all = [(KEPT, self.kept.is_some()), (SOCKET, self.socket.is_some())];
        all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }

    fn taken(volume: &VolumeName) -> Result<Self, Failure> {
        let mut store = Self::default();
        let Ok(stored) = sd_notify::listen_fds_with_names() else { return Ok(store) };
        let mut sockets = listenfd::ListenFd::from_env();
        for (index, (descriptor, name)) in stored.enumerate() {
            match name.as_str() {
                KEPT => {
                    // Opened anew, and so this process's own.
                    let file = File::options().read(true).write(true).open(format!("/proc/self/fd/{descriptor}"))?;
                    store.kept = Log::open(OwnedFd::from(file), volume.as_str()).map_err(|why| {
                        let remedy = format!(
                            "to give up what was not flushed: systemctl clean --what=fdstore crucible-attach@{volume}"
                        );
                        Failure::refused("KEPT_UNREADABLE", why.to_string(), remedy)
                    })?;
                    if store.kept.is_none() {
                        // Of another volume: no relay of this one has any use for it.
                        forget();
                    }
                }
                SOCKET => {
                    let socket = sockets.take_unix_listener(index)?;
                    let unix = socket.map(|socket| {
                        socket.set_nonblocking(true)?;
                        UnixListener::from_std(socket)
                    });
                    store.socket = unix.transpose()?;
                }
                _ => {}
            }
        }
        Ok(store)
    }
}

/// Leaves with systemd what is to outlive this process, unless it has come from there: it stays there until it is
/// taken back. Without systemd nothing outlives it.
fn store_away(relay: &Relay, unix: &UnixListener, held: &[&str]) {
    let all = [(KEPT, relay.kept()), (SOCKET, unix.as_fd())];
    for (name, descriptor) in all.into_iter().filter(|(name, _)| !held.contains(name)) {
        let states = [NotifyState::FdStore, NotifyState::FdName(name)];
        if let Err(why) = sd_notify::notify_with_fds(&states, &[descriptor])
            && std::env::var_os("NOTIFY_SOCKET").is_some()
        {
            note(&format!(
                "warning: if this process is killed, what it keeps is lost: systemd does not take it: {why}"
            ));
        }
    }
}

/// Nothing is kept any more that the next relay needs.
fn forget() {
    let states = [NotifyState::FdStoreRemove, NotifyState::FdName(KEPT)];
    _ = sd_notify::notify(&states);
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

/// A socket for root alone, in place of what an earlier relay has left there.
fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let broken = |why: io::Error| {
        let message = format!("{} cannot be listened on: {why}", path.display());
        Failure::refused("NO_SOCKET", message, "name another --socket")
    };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(broken)?;
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(broken(why)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(broken)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(broken)?;
    Ok(listener)
}

/// Lets clients in.
async fn accept(unix: &UnixListener, tcp: Option<&TcpListener>, door: &Door) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(room) = room.clone().acquire_owned().await else { return };
        let door = door.clone();
        // Cancel-safe: a connection that is not taken waits.
        tokio::select! {
            accepted = unix.accept() => match accepted {
                Ok((stream, _)) => _ = tokio::spawn(async move {
                    door.serve(stream).await;
                    drop(room);
                }),
                Err(why) => refused(&why).await,
            },
            accepted = from(tcp) => match accepted {
                Ok(stream) => _ = tokio::spawn(async move {
                    door.serve(stream).await;
                    drop(room);
                }),
                Err(why) => refused(&why).await,
            },
        }
    }
}

async fn from(tcp: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    let Some(tcp) = tcp else { return std::future::pending().await };
    let (stream, _) = tcp.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn refused(why: &io::Error) {
    note(&format!("a client was not let in: {why}"));
    sleep(PAUSES[0]).await;
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
