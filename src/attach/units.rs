//! The host's systemd: its units started, stopped, enabled and told of, as those need it that set up a host or detach a
//! volume from it.

use super::failure::Failure;
use crate::observe::last_words;
use crate::systemd::job::{self, spoken};
use crate::systemd::proxy::{ManagerProxy, invocation, properties};
use crate::wire::Refusal;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;
use zbus::{Connection, OwnedVariant};

/// How long systemd may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The last words of a unit that are told, in lines.
const WORD_LINES: usize = 4;
/// The exit status of `serve` if it was stopped and could not flush.
const NOT_FLUSHED: i32 = 3;

/// The volume's own service.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    /// A template of it is known to systemd.
    pub(super) known: bool,
    /// The service is started at each boot.
    pub(super) enabled: bool,
    /// The service's state, as systemd has it.
    pub(super) state: String,
    /// The service's own word on how it is.
    pub(super) says: String,
    /// The environment that it runs in, if it runs.
    pub(super) environment: Option<BTreeMap<String, String>>,
    /// The service was stopped, and could not flush: what was acknowledged is kept by systemd.
    pub(super) unflushed: bool,
    pub(super) pid: Option<u32>,
}

impl Service {
    /// Whether the device answers.
    pub(super) fn is_active(&self) -> bool {
        self.state == "active"
    }

    /// Whether nothing of it runs, or is about to.
    pub(super) fn is_stopped(&self) -> bool {
        ["inactive", "failed", ""].contains(&self.state.as_str())
    }
}

/// The host's systemd.
#[derive(Debug)]
pub(super) struct Units(Connection);

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::refused(
        Refusal::NoSystemd,
        format!("systemd cannot be asked: {why}"),
        "run it on a host that systemd has booted",
    )
}

/// A step with a unit that did not work.
fn refused(what: &str, unit: &str, why: &str) -> Failure {
    Failure::refused(Refusal::UnitFailed, format!("{unit} {what}: {why}"), format!("see systemctl status '{unit}'"))
}

impl Units {
    /// Connect to the system's.
    ///
    /// # Errors
    /// If systemd cannot be reached.
    pub(super) async fn connect() -> Result<Self, Failure> {
        let bus = zbus::connection::Builder::system().method_timeout(ANSWER_LIMIT).build().await.map_err(broken)?;
        let units = Self(bus);
        units.manager().await?.subscribe().await.map_err(|why| broken(spoken(why)))?;
        Ok(units)
    }

    async fn manager(&self) -> Result<ManagerProxy<'_>, Failure> {
        ManagerProxy::new(&self.0).await.map_err(broken)
    }

    async fn about(&self, unit: &str, kind: &str) -> Result<HashMap<String, OwnedVariant>, Failure> {
        let about = async {
            let object = ManagerProxy::new(&self.0).await?.load_unit(unit).await?;
            properties(&self.0, &object, &format!("org.freedesktop.systemd1.{kind}")).await
        };
        about.await.map_err(|why| broken(spoken(why)))
    }

    /// Ask for a service.
    ///
    /// # Errors
    /// If systemd does not say.
    pub(super) async fn service(&self, name: &str) -> Result<Service, Failure> {
        let (unit, service) = (self.about(name, "Unit").await?, self.about(name, "Service").await?);
        let pid = service.get("MainPID").and_then(|value| value.downcast_ref::<u32>().ok()).filter(|pid| *pid != 0);
        let status = service.get("ExecMainStatus").and_then(|value| value.downcast_ref::<i32>().ok());
        let state = text(&unit, "ActiveState");
        Ok(Service {
            known: text(&unit, "LoadState") == "loaded",
            enabled: text(&unit, "UnitFileState") == "enabled",
            unflushed: pid.is_none() && status == Some(NOT_FLUSHED),
            state,
            says: text(&service, "StatusText"),
            pid,
            environment: pid.and_then(environment),
        })
    }

    /// Whether something of a unit runs, or is about to.
    ///
    /// # Errors
    /// If systemd does not say.
    pub(super) async fn is_active(&self, name: &str) -> Result<bool, Failure> {
        let state = text(&self.about(name, "Unit").await?, "ActiveState");
        Ok(!["inactive", "failed"].contains(&state.as_str()))
    }

    /// A service's own word on how it is.
    pub(super) async fn says(&self, name: &str) -> String {
        self.about(name, "Service").await.map(|service| text(&service, "StatusText")).unwrap_or_default()
    }

    /// Start a unit, or start it anew, and wait until it has started, for ever. A caller that ends to wait leaves it
    /// starting.
    ///
    /// # Errors
    /// The last words of the unit.
    pub(super) async fn start(&self, name: &str, anew: bool) -> Result<(), Failure> {
        let started = if anew { job::run_restart(&self.0, name).await } else { job::run_start(&self.0, name).await };
        match started {
            Ok(()) => Ok(()),
            Err(why) => Err(refused("does not start", name, &format!("{why}{}", self.last_words(name).await))),
        }
    }

    async fn last_words(&self, name: &str) -> String {
        let Ok(unit) = self.about(name, "Unit").await else { return String::new() };
        let Some(run) = unit.get("InvocationID").and_then(invocation) else { return String::new() };
        let lines = last_words::read(&run).await;
        let last = lines[lines.len().saturating_sub(WORD_LINES)..].join("; ");
        if last.is_empty() { last } else { format!("; it said: {last}") }
    }

    /// Stop a unit, and wait until it has stopped.
    ///
    /// # Errors
    /// Why the unit has not.
    pub(super) async fn stop(&self, name: &str) -> Result<(), Failure> {
        job::stop(&self.0, name).await.map_err(|why| refused("does not stop", name, &why))
    }

    /// Have a unit start by itself.
    ///
    /// # Errors
    /// The words of systemd.
    pub(super) async fn enable(&self, name: &str) -> Result<(), Failure> {
        let manager = self.manager().await?;
        let enabled = manager.enable_unit_files(&[name], false, false).await;
        enabled.map_err(|why| refused("cannot be enabled", name, &spoken(why)))?;
        self.reload().await
    }

    /// Have units start by themselves no more.
    ///
    /// # Errors
    /// The words of systemd.
    pub(super) async fn disable(&self, names: &[&str]) -> Result<(), Failure> {
        let disabled = self.manager().await?.disable_unit_files(names, false).await;
        disabled.map_err(|why| refused("cannot be disabled", &names.join(" "), &spoken(why)))?;
        self.reload().await
    }

    /// Have systemd read its files.
    ///
    /// # Errors
    /// The words of systemd.
    pub(super) async fn reload(&self) -> Result<(), Failure> {
        self.manager().await?.reload().await.map_err(|why| broken(spoken(why)))
    }

    /// Have systemd forget the sockets of a service that has ended, where it knows of such a thing.
    pub(super) async fn forget(&self, name: &str) {
        if let Ok(manager) = self.manager().await {
            _ = manager.clean_unit(name, &["fdstore"]).await;
            // The service may have ended in a way that systemd calls a failure.
            _ = manager.reset_failed_unit(name).await;
        }
    }
}

fn text(about: &HashMap<String, OwnedVariant>, key: &str) -> String {
    about.get(key).and_then(|value| value.downcast_ref::<&str>().ok()).unwrap_or_default().to_owned()
}

/// The environment that a process was begun in.
fn environment(pid: u32) -> Option<BTreeMap<String, String>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
