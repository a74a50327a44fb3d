//! Machine below the sled, as its kernel tells of it: who waits, what was killed, how hot it is, its clock, its watchdog.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// The machine. What its kernel does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The percentage of the last minute in which nobody got on, as all waited for memory.
    pub memory_stalled: Option<u8>,
    /// The same, as all waited for a disk.
    pub io_stalled: Option<u8>,
    /// The processes that the kernel has killed within the last day, as there was no memory left.
    pub killed: u64,
    /// The control groups of this sled's units in which it killed some since they were started, and how many.
    pub killed_in: BTreeMap<String, u64>,
    /// The sensors of temperature.
    pub sensors: Vec<Sensor>,
    /// The times that a processor was slowed down within the last hour, as it was too hot; `None` if it does not count
    /// them.
    pub throttled: Option<u64>,
    /// Whether a processor is slowed down now, as it is too hot.
    pub slowed: bool,
    /// The kernel's taint, a bit for each reason (Linux, tainted-kernels.rst).
    pub taint: Option<u64>,
    /// The watchdogs of the hardware.
    pub watchdogs: Vec<Watchdog>,
    /// The clock.
    pub clock: Clock,
    /// The crashes of the kernel that are on record.
    pub crash: Option<Crash>,
}

/// Crashes of the kernel that are on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The number of crashes.
    pub count: usize,
    /// The paths of what there is of the last one: the parts of a record that took longer than a second lie apart.
    pub records: Vec<String>,
    /// The words in them that say what happened, if there are such.
    pub words: Option<String>,
}

/// A sensor of temperature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// The chip, for example `k10temp`.
    pub chip: String,
    /// The label that it has there, for example `Tctl`.
    pub label: Option<String>,
    /// The disk that it is in, if it is in one.
    pub disk: Option<String>,
    /// The temperature in degrees Celsius.
    pub degrees: i64,
    /// The temperature in degrees Celsius above which the hardware says that it is not well.
    pub limit: Option<i64>,
}

/// A watchdog of the hardware, which resets a machine that hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// The name of its device, for example `watchdog0`.
    pub device: String,
    /// The driver's name for it.
    pub identity: Option<String>,
    /// Whether somebody feeds it; `None` if the kernel does not tell.
    pub armed: Option<bool>,
    /// The seconds after which it resets the machine.
    pub timeout_s: Option<u64>,
    /// Whether the last reset was its own.
    pub reset: bool,
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Whether it is kept in step with others; `None` if that is not known, or it is too early to say.
    pub synchronised: Option<bool>,
    /// The last time within an hour that somebody set it by more than a second.
    pub step: Option<Step>,
    /// The time of the battery's clock when it was first looked at, if that is before this program was made.
    pub battery_lost: Option<Timestamp>,
}

/// A step of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The time that it showed before.
    pub before: Timestamp,
    /// The time that it showed after.
    pub after: Timestamp,
}

/// The end of the boot before this one, which was no shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unclean {
    /// Nothing tells of it: the power was cut, or the machine was reset.
    Cut,
    /// The kernel panicked, and left word of it.
    Panic,
    /// The hardware's watchdog has reset it.
    Watchdog,
}
