//! `sledd`: from the configuration and the sockets that systemd passes to a running
//! supervisor with its HTTP faces.

pub use crate::act::canary::report as canary;
pub use crate::act::trash::empty;
use crate::act::{programs, reserved, units};
use crate::broker;
use crate::config::Configuration;
use crate::config_dir;
use crate::http::{self, Sockets};
use crate::logging::{self, Journal};
use crate::port_map;
use crate::source::Fault;
use crate::supervisor::{Bulletin, Handle, LoopPulse, Reload, Request, Wish, supervise};
use crate::systemd::dropin;
use crate::systemd::notify::tell;
use crate::wire;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing_subscriber::prelude::*;

/// How often the watchdog is fed while there is nothing to supervise.
const IDLE_TURN: Duration = Duration::from_millis(500);
/// How long the supervisor may take to do what has to be done before the end.
const FAREWELL: Duration = Duration::from_secs(40);
/// Where hosts are told of a configuration that was faulty from the start.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port_map::HTTP_PORT);

/// Where the daemon finds things.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the configuration.
    pub config: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
}

/// Runs the daemon until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    // Dropped last: what is said at the end is still sent.
    let _rest = log_to_journal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| {
        let ended = runtime.block_on(serve(options));
        // A look at a disk that hangs must not hold up the end.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("sledd ends: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> io::Result<()> {
    // First of all: until it is taken, the signal ends a process.
    let hangup = signal(SignalKind::hangup())?;
    let read = config_dir::read(&options.config);
    let sockets = sockets(read.as_ref().ok())?;
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async move {
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell(&[NotifyState::Stopping]);
    };
    let (handle, supervisor): (Handle, std::pin::Pin<Box<dyn Future<Output = ()>>>) = match read {
        Ok(config) => {
            let (handle, supervisor) = supervise(config, options.config.clone(), options.sysfs.clone());
            (handle, Box::pin(supervisor))
        }
        Err(faults) => broken(&faults),
    };
    let (wishes, last_wish) = (handle.requests.clone(), handle.requests.clone());
    let end = async move {
        end.await;
        farewell(&last_wish).await;
    };
    tokio::select! {
        () = reloads(hangup, options, &wishes) => Ok(()),
        () = supervisor => Err(io::Error::other("the supervisor has ended")),
        ended = http::serve(sockets, handle, ready, end) => ended,
    }
}

/// Takes the configuration over at every SIGHUP, and tells systemd when that is done
/// (`Type=notify-reload`). Returns when one was mended without which nothing could be supervised:
/// then the daemon ends, and systemd starts it anew.
async fn reloads(mut hangup: Signal, options: &Options, requests: &mpsc::Sender<Request>) {
    while hangup.recv().await.is_some() {
        let began = NotifyState::monotonic_usec_now().ok();
        tell(&[NotifyState::Reloading].into_iter().chain(began).collect::<Vec<_>>());
        let (answer, answered) = oneshot::channel();
        let wish = Wish::Reload(Reload::Apply);
        let sent = requests.send(Request { wish, answer }).await.is_ok();
        // What came of it is in the journal.
        if !(sent && answered.await.is_ok()) && config_dir::read(&options.config).is_ok() {
            return;
        }
        ready();
    }
}

/// Lets the supervisor do what has to be done before the end. One that has ended has nothing to do.
async fn farewell(requests: &mpsc::Sender<Request>) {
    let (answer, left) = oneshot::channel();
    if requests.send(Request { wish: Wish::Leave, answer }).await.is_ok() {
        // In any case before systemd loses its patience (TimeoutStopSec=).
        _ = timeout(FAREWELL, left).await;
    }
}

fn ready() {
    tell(&[NotifyState::Ready]);
}

/// With a faulty configuration nothing is supervised, and everybody who asks is told why:
/// what runs goes on, and a host that polls sees a reason instead of a closed port.
fn broken(faults: &[Fault]) -> (Handle, std::pin::Pin<Box<dyn Future<Output = ()>>>) {
    for fault in faults {
        tracing::error!("{fault}");
    }
    let bulletin = Bulletin { broken: Some(wire::Error::config_invalid(faults)), ..Bulletin::default() };
    let (keep, bulletins) = watch::channel(Some(Arc::new(bulletin)));
    // Nobody takes requests: who sends one is told so at once.
    let (requests, _) = mpsc::channel(1);
    let status = format!("the configuration has {} fault(s): sledctl config check", faults.len());
    let idle = async move {
        let _keep = keep;
        tell(&[NotifyState::Status(&status)]);
        let mut turn = tokio::time::interval(IDLE_TURN);
        loop {
            turn.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    };
    (Handle { bulletins, requests, pulse: LoopPulse::new(IDLE_TURN) }, Box::pin(idle))
}

/// The sockets of `sledd.socket`; run by hand, the configured ones.
fn sockets(config: Option<&Configuration>) -> io::Result<Sockets> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Sockets::default();
    for index in 0..passed.len() {
        if let Ok(Some(admin)) = passed.take_unix_listener(index) {
            sockets.admin.push(admin);
        } else if let Some(http) = passed.take_tcp_listener(index)? {
            sockets.http.push(http);
        }
    }
    let wanted = config.map_or(&[ANYWHERE][..], |config| &config.listen);
    let passed: Vec<_> = sockets.http.iter().flat_map(TcpListener::local_addr).collect();
    // One that listens at every address does so at each.
    let covers =
        |socket: &SocketAddr, address: &SocketAddr| socket.ip().is_unspecified() || socket.ip() == address.ip();
    let here =
        |address: &SocketAddr| passed.iter().any(|socket| socket.port() == address.port() && covers(socket, address));
    // systemd opens a new one only when sledd.socket is restarted. Run by hand, the daemon helps
    // itself; in its unit it may not.
    let missing: Vec<_> = match config {
        Some(_) => wanted.iter().filter(|address| !here(address)).collect(),
        None if sockets.http.is_empty() => wanted.iter().collect(),
        None => Vec::new(),
    };
    for address in missing {
        match TcpListener::bind(address) {
            Ok(socket) => sockets.http.push(socket),
            Err(why) => tracing::error!("nobody can poll at {address}: {why}; systemctl restart sledd.socket"),
        }
    }
    Ok(sockets)
}

/// Under systemd the journal gets every field; by hand it is text on stderr. What the journal
/// has not got yet is returned.
fn log_to_journal() -> Option<logging::Rest> {
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| Journal::open(Path::new(logging::SOCKET)).ok());
    let (journal, rest) = journal.unzip();
    let text = journal.is_none().then(|| tracing_subscriber::fmt::layer().with_writer(io::stderr));
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    tracing_subscriber::registry().with(level).with(journal).with(text).init();
    rest
}

/// Keeps the ports of the configuration's regions free for them.
///
/// # Errors
/// The configuration has faults, or the kernel does not take the ports; they stay as they were.
pub fn reserve_ports(config: &Path) -> io::Result<()> {
    reserved::reserve(&read(config)?)
}

/// Opens sockets for whoever asks at the socket that systemd passed.
///
/// # Errors
/// There is none, or nobody can ask any more.
pub fn give_sockets() -> io::Result<()> {
    let listener = ListenFd::from_env().take_unix_listener(0)?;
    let listener = listener.ok_or_else(|| io::Error::other("systemd has passed no socket"))?;
    ready();
    broker::serve(&listener)
}

/// The configuration, for what has no use for its faults.
fn read(config: &Path) -> io::Result<Configuration> {
    config_dir::read(config).map_err(|faults| {
        io::Error::other(format!("{} fault(s) in the configuration: sledctl config check", faults.len()))
    })
}

/// What systemd.generator(7) asks for: the drop-ins of the configuration in the first of its
/// three directories. With a faulty configuration they are those of the last good one, if the
/// machine has seen one since it was booted; otherwise there are none, and the regions' units
/// have nothing to run.
///
/// # Errors
/// They cannot be written, or there are none.
pub fn generate(config: &Path, dir: &Path) -> io::Result<()> {
    // Early at boot the machine's memory may not be mounted; the supervisor asks again.
    let programs = programs::load();
    let wanted = programs.and_then(|programs| Ok(dropin::all(&read(config)?, &programs)));
    let dropins = wanted.or_else(|faults| {
        let kept = fs::read(units::LAST_GOOD).and_then(|text| Ok(serde_json::from_slice(&text)?));
        kept.inspect(|_| eprintln!("sledd: {faults}; the units stay as they were")).map_err(|_| faults)
    });
    // Hosts that poll are told of the faults.
    let (dropins, failed) = match dropins {
        Ok(dropins) => (dropins, Ok(())),
        Err(why) => (vec![dropin::broken(port_map::HTTP_PORT)], Err(why)),
    };
    for (unit, text) in dropins {
        let dir = dir.join(format!("{unit}.d"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(dropin::FILE), text)?;
    }
    failed
}
