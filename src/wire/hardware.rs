//! Hardware of a sled: what the machine is made of, and how that is. What it does not tell of itself is absent.

use super::Check;
use crate::names::SledName;
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `GET /v1/hardware`, which is the operator's alone: serial numbers, and which firmware and kernel run, are
/// nobody else's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hardware {
    /// The sled that answers.
    pub sled: SledName,
    /// The time at which this was found to be so.
    #[serde(with = "Rfc3339")]
    pub as_of: Timestamp,
    /// What it is made of; absent before the first look.
    pub inventory: Option<Inventory>,
    /// The disks below the data.
    pub disks: Vec<DiskDetail>,
    /// The file system on them.
    pub file_system: Option<FileSystem>,
    /// The sensors of temperature of processors and disks.
    pub sensors: Vec<TemperatureSensor>,
    /// The watchdogs that reset a machine that hangs.
    pub watchdogs: Vec<HardwareWatchdog>,
    /// Whether the clock is kept in step with others.
    pub clock_synchronised: Option<bool>,
    /// The kernel's taint, a bit for each reason; 0 if there is none.
    pub taint: Option<u64>,
    /// Every condition that concerns the hardware.
    pub checks: Vec<Check>,
}

/// What a machine is made of: it changes when somebody plugs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inventory {
    /// The kind of container that it is, if it is one: then the hardware is another machine's.
    pub container: Option<String>,
    /// The maker of the machine.
    pub vendor: Option<String>,
    /// The product.
    pub product: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The board in it, with its maker.
    pub board: Option<String>,
    /// The firmware: its maker, version and date.
    pub firmware: Option<String>,
    /// The processor's model.
    pub processor: Option<String>,
    /// The processors that the kernel has.
    pub processors: u32,
    /// The version of the processor's microcode.
    pub microcode: Option<String>,
    /// The bytes of memory.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The driver of the clock that runs by a battery; absent without one.
    pub rtc: Option<String>,
    /// The network adapters.
    pub adapters: Vec<NetworkAdapter>,
}

/// A network adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkAdapter {
    /// The name of its interface.
    pub name: String,
    /// The hardware address.
    pub mac: Option<String>,
    /// The kernel's driver.
    pub driver: Option<String>,
    /// The speed of its link in Mbit/s; absent without a link.
    pub link_mbps: Option<u32>,
    /// `full` or `half`.
    pub duplex: Option<String>,
    /// The place on the USB, as the kernel writes it: the bus, and the port of each hub.
    pub usb_path: Option<String>,
    /// The speed of the USB there in Mbit/s.
    pub usb_mbps: Option<u32>,
    /// The product, as it calls itself on the USB, with its numbers (`0bda:8156`) and its revision.
    pub usb_product: Option<String>,
    /// The address on PCI, of one that is there.
    pub pci: Option<String>,
}

/// A disk below the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskDetail {
    /// The name, for example `sda`.
    pub name: String,
    /// The bytes that it holds.
    pub bytes: u64,
    /// The model.
    pub model: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<String>,
    /// Whether it turns, and is no flash.
    pub rotational: bool,
    /// Whether it can be told what is freed (TRIM).
    pub discards: bool,
    /// The requests that it has failed within the last hour, where they are counted.
    pub failed_requests: Option<u64>,
    /// The health that it tells of itself: `well`, `failing` or `not known`.
    pub health: String,
    /// The words for that: the reasons for which it is failing, or why nothing is known.
    pub health_words: Option<String>,
    /// The percentage of its life that is used.
    pub used_percent: Option<u16>,
    /// The temperature in degrees Celsius, by its own word or the kernel's sensor.
    pub degrees: Option<i64>,
    /// The hours that it has been switched on.
    pub hours: Option<u64>,
}

/// The file system that the data lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileSystem {
    /// The kind, for example `ext4`.
    pub kind: String,
    /// The device that it lies on.
    pub device: Option<String>,
    /// The errors that it has on record, where it keeps such a record.
    pub errors: Option<u64>,
    /// Whether what is freed is told to the disk at once (`mount -o discard`).
    pub discard: bool,
}

/// A sensor of temperature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemperatureSensor {
    /// The chip, for example `k10temp`.
    pub chip: String,
    /// The label that it has there.
    pub label: Option<String>,
    /// The disk that it is in.
    pub disk: Option<String>,
    /// The temperature in degrees Celsius.
    pub degrees: i64,
    /// The limit in degrees Celsius.
    pub limit_degrees: Option<i64>,
}

/// A watchdog of the hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HardwareWatchdog {
    /// The name of its device.
    pub device: String,
    /// The driver's name for it.
    pub identity: Option<String>,
    /// Whether somebody feeds it.
    pub armed: Option<bool>,
    /// The seconds after which it resets the machine.
    pub timeout_s: Option<u64>,
    /// Whether the last reset was its own.
    pub has_reset: bool,
}
