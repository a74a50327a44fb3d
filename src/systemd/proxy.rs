//! Proxies of systemd's D-Bus interface, with the few calls of it that are used (org.freedesktop.systemd1(5)
//! describes them all).

use std::collections::HashMap;
use zbus::Connection;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// A unit's settings, as `StartTransientUnit` takes them.
pub type Properties<'a> = [(&'a str, Variant<'a>)];
/// Further units to make with a transient one; never any here.
pub type Aux<'a> = [(&'a str, &'a Properties<'a>)];

/// A loaded unit as it is listed: name, description, load, active and sub state, the unit that
/// it follows, its object, and the job at it with its type and object.
pub type ListedUnit = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// systemd's manager.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub trait Manager {
    /// Ask for signals.
    fn subscribe(&self) -> zbus::Result<()>;
    /// Read every unit file again and run the generators.
    fn reload(&self) -> zbus::Result<()>;
    /// Give the object of a unit, loaded if need be.
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    /// Start a unit; the answer is the job that does it.
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// Stop a unit; the answer is the job that does it.
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// Stop and start a unit; the answer is the job that does it.
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// Give the object of a unit that is loaded.
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    /// List the loaded units in one of these states (all, if none is given) whose names match one of these patterns.
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<ListedUnit>>;
    /// List the unit files whose names match one of these patterns: paths, and whether they are enabled.
    fn list_unit_files_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<(String, String)>>;
    /// Remove the links by which units are started at boot.
    fn disable_unit_files(&self, files: &[&str], runtime: bool) -> zbus::Result<Vec<(String, String, String)>>;
    /// Make the links by which units are started at boot.
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    /// Send a signal to processes of a unit: `main`, `control` or `all`.
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    /// The machine's state: `running`, `degraded`, `stopping` and others.
    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
    /// The version of systemd.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
    /// The features that it was built with, as words that begin with `+`, and without, with `-`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn features(&self) -> zbus::Result<String>;
    /// Forget a unit's failure and its restarts.
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    /// Remove what a unit that does not run has left: `fdstore`, for example.
    fn clean_unit(&self, name: &str, mask: &[&str]) -> zbus::Result<()>;
    /// Change settings of a unit, at once if it runs; until the next boot if `runtime`.
    fn set_unit_properties(&self, name: &str, runtime: bool, properties: &Properties<'_>) -> zbus::Result<()>;
    /// Make a unit that no file describes and start it.
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &Properties<'_>,
        aux: &Aux<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
}

/// Read every property of one interface of one object of systemd.
///
/// # Errors
/// The answer of D-Bus, for example that the object has gone.
pub async fn properties(
    bus: &Connection,
    path: &OwnedObjectPath,
    interface: &str,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let body = bus
        .call_method(
            Some("org.freedesktop.systemd1"),
            path.as_str(),
            Some("org.freedesktop.DBus.Properties"),
            "GetAll",
            &interface,
        )
        .await?;
    body.body().deserialize()
}

/// Write an invocation as the journal does; systemd tells its 16 bytes, or none.
pub fn invocation(value: &OwnedVariant) -> Option<String> {
    let bytes = Vec::<u8>::try_from(value.clone()).ok().filter(|bytes| bytes.len() == 16)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
