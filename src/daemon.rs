//! `sledd`: from the configuration and the sockets that systemd passes to a running
//! supervisor with its HTTP faces.

use crate::config::{Configuration, Fault};
use crate::supervisor::{Bulletin, Handle, supervise};
use crate::systemd::dropin;
use crate::{config_dir, http, wire};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::prelude::*;

/// Where the daemon finds things.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the configuration.
    pub config: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
}

/// The sockets to answer on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For hosts.
    pub http: Vec<TcpListener>,
    /// For `sledctl`.
    pub admin: Vec<UnixListener>,
}

/// Runs the daemon until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    log_to_journal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| runtime.block_on(serve(options)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("sledd ends: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> io::Result<()> {
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
            let (handle, supervisor) = supervise(config, options.sysfs.clone());
            (handle, Box::pin(supervisor))
        }
        Err(faults) => broken(&faults),
    };
    tokio::select! {
        () = supervisor => Err(io::Error::other("the supervisor has ended")),
        ended = http::serve(sockets, handle, ready, end) => ended,
    }
}

fn ready() {
    tell(&[NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {why}");
    }
}

/// With a faulty configuration nothing is supervised, and everybody who asks is told why:
/// what runs goes on, and a host that polls sees a reason instead of a closed port.
fn broken(faults: &[Fault]) -> (Handle, std::pin::Pin<Box<dyn Future<Output = ()>>>) {
    for fault in faults {
        tracing::error!("{fault}");
    }
    let bulletin = Bulletin { broken: Some(wire::Error::config_invalid(faults)), ..Bulletin::default() };
    let (keep, bulletins) = watch::channel(Some(Arc::new(bulletin)));
    let (requests, asked) = mpsc::channel(1);
    let status = format!("the configuration has {} fault(s): sledctl config check", faults.len());
    let idle = async move {
        tell(&[NotifyState::Status(&status)]);
        // Nothing is watched over, so nothing can get stuck: the watchdog is not armed.
        tell(&[NotifyState::WatchdogUsec(0)]);
        std::future::pending::<()>().await;
        drop((keep, asked));
    };
    (Handle { bulletins, requests }, Box::pin(idle))
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
    if sockets.http.is_empty() && sockets.admin.is_empty() {
        for address in config.map(|config| config.listen.as_slice()).unwrap_or_default() {
            sockets.http.push(TcpListener::bind(address)?);
        }
    }
    Ok(sockets)
}

/// Under systemd the journal gets every field; by hand it is text on stderr.
fn log_to_journal() {
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let journal = journal.map(|layer| layer.with_field_prefix(None).with_syslog_identifier("sledd".into()));
    let text = journal.is_none().then(|| tracing_subscriber::fmt::layer().with_writer(io::stderr));
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    tracing_subscriber::registry().with(level).with(journal).with(text).init();
}

/// What systemd.generator(7) asks for: the drop-ins of the configuration in the first of its
/// three directories. A faulty configuration makes none, and says so; the units that exist
/// then refuse to start for want of a command.
///
/// # Errors
/// They cannot be written.
pub fn generate(config: &Path, dir: &Path) -> io::Result<()> {
    let config = config_dir::read(config).map_err(|faults| {
        io::Error::other(format!("{} fault(s) in the configuration: sledctl config check", faults.len()))
    })?;
    for (unit, text) in dropin::all(&config) {
        let dir = dir.join(format!("{unit}.d"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(dropin::FILE), text)?;
    }
    Ok(())
}
