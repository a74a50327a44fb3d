//! Machine below the sled, and what is wrong with it: memory, heat, clock, kernel, watchdog, and how its last boot ended.

use super::facts::{Crash, Disk, Facts, Machine, Sensor, Sign, Unclean, Watchdog};
use super::finding::Finding;
use super::verification;
use crate::check::Code;
use crate::systemd::names::region_of_group;
use crate::times::in_seconds;
use jiff::{SignedDuration, Timestamp};

/// The percentage of a minute in which nobody got on, as all waited for memory, from which that is told: a machine that
/// has enough never waits for it.
const MEMORY_PERCENT: u8 = 10;
/// The same for disks: one that is written to as fast as it can has all wait for it, and some get on.
const IO_PERCENT: u8 = 80;
/// The bits of the kernel's taint after which it does not work as it should, and the words for each (Linux,
/// tainted-kernels.rst). The others tell of modules that are not its own.
const TAINTS: [(u32, &str); 4] = [
    (4, "the processor has reported an error of the hardware (machine check)"),
    (5, "a page of memory was not as it should be"),
    (7, "a part of it has died (oops or BUG)"),
    (14, "a processor was stuck in it (soft lockup)"),
];

/// The time by which a clock that was slewed may have been ahead.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// The findings of the machine.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = facts.unclean.map(|how| unclean(how, facts)).into_iter().collect();
    found.extend(verification::lost(facts));
    found.extend(facts.ahead.as_ref().map(|(latest, what)| behind(*latest, what)));
    if let Some(machine) = &facts.machine {
        found.extend(of_memory(machine, facts));
        found.extend(of_heat(machine));
        found.extend(machine.taint.and_then(tainted));
        found.extend(
            machine.watchdogs.iter().all(|watchdog| watchdog.armed == Some(false)).then(|| unarmed(machine)).flatten(),
        );
        found.extend(of_clock(machine));
        found.extend(machine.crash.as_ref().map(crashed));
    }
    found
}

fn about(code: Code, subject: &str, cause: String) -> Finding {
    Finding::new(code, subject, cause, code.remedy())
}

fn of_memory(machine: &Machine, facts: &Facts) -> Vec<Finding> {
    let memory = machine.memory_stalled.filter(|percent| *percent >= MEMORY_PERCENT).map(|percent| {
        let cause = format!("in {percent} % of the last minute nobody got on, as all waited for memory");
        about(Code::MemoryPressure, "memory", cause)
    });
    let io = machine.io_stalled.filter(|percent| *percent >= IO_PERCENT).map(|percent| {
        let cause = format!("in {percent} % of the last minute nobody got on, as all waited for a disk");
        about(Code::IoPressure, "disks", cause)
    });
    [memory, io, killed(machine, facts)].into_iter().flatten().collect()
}

/// The finding that the kernel has killed processes; which, if its log tells.
fn killed(machine: &Machine, facts: &Facts) -> Option<Finding> {
    let logged = facts.kernel_log.with(Sign::OutOfMemory);
    let count = machine.killed.max(machine.killed_in.values().sum()).max(logged.len() as u64);
    if count == 0 {
        return None;
    }
    // A unit whose process was killed is started anew, in a group of its own that knows of nothing: of that the log tells.
    let mut regions = machine.killed_in.clone();
    for (group, count) in facts.kernel_log.counted(Sign::OutOfMemory) {
        if let Some(region) = region_of_group(group) {
            let known = regions.entry(region.to_string()).or_default();
            *known = count.max(*known);
        }
    }
    let regions: Vec<_> = regions.iter().map(|(region, count)| format!("{count} of {region}")).collect();
    let among =
        if regions.is_empty() { String::new() } else { format!("; among what was killed: {}", regions.join(", ")) };
    let last = logged.last().map(|last| format!("; the last at {}: {}", in_seconds(last.began), last.words));
    let last = last.unwrap_or_default();
    let cause = format!("the kernel has killed {count} process(es), as there was no memory left{among}{last}");
    Some(about(Code::OomKilled, "memory", cause))
}

fn of_heat(machine: &Machine) -> Vec<Finding> {
    let too_hot = |sensor: &&Sensor| sensor.limit.is_some_and(|limit| sensor.degrees >= limit);
    let mut found: Vec<_> = machine.sensors.iter().filter(too_hot).map(hot).collect();
    let count = machine.throttled.filter(|count| *count > 0);
    if count.is_some() || machine.slowed {
        let times = count.map(|count| format!(" ({count} time(s) within an hour)")).unwrap_or_default();
        let cause = format!("a processor is slowed down, as it is too hot{times}");
        found.push(about(Code::CpuThrottled, "processor", cause));
    }
    found
}

fn hot(sensor: &Sensor) -> Finding {
    let label = sensor.label.as_ref().map(|label| format!(" {label}")).unwrap_or_default();
    let limit = sensor.limit.unwrap_or_default();
    let chip = &sensor.chip;
    match &sensor.disk {
        Some(disk) => {
            let cause = format!("{disk} has {} °C ({chip}{label}), and {limit} °C is its limit", sensor.degrees);
            about(Code::DiskHot, &format!("disk {disk}"), cause)
        }
        None => {
            let cause = format!("{chip}{label} shows {} °C, and {limit} °C is its limit", sensor.degrees);
            about(Code::SledHot, &format!("sensor {chip}"), cause)
        }
    }
}

fn crashed(crash: &Crash) -> Finding {
    let words =
        crash.words.as_ref().map_or_else(String::new, |words| format!(", the last time with the words: {words}"));
    let records = crash.records.join(" ");
    let cause = format!("the kernel has crashed {} time(s){words}; its record is {records}", crash.count);
    let remedy = Code::KernelCrashed.remedy().replace("RECORD", &records);
    Finding::new(Code::KernelCrashed, "kernel", cause, remedy)
}

fn tainted(bits: u64) -> Option<Finding> {
    let set = TAINTS.iter().filter(|(bit, _)| bits & (1 << bit) != 0);
    let why: Vec<_> = set.map(|(_, why)| *why).collect();
    (!why.is_empty()).then(|| {
        let cause = format!("the kernel is not what it was since it was booted: {}", why.join("; "));
        about(Code::KernelTainted, "kernel", cause)
    })
}

fn unarmed(machine: &Machine) -> Option<Finding> {
    let Watchdog { device, identity, .. } = machine.watchdogs.first()?;
    let name = identity.as_ref().map_or_else(|| device.clone(), |identity| format!("{device} ({identity})"));
    let cause = format!("nobody feeds the watchdog {name}: a machine that hangs stays so until somebody comes");
    Some(about(Code::WatchdogUnarmed, &format!("watchdog {device}"), cause))
}

fn of_clock(machine: &Machine) -> Vec<Finding> {
    let clock = &machine.clock;
    let lost = clock.battery_lost.map(|at| {
        let cause = format!("the battery's clock showed {} at the start: its battery is flat or gone", in_seconds(at));
        about(Code::ClockRtcLost, "clock", cause)
    });
    let unsynchronised = (clock.synchronised == Some(false))
        .then(|| about(Code::ClockUnsynchronised, "clock", Code::ClockUnsynchronised.about().cause.to_owned()));
    let step = clock.step.map(|step| {
        let (before, after) = (in_seconds(step.before), in_seconds(step.after));
        about(Code::ClockStepped, "clock", format!("the clock was set from {before} to {after} within the last hour"))
    });
    [lost, unsynchronised, step].into_iter().flatten().collect()
}

/// The finding that the clock shows a time before something that is on record.
fn behind(latest: Timestamp, what: &str) -> Finding {
    let cause = format!("the clock shows a time before {}, at which {what}: it is behind", in_seconds(latest));
    about(Code::ClockBehind, "clock", cause)
}

/// The finding that the machine was not shut down before it was booted.
fn unclean(how: Unclean, facts: &Facts) -> Finding {
    let how = match how {
        Unclean::Cut => "its power was cut, it was reset, or it went off before its disk had all",
        Unclean::Panic => "its kernel panicked, and left word of it in /var/lib/systemd/pstore",
        Unclean::Watchdog => "its hardware watchdog reset it",
    };
    let ext4 = facts.block.as_ref().filter(|block| block.kind == "ext4" || block.kind == "xfs");
    let data = ext4.map_or_else(String::new, |block| {
        format!(
            "; on {} an extent may be marked clean then and have blocks that do not fit their checksums, which a host \
             that reads them falls over",
            block.kind
        )
    });
    let recorded = ext4.and_then(|block| block.errors.as_ref());
    let found = match recorded {
        Some(errors) if errors.count == 0 => "; what is known since: the file system has no error on record",
        _ => "",
    };
    let verified = match verification::told(facts) {
        Some(told) => format!("; of the extents, {told}"),
        None if !found.is_empty() => "; of the blocks, what a scrub has read since".into(),
        None => String::new(),
    };
    let cause = format!("the machine ended without a shutdown: {how}{data}{found}{verified}");
    about(Code::SledUnclean, "sled", cause)
}

/// Find the latest time that is on record of the regions and that the clock, which shows `now`, has not reached, with
/// what was done then.
pub fn ahead(disk: &Disk, now: Timestamp) -> Option<(Timestamp, String)> {
    let ledger = disk.ledger.as_ref().ok();
    let recorded = ledger.into_iter().flat_map(|ledger| &ledger.regions);
    let recorded = recorded.map(|(name, record)| (record.created, format!("{name} was put on record")));
    let deleted = ledger.into_iter().flat_map(|ledger| &ledger.tombstones);
    let deleted = deleted.map(|stone| (stone.deleted, format!("{} was deleted", stone.region)));
    let held = ledger.into_iter().flat_map(|ledger| &ledger.holds);
    let held = held.map(|(name, hold)| (hold.since, format!("{name} was held")));
    let marked = disk.mark.iter().flatten().map(|mark| (mark.marked, "the disk was marked".to_owned()));
    let all = recorded.chain(deleted).chain(held).chain(marked);
    all.filter(|(at, _)| at.duration_since(now) > SLACK).max()
}
