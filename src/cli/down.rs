//! Sled whose supervisor does not answer: what systemd, the kernel and the data disk say of it. Regions serve on
//! without a supervisor, and whoever asks is told which do.

use super::failure::Failure;
use super::print::{Output, or_dash};
use super::program::last_words;
use crate::config::Configuration;
use crate::config_dir;
use crate::files::{may_use, room};
use crate::kernel::broker;
use crate::names::RegionName;
use crate::size::spoken;
use crate::store::in_force;
use crate::store::mark;
use crate::systemd::names::{DOWNSTAIRS, SOCKET, SUPERVISOR, unit};
use crate::systemd::proxy::{ListedUnit, ManagerProxy};
use crate::table::{Table, Tone, plain};
use procfs::net::TcpState;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;
use zbus::Connection;

/// Time that systemd may take to answer.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(3);
/// Lines of the supervisor's log that are shown, and most bytes of them.
const LOG_LINES: &str = "--lines=3";
const LOG_LIMIT_BYTES: usize = 2000;

/// Machine as it is without the supervisor's word. What could not be looked at is absent, and among the troubles.
#[derive(Debug, Default, Serialize)]
pub(super) struct Machine {
    /// The states of the supervisor's own units.
    units: BTreeMap<String, String>,
    storage: Option<Disk>,
    regions: Vec<Region>,
    /// The last lines of the supervisor's log.
    log: Vec<String>,
    troubles: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Disk {
    root: PathBuf,
    mounted: bool,
    /// The sled that the disk is marked for.
    belongs_to: Option<String>,
    capacity_bytes: u64,
    free_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Region {
    name: RegionName,
    port: u16,
    /// The state of its unit; absent where systemd does not know it.
    unit: Option<String>,
    /// Whether somebody listens at its data port.
    listens: Option<bool>,
}

impl Machine {
    /// Look at the machine, whose configuration lies in a directory.
    pub(super) async fn look(dir: &Path) -> Self {
        let mut machine = Self::default();
        let known = match timeout(SYSTEMD_LIMIT, units()).await {
            Ok(Ok(units)) => Some(units),
            Ok(Err(why)) => machine.trouble(format!("systemd does not tell of its units: {why}")),
            Err(_) => machine.trouble(format!("systemd has not answered within {} s", SYSTEMD_LIMIT.as_secs())),
        };
        let own = |units: &BTreeMap<String, String>| {
            let own = units.iter().filter(|(name, _)| !name.starts_with(DOWNSTAIRS));
            own.map(|(name, state)| (name.clone(), state.clone())).collect()
        };
        machine.units = known.as_ref().map(own).unwrap_or_default();
        match in_force::now(dir) {
            Ok(choice) => machine.look_at(&choice.config, known.as_ref()),
            Err(_) => _ = machine.trouble::<()>("no configuration can be read: sledctl config check".to_owned()),
        }
        let unit = format!("--unit={SUPERVISOR}");
        let words = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", LOG_LINES, &unit];
        let (log, trouble) = last_words(&words, LOG_LIMIT_BYTES).await;
        machine.log = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect();
        machine.troubles.extend(trouble);
        machine
    }

    /// Look at the disk and the ports that a configuration names.
    fn look_at(&mut self, config: &Configuration, units: Option<&BTreeMap<String, String>>) {
        let storage = &config.sled.storage;
        let mounted = may_use(&storage.root, storage.require_mount);
        let room = room(&storage.root).unwrap_or_default();
        let mark = mark::read(&storage.root).unwrap_or_default().filter(|_| mounted);
        let belongs_to = mark.map(|mark| mark.sled.to_string());
        let (root, capacity_bytes, free_bytes) = (storage.root.clone(), room.capacity, room.free);
        self.storage = Some(Disk { root, mounted, belongs_to, capacity_bytes, free_bytes });
        let listens =
            listening().map_or_else(|why| self.trouble(format!("the kernel does not tell who listens: {why}")), Some);
        let region = |local: crate::port_map::LocalRegion| Region {
            unit: units.and_then(|units| units.get(&unit(&local.name)).cloned()),
            listens: listens.as_ref().map(|ports| ports.contains(&local.port)),
            port: local.port,
            name: local.name,
        };
        self.regions = config.local_regions().into_iter().map(region).collect();
    }

    fn trouble<T>(&mut self, why: String) -> Option<T> {
        self.troubles.push(why);
        None
    }

    fn text(&self) -> String {
        let heading = "without the supervisor: what systemd, the kernel and the disk say\n\n";
        let mut out = Tone::Heading.paint(heading.trim_end()) + "\n\n";
        for (name, state) in &self.units {
            let tone = if state.starts_with("active") { Tone::Well } else { Tone::Bad };
            _ = writeln!(out, "  {name:<22} {}", tone.paint(state));
        }
        if let Some(disk) = &self.storage {
            _ = writeln!(out, "  {:<22} {}", "storage", disk.text());
        }
        if !self.regions.is_empty() {
            out += &format!("\n{}", table(&self.regions));
        }
        if !self.log.is_empty() {
            out += &format!(
                "\nthe supervisor's last words:\n{}",
                self.log.iter().map(|line| format!("  {line}\n")).collect::<String>()
            );
        }
        out + &self.troubles.iter().map(|why| format!("{why}\n")).collect::<String>()
    }
}

impl Disk {
    fn text(&self) -> String {
        if !self.mounted {
            return Tone::Bad.paint(&format!("{} is not mounted", self.root.display()));
        }
        let whose = self.belongs_to.as_ref().map_or_else(|| "not marked".to_owned(), |sled| format!("{sled}'s"));
        let (free, capacity) = (spoken(self.free_bytes), spoken(self.capacity_bytes));
        format!("{}: mounted, {whose}, {free} free of {capacity}", self.root.display())
    }
}

fn table(regions: &[Region]) -> String {
    let mut table = Table::new(&["REGION", "UNIT", "PORT", "LISTENS"]);
    for region in regions {
        let listens = match region.listens {
            Some(true) => ("yes".to_owned(), Tone::Well),
            Some(false) => ("no".to_owned(), Tone::Bad),
            None => ("-".to_owned(), Tone::Faint),
        };
        table.row(vec![plain(&region.name), plain(or_dash(region.unit.as_ref())), plain(region.port), listens]);
    }
    table.text()
}

/// Read the states of the units that a sled has.
async fn units() -> zbus::Result<BTreeMap<String, String>> {
    let bus = Connection::system().await?;
    let any = format!("{DOWNSTAIRS}@*");
    let listed =
        ManagerProxy::new(&bus).await?.list_units_by_patterns(&[], &[SUPERVISOR, SOCKET, "sled-*", &any]).await?;
    let state = |(name, _, _, active, sub, ..): ListedUnit| {
        (name, if sub.is_empty() { active } else { format!("{active} ({sub})") })
    };
    Ok(listed.into_iter().map(state).collect())
}

/// Find the ports at which somebody listens.
fn listening() -> procfs::ProcResult<BTreeSet<u16>> {
    let entries = broker::tcp()?.into_iter().chain(broker::tcp6());
    Ok(entries.filter(|entry| entry.state == TcpState::Listen).map(|entry| entry.local_address.port()).collect())
}

/// Tell that the supervisor cannot be reached, and show what there is instead.
pub(super) async fn show(failure: &Failure, output: Output) -> Failure {
    let machine = Machine::look(Path::new(config_dir::DEFAULT)).await;
    let told = output.write(&serde_json::json!({ "error": failure.error(), "machine": machine })).and_then(|told| {
        if told {
            return Ok(());
        }
        super::report(failure, output);
        if output.is_text() { output.say(&machine.text()) } else { Ok(()) }
    });
    told.err().unwrap_or(Failure::Down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn regions_are_shown_by_their_units_and_ports() {
        let units = [("crucible-downstairs@pve-0.service".to_owned(), "active (running)".to_owned())].into();
        let mut machine = Machine::default();
        machine.look_at(&config::shipped(""), Some(&units));
        let text = machine.text();
        assert!(text.contains("pve-0") && text.contains("active (running)") && text.contains("3820"), "{text}");
        assert_eq!(machine.regions.iter().filter(|region| region.unit.is_some()).count(), 1);
        assert!(machine.regions.iter().all(|region| region.listens.is_some()), "{machine:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_looked_at_is_said() {
        let none = tempfile::tempdir().unwrap();
        let machine = Machine::look(none.path()).await;
        assert!(machine.troubles.iter().any(|why| why.contains("sledctl config check")), "{machine:?}");
        assert!(machine.storage.is_none() && machine.regions.is_empty());
    }
}
