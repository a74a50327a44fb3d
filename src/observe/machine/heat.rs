//! Heat: what the sensors of sysfs say, and whether a processor is slowed down by it.

use crate::decide::facts::Sensor;
use crate::kernel::attributes::{names, number, text};
use std::path::Path;

/// The chips whose sensors are where they say: of others an input that leads nowhere shows a hundred degrees and more.
const PROCESSORS: [&str; 4] = ["k10temp", "zenpower", "coretemp", "cpu_thermal"];
const DISKS: [&str; 2] = ["nvme", "drivetemp"];
/// The limit of a chip that names none, in degrees Celsius: of a processor (AMD's Zen is at its limit at 95), of a disk
/// (most SSDs are made for 70).
const PROCESSOR_DEGREES: i64 = 95;
const DISK_DEGREES: i64 = 70;
/// The limits in degrees Celsius that are meant as such: firmware fills in nonsense where it knows none.
const LIMITS: std::ops::RangeInclusive<i64> = 30..=130;
/// The temperatures in degrees Celsius that a sensor can mean.
const DEGREES: std::ops::RangeInclusive<i64> = -40..=150;

/// Read the sensors of processors and disks.
pub(super) fn sensors(sysfs: &Path) -> Vec<Sensor> {
    let class = sysfs.join("class/hwmon");
    names(&class).iter().flat_map(|chip| of_chip(&class.join(chip))).collect()
}

fn of_chip(dir: &Path) -> Vec<Sensor> {
    let Some(chip) = text(&dir.join("name")) else { return Vec::new() };
    let (processor, disk) = (PROCESSORS.contains(&chip.as_str()), DISKS.contains(&chip.as_str()));
    if !processor && !disk {
        return Vec::new();
    }
    let degrees = |name: &str, kind: &str| number::<i64>(&dir.join(format!("{name}_{kind}"))).map(|milli| milli / 1000);
    let inputs = names(dir).into_iter().filter_map(|file| Some(file.strip_suffix("_input")?.to_owned()));
    let inputs = inputs.filter(|name| name.starts_with("temp"));
    let one = |name: String| {
        let limits = ["crit", "max"].map(|kind| degrees(&name, kind).filter(|limit| LIMITS.contains(limit)));
        let limit = limits.into_iter().flatten().min();
        Some(Sensor {
            chip: chip.clone(),
            label: text(&dir.join(format!("{name}_label"))),
            disk: if disk { disk_of(dir) } else { None },
            degrees: degrees(&name, "input").filter(|degrees| DEGREES.contains(degrees))?,
            limit: limit.or(Some(if disk { DISK_DEGREES } else { PROCESSOR_DEGREES })),
        })
    };
    inputs.filter_map(one).collect()
}

/// Find the disk that a chip is in: below a SCSI device it lies in `block`; of NVMe the name space is beside it.
fn disk_of(dir: &Path) -> Option<String> {
    let device = dir.join("device");
    let is_space = |name: &String| name.starts_with("nvme") && name.contains('n') && name[4..].contains('n');
    names(&device.join("block")).into_iter().next().or_else(|| names(&device).into_iter().find(is_space))
}

/// Count how often a processor was slowed down since the machine was booted, as it was too hot. Those of AMD do not
/// count it.
pub(super) fn throttled(sysfs: &Path) -> Option<u64> {
    let processors = sysfs.join("devices/system/cpu");
    let of = |name: &String| {
        let dir = processors.join(name).join("thermal_throttle");
        number::<u64>(&dir.join("package_throttle_count")).or_else(|| number(&dir.join("core_throttle_count")))
    };
    // All of one package say the same.
    names(&processors).iter().filter_map(of).max()
}

/// Tell whether a processor is slowed down now: it is a device by which the kernel cools.
pub(super) fn slowed(sysfs: &Path) -> bool {
    let class = sysfs.join("class/thermal");
    let slows = |name: &String| {
        let dir = class.join(name);
        name.starts_with("cooling_device")
            && text(&dir.join("type")).is_some_and(|kind| kind == "Processor")
            && number::<u64>(&dir.join("cur_state")).is_some_and(|state| state > 0)
    };
    names(&class).iter().any(slows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn sensors_of_processors_and_disks_are_read_and_of_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("class/hwmon/hwmon0/name", "k10temp"),
            ("class/hwmon/hwmon0/temp1_input", "61250"),
            ("class/hwmon/hwmon0/temp1_label", "Tctl"),
            ("class/hwmon/hwmon1/name", "nvme"),
            ("class/hwmon/hwmon1/temp1_input", "44850"),
            ("class/hwmon/hwmon1/temp1_crit", "84850"),
            ("class/hwmon/hwmon1/temp1_max", "79850"),
            ("class/hwmon/hwmon1/device/nvme0n1/size", "1"),
            ("class/hwmon/hwmon2/name", "drivetemp"),
            ("class/hwmon/hwmon2/temp1_input", "38000"),
            ("class/hwmon/hwmon2/temp1_max", "-1000"),
            ("class/hwmon/hwmon2/device/block/sda/size", "1"),
            ("class/hwmon/hwmon3/name", "nct6775"),
            ("class/hwmon/hwmon3/temp1_input", "127500"),
            ("class/hwmon/hwmon4/name", "coretemp"),
            ("class/hwmon/hwmon4/temp1_input", "garbage"),
        ] {
            let file = tree.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{text}\n")).unwrap();
        }
        let all: Vec<_> = sensors(tree.path())
            .into_iter()
            .map(|sensor| (sensor.chip, sensor.disk, sensor.degrees, sensor.limit.unwrap()))
            .collect();
        let of =
            |chip: &str, disk: Option<&str>, degrees, limit| (chip.to_owned(), disk.map(str::to_owned), degrees, limit);
        assert_eq!(
            all,
            [of("k10temp", None, 61, 95), of("nvme", Some("nvme0n1"), 44, 79), of("drivetemp", Some("sda"), 38, 70)]
        );
    }

    #[test]
    fn a_processor_that_is_slowed_down_is_seen() {
        let tree = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = tree.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!((throttled(tree.path()), slowed(tree.path())), (None, false));
        write("devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "7\n");
        write("devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3\n");
        write("class/thermal/cooling_device0/type", "Processor\n");
        write("class/thermal/cooling_device0/cur_state", "0\n");
        write("class/thermal/cooling_device1/type", "Fan\n");
        write("class/thermal/cooling_device1/cur_state", "3\n");
        assert_eq!((throttled(tree.path()), slowed(tree.path())), (Some(7), false));
        write("class/thermal/cooling_device0/cur_state", "2\n");
        assert!(slowed(tree.path()));
    }
}
