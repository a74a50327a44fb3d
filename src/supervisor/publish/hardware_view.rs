//! What is shown of the hardware: the inventory, and what is known of each part.

use crate::check::Code;
use crate::config::Configuration;
use crate::decide::facts::{Block, Drive, Facts, Health, Machine};
use crate::wire::{self, DiskDetail, FileSystem, HardwareWatchdog, TemperatureSensor};
use jiff::Timestamp;

/// Describe the hardware; of all conditions, those that concern it.
pub(in crate::supervisor) fn hardware(
    config: &Configuration,
    facts: &Facts,
    checks: &[wire::Check],
    as_of: Timestamp,
) -> wire::Hardware {
    let known = Machine::default();
    let machine = facts.machine.as_ref().unwrap_or(&known);
    let disks = facts.block.iter().flat_map(|block| &block.disks);
    wire::Hardware {
        sled: config.sled.name.clone(),
        as_of,
        inventory: facts.inventory.clone(),
        disks: disks.map(|disk| of_disk(disk, facts)).collect(),
        file_system: facts.block.as_ref().map(file_system),
        sensors: machine.sensors.iter().map(sensor).collect(),
        watchdogs: machine.watchdogs.iter().map(watchdog).collect(),
        clock_synchronised: machine.clock.synchronised,
        taint: machine.taint,
        checks: checks.iter().filter(|check| concerns(check.code)).cloned().collect(),
    }
}

/// Tell whether a condition is one of the hardware.
fn concerns(code: Code) -> bool {
    let word = code.as_str();
    let clock = word.starts_with("CLOCK_");
    let network = word.starts_with("NIC_");
    let own = matches!(
        code,
        Code::DiskReadOnly
            | Code::DiskErrors
            | Code::DiskSlow
            | Code::DiskFailing
            | Code::DiskWear
            | Code::DiskHot
            | Code::DiskHealthUnknown
            | Code::DiskInodesLow
            | Code::DiskNotTrimmed
            | Code::RegionIoStalled
            | Code::KernelCrashed
            | Code::MemoryPressure
            | Code::IoPressure
            | Code::OomKilled
            | Code::SledUnclean
            | Code::SledHot
            | Code::CpuThrottled
            | Code::KernelTainted
            | Code::WatchdogUnarmed
    );
    clock || network || own
}

fn of_disk(disk: &Drive, facts: &Facts) -> DiskDetail {
    let sensor = facts.machine.iter().flat_map(|machine| &machine.sensors);
    let sensed = sensor.filter(|sensor| sensor.disk.as_ref() == Some(&disk.name)).map(|sensor| sensor.degrees).next();
    let (told, health, health_words) = match facts.health.get(&disk.name) {
        None => (None, "not known", None),
        Some(Health::Unknown(why)) => (None, "not known", Some(why.clone())),
        Some(Health::Known(told)) if told.failing.is_empty() => {
            let recorded = Some(told.recorded.join("; ")).filter(|words| !words.is_empty());
            (Some(told), "well", recorded)
        }
        Some(Health::Known(told)) => (Some(told), "failing", Some(told.failing.join("; "))),
    };
    DiskDetail {
        name: disk.name.clone(),
        bytes: disk.bytes,
        model: told.and_then(|told| told.model.clone()).or_else(|| disk.model.clone()),
        serial: told.and_then(|told| told.serial.clone()),
        firmware: told.and_then(|told| told.firmware.clone()),
        rotational: disk.rotational,
        discards: disk.discards,
        failed_requests: disk.failed,
        health: health.to_owned(),
        health_words,
        used_percent: told.and_then(|told| told.used_percent),
        degrees: sensed.or_else(|| told.and_then(|told| told.degrees)),
        hours: told.and_then(|told| told.hours),
    }
}

fn file_system(block: &Block) -> FileSystem {
    FileSystem {
        kind: block.kind.clone(),
        device: block.device.clone(),
        errors: block.errors.as_ref().map(|errors| errors.count),
        discard: block.discard,
    }
}

fn sensor(sensor: &crate::decide::facts::Sensor) -> TemperatureSensor {
    TemperatureSensor {
        chip: sensor.chip.clone(),
        label: sensor.label.clone(),
        disk: sensor.disk.clone(),
        degrees: sensor.degrees,
        limit_degrees: sensor.limit,
    }
}

fn watchdog(watchdog: &crate::decide::facts::Watchdog) -> HardwareWatchdog {
    HardwareWatchdog {
        device: watchdog.device.clone(),
        identity: watchdog.identity.clone(),
        armed: watchdog.armed,
        timeout_s: watchdog.timeout_s,
        has_reset: watchdog.reset,
    }
}
