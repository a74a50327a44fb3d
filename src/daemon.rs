//! Daemon `sledd`: from the configuration and the sockets that systemd passes to a running supervisor with its HTTP
//! faces.

mod arguments;

pub use crate::act::trash::empty;
use crate::act::{self, programs};
use crate::api::{Operation, Sentence};
use crate::config::Configuration;
use crate::desk::request::{Caller, Request, Wish};
use crate::events::Feed;
use crate::http::{self, Sockets};
use crate::kernel::broker;
use crate::kernel::port_reservation;
use crate::logging::{self, Journal};
pub use crate::observe::canary::report as canary;
use crate::observe::observer::Kernel;
use crate::observe::{claims, kernel_log};
use crate::port_map;
use crate::source::Fault;
use crate::store::in_force::{self, Choice};
use crate::supervisor::unconfigured;
use crate::supervisor::{Line, Start, line, supervise};
use crate::systemd::dropin;
use crate::systemd::notify::tell;
use crate::terminal;
use crate::wire::Asker;
pub use arguments::Arguments;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing_subscriber::prelude::*;

/// The time that the supervisor may take to do what has to be done before the end.
const FAREWELL_LIMIT: Duration = Duration::from_secs(85);
/// The address at which hosts are told of a configuration that was faulty from the start.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port_map::HTTP_PORT);

/// The options of the daemon: where it finds things.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the configuration.
    pub config: PathBuf,
    /// The directory where sysfs is mounted.
    pub sysfs: PathBuf,
    /// The directory where proc(5) is mounted.
    pub proc: PathBuf,
    /// The kernel's log, in place of the one that systemd has passed.
    pub kmsg: Option<PathBuf>,
}

/// Run the daemon until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    // The rest of the journal is dropped last: what is said at the end is still sent.
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
    let chosen = in_force::at_start(&options.config);
    let mut passed = Passed::taken()?;
    let sockets = sockets(passed.sockets, chosen.as_ref().ok().map(|choice| &choice.config));
    if let Some(file) = &options.kmsg {
        passed.log = Some(kernel_log::open(file)?);
    }
    let (sysfs, proc) = (options.sysfs.clone(), options.proc.clone());
    let kernel = Kernel { sysfs, proc, log: passed.log.map(Arc::new) };
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async move {
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell(&[NotifyState::Stopping]);
    };
    let (handle, line) = line(Feed::of_this_machine());
    let (wishes, last_wish) = (handle.requests.clone(), handle.requests.clone());
    let end = async move {
        end.await;
        farewell(&last_wish).await;
    };
    tokio::select! {
        () = reloads(hangup, &wishes) => Ok(()),
        () = supervised(options, chosen, kernel, line) => Err(io::Error::other("the supervisor has ended")),
        ended = http::serve(sockets, handle, ready, end) => ended,
    }
}

/// Supervise: by the configuration that was chosen or, if none is good, by the first that is.
async fn supervised(options: &Options, chosen: Result<Choice, Vec<Fault>>, kernel: Kernel, mut line: Line) {
    let chosen = match chosen {
        Ok(choice) => Some((choice, "the start of sledd".to_owned())),
        Err(faults) => unconfigured::for_a_good_one(&options.config, &faults, &mut line).await,
    };
    let Some((choice, by)) = chosen else { return };
    let start = Start::new(choice, &options.config, &options.sysfs, by);
    supervise(start, options.config.clone(), kernel, line).await;
}

/// Take the configuration over at every SIGHUP: as who cannot be asked whether it is meant. The outcome is in the
/// journal. Never returns as long as the process can have signals.
async fn reloads(mut hangup: Signal, requests: &mpsc::Sender<Request>) {
    while hangup.recv().await.is_some() {
        let (answer, answered) = oneshot::channel();
        let by = Some(Sentence("SIGHUP".into()));
        let reload = Operation::Reload { dry_run: false, yes: false, unattended: true, kept: None, by };
        let wish = Wish::Do(reload, Caller::Operator(Asker::Systemd));
        if requests.send(Request { wish, answer }).await.is_ok() {
            _ = answered.await;
        }
    }
}

/// Let the supervisor do what has to be done before the end. One that has ended has nothing to do.
async fn farewell(requests: &mpsc::Sender<Request>) {
    let (answer, left) = oneshot::channel();
    if requests.send(Request { wish: Wish::Leave, answer }).await.is_ok() {
        // In any case before systemd loses its patience (TimeoutStopSec=).
        _ = timeout(FAREWELL_LIMIT, left).await;
    }
}

fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What systemd has passed.
struct Passed {
    sockets: Sockets,
    /// The kernel's log (`OpenFile=` of sledd.service), which systemd opens: to read it takes rights that the daemon
    /// has not.
    log: Option<File>,
}

impl Passed {
    fn taken() -> io::Result<Self> {
        // First, as the other forgets the environment.
        let names: Vec<_> = sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
        let mut all = ListenFd::from_env();
        let mut passed = Self { sockets: Sockets::default(), log: None };
        for index in 0..all.len() {
            if names.get(index).is_some_and(|name| name == kernel_log::PASSED) {
                passed.log = all.take_raw_fd(index)?.map(kernel_log::passed);
            } else if let Ok(Some(admin)) = all.take_unix_listener(index) {
                passed.sockets.admin.push(admin);
            } else if let Some(http) = all.take_tcp_listener(index)? {
                passed.sockets.http.push(http);
            }
        }
        Ok(passed)
    }
}

/// The sockets of `sledd.socket`; run by hand, the configured ones.
fn sockets(mut sockets: Sockets, config: Option<&Configuration>) -> Sockets {
    let wanted = config.map_or(&[ANYWHERE][..], |config| &config.listen);
    let passed: Vec<_> = sockets.http.iter().flat_map(TcpListener::local_addr).collect();
    // A socket that listens at every address does so at each.
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
    sockets
}

/// Log to the journal with every field under systemd; by hand it is text on stderr. The part that the journal has not
/// got yet is returned.
fn log_to_journal() -> Option<logging::Rest> {
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| Journal::open().ok());
    let (journal, rest) = journal.unzip();
    let text = journal.is_none().then(|| tracing_subscriber::fmt::layer().with_writer(io::stderr));
    tracing_subscriber::registry().with(logging::LEVEL).with(journal).with(text).init();
    rest
}

/// Keep the ports of the configuration's regions free for them.
///
/// # Errors
/// The configuration has faults, or the kernel does not take the ports; they stay as they were.
pub fn reserve_ports(config: &Path) -> io::Result<()> {
    port_reservation::reserve(&choice(config)?.config)
}

/// Put the network adapter with this number back into the configured bridge.
///
/// # Errors
/// The configuration has faults, or why it is not put there.
pub fn rejoin(config: &Path, index: u32) -> io::Result<()> {
    let network = choice(config)?.config.sled.network;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(act::rejoin::rejoin(index, &network))
}

/// Try out the network of the configuration in force for so many seconds, if it is another.
///
/// # Errors
/// The configuration has faults, or why nothing is tried.
pub fn try_network(config: &Path, seconds: u64) -> io::Result<()> {
    let config = choice(config)?.config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(act::network_trial::try_out(&config, Duration::from_secs(seconds)))
}

/// Ask on a bridge which other machine has an address: both as they stand on the command line.
///
/// # Errors
/// They are none, or nobody can be asked.
pub fn probe(place: &[String]) -> io::Result<()> {
    let [bridge, address] = place else { return Err(io::ErrorKind::InvalidInput.into()) };
    claims::probe::report(bridge, address.parse().map_err(io::Error::other)?)
}

/// Open sockets for whoever asks at the socket that systemd passed.
///
/// # Errors
/// No socket was passed, or nobody can ask any more.
pub fn give_sockets() -> io::Result<()> {
    let listener = ListenFd::from_env().take_unix_listener(0)?;
    let listener = listener.ok_or_else(|| io::Error::other("systemd has passed no socket"))?;
    ready();
    broker::serve(&listener)
}

/// The configuration that the machine is run by, for callers that have no use for faults.
fn choice(config: &Path) -> io::Result<Choice> {
    in_force::now(config).map_err(|faults| {
        io::Error::other(format!("{} fault(s) in the configuration: sledctl config check", faults.len()))
    })
}

/// Write the drop-ins for systemd.generator(7), of what the machine is run by, in the first of its three directories.
/// At boot that is what is in the files or, with a fault in these, what was in force before, if the machine's memory
/// is mounted so early; the supervisor asks again when it is. With nothing good there are none, and the regions'
/// units have nothing to run.
///
/// # Errors
/// The drop-ins cannot be written, or there are none.
pub fn generate(config: &Path, dir: &Path) -> io::Result<()> {
    let programs = programs::load();
    let dropins = programs.and_then(|programs| {
        let choice = choice(config)?;
        if let Some(faults) = &choice.instead_of {
            let count = faults.len();
            terminal::note(&format!(
                "sledd: {count} fault(s) in the configuration; the units are as was in force before"
            ));
        }
        Ok(dropin::all(&choice.config, &programs))
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
