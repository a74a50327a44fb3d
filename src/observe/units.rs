//! The units of the regions, as systemd's signals tell of them.
//!
//! A signal says only that something has changed; the unit is then read whole, so that what
//! is published is one consistent picture. When systemd has read its units again or has executed
//! itself, all are: what was set while they ran, whom they let in above all, may be lost with that,
//! and no unit's own signal tells of it. Nor does one tell that somebody has set such a property
//! (systemctl set-property): but systemd writes it down beside its unit files, and that is seen.
//! When D-Bus goes away this says so, and connects again for as long as it takes.

use crate::backoff::Backoff;
use crate::config::Configuration;
use crate::decide::facts::{Active, Bus, Exit, Facts, Unit};
use crate::names::RegionName;
use crate::observe::changes::{arrived, began, is_there, owners, reloads};
use crate::observe::directories::Changes;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::systemd::job::spoken;
use crate::systemd::proxy::{ManagerProxy, invocation, properties};
use crate::systemd::{fence, names};
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use zbus::{Connection, MatchRule, MessageStream};
use zbus::{OwnedObjectPath, OwnedVariant};

/// `CLD_EXITED`: how `ExecMainCode` says that a process ended by itself (waitid(2)).
const CLD_EXITED: i32 = 1;
/// The messages that may wait to be read; more than every unit changing at once sends.
const QUEUE: NonZero<usize> = NonZero::new(1024).unwrap();

/// Time between looks when systemd has told of no change. Its signals are lost while it executes itself anew
/// (`daemon-reexec`), but that it has done so is heard, and every end is heard of from the kernel as well:
/// this is for what nobody has thought of. A unit has some three hundred properties, and to read those of
/// twelve was half of what an idle supervisor did.
pub const SLOW_LOOK: Duration = Duration::from_secs(300);
/// After a restart is due, it is asked for: not before.
const MOMENT: Duration = Duration::from_millis(1);
/// Time for which the rest is waited for when something was written beside the unit files.
const AFTER_WRITING: Duration = Duration::from_millis(50);
/// Time that systemd may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// systemd's units, and whether it answers.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "units";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = Some("units");
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let regions = ground.config.local_regions().into_iter().map(|local| local.name).collect();
        Some(watch(regions, ground.rhythm.clone(), to).boxed())
    });
    type Fact = Observation;

    fn tell(told: Self::Fact) -> Observation {
        told
    }

    fn is_known(_: &Configuration, facts: &Facts) -> bool {
        let unreachable = matches!(facts.bus, Some(Bus::Unreachable(_)));
        facts.bus.is_some() && facts.regions.values().all(|region| region.unit.is_some() || unreachable)
    }

    fn forget(_: &TakenOver, _: &mut Facts) {
        // That it answers is said anew with the connection, and the units of regions that stay are as they were.
    }
}

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(regions: Vec<RegionName>, rhythm: Rhythm, to: Publisher) -> Result<(), NobodyListens> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        let why = match session(&regions, &rhythm, &to, &mut backoff).await {
            Ok(gone) => return Err(gone),
            Err(error) => spoken(error),
        };
        publish::<Watch>(&to, Observation::Bus(Err(why))).await?;
        backoff.pause().await;
    }
}

/// A connection to systemd on which every change of a unit is told, and the regions' units.
struct Line {
    /// Settings beside systemd's unit files.
    beside: Beside,
    bus: Connection,
    changes: MessageStream,
    reloads: MessageStream,
    owners: MessageStream,
    units: HashMap<OwnedObjectPath, RegionName>,
}

impl Line {
    async fn open(regions: &[RegionName]) -> zbus::Result<Self> {
        let bus = zbus::connection::Builder::system().method_timeout(ANSWER_LIMIT).build().await?;
        let manager = ManagerProxy::new(&bus).await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.systemd1")
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path_namespace("/org/freedesktop/systemd1/unit")
            .build()?;
        // Listening comes before looking, so that no change falls between the two.
        let beside = Beside::watch(regions);
        let changes = MessageStream::for_match_rule(rule, &bus, Some(QUEUE)).await?;
        let (reloads, owners) = (reloads(&bus).await?, owners(&bus).await?);
        manager.subscribe().await?;
        let mut units = HashMap::new();
        for region in regions {
            units.insert(manager.load_unit(&names::unit(region)).await?, region.clone());
        }
        Ok(Self { beside, bus, changes, reloads, owners, units })
    }
}

/// Watch one connection to systemd, as long as it lasts. `Ok` when nobody listens any more.
async fn session(
    regions: &[RegionName],
    rhythm: &Rhythm,
    to: &Publisher,
    backoff: &mut Backoff,
) -> zbus::Result<NobodyListens> {
    let Line { beside, bus, mut changes, mut reloads, mut owners, units } = Line::open(regions).await?;
    let all = || units.keys().map(ToString::to_string);
    backoff.reset();
    let mut slow = rhythm.every(SLOW_LOOK);
    let (mut greeted, mut restarts, mut written) = (false, BTreeMap::new(), None);
    loop {
        let mut changed = BTreeSet::new();
        // Cancel-safe: a beat or a message that is not taken stays.
        tokio::select! {
            _ = slow.next() => changed.extend(all()),
            reload = reloads.next() => if !began(&arrived(reload)?)? {
                changed.extend(all());
            },
            owner = owners.next() => if is_there(&arrived(owner)?)? {
                changed.extend(all());
            },
            () = due(&restarts) => {}
            // Several files are written one after the other.
            () = beside.changed(), if greeted => {
                written.get_or_insert(Instant::now() + AFTER_WRITING);
            }
            () = at(written) => {
                written = None;
                beside.again();
                changed.extend(all());
            }
            change = changes.next() => {
                changed.insert(path(change)?);
            }
        }
        // A unit that changes sends several messages; one look covers those already here.
        while let Some(change) = changes.next().now_or_never() {
            changed.insert(path(change)?);
        }
        if let Err(gone) = tell(&bus, &units, &changed, &mut restarts, to).await? {
            return Ok(gone);
        }
        if !greeted && let Err(gone) = publish::<Watch>(to, Observation::Bus(Ok(bus.clone()))).await {
            return Ok(gone);
        }
        greeted = true;
    }
}

/// Looks at the units that have changed and at those that were to be looked at by now, and tells how they are. `Err`
/// inside when nobody listens any more.
async fn tell(
    bus: &Connection,
    units: &HashMap<OwnedObjectPath, RegionName>,
    changed: &BTreeSet<String>,
    restarts: &mut BTreeMap<RegionName, Instant>,
    to: &Publisher,
) -> zbus::Result<Result<(), NobodyListens>> {
    let now = Instant::now();
    let is_due = |region: &RegionName| restarts.get(region).is_some_and(|at| *at <= now);
    let which = units.iter().filter(|(path, region)| changed.contains(path.as_str()) || is_due(region));
    // All are asked at once: one after the other, each answer would be waited for.
    for (region, unit, restart) in try_join_all(which.map(|(path, region)| look(bus, path, region))).await? {
        match restart {
            Some(time) => _ = restarts.insert(region.clone(), now + time),
            None => _ = restarts.remove(&region),
        }
        if let Err(gone) = publish::<Watch>(to, Observation::Unit(region, unit)).await {
            return Ok(Err(gone));
        }
    }
    Ok(Ok(()))
}

/// One unit, whole. Without an interface's name the properties of all its interfaces are meant
/// (D-Bus specification, "Standard Interfaces"): one answer, and of one moment.
async fn look(
    bus: &Connection,
    path: &OwnedObjectPath,
    region: &RegionName,
) -> zbus::Result<(RegionName, Unit, Option<Duration>)> {
    let all = properties(bus, path, "").await?;
    Ok((region.clone(), read(&all), restart(&all)))
}

/// The unit that a message is about.
fn path(message: Option<zbus::Result<zbus::Message>>) -> zbus::Result<String> {
    let message = message.ok_or_else(|| zbus::Error::Failure("the connection was closed".into()))??;
    Ok(message.header().path().map(ToString::to_string).unwrap_or_default())
}

/// Read when a unit that waits to be started again is to be looked at. systemd's timers may be late
/// by a quarter of a second, so that it need not wake for each; a question that comes in time wakes
/// it, and the unit is started. Once only: one that waits still is left to systemd.
fn restart(unit: &HashMap<String, OwnedVariant>) -> Option<Duration> {
    let text = |key: &str| unit.get(key).and_then(|value| value.downcast_ref::<&str>().ok());
    let number = |key: &str| unit.get(key).and_then(|value| value.downcast_ref::<u64>().ok());
    if text("SubState")? != "auto-restart" {
        return None;
    }
    // By the clock that nobody sets.
    let since = Duration::from_micros(number("StateChangeTimestampMonotonic")?);
    let at = since + Duration::from_micros(number("RestartUSecNext")?) + MOMENT;
    at.checked_sub(clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?.into())
}

/// Waits until the first of them is due. Cancel-safe: nothing is taken.
async fn due(restarts: &BTreeMap<RegionName, Instant>) {
    at(restarts.values().min().copied()).await;
}

/// Waits for a moment, if there is one. Cancel-safe: nothing is taken.
async fn at(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Directories where systemd keeps what is set of units beside their files, until it is taken back and
/// until a reboot (systemd.unit(5), "System Unit Search Path").
const CONTROL: [&str; 2] = ["/etc/systemd/system.control", "/run/systemd/system.control"];

/// The directories of these settings.
struct Beside {
    changes: Changes,
    dirs: Vec<PathBuf>,
}

impl Beside {
    fn watch(regions: &[RegionName]) -> Self {
        let of_units = |control: &Path| -> Vec<PathBuf> {
            let own = regions.iter().map(|region| control.join(format!("{}.d", names::unit(region))));
            control.parent().map(Path::to_owned).into_iter().chain([control.to_owned()]).chain(own).collect()
        };
        let dirs = CONTROL.iter().flat_map(|control| of_units(Path::new(control))).collect();
        let beside = Self { changes: Changes::open(), dirs };
        beside.again();
        beside
    }

    /// Watches those, too, that have been made since.
    fn again(&self) {
        self.changes.of(self.dirs.iter().map(PathBuf::as_path));
    }

    /// Returns when something was set, or taken back. Cancel-safe.
    async fn changed(&self) {
        self.changes.next().await;
    }
}

fn read(unit: &HashMap<String, OwnedVariant>) -> Unit {
    let text = |key: &str| {
        let value = unit.get(key).and_then(|value| value.downcast_ref::<&str>().ok());
        value.unwrap_or_default().to_owned()
    };
    let unsigned = |key: &str| unit.get(key).and_then(|value| value.downcast_ref::<u32>().ok());
    let signed = |key: &str| unit.get(key).and_then(|value| value.downcast_ref::<i32>().ok());
    Unit {
        active: active(&text("ActiveState")),
        pid: unsigned("MainPID").filter(|pid| *pid != 0),
        exit: exit(signed("ExecMainCode"), signed("ExecMainStatus")),
        result: text("Result"),
        restarts: unsigned("NRestarts").unwrap_or_default(),
        invocation: unit.get("InvocationID").and_then(invocation),
        since: unit.get("ActiveEnterTimestamp").and_then(moment),
        fence: fence::of(unit),
        masked: text("LoadState") == "masked",
    }
}

/// A point in time in microseconds since 1970; 0 is none.
fn moment(value: &OwnedVariant) -> Option<Timestamp> {
    let micros = value.downcast_ref::<u64>().ok().filter(|micros| *micros > 0)?;
    Timestamp::from_microsecond(micros.try_into().ok()?).ok()
}

fn active(text: &str) -> Active {
    match text {
        "active" | "reloading" | "refreshing" => Active::Active,
        "activating" => Active::Activating,
        "deactivating" => Active::Deactivating,
        "failed" => Active::Failed,
        _ => Active::Inactive,
    }
}

fn exit(code: Option<i32>, status: Option<i32>) -> Option<Exit> {
    match (code?, status?) {
        (0, _) => None,
        (CLD_EXITED, status) => Some(Exit::Status(status)),
        (_, signal) => Some(Exit::Signal(signal)),
    }
}
